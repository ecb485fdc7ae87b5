//! The loop: read, fold, write, commit.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use cloud_log::{Assigned, GroupConsumer, InRecord, Producer, TopicPartition, dead_letter};
use service::{Backoff, Error, Tally};
use store::{Store, WriteFailure, Written};
use telemetry::{
    Encoding, Invalid, Reason, VehicleId, decode,
    event::Status,
    kafka_topic::{DEAD_LETTER, TELEMETRY, VEHICLE_STATUS, header},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    fold::{Fold, Place, Updates},
    metrics,
};

/// How long the loop waits for records before it looks at the rest of the world.
const WAIT: Duration = Duration::from_millis(500);
/// How long a batch may take that was begun when the role is stopped.
const DRAIN: Duration = Duration::from_secs(4);

/// Kafka topics that the role reads.
pub const READS: [&str; 2] = [TELEMETRY, VEHICLE_STATUS];
/// Kafka topics that the role writes.
pub const WRITES: [&str; 1] = [DEAD_LETTER];

/// The connected role.
#[derive(Debug)]
pub struct Role {
    config: Config,
    consumer: GroupConsumer,
    producer: Producer,
    store: Store,
    tally: Tally,
}

/// Reaches Kafka and MongoDB, creates missing indexes and joins the group.
///
/// # Errors
/// [`Error::Usage`] if a flag is wrong, [`Error::Unavailable`] if a service can't be reached in time.
pub async fn connect(config: Config) -> Result<Role, Error> {
    config.validate()?;
    let store = Store::connect(&config.mongo).await?;
    store.ensure_indexes().await?;
    let producer = Producer::connect(&config.kafka).await?;
    let consumer = GroupConsumer::connect(&config.kafka, &config.group, &READS).await?.report_as("twin");
    Ok(Role { config, consumer, producer, store, tally: Tally::default() })
}

