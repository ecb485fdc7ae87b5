//! The alerter as a process: Kafka in, Kafka out.
//!
//! One turn: take records, decide, make the states durable, then the events, then commit. A partition of `scores`
//! and the one of `alert-commands` with the same number hold the same vehicles, and both feed one [`Shard`]. When
//! a command takes effect among the scores is decided by when it is read; see [`crate::shard`] for why a replay
//! can't decide otherwise.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::Context as _;
use cloud_log::{
    Batch, GroupConsumer, History, InRecord, KafkaConfig, OutRecord, Producer, TopicPartition, dead_letter,
};
use service::{Backoff, Error, Tally};
use store::Store;
use telemetry::{
    event::{AlertCommand, AlertEvent, AlertState, Score},
    kafka_topic::{ALERT_COMMANDS, ALERT_STATE, ALERTS, DEAD_LETTER, SCORES},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    lifecycle::{Rules, Step},
    metrics,
    projection::Projection,
    shard::{EPOCH_KEY, Pending, Shard, StateRecord},
};

/// Records in one turn.
const BATCH: usize = 2_000;
const WAIT: Duration = Duration::from_millis(200);
/// How long a turn may take that was begun when the role is stopped.
const DRAIN: Duration = Duration::from_secs(2);

/// Kafka topics that the role reads.
pub const READS: [&str; 4] = [SCORES, ALERT_COMMANDS, ALERT_STATE, ALERTS];
/// Kafka topics that the role writes.
pub const WRITES: [&str; 3] = [ALERTS, ALERT_STATE, DEAD_LETTER];

/// The alerter, connected.
pub struct Alerter {
    kafka: KafkaConfig,
    rules: Rules,
    consumer: GroupConsumer,
    producer: Producer,
    projection: Projection,
    shards: HashMap<i32, Shard>,
    /// Where each partition's delivery began or was last committed.
    confirmed: BTreeMap<TopicPartition, i64>,
    tally: Tally,
}

/// Reaches Kafka and MongoDB.
///
/// # Errors
/// [`Error::Usage`], or [`Error::Unavailable`] if one of them does not answer in time.
pub async fn connect(config: Config) -> Result<Alerter, Error> {
    config.validate()?;
    let store = Store::connect(&config.mongo).await?;
    store.ensure_indexes().await?;
    let producer = Producer::connect(&config.kafka).await?;
    let [scores, commands, _, alerts] = READS;
    let projection = Projection {
        consumer: GroupConsumer::connect(&config.kafka, &format!("{}-projection", config.group), &[alerts]).await?,
        store,
        producer: Producer::connect(&config.kafka).await?,
    };
    let consumer =
        GroupConsumer::connect(&config.kafka, &config.group, &[scores, commands]).await?.report_as("alerter");
    Ok(Alerter {
        rules: config.rules(),
        kafka: config.kafka,
        consumer,
        producer,
        projection,
        shards: HashMap::new(),
        confirmed: BTreeMap::new(),
        tally: Tally::default(),
    })
}

impl Alerter {
    /// Runs until the stop. Received are scores and commands; sent are those whose effects Kafka has confirmed.
    ///
    /// # Errors
    /// If Kafka refuses for good.
    pub async fn run(self, stop: CancellationToken) -> Result<Tally, Error> {
        let Self { kafka, rules, consumer, producer, projection, shards, confirmed, tally } = self;
        let inner = stop.child_token();
        let mut projection = tokio::spawn(projection.run(inner.clone()));
        let lost = BTreeSet::new();
        let mut turns = Turns { kafka, rules, consumer, producer, shards, lost, confirmed, tally };
        let outcome = tokio::select! {
            outcome = turns.run(&inner) => outcome,
            // It ends before the stop only by an error or a panic.
            ended = &mut projection => match ended {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(anyhow::anyhow!(error).context("the projection ended")),
            },
        };
        inner.cancel();
        let Turns { consumer, mut tally, .. } = turns;
        let projected = async {
            // One that has ended before was looked at above.
            if projection.is_finished() { None } else { Some(projection.await) }
        };
        // Together: each may take as long as half the grace.
        match tokio::join!(projected, consumer.close()).0 {
            None => {}
            Some(Ok(Ok(written))) => {
                tally.further.insert("projected".into(), written);
            }
            Some(Ok(Err(error))) => tracing::warn!("{error:#}"),
            Some(Err(error)) => tracing::warn!(%error, "the projection ended badly"),
        }
        outcome?;
        Ok(tally)
    }
}

