//! The polling thread of a group's member.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use service::Backoff;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    Assigned, Item,
    membership::{Membership, Progress, Shared, list},
    positions::Positions,
};
use crate::{
    TopicPartition,
    client::{self, Copies, REQUEST_TIMEOUT},
    metrics,
};

const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;
/// How long a poll waits where nothing else is to be done; bounds how late a commit leaves.
const IDLE: Duration = Duration::from_millis(20);
/// Chunks that may wait in the thread besides those in the channel.
const WAITING: usize = 4;
/// So long they may wait before partitions are paused. A pause throws away what was fetched ahead, and whoever resumes
/// waits for a fetch that is on its way, up to half a second: that is for who is stuck, not for who is slower than Kafka.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether the channel has room again.
const BREATH: Duration = Duration::from_millis(1);
/// The least time between two questions for the start of the log.
const GAP_CHECK: Duration = Duration::from_secs(2);

pub(super) struct Poller {
    consumer: Arc<BaseConsumer<Membership>>,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Item>,
    farewell: oneshot::Sender<()>,
    copies: Copies,
    waiting: VecDeque<Item>,
    paused: bool,
    /// Since when too much waits.
    full_since: Option<Instant>,
    positions: Positions,
    gaps_checked: Instant,
    offer_backoff: Backoff,
    offer_at: Instant,
}

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Membership>>,
        shared: Arc<Shared>,
        sender: mpsc::Sender<Item>,
        farewell: oneshot::Sender<()>,
    ) -> Self {
        Self {
            consumer,
            shared,
            sender,
            farewell,
            copies: Copies::together(),
            waiting: VecDeque::new(),
            paused: false,
            full_since: None,
            positions: Positions::default(),
            gaps_checked: Instant::now(),
            offer_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            offer_at: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) && !self.sender.is_closed() {
            self.take_offered();
            self.commit(CommitMode::Async);
            self.judge_gaps();
            self.hand_over();
            if self.full_since.is_some() && !self.paused {
                std::thread::sleep(BREATH);
                continue;
            }
            if let Err(error) = self.poll() {
                self.waiting.push_back(Item::Failed(format!("{error:#}")));
                self.fail();
                break;
            }
        }
        self.shared.ended.store(true, Ordering::Release);
        self.commit(CommitMode::Sync);
        let Self { consumer, farewell, shared, .. } = self;
        // Leaves the group.
        drop(consumer);
        shared.leave();
        // Nobody waits where the consumer was dropped without `close`.
        farewell.send(()).unwrap_or_default();
    }

    /// Tells everything up to the failure, while there is somebody to tell.
    fn fail(&mut self) {
        while let Some(item) = self.waiting.pop_front() {
            if self.sender.blocking_send(item).is_err() {
                return;
            }
        }
    }

    /// Takes partitions that were given to us, once it is known where they begin.
    fn take_offered(&mut self) {
        let offered = {
            let state = self.shared.state();
            match &state.offered {
                Some(offered) if Instant::now() >= self.offer_at => offered.clone(),
                _ => return,
            }
        };
        match self.begin(&offered) {
            Ok(()) => self.offer_backoff.reset(),
            Err(error) => {
                tracing::warn!("take {} partitions: {error:#}; again soon", offered.len());
                self.offer_at = Instant::now() + self.offer_backoff.next();
            }
        }
    }

    fn begin(&mut self, offered: &[TopicPartition]) -> Result<()> {
        let asked = list(offered.iter().map(|partition| (partition, Offset::Invalid)));
        let committed = self.consumer.committed_offsets(asked, REQUEST_TIMEOUT)?;
        let mut begins = Vec::with_capacity(offered.len());
        for partition in offered {
            let (name, number) = partition;
            let element = committed.find_partition(name, *number);
            let (offset, note) = match element {
                Some(element) => {
                    element.error()?;
                    (element.offset().to_raw().filter(|offset| *offset >= 0), element.metadata().to_owned())
                }
                None => (None, String::new()),
            };
            let marks = self.consumer.fetch_watermarks(name, *number, REQUEST_TIMEOUT);
            let (low, high) = marks.map_err(|error| anyhow!("{name}/{number}: {}", client::reason(&error)))?;
            // Of a topic that was made anew a note says nothing.
            let note = if offset.is_some_and(|offset| offset <= high) { note } else { String::new() };
            let next = first(partition, offset, low, high);
            begins.push((high, Assigned { kafka_topic: name.clone(), partition: *number, next, note, tenure: 0 }));
        }
        let places = offered.iter().zip(&begins).map(|(partition, (_, begin))| (partition, Offset::Offset(begin.next)));
        self.consumer.incremental_assign(&list(places))?;
        metrics::assigned(begins.len());
        let mut state = self.shared.state();
        state.offered = None;
        let mut assigned = Vec::with_capacity(begins.len());
        for (partition, (high, begin)) in offered.iter().zip(begins) {
            state.taken += 1;
            let (next, tenure) = (begin.next, state.taken);
            state.owned.insert(partition.clone(), Progress { handled: next, requested: next, high, tenure });
            self.positions.begin(partition.clone(), next);
            assigned.push(Assigned { tenure, ..begin });
        }
        drop(state);
        self.shared.report();
        self.waiting.push_back(Item::Assigned(assigned));
        if self.paused {
            self.pause();
        }
        Ok(())
    }

    /// Commits what is handled. A failure is repeated by the callback, or here.
    fn commit(&self, mode: CommitMode) {
        let due = self.shared.state().due(Instant::now());
        if due.is_empty() {
            return;
        }
        let offsets = list(due.iter().map(|(partition, next)| (partition, Offset::Offset(*next))));
        if let Err(error) = self.consumer.commit(&offsets, mode) {
            metrics::commit_failed();
            tracing::debug!(%error, "a commit was refused; it is repeated");
            let mut state = self.shared.state();
            for (partition, _) in &due {
                state.again(partition, Instant::now());
            }
        }
    }

    /// Gives the channel what it takes; pauses the partitions if too much waits for too long.
    fn hand_over(&mut self) {
        while let Some(item) = self.waiting.pop_front() {
            match self.sender.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item) | TrySendError::Closed(item)) => {
                    self.waiting.push_front(item);
                    break;
                }
            }
        }
        self.full_since = match self.full_since {
            _ if self.waiting.len() < WAITING => None,
            since => since.or_else(|| Some(Instant::now())),
        };
        if !self.paused && self.full_since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.paused = true;
            self.pause();
        } else if self.paused && self.waiting.is_empty() {
            self.paused = false;
            let owned = self.owned();
            if let Err(error) = self.consumer.resume(&owned) {
                tracing::warn!(%error, "resume");
            }
        }
    }

    fn pause(&self) {
        let owned = self.owned();
        if let Err(error) = self.consumer.pause(&owned) {
            tracing::warn!(%error, "pause");
        }
    }

    fn owned(&self) -> TopicPartitionList {
        list(self.shared.state().owned.keys().map(|partition| (partition, Offset::Invalid)))
    }

    /// One round of polling: what arrives at once, after at most [`IDLE`].
    fn poll(&mut self) -> Result<()> {
        let (mut chunk, mut bytes, mut wait) = (Vec::new(), 0, IDLE);
        let outcome = loop {
            if chunk.len() >= CHUNK_RECORDS || bytes >= CHUNK_BYTES {
                break Ok(());
            }
            match self.consumer.poll(wait) {
                None => break Ok(()),
                Some(Ok(message)) => {
                    let record = self.copies.of(&message);
                    drop(message);
                    self.positions.note(&record);
                    bytes += record.size();
                    chunk.push(record);
                }
                Some(Err(error)) => {
                    if let Err(error) = dispose(&error) {
                        break Err(error);
                    }
                }
            }
            wait = Duration::ZERO;
        };
        if !chunk.is_empty() {
            self.waiting.push_back(Item::Records(chunk));
        }
        // A rebalance ends a round (`poll` then gives nothing), so that these records came before it.
        let mut revoked = std::mem::take(&mut self.shared.state().revoked);
        for gone in &revoked {
            for partition in gone {
                self.positions.end(partition);
            }
        }
        self.waiting.extend(revoked.drain(..).map(Item::Revoked));
        outcome
    }

    /// Offsets without a record are usual after compaction or a transaction; those below the start of the log
    /// are records that retention removed before they were read.
    fn judge_gaps(&mut self) {
        if !self.positions.has_gaps() || self.gaps_checked.elapsed() < GAP_CHECK {
            return;
        }
        self.gaps_checked = Instant::now();
        for ((name, number), (from, to)) in self.positions.take_gaps() {
            match self.consumer.fetch_watermarks(&name, number, REQUEST_TIMEOUT) {
                Ok((low, _)) if low > from => expired(&name, number, from, low.min(to)),
                Ok(_) => {}
                Err(_) => {
                    self.positions.passed_over((name, number), (from, to));
                }
            }
        }
    }
}

