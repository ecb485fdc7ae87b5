//! `make bench-edge`: the edge and its peers, row by row, round by round, on the same services and the same load.
//!
//! [`plan`] says what is measured, in which order; `speed`, `ceiling`, `faults` and `outage` measure one case each.

mod ceiling;
mod faults;
mod outage;
pub mod plan;
mod run;
mod speed;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Parser;

use self::plan::Kind;
use super::contender::{Contender, PEER_HELP};

pub use run::run;

/// What the edge does and costs, beside other bridges.
#[derive(Debug, Clone, Parser)]
pub struct Settings {
    /// Other bridges.
    #[arg(long = "peer", value_name = "NAME=COMMAND", help = PEER_HELP)]
    pub peers: Vec<Contender>,
    /// What readers of the report should know, such as how a peer is configured. May be given several times.
    #[arg(long = "note", value_name = "TEXT")]
    pub notes: Vec<String>,
    /// Only these rows.
    #[arg(long, value_name = "ROW,…", value_delimiter = ',', value_enum)]
    pub only: Vec<Kind>,
    /// How often a row of speed is measured; contenders take turns. Rows with faults are run once.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Readings of the rows blast, drain and kill-drain, and publishes of the ceiling.
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=900_000))]
    pub messages: u64,
    /// How long a paced row lasts, s.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub paced_s: u64,
    /// How long Kafka is away in the row outage, s.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub outage_s: u64,
    /// Everything once and short, 200-byte records only: shows that the bench works, not how fast anything is.
    #[arg(long)]
    pub quick: bool,
    /// Seed of values and pauses.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Folder for services, logs and ledgers; what is in it is removed first.
    #[arg(long, value_name = "DIR", default_value = ".services/bench-edge")]
    pub folder: PathBuf,
    /// Folder of motorcade-edge and motorcade-simulator.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    pub programs: PathBuf,
    /// Name of the report.
    #[arg(long, value_name = "NAME", default_value = "bench-edge")]
    pub report: String,
}

impl Settings {
    /// As they are meant: `--quick` shortens what it shortens.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if self.quick {
            self.rounds = 1;
            self.messages = self.messages.min(50_000);
            self.paced_s = self.paced_s.min(4);
            self.outage_s = self.outage_s.min(15);
        }
        self
    }

    /// No more records come after so long without any.
    pub(crate) fn standstill(&self) -> Duration {
        Duration::from_secs(if self.quick { 4 } else { 15 })
    }

    /// A bridge may take so long until it goes on after Kafka or the broker was away: some wait longer after each
    /// attempt.
    pub(crate) fn recovers_within(&self) -> Duration {
        Duration::from_secs(if self.quick { 10 } else { 45 })
    }

    /// Flags of our edge in rows with faults: as it is shipped, or with acks that leave sooner.
    pub(crate) fn edge_flags(&self) -> Vec<OsString> {
        let soon = ["--ack-min-ms", "1000", "--ack-max-ms", "2000"].map(OsString::from);
        if self.quick { soon.into() } else { Vec::new() }
    }

    /// When a fault happens and for how long, s: a killed bridge or broker, a killed Kafka, and the load's length.
    pub(crate) fn fault_times(&self) -> plan::FaultTimes {
        if self.quick {
            plan::FaultTimes { at_s: 3, bridge_away_s: 1, kafka_away_s: 3, load_s: 10 }
        } else {
            plan::FaultTimes { at_s: 10, bridge_away_s: 2, kafka_away_s: 10, load_s: 30 }
        }
    }
}
