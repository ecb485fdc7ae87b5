//! The live loop: records in, scores out, states, then commits.

mod ledger;
mod look;
mod publish;
mod round;
mod transacting;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cloud_log::{Assigned, Batch, GroupConsumer, History, InRecord, Marks, Producer, Transactions};
use service::{Error, Tally};
use telemetry::kafka_topic::TELEMETRY;
use tokio_util::sync::CancellationToken;

pub(crate) use self::transacting::id as transactional_id;
use self::{
    ledger::{Ledger, scored},
    look::Told,
    round::{Round, Stage},
    transacting::{Transacting, outcome},
};
use crate::{
    Config,
    crew::{Beginning, Crew, Made},
    desk::{Ended, Snapshot},
    metrics,
    models::Models,
    state::{self, Turn},
};

/// Records taken from Kafka at once.
const TAKE: usize = 2_048;
/// How long a take waits.
const TAKE_WAIT: Duration = Duration::from_millis(50);
/// Fewer records than this are gathered for a moment: a network takes as long for one reading as for 32.
const ENOUGH: usize = 512;
/// The moment.
const GATHER: Duration = Duration::from_millis(5);
/// The registry is looked at so often.
const LOOK: Duration = Duration::from_millis(250);
/// What a challenger would have done is told so often, ms.
const SHADOW_TOLD_MS: u64 = 60_000;
/// Why a reading that breaks inference is refused.
pub(crate) const INFERENCE_FAILED: &str = "inference_failed";

/// Why a reading gets no score here: the partition's next owner gives it one.
const HANDED_OVER: &str = "handed_over";

/// The scorer, connected.
#[derive(Debug)]
pub struct Scorer {
    config: Config,
    consumer: GroupConsumer,
    /// With `--transactions`, what writes scores, dead letters and states instead of the producer.
    transacting: Option<Transacting>,
    producer: Producer,
    crew: Crew,
    models: Models,
    /// Our partitions, with the first offset that was not handed to a thread yet.
    next: BTreeMap<i32, i64>,
    /// Where each partition of `telemetry` ended when it was taken over: no earlier owner has scored beyond.
    ends: BTreeMap<i32, i64>,
    /// Partitions that were given up and that a thread still works on; counted with `--transactions` only.
    leaving: usize,
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
    /// Since it was last put back: a thread had more states to write than it may at once.
    has_more: bool,
    shadow: Told,
}

