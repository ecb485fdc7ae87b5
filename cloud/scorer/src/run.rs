//! The live loop: records in, scores out, states, then commits.

mod round;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use cloud_log::{Batch, GroupConsumer, Headers, History, InRecord, OutRecord, Producer, dead_letter};
use service::{Error, Tally};
use telemetry::{
    event::{ModelEvent, Source},
    kafka_topic::{MODEL_EVENTS, SCORES, TELEMETRY},
};
use tokio_util::sync::CancellationToken;

use self::round::{Round, Stage};
use crate::{
    Config,
    crew::{Beginning, Crew, Made},
    desk::{Ended, FORGOTTEN, Output, Snapshot},
    lane::Forgotten,
    metrics,
    models::Models,
    named::refused_by,
    shadow::ShadowCounts,
    state::{self, Turn},
};

/// Records taken from Kafka at once.
const TAKE: usize = 2_048;
/// How long a take waits.
const TAKE_WAIT: Duration = Duration::from_millis(50);
/// Fewer records than this are gathered for a moment: a network takes as long for one reading as for a whole micro-batch.
const ENOUGH: usize = 512;
/// The moment.
const GATHER: Duration = Duration::from_millis(5);
/// The registry is looked at so often.
const LOOK: Duration = Duration::from_millis(250);
/// What a challenger would have done is told so often, ms.
const SHADOW_TOLD_MS: u64 = 60_000;
/// Why a reading that breaks inference is refused.
pub(crate) const INFERENCE_FAILED: &str = "inference_failed";

/// The challenger in the shadow, and what is not told of it yet.
#[derive(Debug, Default)]
struct Told {
    version: Option<String>,
    counts: ShadowCounts,
    /// When it was last told, ms since the start.
    at: u64,
}

/// The scorer, connected.
#[derive(Debug)]
pub struct Scorer {
    config: Config,
    consumer: GroupConsumer,
    producer: Producer,
    crew: Crew,
    models: Models,
    /// Our partitions, with the first offset that was not handed to a thread yet.
    next: BTreeMap<i32, i64>,
    /// Where each partition of `telemetry` ended when it was taken over: no earlier owner has scored beyond.
    ends: BTreeMap<i32, i64>,
    /// Gathered and not handed out yet, and since when.
    gathered: Vec<InRecord>,
    since: Instant,
    tally: Tally,
    /// Scores given to the producer, and those of them that Kafka has confirmed.
    queued: u64,
    confirmed: u64,
    looked: Option<Instant>,
    round: Option<Round>,
    started: Instant,
    /// When the last round of states was asked for, ms since the start.
    asked: u64,
    shadow: Told,
}

impl Scorer {
    pub(crate) fn new(config: Config, consumer: GroupConsumer, producer: Producer, crew: Crew, models: Models) -> Self {
        Self {
            config,
            consumer,
            producer,
            crew,
            models,
            next: BTreeMap::new(),
            ends: BTreeMap::new(),
            gathered: Vec::new(),
            since: Instant::now(),
            tally: Tally::default(),
            queued: 0,
            confirmed: 0,
            looked: None,
            round: None,
            started: Instant::now(),
            asked: 0,
            shadow: Told::default(),
        }
    }

