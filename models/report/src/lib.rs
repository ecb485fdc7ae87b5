//! The report of a run that measures or judges, as all of them are written: name, commit, machine, parameters,
//! figures `<name>_<unit>`, verdicts, and what happened over time.
//!
//! [`Report::write`] makes the file for programs, [`page::write`] the page for people. [`Condition`] turns a figure
//! into a verdict, [`Comparison`] sets two reports side by side. Nothing here knows what was measured.

pub mod chart;
mod compare;
mod condition;
mod direction;
mod machine;
pub mod page;
mod series;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub use compare::{Comparison, Row};
pub use condition::{Condition, Names, Operator};
pub use direction::Better;
pub use series::{Line, Series};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it holds.
    pub ok: bool,
    /// How many things were checked. A check of nothing is no check.
    pub checked: u64,
    /// Further counts, for example `lost`.
    #[serde(flatten)]
    pub counts: BTreeMap<String, u64>,
    /// The first few that broke it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// Rows under a head, for example the steps of a search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// One name for each column, `<name>_<unit>` where there is one.
    pub columns: Vec<String>,
    /// As many values in each as there are columns; null where nothing was measured.
    pub rows: Vec<Vec<serde_json::Value>>,
}

/// For people: columns as wide as they need to be.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.columns.clone();
        let rows = self.rows.iter().map(|row| row.iter().map(|value| page::cell(value).0).collect::<Vec<_>>());
        let rows: Vec<_> = [head].into_iter().chain(rows).collect();
        let width =
            |column| rows.iter().filter_map(|row| row.get(column)).map(|text: &String| text.chars().count()).max();
        let widths: Vec<_> = (0..self.columns.len()).map(|column| width(column).unwrap_or(0)).collect();
        for (number, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:>width$}"));
            let end = if number + 1 < rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", cells.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }
}

/// A run's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the run.
    pub name: String,
    /// The commit that was run, with `+` behind it where the tree had changes.
    pub commit: String,
    /// The machine.
    pub machine: BTreeMap<String, String>,
    /// When it started, ms since the epoch.
    pub started: i64,
    /// How long it took.
    pub duration_s: f64,
    /// What it was run with.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Measured figures, `<name>_<unit>`. One that was not measured is not there.
    pub figures: BTreeMap<String, f64>,
    /// Verdicts by name.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Tables by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Table>,
    /// What happened over time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
}

impl Report {
    /// An empty report of a run that starts now.
    pub fn new(name: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self {
            name: name.to_owned(),
            commit: machine::commit(),
            machine: machine::machine(),
            started: i64::try_from(now).unwrap_or(i64::MAX),
            duration_s: 0.0,
            parameters: BTreeMap::new(),
            figures: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            tables: BTreeMap::new(),
            series: Vec::new(),
        }
    }

    /// Enters a count.
    #[expect(clippy::cast_precision_loss, reason = "figures are read by people and compared roughly")]
    pub fn count(&mut self, name: &str, value: u64) {
        self.figures.insert(name.to_owned(), value as f64);
    }

    /// Enters the percentiles of times in µs, as ms. Nothing if there are none.
    #[expect(clippy::cast_precision_loss, reason = "times below an hour")]
    pub fn latency(&mut self, name: &str, us: &Histogram<u64>) {
        if us.is_empty() {
            return;
        }
        for (percentile, quantile) in PERCENTILES {
            let ms = us.value_at_quantile(quantile) as f64 / 1_000.0;
            self.figures.insert(format!("{name}_{percentile}_ms"), ms);
        }
        self.figures.insert(format!("{name}_max_ms"), us.max() as f64 / 1_000.0);
    }

    /// Enters the percentiles of times in ms. Nothing if there are none.
    #[expect(clippy::cast_precision_loss, reason = "times of days at most")]
    pub fn latency_in_ms(&mut self, name: &str, ms: &Histogram<u64>) {
        if ms.is_empty() {
            return;
        }
        for (percentile, quantile) in PERCENTILES {
            self.figures.insert(format!("{name}_{percentile}_ms"), ms.value_at_quantile(quantile) as f64);
        }
        self.figures.insert(format!("{name}_max_ms"), ms.max() as f64);
    }

    /// Enters a verdict for each condition, by its own words.
    pub fn judge(&mut self, conditions: &[Condition], names: &Names<'_>) {
        for condition in conditions {
            let verdict = condition.judge(&self.figures, names);
            self.verdicts.insert(condition.verdict_name(), verdict);
        }
    }

    /// Whether every verdict is ok.
    pub fn is_ok(&self) -> bool {
        self.verdicts.values().all(|verdict| verdict.ok)
    }

    /// The names of the verdicts that are not ok.
    pub fn failed(&self) -> Vec<&str> {
        self.verdicts.iter().filter(|(_, verdict)| !verdict.ok).map(|(name, _)| name.as_str()).collect()
    }

    /// Writes it as JSON; folders that lack are made.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Reads one that [`Self::write`] has written.
    ///
    /// # Errors
    /// If the file can't be read, or is no report.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Names and quantiles that latencies are reported with; the maximum comes beside them.
pub const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/report.json");
        let mut report = Report::new("night");
        report.count("made_readings", 7);
        let mut us = Histogram::new(3).unwrap();
        report.latency("nothing", &us);
        (1..=1_000).for_each(|ms| us.record(ms * 1_000).unwrap());
        report.latency("trip", &us);
        let counts = [("lost".to_owned(), 3)].into();
        report.verdicts.insert("G1".into(), Verdict { ok: false, checked: 9, counts, examples: vec!["a".into()] });
        let mut series = Series::new("time_s", vec![1.0, 2.0]);
        series.line("Rate", "/s", "made_per_s", vec![Some(1.5), None]);
        report.series.push(series);
        report.tables.insert("steps".into(), Table { columns: vec!["a".into()], rows: vec![vec![1.into()]] });
        report.write(&path).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        assert_eq!((report.is_ok(), report.failed()), (false, vec!["G1"]));
        let p99 = report.figures["trip_p99_ms"];
        assert!((989.0..=991.0).contains(&p99), "{p99}");
        assert!(!report.figures.keys().any(|name| name.starts_with("nothing")));
        fs::write(&path, "{}").unwrap();
        assert_eq!(Report::read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
