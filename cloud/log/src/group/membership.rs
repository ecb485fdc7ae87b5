//! What the polling thread, librdkafka's callbacks and the async side share: which partitions are ours, how
//! far they are handled, and what is still to be committed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use crate::{TopicPartition, client, metrics};

/// Pause after a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

/// How far a partition of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Next offset to be handled: what shall be committed.
    pub(super) handled: i64,
    /// What was last asked to be committed; at first the offset that we began at.
    pub(super) requested: i64,
    /// End of the partition, as far as known.
    pub(super) high: i64,
    /// Which of the times it is that the partition is ours.
    pub(super) tenure: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) owned: BTreeMap<TopicPartition, Progress>,
    /// Given to us, and waiting for their first offsets before they are taken.
    pub(super) offered: Option<Vec<TopicPartition>>,
    /// Taken from us; to be told in order.
    pub(super) revoked: VecDeque<Vec<TopicPartition>>,
    /// How often a partition was taken.
    pub(super) taken: u64,
    retry_at: Option<Instant>,
}

impl State {
    /// What is to be committed now; marks it as asked for.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(TopicPartition, i64)> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.retry_at = None;
        let due = self.owned.iter_mut().filter(|(_, progress)| progress.handled > progress.requested);
        due.map(|(partition, progress)| {
            progress.requested = progress.handled;
            (partition.clone(), progress.handled)
        })
        .collect()
    }

    /// A commit of this partition failed: it is asked for again, after a pause.
    pub(super) fn again(&mut self, partition: &TopicPartition, now: Instant) {
        if let Some(progress) = self.owned.get_mut(partition) {
            // Only the smaller one is sure to differ from what is handled, whatever was confirmed before.
            progress.requested = i64::MIN;
            self.retry_at = Some(now + COMMIT_RETRY);
        }
    }
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The async side wants the thread to end.
    pub(super) stop: AtomicBool,
    /// The thread has ended.
    pub(super) ended: AtomicBool,
    /// Shows how many partitions are ours, once the role has a name.
    assigned: OnceLock<metrics::Gauge>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is consistent between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn want(&self, next_offsets: &BTreeMap<TopicPartition, i64>) {
        let mut state = self.state();
        for (partition, next) in next_offsets {
            if let Some(progress) = state.owned.get_mut(partition) {
                progress.handled = progress.handled.max(*next);
            }
        }
    }

    pub(super) fn lag(&self) -> u64 {
        self.state().owned.values().map(|progress| u64::try_from(progress.high - progress.handled).unwrap_or(0)).sum()
    }

    pub(super) fn behind(&self, next: impl Fn(&TopicPartition) -> Option<i64>) -> u64 {
        let state = self.state();
        let behind = state.owned.iter().filter_map(|(partition, progress)| Some(progress.high - next(partition)?));
        behind.map(|records| u64::try_from(records).unwrap_or(0)).sum()
    }

    pub(super) fn owns(&self, partition: &TopicPartition) -> bool {
        self.state().owned.contains_key(partition)
    }

    /// The partitions that are ours now, and in which tenure.
    pub(super) fn tenures(&self) -> BTreeMap<TopicPartition, u64> {
        self.state().owned.iter().map(|(partition, progress)| (partition.clone(), progress.tenure)).collect()
    }

    /// From now on the gauge shows what is ours.
    pub(super) fn report_as(&self, role: &str) {
        self.assigned.get_or_init(|| metrics::assigned_now(role));
        self.report();
    }

    /// To be called whenever `owned` has changed.
    pub(super) fn report(&self) {
        if let Some(gauge) = self.assigned.get() {
            // Under the lock: of two changes the later one is shown last.
            let state = self.state();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge.set(state.owned.len() as f64);
        }
    }

    /// The member has left the group: nothing is ours any more.
    pub(super) fn leave(&self) {
        self.state().owned.clear();
        self.report();
    }
}

/// The partitions of a list.
pub(super) fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| (element.topic().into(), element.partition())).collect()
}

/// Partitions and offsets as a list.
pub(super) fn list<'a>(offsets: impl IntoIterator<Item = (&'a TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((name, partition), offset) in offsets {
        if let Err(error) = list.add_partition_offset(name, *partition, offset) {
            tracing::error!(%error, kafka_topic = &**name, partition, "an offset that librdkafka does not take");
        }
    }
    list
}

/// librdkafka's callbacks. They run on the polling thread, within `poll`.
pub(super) struct Membership(Arc<Shared>);

impl Membership {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, leaving: &TopicPartitionList) {
        let gone = partitions(leaving);
        metrics::revoked(gone.len());
        let (last, offered) = {
            let mut state = self.0.state();
            let mut last = Vec::new();
            for partition in &gone {
                if let Some(progress) = state.owned.remove(partition)
                    && progress.handled > progress.requested
                {
                    last.push((partition.clone(), progress.handled));
                }
            }
            state.revoked.push_back(gone);
            (last, state.offered.take())
        };
        self.0.report();
        // After a lost assignment somebody else may be further already.
        if !last.is_empty() && !consumer.assignment_lost() {
            let last = list(last.iter().map(|(partition, next)| (partition, Offset::Offset(*next))));
            if let Err(error) = consumer.commit(&last, CommitMode::Async) {
                tracing::debug!(%error, "the last commit of revoked partitions; they are read again");
            }
        }
        if let Some(offered) = offered {
            // Taken back before they were taken. librdkafka only gives up what was assigned.
            let offered = list(offered.iter().map(|partition| (partition, Offset::Invalid)));
            if let Err(error) = consumer.incremental_assign(&offered) {
                tracing::warn!(%error, "assign partitions that are taken back");
            }
        }
        if let Err(error) = consumer.incremental_unassign(leaving) {
            tracing::warn!(%error, "give up partitions");
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut state = self.0.state();
        for ((name, partition), progress) in &mut state.owned {
            if let Some(seen) =
                statistics.topics.get(&**name).and_then(|kafka_topic| kafka_topic.partitions.get(partition))
            {
                // The end that read_committed sees.
                progress.high = progress.high.max(seen.ls_offset);
            }
        }
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match error {
            // Taken by the thread once their first offsets are known: asking here would stop the polling.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.0.state().offered.get_or_insert_default().extend(partitions(list));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, list),
            other => tracing::warn!(?other, "rebalance"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let failure = result.err();
        if matches!(failure, Some(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset))) {
            return;
        }
        let mut failed = None;
        let now = Instant::now();
        let mut state = self.0.state();
        for element in offsets.elements() {
            if let Some(error) = element.error().err().or_else(|| failure.clone()) {
                state.again(&(element.topic().into(), element.partition()), now);
                failed = Some(error);
            }
        }
        drop(state);
        if let Some(error) = failed {
            metrics::commit_failed();
            // Usual while the group rebalances; the offsets stay ours to commit, or another member reads again.
            tracing::debug!(%error, "a commit failed and is repeated where the partition is still ours");
        }
    }
}