    /// Scores until stopped. Received counts records of `telemetry` and readings found waiting in a state.
    ///
    /// # Errors
    /// If Kafka refuses, a state can't be read or a model fails at everything; nothing is committed that was not
    /// delivered.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        while !stop.is_cancelled() {
            let wait = if self.gathered.is_empty() { TAKE_WAIT } else { GATHER.saturating_sub(self.since.elapsed()) };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                made = self.crew.next() => self.made(made?).await?,
                batch = self.consumer.next(TAKE, wait), if self.crew.has_room() => self.batch(batch?).await?,
            }
            self.tick().await?;
        }
        Ok(self.finish().await?)
    }

    /// What is due by the clock.
    async fn tick(&mut self) -> Result<()> {
        let due = self.gathered.len() >= ENOUGH || self.since.elapsed() >= GATHER;
        if due && !self.gathered.is_empty() && self.crew.has_room() {
            self.hand_out().await?;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look().await?;
        }
        let now = self.now();
        self.advance().await?;
        if self.round.is_none() && now >= self.asked + self.config.commit_ms {
            let turn = Turn::Within { from: self.asked, to: now, every: self.config.state_ms };
            self.ask(turn)?;
        }
        if now >= self.shadow.at + SHADOW_TOLD_MS {
            self.tell_of_shadow().await?;
        }
        self.confirm(self.producer.outstanding());
        let next = &self.next;
        let unread = self.consumer.behind(|(_, partition)| next.get(partition).copied());
        metrics::lag(unread + self.crew.records() as u64, self.crew.waiting());
        metrics::vehicles(self.crew.vehicles());
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn batch(&mut self, batch: Batch) -> Result<()> {
        if !(batch.revoked.is_empty() && batch.assigned.is_empty() || self.gathered.is_empty()) {
            // They came before.
            self.hand_out().await?;
        }
        for (_, partition) in &batch.revoked {
            if self.crew.end(*partition)? {
                self.next.remove(partition);
            }
        }
        if !batch.assigned.is_empty() {
            // After the assignment, not before: what the last owner read was in the log by then.
            let marks = History::watermarks(&self.config.kafka, TELEMETRY).await?;
            let taken = batch.assigned.iter().map(|(_, partition, _)| partition);
            self.ends.extend(taken.filter_map(|partition| Some((*partition, marks.get(partition)?.1))));
        }
        for (_, partition, next) in &batch.assigned {
            self.take_over(*partition, *next).await?;
        }
        if !batch.assigned.is_empty() {
            self.look().await?;
        }
        if self.gathered.is_empty() {
            self.since = Instant::now();
            self.gathered = batch.records;
        } else {
            self.gathered.extend(batch.records);
        }
        Ok(())
    }

    async fn take_over(&mut self, partition: i32, next: i64) -> Result<()> {
        self.models.load_from(partition, next, &self.crew).await?;
        let states = state::read(&self.config.kafka, partition).await.context("read the scorer's state")?;
        let lane = Beginning { partition, next, layouts: self.models.layouts(), states };
        // They were received by another process; here they come in with the state.
        self.tally.received += self.crew.begin(lane).await?;
        self.next.insert(partition, next);
        Ok(())
    }

    /// Hands out what was gathered.
    async fn hand_out(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.gathered);
        for (partition, next) in &self.next {
            self.models.load_from(*partition, *next, &self.crew).await?;
        }
        let all = records.len();
        for record in &records {
            if let Some(next) = self.next.get_mut(&record.partition) {
                *next = record.offset + 1;
            }
        }
        let strange = self.crew.take(records, &self.models.timeline)?;
        if strange > 0 {
            tracing::warn!(strange, "records of partitions that are not ours");
        }
        self.tally.received += (all - strange) as u64;
        metrics::received((all - strange) as u64);
        Ok(())
    }

    /// Looks at the registry, and switches where the alias has moved.
    async fn look(&mut self) -> Result<()> {
        self.models.poll(Duration::from_millis(1)).await?;
        self.looked = Some(Instant::now());
        self.look_for_challenger().await?;
        if let Some(wanted) = self.models.wanted(&self.crew).await? {
            let timeline = &self.models.timeline;
            let lanes = self.next.iter().map(|(partition, next)| {
                let end = self.ends.get(partition).copied().unwrap_or_default();
                (*partition, timeline.may_switch_at(*partition, *next, end))
            });
            let lanes: Vec<_> = lanes.collect();
            self.models.switch(&wanted, &lanes, &self.producer).await?;
        }
        Ok(())
    }

    async fn look_for_challenger(&mut self) -> Result<()> {
        if self.config.shadow_share == 0.0 {
            return Ok(());
        }
        let challenger = self.models.challenger(&self.config.shadow_alias, &self.crew).await?;
        if challenger != self.shadow.version {
            self.tell_of_shadow().await?;
            tracing::info!(challenger, share = self.config.shadow_share, "in the shadow");
            self.crew.shadow(challenger.as_deref().map(|version| (version, self.config.shadow_share)))?;
            self.shadow.version = challenger;
        }
        Ok(())
    }

    /// Publishes what the challenger would have done since the last time.
    async fn tell_of_shadow(&mut self) -> Result<()> {
        let now = self.now();
        let lasted_ms = now - std::mem::replace(&mut self.shadow.at, now);
        let ShadowCounts { scored, alerts, champion_alerts, failed } = std::mem::take(&mut self.shadow.counts);
        let Some(version) = self.shadow.version.clone().filter(|_| scored + failed > 0) else { return Ok(()) };
        let alias = self.config.shadow_alias.clone();
        let key = version.clone();
        let event = ModelEvent::Shadow { alias, version, lasted_ms, scored, alerts, champion_alerts, failed };
        self.producer.send(OutRecord::new(MODEL_EVENTS, key, serde_json::to_vec(&event)?)).await
    }

    async fn made(&mut self, made: Made) -> Result<()> {
        match made {
            Made::Output(_, output) => self.publish(output).await,
            Made::Ended(Ended { states, waiting, forgotten }) => {
                self.forget(forgotten);
                // Its readings that wait are in the state, or come again to the next owner.
                self.discard("handed_over", waiting);
                self.flush().await?;
                self.write(states).await
            }
            Made::Snapshot(Snapshot { mut states, offsets, forgotten }) => {
                self.forget(forgotten);
                let Some(round) = &mut self.round else { return Ok(()) };
                round.states.append(&mut states);
                round.offsets.extend(offsets);
                if let Stage::Asked(missing) = &mut round.stage {
                    *missing -= 1;
                }
                Ok(())
            }
            Made::Failed(error) => Err(error),
        }
    }

    async fn publish(&mut self, output: Output) -> Result<()> {
        for (record, invalid) in &output.unreadable {
            let refusal =
                dead_letter::refuse(record, &refused_by(SCORES), invalid.reason.as_str(), &invalid.to_string());
            self.producer.send(refusal).await?;
        }
        for (source, error) in &output.failed {
            self.refuse(*source, error).await?;
        }
        let put_aside = output.put_aside();
        metrics::forgotten(output.forgotten.vehicles);
        metrics::shadow(output.shadow);
        self.shadow.counts.add(output.shadow);
        let (count, last) = (output.scores.len(), output.scores.len().saturating_sub(1));
        for (at, scored) in output.scores.into_iter().enumerate() {
            if at < last {
                self.producer.send(scored.record).await?;
                continue;
            }
            // The time of one tells of all that were sent with it.
            let delivered = self.producer.send_watched(scored.record).await?;
            tokio::spawn(async move {
                if delivered.await.is_ok() {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
                    metrics::ingest_to_score((now - scored.ingest).max(0) as f64 / 1_000.0);
                }
            });
        }
        self.queued += count as u64;
        put_aside.into_iter().for_each(|(reason, n)| self.discard(reason, n));
        Ok(())
    }

    /// A dead letter for a reading that breaks inference, with its bytes as they stand in the log.
    async fn refuse(&self, Source { partition, offset }: Source, error: &str) -> Result<()> {
        tracing::warn!(partition, offset, error, "a reading breaks inference");
        let range = [(partition, offset..offset + 1)].into();
        let mut found = match History::open(&self.config.kafka, TELEMETRY, range).await {
            Ok(mut history) => history.next(1).await?.unwrap_or_default(),
            // Retention has passed it meanwhile.
            Err(Error::BadInput(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let gone = || InRecord {
            kafka_topic: TELEMETRY.into(),
            partition,
            offset,
            timestamp: 0,
            key: None,
            payload: None,
            headers: Headers::new(),
        };
        let record = found.pop().unwrap_or_else(gone);
        self.producer.send(dead_letter::refuse(&record, &refused_by(SCORES), INFERENCE_FAILED, error)).await
    }

    /// Counts what Kafka has confirmed, where so many records of any kind are still on their way.
    fn confirm(&mut self, outstanding: u64) {
        let confirmed = self.queued.saturating_sub(outstanding).max(self.confirmed);
        metrics::sent(confirmed - self.confirmed);
        self.confirmed = confirmed;
    }

    async fn flush(&mut self) -> Result<()> {
        self.producer.flush().await.context("scores were not delivered")?;
        self.confirm(0);
        Ok(())
    }

    /// Scores what was taken, writes every state and leaves.
    async fn finish(mut self) -> Result<Tally> {
        self.conclude().await?;
        self.ask(Turn::Everybody)?;
        self.conclude().await?;
        self.tell_of_shadow().await?;
        self.flush().await?;
        self.tally.sent = self.queued;
        self.tally.in_hand = self.crew.waiting();
        self.consumer.close().await;
        Ok(self.tally)
    }

    /// Counts vehicles that were removed between two readings.
    fn forget(&mut self, forgotten: Forgotten) {
        metrics::forgotten(forgotten.vehicles);
        self.discard(FORGOTTEN, forgotten.readings);
    }

    fn discard(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            self.tally.discard(reason, n);
            metrics::discarded(reason, n);
        }
    }
}
