//! The role: follows `telemetry`, trains when it is time, watches for drift in between.

use std::{io::Write, sync::Arc, time::Duration};

use cloud_log::{History, KafkaConfig, Marks, Producer, Tail, TailFrom};
use service::{Error, Tally};
use telemetry::{UnixMillis, kafka_topic::TELEMETRY};
use tokio_util::sync::CancellationToken;

use crate::{
    Fitting,
    challenge::{Challenge, Standing, challenge},
    checked,
    drift::DriftWatch,
    evidence::Evidence,
    fit, metrics, registry,
    replay::{self, Range, Spooling},
    schedule::{Schedule, Seen},
};

/// Records taken from Kafka at once.
const TAKE: usize = 4_096;
/// How long a take waits.
const TAKE_WAIT: Duration = Duration::from_millis(250);

/// Configuration of the role.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// How to fit.
    #[command(flatten)]
    pub fitting: Fitting,
    /// Train when the recorded event times span so much, ms. What was recorded before the start is read first, and the
    /// first model learns from all of it. Where the alias has a model that loads here, only --retrain-every-ms and
    /// --on-drift ask for another.
    #[arg(long, env = "MOTORCADE_TRAINER_HISTORY_MS", default_value_t = 2_400_000)]
    pub history_ms: i64,
    /// And when so many readings are there, each counted once.
    #[arg(long, env = "MOTORCADE_TRAINER_MIN_RECORDS", default_value_t = 6_000)]
    pub min_records: u64,
    /// Most records to learn from; of more, the newest of each partition count.
    #[arg(long, env = "MOTORCADE_TRAINER_MAX_RECORDS", default_value_t = 10_000_000)]
    pub max_records: u64,
    /// Train again when event time has gone so much further than what was last learnt from, ms; 0 = never.
    #[arg(long, env = "MOTORCADE_TRAINER_RETRAIN_EVERY_MS", default_value_t = 0)]
    pub retrain_every_ms: i64,
    /// Drift is measured over whiles of so much event time, ms: a day shows what a fleet does, an hour only what time it
    /// is. 0 = not at all.
    #[arg(long, env = "MOTORCADE_TRAINER_DRIFT_EVERY_MS", default_value_t = 86_400_000)]
    pub drift_every_ms: i64,
    /// Train again when drift asks for it, on what came after its onset, once that spans --history-ms.
    #[arg(long, env = "MOTORCADE_TRAINER_ON_DRIFT", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub on_drift: bool,
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
        if self.drift_every_ms < 0 {
            return Err(Error::Usage { flag: "drift-every-ms", detail: "must not be negative".into() });
        }
        if self.on_drift && self.drift_every_ms == 0 {
            return Err(Error::Usage { flag: "on-drift", detail: "needs --drift-every-ms above 0".into() });
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
    drift: Option<DriftWatch>,
    /// Event time until which the alias's model has learnt.
    learnt_until: Option<UnixMillis>,
}

/// Reaches Kafka.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Unavailable`].
pub async fn connect(config: Config) -> Result<Trainer, Error> {
    config.validate()?;
    let tail = Tail::open(&config.kafka, TELEMETRY, TailFrom::Beginning).await?;
    let producer = Producer::connect(&config.kafka).await?;
    let drift = match config.drift_every_ms {
        0 => None,
        every => Some(DriftWatch::open(&config.kafka, &config.fitting.alias, every).await?),
    };
    let learnt_until = learnt_until(&config.kafka, &config.fitting.alias).await?;
    Ok(Trainer { config, tail, producer, drift, learnt_until })
}

/// Of a range, what Kafka still has: it deletes from the front while a role runs for weeks.
fn still_there(range: Range, marks: &Marks) -> Range {
    let Range::Offsets(mut ranges) = range else { return range };
    for (partition, own) in &mut ranges {
        let (low, _) = marks.get(partition).copied().unwrap_or_default();
        if own.start < low {
            tracing::warn!(
                partition,
                from = own.start,
                low,
                "readings are gone from telemetry; learning from the rest"
            );
            own.start = low;
        }
    }
    ranges.retain(|_, own| own.start < own.end);
    Range::Offsets(ranges)
}

