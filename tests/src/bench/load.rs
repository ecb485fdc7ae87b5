//! The load that a row is run with: a command line of `motorcade-simulator load`, and its report.

use std::{collections::BTreeMap, ffi::OsString, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Whose word makes a reading acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// The broker's: all bridges can be judged by it.
    Puback,
    /// Our edge's own acknowledgements.
    Ack,
}

impl Judge {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Puback => "puback",
            Self::Ack => "ack",
        }
    }
}

/// When readings are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many in a second.
    Rate(u64),
    /// As fast as the windows allow.
    Blast,
}

/// A load.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is reported, as `--payload` names it.
    pub form: String,
    /// When.
    pub pace: Pace,
    /// How many readings in all.
    pub messages: u64,
    /// By how many vehicles.
    pub vehicles: u32,
    /// Index of the first.
    pub first_vehicle: u32,
    /// Connection attempts in a second.
    pub connect_rate: u32,
    /// How many of a vehicle are sent and unacknowledged at most.
    pub window: u32,
    /// Whose word counts.
    pub judge: Judge,
    /// How long acknowledgements are waited for.
    pub drain: Duration,
    /// Seed of values and pauses.
    pub seed: u64,
}

impl Load {
    /// The command line.
    pub fn arguments(&self, mqtt: &str, ledger: Option<&Path>, report: &Path) -> Vec<OsString> {
        let mut flags: Vec<(&str, OsString)> = vec![
            ("--mqtt", mqtt.into()),
            ("--payload", self.form.clone().into()),
            ("--messages", self.messages.to_string().into()),
            ("--vehicles", self.vehicles.to_string().into()),
            ("--first-vehicle", self.first_vehicle.to_string().into()),
            ("--connect-rate", self.connect_rate.to_string().into()),
            ("--window", self.window.to_string().into()),
            ("--judge", self.judge.as_str().into()),
            ("--drain-ms", self.drain.as_millis().to_string().into()),
            ("--seed", self.seed.to_string().into()),
            ("--report", report.into()),
        ];
        if let Pace::Rate(rate) = self.pace {
            flags.push(("--rate", rate.to_string().into()));
        }
        if let Some(ledger) = ledger {
            flags.push(("--ledger", ledger.into()));
        }
        let blast = (self.pace == Pace::Blast).then(|| "--blast".into());
        let named = flags.into_iter().flat_map(|(name, value)| [name.into(), value]);
        std::iter::once("load".into()).chain(blast).chain(named).collect()
    }
}

/// What a report of the simulator says, of `load` and of `audit`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Told {
    /// Figures by name.
    pub figures: BTreeMap<String, f64>,
    /// Verdicts by name.
    pub verdicts: BTreeMap<String, Judged>,
}

/// A verdict of the simulator's.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Judged {
    /// Whether it holds.
    pub ok: bool,
    /// How many things were checked.
    pub checked: u64,
    /// The first few that broke it.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Further counts.
    #[serde(flatten)]
    pub counts: BTreeMap<String, u64>,
}

impl Told {
    /// Reads a report.
    ///
    /// # Errors
    /// If there is none, or one of another form.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// A figure.
    ///
    /// # Errors
    /// If the report has none of this name: what was not measured is not 0.
    pub fn figure(&self, name: &str) -> Result<f64> {
        self.figures.get(name).copied().with_context(|| format!("the report has no figure {name}"))
    }

    /// A count of the verdict on loss.
    ///
    /// # Errors
    /// If the report has none of this name.
    pub fn g1(&self, name: &str) -> Result<u64> {
        let count = self.verdicts.get("G1").and_then(|verdict| verdict.counts.get(name)).copied();
        count.with_context(|| format!("the report does not say how many readings are {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_verdicts_of_a_report_are_read_and_a_torn_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.json");
        let text = r#"{"name":"audit","figures":{"kafka_records":7.0},
            "verdicts":{"G1":{"ok":false,"checked":5,"lost":2,"altered":0,"examples":["lost: a"]}}}"#;
        std::fs::write(&path, text).unwrap();
        let told = Told::read(&path).unwrap();
        assert!((told.figure("kafka_records").unwrap() - 7.0).abs() < 1e-9 && !told.verdicts["G1"].ok);
        assert_eq!((told.g1("lost").unwrap(), told.verdicts["G1"].checked), (2, 5));
        assert!(told.figure("kafka_record").is_err() && told.g1("nothing").is_err(), "what was not measured is not 0");
        std::fs::write(&path, &text[..40]).unwrap();
        assert!(Told::read(&path).is_err());
    }
}
