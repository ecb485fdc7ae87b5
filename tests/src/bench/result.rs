//! What a bench found: figures of each round, their median and range, and the report.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::goals::Goal;
use crate::report::{self, Report, Verdict};

/// Figures of one round by name; the unit is the name's end.
pub type Figures = BTreeMap<String, f64>;

/// One figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of the same figure in every round; none of no rounds.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }
}

/// What was measured: a row of the tables, of one contender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    /// What was done, for example `paced-5000`.
    pub row: String,
    /// What was sent, for example `change-200`.
    pub form: String,
    /// Whose word made a reading acknowledged: `puback`, `ack`, or `source` for the ceiling; `scores` of a scorer.
    pub judge: String,
    /// Which bridge, or which scorer.
    pub contender: String,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.row, self.form, self.judge, self.contender)
    }
}

impl Case {
    /// The beginning of its figures' names.
    fn prefix(&self) -> String {
        format!("{}_{}_{}_{}", self.contender, self.row, self.form, self.judge).replace('-', "_")
    }
}

/// A case and what its rounds gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case.
    #[serde(flatten)]
    pub case: Case,
    /// How many rounds there were.
    pub rounds: usize,
    /// Figures by name.
    pub figures: BTreeMap<String, Spread>,
}

impl Row {
    /// The median of a figure.
    pub fn median(&self, figure: &str) -> Option<f64> {
        self.figures.get(figure).map(|spread| spread.median)
    }
}

/// Rounds as they come in.
#[derive(Debug, Default)]
pub struct Rounds(Vec<(Case, Vec<Figures>)>);

impl Rounds {
    /// Takes in a round of a case.
    pub fn add(&mut self, case: &Case, figures: Figures) {
        match self.0.iter_mut().find(|(known, _)| known == case) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.0.push((case.clone(), vec![figures])),
        }
    }

    /// Median and range of everything, in the order in which the cases first came.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(case, rounds): &(Case, Vec<Figures>)| {
            let mut values: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
            for (name, value) in rounds.iter().flatten() {
                values.entry(name).or_default().push(*value);
            }
            let spreads = values.into_iter().filter_map(|(name, values)| Some((name.clone(), Spread::of(&values)?)));
            Row { case: case.clone(), rounds: rounds.len(), figures: spreads.collect() }
        };
        self.0.iter().map(row).collect()
    }
}

/// The report of a bench: as every report, and its rows and goals.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// What every report has; its figures are the medians.
    #[serde(flatten)]
    pub report: Report,
    /// Cases with their ranges.
    pub rows: Vec<Row>,
    /// What was aimed at, and what was reached.
    pub goals: Vec<Goal>,
}

impl BenchReport {
    /// Of rows, with their medians as figures.
    pub fn new(mut report: Report, rows: Vec<Row>, goals: Vec<Goal>) -> Self {
        for row in &rows {
            let named =
                row.figures.iter().map(|(name, spread)| (format!("{}_{name}", row.case.prefix()), spread.median));
            report.figures.extend(named);
        }
        Self { report, rows, goals }
    }

    /// Writes `target/reports/<name>.json`.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self) -> Result<PathBuf> {
        // The folder is the report's own business.
        let path = report::write(&self.report)?;
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A report as it is read back.
#[derive(Debug, Clone, Deserialize)]
pub struct Read {
    /// Its name.
    pub name: String,
    /// The commit that was run.
    pub commit: String,
    /// The machine.
    pub machine: BTreeMap<String, String>,
    /// When it started, ms since the epoch.
    pub started: i64,
    /// How long it took.
    pub duration_s: f64,
    /// What it was run with.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Figures.
    pub figures: BTreeMap<String, f64>,
    /// Verdicts.
    pub verdicts: BTreeMap<String, serde_json::Value>,
    /// Tables.
    #[serde(default)]
    pub tables: BTreeMap<String, ::report::Table>,
    /// Cases, if it is a bench's.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// Goals, if it is a bench's.
    #[serde(default)]
    pub goals: Vec<Goal>,
}

impl Read {
    /// Reads a report; none if there is no such file.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn from(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// A verdict on a count that must be zero.
pub fn none_of(what: &str, checked: u64, count: u64, examples: Vec<String>) -> Verdict {
    Verdict { ok: count == 0 && checked > 0, checked, counts: [(what.to_owned(), count)].into(), examples }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(contender: &str) -> Case {
        Case {
            row: "paced-5000".into(),
            form: "change-200".into(),
            judge: "puback".into(),
            contender: contender.into(),
        }
    }

    #[test]
    fn median_and_range_are_of_the_rounds_of_one_case() {
        let mut rounds = Rounds::default();
        for (contender, value) in [("motorcade", 5.0), ("other", 50.0), ("motorcade", 1.0), ("motorcade", 2.0)] {
            rounds.add(&case(contender), [("bridge_cpu_us".to_owned(), value)].into());
        }
        let rows = rounds.rows();
        assert_eq!((rows.len(), rows[0].rounds, rows[1].rounds), (2, 3, 1));
        assert_eq!(rows[0].figures["bridge_cpu_us"], Spread { median: 2.0, least: 1.0, most: 5.0 });
        assert_eq!(rows[1].median("bridge_cpu_us"), Some(50.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_report_comes_back_as_it_was_written() {
        let mut rounds = Rounds::default();
        rounds.add(&case("motorcade"), [("throughput_per_s".to_owned(), 70_000.0)].into());
        let report = BenchReport::new(Report::new("bench-test"), rounds.rows(), Vec::new());
        assert!(report.report.figures.contains_key("motorcade_paced_5000_change_200_puback_throughput_per_s"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bench-test.json");
        std::fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
        let read = Read::from(&path).unwrap().unwrap();
        assert_eq!((read.name.as_str(), &read.rows), ("bench-test", &report.rows));
        assert!(Read::from(&dir.path().join("absent.json")).unwrap().is_none());
        std::fs::write(&path, "{}").unwrap();
        assert!(Read::from(&path).is_err());
    }

    #[test]
    fn a_check_of_nothing_is_no_check() {
        assert!(none_of("lost", 1, 0, Vec::new()).ok);
        assert!(!none_of("lost", 0, 0, Vec::new()).ok && !none_of("lost", 1, 1, Vec::new()).ok);
    }
}
