//! The scorer: the detector in real time, and its verification against a replay.
//!
//! A published score is a function of the partition of `telemetry` up to its reading and of the published switch
//! points, never of the clock, of a batch's border or of who scored: [`verify`] computes it again and compares
//! every bit. Output is at least once: after a kill the same scores come again, bit for bit. With `--transactions`
//! a reader of what is committed sees each once.

mod crew;
mod desk;
mod judging;
mod lane;
mod metrics;
mod models;
mod named;
mod order;
pub mod rebuild;
mod registry;
mod run;
mod shadow;
mod state;
mod timeline;
mod vehicles;
pub mod verify;

#[cfg(test)]
mod tests;

use cloud_log::{GroupConsumer, History, KafkaConfig, Producer, Transactions};
use service::Error;
use telemetry::kafka_topic;

use crate::{crew::Crew, models::Models, run::transactional_id};
pub use crate::{named::Named, run::Scorer};

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
    /// The alias of a challenger that judges a sample of the vehicles in the shadow of the champion.
    #[arg(long, env = "MOTORCADE_SCORER_SHADOW_ALIAS", default_value = "challenger")]
    pub shadow_alias: String,
    /// The share of the vehicles that a challenger judges; 0: none.
    #[arg(long, env = "MOTORCADE_SCORER_SHADOW_SHARE", default_value_t = 0.1)]
    pub shadow_share: f64,
    /// Offsets are committed, and the states of the vehicles whose turn it is written, so often, ms. Without it, every
    /// 2000; with --transactions, every 100, because nobody sees a score earlier.
    #[arg(long, env = "MOTORCADE_SCORER_COMMIT_MS")]
    pub commit_ms: Option<u64>,
    /// The state of a vehicle that sends is written once in so many ms. After a kill what was read in that time is read
    /// again, at full speed. 0: with every commit.
    #[arg(long, env = "MOTORCADE_SCORER_STATE_MS", default_value_t = 60_000)]
    pub state_ms: u64,
    /// Scoring threads, each with its own partitions and its own copy of the model. Without it, one for each processor,
    /// and never more than `telemetry` has partitions.
    #[arg(long, env = "MOTORCADE_SCORER_WORKERS")]
    pub workers: Option<usize>,
    /// Write scores, dead letters, states and offsets of a commit in one Kafka transaction: whoever reads what is
    /// committed sees each score once, even if scorers are killed. It costs latency and throughput; without it a killed
    /// scorer's last scores come twice, bit for bit, and nothing that reads them minds.
    #[arg(long, env = "MOTORCADE_SCORER_TRANSACTIONS", value_parser = clap::builder::BoolishValueParser::new())]
    pub transactions: bool,
    /// With --transactions, the name of this process among the scorers: whoever starts under the name of a killed one
    /// ends at once what that left open. Without it Kafka does so after 10 to 20 s, and until then nobody reads on. Two that
    /// run at a time must not share one.
    #[arg(long, env = "MOTORCADE_SCORER_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
}

/// How often is committed where no flag says otherwise, ms.
const COMMIT_MS: u64 = 2_000;
/// The same, in transactions.
const TRANSACTION_MS: u64 = 100;

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
        if self.commit_ms == Some(0) {
            return Err(Error::Usage { flag: "commit-ms", detail: "must be above 0".into() });
        }
        if !(0.0..=1.0).contains(&self.shadow_share) {
            return Err(Error::Usage { flag: "shadow-share", detail: "must be from 0 to 1".into() });
        }
        if self.workers == Some(0) {
            return Err(Error::Usage { flag: "workers", detail: "must be above 0".into() });
        }
        if self.instance.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Usage { flag: "instance", detail: "must not be empty".into() });
        }
        Ok(())
    }

    fn commit_ms(&self) -> u64 {
        self.commit_ms.unwrap_or(if self.transactions { TRANSACTION_MS } else { COMMIT_MS })
    }
}

/// Reaches Kafka and reads the registry.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Unavailable`].
pub async fn connect(config: Config) -> Result<Scorer, Error> {
    config.validate()?;
    let producer = Producer::connect(&config.kafka).await?;
    let partitions = History::watermarks(&config.kafka, kafka_topic::TELEMETRY).await?.len();
    let crew = Crew::start(workers(config.workers, partitions), config.lateness_ms, kafka_topic::SCORES)?;
    let models = Models::open(&config.kafka, &config.alias).await?;
    let consumer =
        GroupConsumer::connect(&config.kafka, &config.group, &[kafka_topic::TELEMETRY]).await?.report_as("scorer");
    let transactions = if config.transactions {
        let id = transactional_id(&config.group, config.instance.as_deref());
        Some(Transactions::connect(&config.kafka, &id, consumer.standing()).await?)
    } else {
        None
    };
    Ok(Scorer::new(config, consumer, (producer, transactions), crew, models))
}

/// Threads that are worth having.
fn workers(wanted: Option<usize>, partitions: usize) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(processors).clamp(1, partitions.max(1))
}
