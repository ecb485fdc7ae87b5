//! A member of a consumer group: the async side. The thread that polls is in [`poll`], what both share in
//! [`membership`].

mod membership;
mod poll;
mod positions;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use service::Error;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};

use self::{
    membership::{Membership, Shared},
    poll::Poller,
};
use crate::{InRecord, KafkaConfig, TopicPartition, client};

/// Items that wait between the thread and the async side; the largest is a chunk of records.
const CHANNEL: usize = 8;
/// How long [`GroupConsumer::close`] waits for the last commit and the farewell.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What a member of a group got since the last time: apply `revoked` first, then `assigned`, then `records`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records, in order of offset per partition.
    pub records: Vec<InRecord>,
    /// Partitions that are no longer ours. No record of them follows until they are assigned again, and
    /// their offsets can't be committed any more.
    pub revoked: Vec<TopicPartition>,
    /// Partitions that are ours now.
    pub assigned: Vec<Assigned>,
}

/// A partition that is ours from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The topic.
    pub kafka_topic: SmolStr,
    /// The partition.
    pub partition: i32,
    /// The first offset that will be delivered: the committed one, or the first that is there.
    pub next: i64,
    /// What was committed beside that offset; empty where nothing was.
    pub note: String,
    /// Differs each time that a partition becomes ours.
    pub tenure: u64,
}

impl Batch {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.revoked.is_empty() && self.assigned.is_empty()
    }
}

/// What the thread tells, in order.
#[derive(Debug)]
enum Item {
    Assigned(Vec<Assigned>),
    Revoked(Vec<TopicPartition>),
    Records(Vec<InRecord>),
    Failed(String),
}

/// A member of a consumer group (`group.protocol=consumer`, KIP-848).
///
/// A thread of its own polls and never stops polling: while the async side does not take what is there, the
/// partitions are paused, so that a role that waits for minutes on its database stays in the group.
/// Dropping it leaves the group in the background; [`GroupConsumer::close`] waits for the last commit.
pub struct GroupConsumer {
    items: mpsc::Receiver<Item>,
    held: VecDeque<Item>,
    shared: Arc<Shared>,
    /// The thread that polls has it, and ends it.
    consumer: Weak<BaseConsumer<Membership>>,
    closed: oneshot::Receiver<()>,
}

impl Assigned {
    /// The partition with its topic.
    pub fn topic_partition(&self) -> TopicPartition {
        (self.kafka_topic.clone(), self.partition)
    }
}

/// Where a member stands in its group, for who commits in another way than by [`GroupConsumer::commit`].
#[derive(Clone)]
pub struct Standing {
    shared: Arc<Shared>,
    consumer: Weak<BaseConsumer<Membership>>,
}

impl Standing {
    /// The member's epoch, and the partitions that were still ours afterwards, with their tenures. Should one be given up
    /// later, the group's other members get it only once this epoch has passed. Blocks for a moment.
    pub(crate) fn now(&self) -> Result<(ConsumerGroupMetadata, BTreeMap<TopicPartition, u64>)> {
        let consumer = self.consumer.upgrade().context("we have left the group")?;
        let metadata = consumer.group_metadata().context("we are in no group")?;
        Ok((metadata, self.shared.tenures()))
    }
}

