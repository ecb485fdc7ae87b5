//! The report of a run that measures or judges, as all of them are written: name, commit, machine, parameters,
//! figures `<name>_<unit>`, verdicts.

use std::{collections::BTreeMap, io, path::Path};

use hdrhistogram::Histogram;
use serde::Serialize;
use telemetry::UnixMillis;

use crate::clock;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it holds.
    pub ok: bool,
    /// How many things were checked. A check of nothing is no check.
    pub checked: u64,
    /// Further counts, for example `lost`.
    #[serde(flatten)]
    pub counts: BTreeMap<String, u64>,
    /// The first few that broke it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// A run's report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the run.
    pub name: String,
    /// The commit that was run, with `+` behind it where the tree had changes.
    pub commit: String,
    /// The machine.
    pub machine: BTreeMap<String, String>,
    /// When it started, ms since the epoch.
    pub started: UnixMillis,
    /// How long it took.
    pub duration_s: f64,
    /// What it was run with.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Measured figures, `<name>_<unit>`.
    pub figures: BTreeMap<String, f64>,
    /// Verdicts by name.
    pub verdicts: BTreeMap<String, Verdict>,
}

impl Report {
    /// An empty report of a run that starts now.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            commit: commit(),
            machine: machine(),
            started: clock::wall_now(),
            duration_s: 0.0,
            parameters: BTreeMap::new(),
            figures: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        }
    }

    /// Enters a count.
    #[expect(clippy::cast_precision_loss, reason = "figures are read by people and compared roughly")]
    pub fn count(&mut self, name: &str, value: u64) {
        self.figures.insert(name.to_owned(), value as f64);
    }

    /// Enters the percentiles of times in µs, as ms.
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

    /// Enters the percentiles of times in ms.
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

    /// Whether every verdict is ok.
    pub fn is_ok(&self) -> bool {
        self.verdicts.values().all(|verdict| verdict.ok)
    }

    /// Writes it as JSON; folders that lack are made.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
    }
}

/// Names and quantiles that latencies are reported with; the maximum comes beside them.
pub const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn git(arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(arguments).stdin(std::process::Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn commit() -> String {
    let changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    git(&["rev-parse", "--short=12", "HEAD"])
        .map_or_else(|| "unknown".into(), |hash| if changed { hash + "+" } else { hash })
}

fn machine() -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        rest.map(|rest| rest.trim_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    BTreeMap::from([
        ("cpu".into(), field(&read("/proc/cpuinfo"), "model name")),
        ("cores".into(), cores.to_string()),
        ("memory".into(), field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ])
}
