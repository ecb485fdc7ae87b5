//! The trainer: replays recorded telemetry, fits the detector, publishes what passes its own calibration.
//!
//! As a role it follows `telemetry` until enough history is there, replays exactly what was there then, trains and
//! publishes, and from then on watches for drift; as a tool ([`tools`]) it trains once. Publishing moves an alias on
//! `models`; scorers follow that.

pub mod alias;
mod challenge;
mod checked;
mod choice;
mod contest;
mod drift;
mod fitting;
mod gate;
mod metrics;
pub mod publish;
pub mod registry;
pub mod replay;
mod report;
mod role;
mod schedule;
pub mod spool;
pub mod tools;

<<<<<<< HEAD
pub use crate::{
    choice::Choice,
    fitting::{Fitting, Trained, fit},
    role::{Config, Trainer, connect},
};
=======
use std::{collections::BTreeMap, io::Write, sync::Arc, time::Duration};

use cloud_log::{KafkaConfig, Producer, Tail, TailFrom};
use service::{Error, Tally};
use telemetry::{UnixMillis, kafka_topic};
use tokio_util::sync::CancellationToken;

use crate::{
    challenge::{Challenge, Standing, challenge},
    replay::{Range, Spooling},
};
pub use crate::{
    choice::Choice,
    fitting::{Fitting, Trained, fit},
};

/// Configuration of the role.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// How to fit.
    #[command(flatten)]
    pub fitting: Fitting,
    /// Train when the recorded event times span so much, ms.
    #[arg(long, env = "MOTORCADE_TRAINER_HISTORY_MS", default_value_t = 2_400_000)]
    pub history_ms: i64,
    /// And when so many records are there.
    #[arg(long, env = "MOTORCADE_TRAINER_MIN_RECORDS", default_value_t = 6_000)]
    pub min_records: u64,
    /// Most records to learn from; of more, the newest of each partition count.
    #[arg(long, env = "MOTORCADE_TRAINER_MAX_RECORDS", default_value_t = 10_000_000)]
    pub max_records: u64,
    /// Train again when event time has gone so much further, ms; 0 = never.
    #[arg(long, env = "MOTORCADE_TRAINER_RETRAIN_EVERY_MS", default_value_t = 0)]
    pub retrain_every_ms: i64,
}

impl Config {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        self.fitting.validate()?;
        if self.history_ms <= 0 {
            return Err(Error::Usage { flag: "history-ms", detail: "must be above 0".into() });
        }
        if self.retrain_every_ms < 0 {
            return Err(Error::Usage { flag: "retrain-every-ms", detail: "must not be negative".into() });
        }
        Ok(())
    }
}

/// The trainer, connected.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    tail: Tail,
    producer: Producer,
}

/// Reaches Kafka.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Unavailable`].
pub async fn connect(config: Config) -> Result<Trainer, Error> {
    config.validate()?;
    let tail = Tail::open(&config.kafka, kafka_topic::TELEMETRY, TailFrom::Beginning).await?;
    let producer = Producer::connect(&config.kafka).await?;
    Ok(Trainer { config, tail, producer })
}

/// What the role has seen of `telemetry` so far.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    times: Option<(UnixMillis, UnixMillis)>,
    ends: BTreeMap<i32, (i64, i64)>,
}

impl Seen {
    fn take(&mut self, record: &cloud_log::InRecord) {
        let (_, end) = self.ends.entry(record.partition).or_insert((record.offset, record.offset));
        *end = record.offset + 1;
        let Ok(reading) = replay::read(record) else { return };
        self.records += 1;
        let (from, to) = self.times.unwrap_or((reading.time, reading.time));
        self.times = Some((from.min(reading.time), to.max(reading.time)));
    }

    fn span_ms(&self) -> i64 {
        self.times.map_or(0, |(from, to)| to - from)
    }
}

impl Trainer {
    /// Follows `telemetry` and trains when it is time, until stopped. The tally counts replayed records.
    ///
    /// # Errors
    /// If Kafka refuses. A refused model is logged and tried again with a quarter more history.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let mut seen = Seen::default();
        let mut due = Some((self.config.history_ms, self.config.min_records));
        while !stop.is_cancelled() {
            let records = tokio::select! {
                records = self.tail.next(4_096, Duration::from_millis(500)) => records?,
                () = stop.cancelled() => break,
            };
            records.iter().for_each(|record| seen.take(record));
            let Some((span_ms, least)) = due else { continue };
            if seen.span_ms() < span_ms || seen.records < least {
                continue;
            }
            let ranges =
                Range::Offsets(seen.ends.iter().map(|(partition, (from, to))| (*partition, *from..*to)).collect());
            let published = tokio::select! {
                published = self.train(ranges, &mut tally) => published,
                () = stop.cancelled() => break,
            };
            due = match published {
                Ok(()) if self.config.retrain_every_ms > 0 => {
                    Some((seen.span_ms() + self.config.retrain_every_ms, least))
                }
                Ok(()) => None,
                Err(Error::VerdictFailed(reason)) => {
                    tracing::warn!(reason, "not published; waiting for more history");
                    metrics::refused();
                    Some((seen.span_ms() + seen.span_ms() / 4, seen.records + seen.records / 4))
                }
                Err(error) => return Err(error),
            };
        }
        Ok(tally)
    }

    async fn train(&self, ranges: Range, tally: &mut Tally) -> Result<(), Error> {
        let most = Some(self.config.max_records);
        let replayed = replay::replay(&self.config.kafka, &ranges, &Spooling { folder: None, most }).await?;
        replayed.count_into(tally);
        let (replayed, fitting) = (Arc::new(replayed), &self.config.fitting);
        let trained = fit(Arc::clone(&replayed), fitting, None).await?;
        let challenged = Challenge {
            alias: &fitting.alias,
            reason: "trained",
            force: None,
            replayed: Some(replayed),
            labels: None,
            threads: fitting.options(fitting.first()).threads,
        };
        let line = match challenge(&self.producer, &self.config.kafka, &trained, challenged).await? {
            Standing::Moved(_) | Standing::Unmoved => {
                serde_json::json!({"event": "published", "version": trained.version, "alias": fitting.alias})
            }
            Standing::Kept { champion, reason } => serde_json::json!({"event": "kept", "version": trained.version,
                "alias": fitting.alias, "champion": champion, "reason": reason}),
        };
        // Whoever reads our output may have gone; the model is published all the same.
        writeln!(std::io::stdout().lock(), "{line}").ok();
        Ok(())
    }
}
>>>>>>> trainer