impl Scorer {
    pub(crate) fn new(
        config: Config,
        consumer: GroupConsumer,
        (producer, transactions): (Producer, Option<Transactions>),
        crew: Crew,
        models: Models,
    ) -> Self {
        let transacting = transactions.map(|transactions| Transacting { transactions, ledger: Ledger::default() });
        Self {
            config,
            consumer,
            transacting,
            producer,
            crew,
            models,
            next: BTreeMap::new(),
            ends: BTreeMap::new(),
            leaving: 0,
            gathered: Vec::new(),
            since: Instant::now(),
            tally: Tally::default(),
            queued: 0,
            confirmed: 0,
            looked: None,
            round: None,
            started: Instant::now(),
            asked: 0,
            has_more: false,
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
                left_out = outcome(&mut self.round) => self.settle(&left_out?),
                made = self.crew.next() => self.made(made?).await?,
                batch = self.consumer.next(TAKE, wait), if self.has_room() => self.batch(batch?).await?,
                // Nothing is on its way and there is no room: only the clock makes some.
                () = tokio::time::sleep(TAKE_WAIT), if !self.has_room() => {}
            }
            self.tick().await?;
        }
        Ok(self.finish().await?)
    }

    fn has_room(&self) -> bool {
        self.crew.has_room() && self.transacting.as_ref().is_none_or(|transacting| transacting.ledger.has_room())
    }

    /// What is due by the clock.
    async fn tick(&mut self) -> Result<()> {
        let due = self.gathered.len() >= ENOUGH || self.since.elapsed() >= GATHER;
        if due && !self.gathered.is_empty() && self.has_room() {
            self.hand_out().await?;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look().await?;
        }
        let now = self.now();
        self.advance().await?;
        let is_full = self.transacting.as_ref().is_some_and(|transacting| !transacting.ledger.has_room());
        if self.round.is_none() && (is_full || now >= self.asked + self.config.commit_ms()) {
            let turn = Turn::Within { from: self.asked, to: now, every: self.config.state_ms };
            self.ask(turn)?;
        }
        if now >= self.shadow.at + SHADOW_TOLD_MS {
            self.tell_of_shadow().await?;
        }
        self.confirm(self.outstanding());
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
            // With transactions what is not written yet is left to the next owner.
            if self.crew.end(*partition, self.transacting.is_none())? {
                self.next.remove(partition);
                self.give_up(*partition);
            }
        }
        if !batch.assigned.is_empty() {
            self.see_off().await?;
            // After the assignment, not before: what the last owner read was in the log by then.
            let marks = History::watermarks(&self.config.kafka, TELEMETRY).await?;
            let taken: Vec<i32> = batch.assigned.iter().map(|assigned| assigned.partition).collect();
            let end = |partition: &i32| Some((*partition, marks.get(partition)?.1));
            self.ends.extend(taken.iter().filter_map(end));
            let marks = state::marks(&self.config.kafka, &taken).await.context("find the scorer's state")?;
            for assigned in &batch.assigned {
                self.take_over(assigned, &marks).await?;
            }
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

    async fn take_over(&mut self, assigned: &Assigned, marks: &Marks) -> Result<()> {
        let (partition, next) = (assigned.partition, assigned.next);
        self.models.load_from(partition, next, &self.crew).await?;
        let states = state::read(&self.config.kafka, partition, marks).await.context("read the scorer's state")?;
        let scored = match &mut self.transacting {
            Some(Transacting { ledger, .. }) => {
                ledger.own(partition, assigned.tenure);
                scored(&assigned.note, next)
            }
            // Whoever wrote the note, a score that comes twice does no harm.
            None => next,
        };
        let lane = Beginning { partition, next, scored, layouts: self.models.layouts(), states };
        // They were received by another process; here they come in with the state.
        let waiting = self.crew.begin(lane).await?;
        self.tally.received += waiting;
        metrics::received(waiting);
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

    async fn made(&mut self, made: Made) -> Result<()> {
        match made {
            Made::Output(_, output) => self.publish(output).await,
            Made::Ended(Ended { partition, states, waiting, forgotten }) => {
                self.forget(forgotten);
                // Its readings that wait are in the state, or come again to the next owner.
                self.discard(HANDED_OVER, waiting);
                if self.transacting.is_some() {
                    tracing::debug!(partition, "given up");
                    self.leaving -= 1;
                    return Ok(());
                }
                self.flush().await?;
                self.write(states).await
            }
            Made::Snapshot(Snapshot { states, marks, forgotten, is_all }) => {
                self.forget(forgotten);
                self.has_more |= !is_all;
                let (transacting, next) = (self.transacting.is_some(), &self.next);
                // In a transaction all of a partition stands together, or nothing.
                let is_meant = |partition: &i32| !transacting || next.contains_key(partition);
                let Some(round) = &mut self.round else { return Ok(()) };
                round.states.extend(states.into_iter().filter(|state| state.partition.as_ref().is_none_or(is_meant)));
                round.marks.extend(marks.into_iter().filter(|(partition, _)| is_meant(partition)));
                if let Stage::Asked(missing) = &mut round.stage {
                    *missing -= 1;
                }
                Ok(())
            }
            Made::Failed(error) => Err(error),
        }
    }

    /// Scores what was taken, writes every state and leaves.
    async fn finish(mut self) -> Result<Tally> {
        self.conclude().await?;
        self.has_more = true;
        while std::mem::take(&mut self.has_more) {
            self.ask(Turn::Everybody)?;
            self.conclude().await?;
        }
        self.tell_of_shadow().await?;
        self.flush().await?;
        self.tally.sent = self.queued;
        self.tally.in_hand = self.crew.waiting();
        self.consumer.close().await;
        Ok(self.tally)
    }
}
