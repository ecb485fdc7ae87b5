//! The scorer: the detector in real time, and its verification against a replay.
//!
//! A published score is a function of the partition of `telemetry` up to its reading and of the published switch
//! points, never of the clock, of a batch's border or of who scored: [`verify`] computes it again and compares
//! every bit. Output is at least once: after a kill the same scores come again, bit for bit.

mod inference;
mod judging;
mod lane;
mod metrics;
mod models;
mod order;
mod registry;
mod run;
mod state;
mod timeline;
pub mod verify;

#[cfg(test)]
mod tests;

use cloud_log::{GroupConsumer, KafkaConfig, Producer};
use service::Error;
use telemetry::kafka_topic;

pub use crate::run::Scorer;
use crate::{inference::Inference, models::Models};

/// Lateness when no flag says otherwise, ms of event time.
const LATENESS_MS: i64 = 60_000;

/// Configuration of the role.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The consumer group.
    #[arg(long, env = "MOTORCADE_SCORER_GROUP", default_value = "motorcade-scorer")]
    pub group: String,
    /// How long scoring waits for a missing reading, ms of the vehicle's event time. All scorers and
    /// `scores verify` must agree on it.
    #[arg(long, env = "MOTORCADE_SCORER_LATENESS_MS", default_value_t = LATENESS_MS)]
    pub lateness_ms: i64,
    /// The alias whose model scores.
    #[arg(long, env = "MOTORCADE_SCORER_ALIAS", default_value = "champion")]
    pub alias: String,
    /// States are written and offsets committed so often, ms.
    #[arg(long, env = "MOTORCADE_SCORER_COMMIT_MS", default_value_t = 2_000)]
    pub commit_ms: u64,
}

impl Config {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        if self.lateness_ms <= 0 {
            return Err(Error::Usage { flag: "lateness-ms", detail: "must be above 0".into() });
        }
        if self.group.is_empty() {
            return Err(Error::Usage { flag: "group", detail: "must not be empty".into() });
        }
        if self.commit_ms == 0 {
            return Err(Error::Usage { flag: "commit-ms", detail: "must be above 0".into() });
        }
        Ok(())
    }
}

/// Reaches Kafka and reads the registry.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Unavailable`].
pub async fn connect(config: Config) -> Result<Scorer, Error> {
    config.validate()?;
    let producer = Producer::connect(&config.kafka).await?;
    let inference = Inference::start()?;
    let models = Models::open(&config.kafka, &config.alias).await?;
    let consumer =
        GroupConsumer::connect(&config.kafka, &config.group, &[kafka_topic::TELEMETRY]).await?.report_as("scorer");
    Ok(Scorer::new(config, consumer, producer, inference, models))
}