/// Where to begin: at the committed offset if it is still there, else at the start of the log.
fn first(partition: &TopicPartition, committed: Option<i64>, low: i64, high: i64) -> i64 {
    let (name, number) = partition;
    match committed {
        None => low,
        Some(offset) if offset < low => {
            expired(name, *number, offset, low);
            low
        }
        Some(offset) if offset > high => {
            let text = "the committed offset lies beyond the end: the topic was made anew or cut; reading all of it";
            tracing::warn!(kafka_topic = &**name, partition = number, offset, high, "{text}");
            low
        }
        Some(offset) => offset,
    }
}

fn expired(kafka_topic: &str, partition: i32, from: i64, to: i64) {
    let missing = to.abs_diff(from);
    tracing::warn!(kafka_topic, partition, from, to, missing, "records were removed before they were read");
    metrics::missing(kafka_topic, missing);
}

/// An error that passes is logged, one that stays ends the thread.
fn dispose(error: &KafkaError) -> Result<()> {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, InvalidGroupId, TopicAuthorizationFailed, UnsupportedVersion};
    match error {
        KafkaError::MessageConsumption(
            TopicAuthorizationFailed | GroupAuthorizationFailed | InvalidGroupId | UnsupportedVersion,
        )
        | KafkaError::MessageConsumptionFatal(_) => Err(anyhow!("{}", client::reason(error))),
        _ => {
            client::log_error(error, "reading goes on");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_begins_at_the_committed_offset_or_at_the_start() {
        let partition = ("telemetry".into(), 0);
        for (committed, low, high, expected) in [
            (None, 0, 10, 0),
            (None, 4, 10, 4),
            (Some(7), 4, 10, 7),
            (Some(10), 4, 10, 10),
            (Some(2), 4, 10, 4),
            (Some(11), 4, 10, 4),
        ] {
            assert_eq!(first(&partition, committed, low, high), expected, "{committed:?} in {low}..{high}");
        }
    }
}