/// What became of a record.
enum Taken {
    Folded,
    /// Refused with a reason and an error.
    Refused(&'static str, String),
    /// Nothing to do: a deletion in a compacted topic.
    Tombstone,
}

impl Role {
    /// Works until it is stopped. Then what is read and not yet written stays in hand: its offsets are not
    /// committed.
    ///
    /// # Errors
    /// If Kafka or MongoDB refuse for good; while they are away, it waits.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        let outcome = self.work(&stop).await;
        self.consumer.close().await;
        self.store.close().await;
        outcome?;
        Ok(self.tally)
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<()> {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                batch = self.consumer.next(self.config.batch, WAIT) => batch?,
            };
            for (name, partition) in &batch.revoked {
                tracing::info!(kafka_topic = &**name, partition, "revoked");
            }
            for Assigned { kafka_topic, partition, next, .. } in &batch.assigned {
                tracing::info!(kafka_topic = &**kafka_topic, partition, offset = next, "assigned");
            }
            metrics::lag(self.consumer.lag());
            if batch.records.is_empty() {
                continue;
            }
            let records = batch.records.len() as u64;
            self.tally.received += records;
            self.tally.in_hand += records;
            metrics::received(records);
            if !self.drained(&batch.records, stop).await? {
                return Ok(());
            }
            metrics::lag(self.consumer.lag());
        }
    }

    /// Works on a batch; false if the role was stopped meanwhile. What was begun is finished then, unless
    /// MongoDB is away.
    async fn drained(&mut self, records: &[InRecord], stop: &CancellationToken) -> Result<bool> {
        let mut work = Box::pin(self.batch(records));
        tokio::select! {
            done = &mut work => done.map(|()| true),
            () = stop.cancelled() => match tokio::time::timeout(DRAIN, work).await {
                Ok(done) => done.map(|()| false),
                Err(_) => Ok(false),
            },
        }
    }

    /// Folds and writes a batch, then commits it. Dropped on the way, it has committed and counted nothing.
    async fn batch(&mut self, records: &[InRecord]) -> Result<()> {
        let mut fold = Fold::default();
        let mut discarded: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut letters = false;
        for record in records {
            match take(&mut fold, record, self.config.retention()) {
                Taken::Folded => {}
                Taken::Tombstone => *discarded.entry("tombstone").or_default() += 1,
                Taken::Refused(reason, error) => {
                    *discarded.entry(reason).or_default() += 1;
                    self.producer.send(dead_letter::refuse(record, "twin", reason, &error)).await?;
                    letters = true;
                }
            }
            next.insert(record.topic_partition(), record.offset + 1);
        }
        let updates = fold.finish();
        let refused = self.write(&updates).await?;
        if letters {
            self.producer.flush().await.context("dead letters")?;
        }
        if refused > 0 {
            *discarded.entry("write_refused").or_default() += refused;
        }
        self.consumer.commit(&next)?;

        let lost: u64 = discarded.values().sum();
        let sent = (records.len() as u64).saturating_sub(lost);
        self.tally.sent += sent;
        self.tally.in_hand -= sent + lost;
        metrics::sent(sent);
        for (reason, count) in discarded {
            self.tally.discard(reason, count);
            metrics::discarded(reason, count);
        }
        let now = SystemTime::now();
        for ingest in records.iter().filter_map(|record| u64::try_from(record.timestamp).ok()) {
            // A clock of another machine may be a little ahead.
            let since = now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(ingest));
            metrics::latency(since.unwrap_or_default());
        }
        Ok(())
    }

    /// Writes until MongoDB has acknowledged everything; gives the number of records whose update it refused.
    async fn write(&mut self, updates: &Updates) -> Result<u64> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let began = Instant::now();
        let (twins, history) = loop {
            let store = &self.store;
            match tokio::try_join!(store.write_twins(&updates.twins), store.write_history(&updates.history)) {
                Ok(written) => break written,
                Err(WriteFailure { passing: true, reason }) => {
                    let pause = backoff.next();
                    metrics::retry();
                    tracing::warn!(?pause, "MongoDB did not acknowledge, again after a pause: {reason}");
                    tokio::time::sleep(pause).await;
                }
                Err(failure) => return Err(anyhow!(failure).context("write twins")),
            }
        };
        let sent = (updates.twins.len() + updates.history.len()) as u64;
        metrics::wrote(began.elapsed(), sent, twins.changed + history.changed);
        Ok(self.refusals(updates, &twins, &history))
    }

    fn refusals(&mut self, updates: &Updates, twins: &Written, history: &Written) -> u64 {
        let mut lost = 0;
        for refused in &twins.refused {
            tracing::error!(vehicle = refused.id, code = refused.code, "a twin was refused: {}", refused.reason);
            lost += updates.records.get(refused.id.as_str()).copied().unwrap_or_default();
        }
        for refused in &history.refused {
            tracing::error!(bucket = refused.id, code = refused.code, "history was refused: {}", refused.reason);
            *self.tally.further.entry("history_refused".into()).or_default() += 1;
        }
        metrics::history_refused(history.refused.len() as u64);
        lost
    }
}

fn take(fold: &mut Fold, record: &InRecord, retention: Duration) -> Taken {
    let place = Place { partition: record.partition, offset: record.offset, ingest: record.timestamp };
    let Some(payload) = &record.payload else { return Taken::Tombstone };
    if &*record.kafka_topic == VEHICLE_STATUS {
        return match serde_json::from_slice::<Status>(payload) {
            Ok(status) => {
                fold.status(status, place);
                Taken::Folded
            }
            Err(error) => Taken::Refused(Reason::Malformed.as_str(), error.to_string()),
        };
    }
    match reading(record, payload) {
        Ok(reading) => match fold.reading(&reading, place, retention) {
            Ok(()) => Taken::Folded,
            Err(error) => Taken::Refused(Reason::BadSequence.as_str(), error),
        },
        Err(invalid) => Taken::Refused(invalid.reason.as_str(), invalid.detail),
    }
}

/// The reading in a record of `telemetry`.
pub(crate) fn reading(record: &InRecord, payload: &[u8]) -> Result<telemetry::Record, Invalid> {
    let content_type = record.header(header::CONTENT_TYPE).map(String::from_utf8_lossy);
    let encoding = Encoding::from_content_type(content_type.as_deref())?;
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    let vehicle = key.and_then(|key| VehicleId::parse(key).ok());
    decode(payload, encoding, vehicle.as_ref())
}
