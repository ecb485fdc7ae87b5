//! The demo: a fleet drives, a model learns, faults appear, alerts arrive; then the judge speaks.
//!
//! It starts the same processes that an operator would, and decides nothing that they decide: it only sets the
//! scene ([`timeline`]), watches ([`stages`], [`view`], [`latency`]) and judges ([`coverage`], [`summary`]).

pub mod coverage;
pub mod latency;
mod printed;
mod run;
pub mod stages;
pub mod summary;
pub mod timeline;
mod view;
mod watching;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

pub use run::{Outcome, run};

/// Which faults the fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Faults {
    /// Two vehicles for every kind of fault.
    Demo,
    /// None: whatever fires is a false alarm.
    None,
}

/// Which model scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// The one that the trainer publishes.
    Trained,
    /// The same with its weights shuffled and its threshold calibrated anew: a negative control.
    Shuffled,
}

/// The whole system at work: vehicles drive, a model learns, faults appear, alerts arrive.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo", version)]
pub struct Settings {
    /// Vehicles in the fleet.
    #[arg(long, env = "VEHICLES", default_value_t = 200)]
    pub vehicles: u32,
    /// Seed of the fleet and its faults.
    #[arg(long, env = "SEED", default_value_t = 7)]
    pub seed: u64,
    /// How much faster than the wall clock simulated time runs.
    #[arg(long, env = "SPEED", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub speed: u32,
    /// How long the fleet drives, wall seconds. A fifth of it is for the training: a slow machine takes 25 s.
    #[arg(long, env = "SECONDS_TO_DRIVE", default_value_t = 150, value_parser = clap::value_parser!(u64).range(20..=3600))]
    pub seconds: u64,
    /// Simulated time between two readings of a vehicle, ms.
    #[arg(long, default_value_t = 10_000)]
    pub interval_ms: u64,
    /// Which faults the fleet has.
    #[arg(long, value_enum, default_value = "demo")]
    pub faults: Faults,
    /// Which model scores.
    #[arg(long, value_enum, default_value = "trained")]
    pub model: Model,
    /// Leave the page open and the fleet driving until Ctrl-C.
    #[arg(long, env = "KEEP", num_args = 0..=1, default_missing_value = "1", value_parser = clap::builder::BoolishValueParser::new(), default_value = "0")]
    pub keep: bool,
    /// Where the page listens.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Folder for services, logs and the ledger; what is in it is removed first.
    #[arg(long, default_value = ".services/demo")]
    pub folder: PathBuf,
    /// Name of the report.
    #[arg(long, default_value = "demo")]
    pub report: String,
}