impl GroupConsumer {
    /// Reaches Kafka, finds the topics and joins the group; partitions arrive with [`GroupConsumer::next`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka does not answer within the connect timeout or lacks a topic.
    pub async fn connect(kafka: &KafkaConfig, group: &str, kafka_topics: &[&str]) -> Result<Self, Error> {
        kafka.validate()?;
        let shared = Arc::new(Shared::default());
        let mut config = client::consumer(kafka, group);
        config
            .set("group.protocol", "consumer")
            // Topics with the same partitions are shared out alike: a partition of `scores` and the one of
            // `alert-commands` that goes with it have one owner. The broker's default (uniform) does not promise that.
            .set("group.remote.assignor", "range")
            // Only a safety net: every partition is assigned with an explicit offset.
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", "1000");
        let consumer: BaseConsumer<Membership> = config
            .create_with_context(Membership::new(Arc::clone(&shared)))
            .map_err(|error| anyhow!(error).context("create a Kafka consumer"))?;
        let (kafka, names) = (kafka.clone(), kafka_topics.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let consumer = client::blocking(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            client::reach(consumer.client(), &kafka, &names)?;
            consumer.subscribe(&names).map_err(|error| anyhow!(error).context("subscribe"))?;
            Ok::<_, Error>(consumer)
        })
        .await??;
        let (sender, items) = mpsc::channel(CHANNEL);
        let (farewell, closed) = oneshot::channel();
        let consumer = Arc::new(consumer);
        let held_by_thread = Arc::downgrade(&consumer);
        let poller = Poller::new(consumer, Arc::clone(&shared), sender, farewell);
        std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || poller.run())
            .map_err(|error| anyhow!(error).context("start the polling thread"))?;
        Ok(Self { items, held: VecDeque::new(), shared, consumer: held_by_thread, closed })
    }

    /// Shows the number of our partitions as the gauge `<role>_assigned_partitions`, from 0 on.
    #[must_use]
    pub fn report_as(self, role: &str) -> Self {
        self.shared.report_as(role);
        self
    }

    /// Up to `max` records. Waits at most `wait` for something to happen, then gives what is there without
    /// waiting for more: batches grow with the load, and are empty when nothing came. Cancel-safe.
    ///
    /// # Errors
    /// If Kafka refuses for good (authorisation, a fatal error of the client); while Kafka is away, it waits.
    pub async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch> {
        let mut batch = Batch::default();
        if self.held.is_empty() {
            match tokio::time::timeout(wait, self.items.recv()).await {
                Err(_) => return Ok(batch),
                Ok(None) => bail!("the thread that polls Kafka has ended"),
                Ok(Some(item)) => self.held.push_back(item),
            }
        }
        while let Some(item) = self.held.pop_front().or_else(|| self.items.try_recv().ok()) {
            if let Some(rest) = batch.add(item, max.max(1))? {
                self.held.push_front(rest);
                break;
            }
        }
        Ok(batch)
    }

    /// Commits next offsets (last handled + 1), soon and in the background, until Kafka has confirmed them.
    /// Offsets of partitions that are no longer ours are ignored, and none ever goes back.
    ///
    /// # Errors
    /// If the thread that polls has ended.
    pub fn commit(&self, next_offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        if self.shared.ended.load(Ordering::Acquire) {
            bail!("the thread that polls Kafka has ended");
        }
        self.shared.want(next_offsets);
        Ok(())
    }

    /// Where we stand in the group, for [`crate::Transactions`].
    pub fn standing(&self) -> Standing {
        Standing { shared: Arc::clone(&self.shared), consumer: Weak::clone(&self.consumer) }
    }

    /// Records of our partitions whose offsets were not yet given to [`GroupConsumer::commit`], as of the last
    /// second. 0 while no partition is ours: see [`GroupConsumer::report_as`].
    pub fn lag(&self) -> u64 {
        self.shared.lag()
    }

    /// As [`GroupConsumer::lag`], but counted from the next offset that the caller names; partitions that it names none
    /// for do not count. For who commits later than it reads.
    pub fn behind(&self, next: impl Fn(&TopicPartition) -> Option<i64>) -> u64 {
        self.shared.behind(next)
    }

    /// Whether this partition is ours now, also if [`GroupConsumer::next`] has not told its loss yet.
    pub fn owns(&self, partition: &TopicPartition) -> bool {
        self.shared.owns(partition)
    }

    /// Commits what was given to [`GroupConsumer::commit`], leaves the group and waits for both, at most 5 s.
    pub async fn close(mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Room for whatever the thread is about to tell.
        self.items.close();
        if tokio::time::timeout(CLOSE_WITHIN, &mut self.closed).await.is_err() {
            tracing::warn!("Kafka did not confirm our leaving the group in time; what it misses is read again");
        }
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer").field("lag", &self.lag()).finish_non_exhaustive()
    }
}

impl Batch {
    /// Adds the item, or gives back what belongs into the next batch.
    fn add(&mut self, item: Item, max: usize) -> Result<Option<Item>> {
        match item {
            Item::Revoked(_) if !self.records.is_empty() || !self.assigned.is_empty() => Ok(Some(item)),
            Item::Assigned(_) if !self.records.is_empty() => Ok(Some(item)),
            Item::Failed(_) if !self.is_empty() => Ok(Some(item)),
            Item::Failed(reason) => bail!("Kafka: {reason}"),
            Item::Revoked(mut partitions) => {
                self.revoked.append(&mut partitions);
                Ok(None)
            }
            Item::Assigned(mut partitions) => {
                self.assigned.append(&mut partitions);
                Ok(None)
            }
            Item::Records(mut records) => {
                let rest = records.split_off(records.len().min(max - self.records.len()));
                self.records.append(&mut records);
                Ok((!rest.is_empty()).then_some(Item::Records(rest)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
