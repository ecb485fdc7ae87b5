//! Flags of the role.

use std::time::Duration;

use cloud_log::KafkaConfig;
use service::Error;
use store::MongoConfig;

/// Flags of `motorcade run twin`.
#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Where MongoDB is.
    #[command(flatten)]
    pub mongo: MongoConfig,
    /// Consumer group: all writers with the same one share the fleet.
    #[arg(long, env = "MOTORCADE_TWIN_GROUP", default_value = "motorcade-twin")]
    pub group: String,
    /// How long readings stay in the history, hours after their ingest.
    #[arg(long, env = "MOTORCADE_TWIN_HISTORY_HOURS", default_value_t = 168)]
    pub history_hours: u32,
    /// The most records that are folded into one batch of updates.
    #[arg(long, env = "MOTORCADE_TWIN_BATCH", default_value_t = 4_000)]
    pub batch: usize,
}

impl Config {
    /// The defaults with these addresses.
    pub fn new(kafka: KafkaConfig, mongo: MongoConfig) -> Self {
        Self { kafka, mongo, group: "motorcade-twin".into(), history_hours: 168, batch: 4_000 }
    }

    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag.
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        self.mongo.validate()?;
        let usage = |flag, detail: &str| Err(Error::Usage { flag, detail: detail.into() });
        if self.group.is_empty() {
            return usage("group", "a consumer group has a name");
        }
        if !(1..=100_000).contains(&self.batch) {
            return usage("batch", "1 to 100000 records");
        }
        if self.history_hours == 0 {
            return usage("history-hours", "at least 1 hour");
        }
        Ok(())
    }

    pub(crate) fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.history_hours) * 3_600)
    }
}
