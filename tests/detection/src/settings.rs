//! What to judge, and how large.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use detector::{Kind, SAMPLE, STEPS};
use serde_json::json;

use crate::{fleet::Size, short::Short};

/// Judges every kind of detector on a simulated fleet, beside range rules, chance and an older demo's autoencoder; writes
/// `bench-detection.json` and a page beside it. No service is needed: readings are made and scored in this process.
#[derive(Debug, Clone, Parser)]
#[command(name = "detection", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Settings {
    /// Something else.
    #[command(subcommand)]
    pub(crate) instead: Option<Instead>,
    /// Vehicles that are trained on.
    #[arg(long, default_value_t = 40)]
    pub(crate) vehicles: u32,
    /// Vehicles that are only tested on: of ten, one that alarms all the time would be all that shows.
    #[arg(long, default_value_t = 30)]
    pub(crate) unseen: u32,
    /// Days of the training part.
    #[arg(long, default_value_t = 14)]
    pub(crate) train_days: u32,
    /// Days that set the limits: vehicles times weeks should be a hundred times the rarest budget.
    #[arg(long, default_value_t = 21)]
    pub(crate) limit_days: u32,
    /// Days of each test.
    #[arg(long, default_value_t = 14)]
    pub(crate) test_days: u32,
    /// What the fleet and its faults follow from.
    #[arg(long, default_value_t = 11)]
    pub(crate) fleet_seed: u64,
    /// Trainings of each kind, each with a seed of its own.
    #[arg(long, default_value_t = 5)]
    pub(crate) seeds: u32,
    /// Kinds of detector to judge.
    #[arg(long, value_delimiter = ',', default_value = "robust-z,pca,autoencoder,leave-one-out")]
    pub(crate) detectors: Vec<Kind>,
    /// Windows that a network is fitted on; as many as the trainer takes.
    #[arg(long, default_value_t = SAMPLE)]
    pub(crate) sample: usize,
    /// Steps of the optimiser, each over 256 windows; as many as the trainer takes.
    #[arg(long, default_value_t = STEPS)]
    pub(crate) steps: u32,
    /// Threads.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub(crate) threads: usize,
    /// Folder of the report.
    #[arg(long, value_name = "DIR", default_value = "target/reports")]
    pub(crate) reports: PathBuf,
}

/// What else can be judged.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Instead {
    /// What is learnt from histories as short as the demo's.
    Short(Short),
}

impl Settings {
    /// Checks the flags.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(Instead::Short(short)) = &self.instead {
            return short.validate();
        }
        ensure!(self.vehicles >= 5, "--vehicles {}: at least 5 are needed to train", self.vehicles);
        ensure!(self.seeds >= 1, "--seeds must be at least 1");
        let days = [("train", self.train_days), ("limit", self.limit_days), ("test", self.test_days)];
        for (name, days) in days {
            ensure!((2..=365).contains(&days), "--{name}-days {days}: 2 to 365 days are possible");
        }
        ensure!(self.steps >= 10 && self.sample >= 1_000, "--steps below 10 or --sample below 1000 learn nothing");
        ensure!(self.threads >= 1, "--threads must be at least 1");
        Ok(())
    }

    pub(crate) fn size(&self) -> Size {
        Size {
            seed: self.fleet_seed,
            vehicles: self.vehicles,
            unseen: self.unseen,
            train_days: i64::from(self.train_days),
            limit_days: i64::from(self.limit_days),
            test_days: i64::from(self.test_days),
        }
    }

    pub(crate) fn parameters(&self) -> Vec<(&'static str, serde_json::Value)> {
        vec![
            ("vehicles", json!(self.vehicles)),
            ("unseen_vehicles", json!(self.unseen)),
            ("train_days", json!(self.train_days)),
            ("limit_days", json!(self.limit_days)),
            ("test_days", json!(self.test_days)),
            ("fleet_seed", json!(self.fleet_seed)),
            ("seeds", json!(self.seeds)),
            ("sample", json!(self.sample)),
            ("steps", json!(self.steps)),
            ("interval_s", json!(crate::fleet::STEP_MS / 1_000)),
            ("merge_minutes", json!(crate::figures::MEASURE.merge_ms / 60_000)),
        ]
    }
}