struct Turns {
    kafka: KafkaConfig,
    rules: Rules,
    consumer: GroupConsumer,
    producer: Producer,
    shards: HashMap<i32, Shard>,
    /// Partitions that are no longer ours, though a batch has not told it yet. What is left of their records is
    /// passed over until they are assigned again, even if they are ours again sooner: taking only the later ones
    /// would skip the others.
    lost: BTreeSet<i32>,
    confirmed: BTreeMap<TopicPartition, i64>,
    tally: Tally,
}

/// What one turn leaves to write.
#[derive(Default)]
struct Writes {
    states: Vec<(i32, Vec<(String, StateRecord)>)>,
    events: Vec<AlertEvent>,
    letters: Vec<OutRecord>,
    next: BTreeMap<TopicPartition, i64>,
    /// Records that took effect, by partition.
    handled: BTreeMap<i32, u64>,
}

impl Turns {
    async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                batch = self.consumer.next(BATCH, WAIT) => batch?,
            };
            metrics::lag(self.consumer.lag());
            if batch.is_empty() {
                continue;
            }
            let mut turn = Box::pin(self.turn(batch));
            tokio::select! {
                done = &mut turn => done?,
                () = stop.cancelled() => {
                    // Stopped while Kafka is away: what is in hand is read again by whoever comes next.
                    return tokio::time::timeout(DRAIN, turn).await.unwrap_or(Ok(()));
                }
            }
        }
    }

    /// One turn. Dropped on the way, it has committed nothing, and what it took stays in hand.
    async fn turn(&mut self, batch: Batch) -> anyhow::Result<()> {
        for partition in &batch.revoked {
            self.confirmed.remove(partition);
            self.shards.remove(&partition.1);
        }
        for assigned in &batch.assigned {
            self.confirmed.insert(assigned.topic_partition(), assigned.next);
            self.lost.remove(&assigned.partition);
        }
        for assigned in &batch.assigned {
            self.own(assigned.partition).await;
        }
        let received = batch.records.len() as u64;
        self.tally.received += received;
        self.tally.in_hand += received;
        metrics::received(received);
        let mut writes = Writes::default();
        for record in &batch.records {
            self.own(record.partition).await;
            self.take(record, &mut writes);
        }
        self.let_go(&mut writes);
        for (partition, shard) in &mut self.shards {
            let Pending { states, events } = shard.pending();
            if !states.is_empty() {
                writes.states.push((*partition, states));
            }
            writes.events.extend(events);
        }
        self.persist(&writes).await;
        for event in &writes.events {
            metrics::published(state_name(event.state));
            tracing::info!(alert = %event.id, revision = event.revision, state = state_name(event.state), "alert");
        }
        *self.tally.further.entry("events".into()).or_default() += writes.events.len() as u64;
        let handled: u64 = writes.handled.values().sum();
        self.tally.in_hand -= handled;
        self.tally.sent += handled;
        metrics::sent(handled);
        self.consumer.commit(&writes.next)?;
        self.confirmed.extend(writes.next);
        Ok(())
    }

    /// Applies one record to its shard.
    fn take(&mut self, record: &InRecord, writes: &mut Writes) {
        // Not ours any more: it stays in hand, uncommitted, and its new owner takes it.
        let Some(shard) = self.shards.get_mut(&record.partition) else { return };
        writes.next.insert(record.topic_partition(), record.offset + 1);
        let payload = record.payload.as_deref().unwrap_or_default();
        let step = if &*record.kafka_topic == SCORES {
            serde_json::from_slice::<Score>(payload).map_err(|error| error.to_string()).and_then(|score| {
                if score.score.is_finite() {
                    Ok(shard.score(&self.rules, record.offset, &score))
                } else {
                    Err("the score is not finite".to_owned())
                }
            })
        } else {
            serde_json::from_slice::<AlertCommand>(payload)
                .map_err(|error| error.to_string())
                .map(|command| shard.command(record.offset, &command))
        };
        let discarded = match step {
            Ok(Step::Unchanged | Step::Changed | Step::Event(_)) => None,
            Ok(Step::Refused(refusal)) => Some(refusal.as_str()),
            Err(error) => {
                writes.letters.push(dead_letter::refuse(record, "alerter", "malformed", &error));
                Some("malformed")
            }
        };
        match discarded {
            None => *writes.handled.entry(record.partition).or_default() += 1,
            Some(reason) => {
                self.tally.in_hand -= 1;
                self.tally.discard(reason, 1);
                metrics::discarded(reason);
            }
        }
    }

    /// Whether the vehicles of this partition are ours. Its two topics come and go a moment apart.
    fn is_ours(&self, partition: i32) -> bool {
        [SCORES, ALERT_COMMANDS].iter().any(|name| self.consumer.owns(&((*name).into(), partition)))
    }

    /// Forgets what was decided for partitions that were lost meanwhile: their new owner decides, and our word
    /// would only be a repeat or wrong.
    fn let_go(&mut self, writes: &mut Writes) {
        let lost: Vec<i32> = self.shards.keys().copied().filter(|partition| !self.is_ours(*partition)).collect();
        for partition in lost {
            tracing::info!(partition, "lost before its events were published");
            self.shards.remove(&partition);
            self.lost.insert(partition);
            writes.handled.remove(&partition);
            writes.next.retain(|(_, other), _| *other != partition);
        }
    }

    /// Makes sure that the partition's state is here, as the log has it. While Kafka is away it waits, for as long
    /// as the partition is ours: an owner that is none any more would fence the one who is.
    async fn own(&mut self, partition: i32) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !self.shards.contains_key(&partition) && !self.lost.contains(&partition) {
            if !self.is_ours(partition) {
                self.lost.insert(partition);
                return;
            }
            match self.take_over(partition).await {
                Ok(shard) => {
                    self.shards.insert(partition, shard);
                }
                Err(error) => {
                    tracing::warn!(partition, "a partition can't be taken over yet: {error:#}");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn take_over(&self, partition: i32) -> anyhow::Result<Shard> {
        let mut records = Vec::new();
        let marks = History::watermarks(&self.kafka, ALERT_STATE).await?;
        let (low, high) =
            marks.get(&partition).copied().with_context(|| format!("{ALERT_STATE} has no partition {partition}"))?;
        if low < high {
            let mut history = History::open(&self.kafka, ALERT_STATE, BTreeMap::from([(partition, low..high)])).await?;
            while let Some(page) = history.next(5_000).await? {
                records.extend(page.into_iter().filter_map(|record| {
                    let key = String::from_utf8(record.key?.into()).ok()?;
                    match serde_json::from_slice(record.payload.as_deref()?) {
                        Ok(state) => Some((key, state)),
                        Err(error) => {
                            tracing::error!(%error, key, "a state of ours that can't be read is left out");
                            None
                        }
                    }
                }));
            }
        }
        let shard = Shard::recover(records);
        let marker = state_record(partition, EPOCH_KEY, &shard.marker())?;
        self.producer.send(marker).await?;
        let at = |name: &str| {
            let found = self.confirmed.iter().find(|((kafka_topic, p), _)| &**kafka_topic == name && *p == partition);
            found.map_or(0, |(_, offset)| *offset)
        };
        let again = shard.unconfirmed(at(SCORES), at(ALERT_COMMANDS));
        for event in &again {
            self.producer.send(alert_record(event)?).await?;
        }
        self.producer.flush().await?;
        tracing::info!(partition, tracks = shard.len(), published_again = again.len(), "partition taken over");
        Ok(shard)
    }

    /// Writes until Kafka has confirmed everything: states, then events and dead letters.
    async fn persist(&self, writes: &Writes) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let Err(error) = self.write(writes).await else { return };
            tracing::warn!("alerts wait for Kafka: {error:#}");
            // Writing all of it again is harmless: same keys, same revisions, same bytes.
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn write(&self, writes: &Writes) -> anyhow::Result<()> {
        for (partition, states) in &writes.states {
            for (key, state) in states {
                self.producer.send(state_record(*partition, key, state)?).await?;
            }
        }
        if !writes.states.is_empty() {
            self.producer.flush().await?;
        }
        for event in &writes.events {
            self.producer.send(alert_record(event)?).await?;
        }
        for letter in &writes.letters {
            self.producer.send(letter.clone()).await?;
        }
        if !writes.events.is_empty() || !writes.letters.is_empty() {
            self.producer.flush().await?;
        }
        Ok(())
    }
}

fn state_record(partition: i32, key: &str, state: &StateRecord) -> anyhow::Result<OutRecord> {
    Ok(OutRecord { partition: Some(partition), ..OutRecord::new(ALERT_STATE, key, serde_json::to_vec(state)?) })
}

fn alert_record(event: &AlertEvent) -> anyhow::Result<OutRecord> {
    Ok(OutRecord::new(ALERTS, event.id.to_string(), serde_json::to_vec(event)?))
}

fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "firing",
        AlertState::Acknowledged => "acknowledged",
        AlertState::Resolved => "resolved",
    }
}