/// Until when the model of an alias has learnt; none where it has none that scorers could use.
async fn learnt_until(kafka: &KafkaConfig, alias: &str) -> Result<Option<UnixMillis>, Error> {
    let registry = registry::read(kafka).await?;
    let Some(version) = registry.version_of(alias) else { return Ok(None) };
    let loaded = match registry::artifact_of(kafka, version).await {
        Ok(bytes) => checked::load(&version.version, bytes).await,
        Err(error) => Err(error),
    };
    match loaded {
        Ok(known) => {
            let until = known.card.to_time;
            tracing::info!(alias, version = known.version, until, "there is a model; training goes on from it");
            Ok(Some(until))
        }
        Err(Error::BadInput(why)) => {
            tracing::warn!(alias, why, "there is no model that can be used; training begins anew");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Trainer {
    /// Follows `telemetry` and trains when it is time, until stopped. The tally counts replayed records.
    ///
    /// # Errors
    /// If Kafka refuses. A refused model is logged and tried again with a quarter more history.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        let (mut tally, mut seen, mut identities) = (Tally::default(), Seen::default(), cloud_log::Seen::default());
        let Config { history_ms, min_records, retrain_every_ms, .. } = self.config;
        let mut schedule = Schedule::new(history_ms, min_records, retrain_every_ms, self.learnt_until);
        while !stop.is_cancelled() {
            let records = tokio::select! {
                records = self.tail.next(TAKE, TAKE_WAIT) => records?,
                () = stop.cancelled() => break,
            };
            for record in &records {
                let reading = replay::read(record).ok();
                let new = reading.as_ref().filter(|reading| {
                    let telemetry::Record { vehicle, boot, seq, .. } = &reading.record;
                    // Where enough are there, nobody counts on: what is remembered stays bounded.
                    seen.readings() >= min_records || identities.note(vehicle, *boot, *seq)
                });
                seen.take(record.partition, record.offset, new.map(|reading| reading.time));
                if let (Some(drift), Some(reading)) = (&mut self.drift, &reading) {
                    drift.reading(record.partition, &reading.record, reading.time);
                }
            }
            if let Some(drift) = &mut self.drift
                && let Some(onset) = drift.look(&self.producer).await?
                && self.config.on_drift
            {
                schedule.drifted(onset);
            }
            // Before that, what is there is a fragment: of some partitions much, of others nothing.
            if !self.tail.caught_up() {
                continue;
            }
            let Some(range) = schedule.due(&seen) else { continue };
            let published = tokio::select! {
                published = self.train(range, &mut tally) => published,
                () = stop.cancelled() => break,
            };
            match published {
                Ok(()) => schedule.trained(&seen),
                Err(Error::VerdictFailed(reason)) => {
                    tracing::warn!(reason, "not published; waiting for more history");
                    metrics::refused();
                    schedule.refused(&seen);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    async fn train(&self, range: Range, tally: &mut Tally) -> Result<(), Error> {
        let range = still_there(range, &History::watermarks(&self.config.kafka, TELEMETRY).await?);
        let most = Some(self.config.max_records);
        let replayed = replay::replay(&self.config.kafka, &range, &Spooling { folder: None, most }).await?;
        replayed.count_into(tally);
        let (replayed, fitting) = (Arc::new(replayed), &self.config.fitting);
        let trained = fit(Arc::clone(&replayed), fitting, None).await?;
        for warning in Evidence::from(&trained.card).warnings() {
            tracing::warn!(version = trained.version, "{warning}");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_has_deleted_is_not_asked_for() {
        let range = Range::Offsets([(0, 5..100), (1, 5..100), (2, 5..10)].into());
        let there = still_there(range, &[(0, (0, 100)), (1, (40, 120)), (2, (30, 30))].into());
        assert_eq!(there, Range::Offsets([(0, 5..100), (1, 40..100)].into()));
        let times = Range::Time { from: 1, to: 2 };
        assert_eq!(still_there(times.clone(), &Marks::default()), times);
    }
}
