//! The report that every run writes beside what it prints: `target/reports/<name>.json`.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

/// What a guarantee's check found.
#[derive(Debug, Clone, Default, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the run and of the file.
    pub name: String,
    /// The commit that was run, with `+` behind it where the tree had changes.
    pub commit: String,
    /// The machine.
    pub machine: BTreeMap<String, String>,
    /// When it started, ms since the epoch.
    pub started: u128,
    /// How long it took.
    pub duration_s: f64,
    /// What it was run with.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Measured figures, `<name>_<unit>`.
    pub figures: BTreeMap<String, f64>,
    /// Verdicts by guarantee.
    pub verdicts: BTreeMap<String, Verdict>,
}

impl Report {
    /// An empty report of a run that starts now.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            commit: commit(),
            machine: machine(),
            started: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis()),
            duration_s: 0.0,
            parameters: BTreeMap::new(),
            figures: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        }
    }

    /// Whether every verdict is ok.
    pub fn is_ok(&self) -> bool {
        self.verdicts.values().all(|verdict| verdict.ok)
    }

    /// Writes `target/reports/<name>.json`.
    pub fn write(&self) -> Result<PathBuf> {
        let folder = crate::process::executables()?.parent().context("target/<profile> has a parent")?.join("reports");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(format!("{}.json", self.name));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(arguments).output().ok()?;
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
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim_matches([' ', '\t', ':']).to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    BTreeMap::from([
        ("cpu".into(), field(&read("/proc/cpuinfo"), "model name")),
        ("cores".into(), cores.to_string()),
        ("memory".into(), field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ])
}
