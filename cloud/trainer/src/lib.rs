//! The trainer: replays recorded telemetry, fits the detector, publishes what passes its own calibration.
//!
//! As a role it follows `telemetry` until enough history is there, replays exactly what was there then, trains and
//! publishes; as a tool ([`tools`]) it does so once. Publishing moves an alias on `models`; scorers follow that.

pub mod alias;
mod checked;
mod metrics;
pub mod publish;
pub mod registry;
pub mod replay;
mod report;
pub mod spool;
pub mod tools;

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use cloud_log::{KafkaConfig, Producer, Tail, TailFrom};
use detector::{History, Kind};
use service::{Error, Tally};
use telemetry::{UnixMillis, kafka_topic};
use tokio_util::sync::CancellationToken;

use crate::replay::{Range, Replayed, Spooling};

/// How a model is fitted; shared by the role and `models train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Fitting {
    /// What to train: robust-z, pca, autoencoder or leave-one-out.
    #[arg(long, env = "MOTORCADE_TRAINER_DETECTOR", default_value_t = Kind::LeaveOneOut)]
    pub detector: Kind,
    /// Everything random follows from it.
    #[arg(long, env = "MOTORCADE_TRAINER_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    #[arg(long, env = "MOTORCADE_TRAINER_ALARM_BUDGET", default_value_t = 20.0)]
    pub alarm_budget: f64,
    /// Steps of the optimiser, each over 256 windows.
    #[arg(long, env = "MOTORCADE_TRAINER_STEPS", default_value_t = 4_000)]
    pub steps: u32,
    /// Windows that the network is fitted on, at most.
    #[arg(long, env = "MOTORCADE_TRAINER_SAMPLE", default_value_t = 1_000_000)]
    pub sample: usize,
    /// The alias to move to the new version.
    #[arg(long, env = "MOTORCADE_TRAINER_ALIAS", default_value = "champion")]
    pub alias: String,
    /// Where to write the report.
    #[arg(long, env = "MOTORCADE_TRAINER_REPORT", value_name = "PATH")]
    pub report: Option<PathBuf>,
}

impl Fitting {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        if !(self.alarm_budget.is_finite() && self.alarm_budget > 0.0) {
            return Err(Error::Usage { flag: "alarm-budget", detail: "must be above 0".into() });
        }
        if self.steps < 10 {
            return Err(Error::Usage { flag: "steps", detail: "must be at least 10".into() });
        }
        if self.sample < 1_000 {
            return Err(Error::Usage { flag: "sample", detail: "must be at least 1000".into() });
        }
        if !alias::is_name(&self.alias) {
            return Err(Error::Usage { flag: "alias", detail: format!("{:?} is no name", self.alias) });
        }
        Ok(())
    }

    fn options(&self) -> detector::Options {
        detector::Options {
            kind: self.detector,
            seed: self.seed,
            sample: self.sample,
            budget_per_1000_h: self.alarm_budget,
            steps: self.steps,
            ..detector::Options::default()
        }
    }
}

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
        let trained = fit(replayed, &self.config.fitting).await?;
        let model =
            publish::publish(&self.producer, &self.config.kafka, &trained, &self.config.fitting.alias, "trained")
                .await?;
        let line =
            serde_json::json!({"event": "published", "version": model.version, "alias": self.config.fitting.alias});
        // Whoever reads our output may have gone; the model is published all the same.
        writeln!(std::io::stdout().lock(), "{line}").ok();
        Ok(())
    }
}

/// A model that passed, as bytes: libtorch's tensors stay on the thread that made them.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The artefact.
    pub artifact: Vec<u8>,
    /// Its version.
    pub version: String,
    /// Its card.
    pub card: detector::Card,
}

impl From<&detector::Detector> for Trained {
    fn from(detector: &detector::Detector) -> Self {
        Self { artifact: detector.save(), version: detector.version().to_owned(), card: detector.card().clone() }
    }
}

/// Fits the detector on a thread of its own and writes the report.
///
/// # Errors
/// [`Error::VerdictFailed`] if the history is too short or the model failed its calibration.
pub async fn fit(replayed: Replayed, fitting: &Fitting) -> Result<Trained, Error> {
    let (options, path, settings) = (fitting.options(), fitting.report.clone(), fitting.clone());
    let task = tokio::task::spawn_blocking(move || {
        let started = std::time::SystemTime::now();
        let (records, vehicles) = (replayed.history.records(), replayed.history.vehicles().len());
        tracing::info!(records, vehicles, "training");
        let result = detector::train(&replayed.history, &options);
        let seconds = started.elapsed().unwrap_or_default().as_secs_f64();
        metrics::trained(seconds, records);
        if let Some(path) = path {
            report::write(&path, &settings, started, seconds, &replayed, result.as_ref())?;
        }
        match result {
            Ok(detector) => {
                let calibration = &detector.card().calibration;
                tracing::info!(version = detector.version(), seconds, ?calibration, "trained");
                Ok(Trained::from(&detector))
            }
            Err(error @ (detector::Error::Refused(_) | detector::Error::TooLittle(_))) => {
                Err(Error::VerdictFailed(error.to_string()))
            }
            Err(error) => Err(Error::Internal(error.into())),
        }
    });
    task.await.map_err(|error| Error::Internal(error.into()))?
}
