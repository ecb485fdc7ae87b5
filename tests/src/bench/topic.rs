//! The Kafka topics of a bench: made with the append's time in every record, counted, timed and emptied.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use cloud_log::{History, KafkaConfig};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use telemetry::kafka_topic::{COMMAND_REPLIES, DEAD_LETTER, TELEMETRY, VEHICLE_COMMANDS, VEHICLE_STATUS};

/// How long Kafka may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a new topic may take until its partitions have leaders.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Partitions of each topic.
const PARTITIONS: i32 = 6;

/// The topic that bridges write to.
#[derive(Clone)]
pub struct Topic {
    consumer: Arc<BaseConsumer>,
    admin: Arc<AdminClient<DefaultClientContext>>,
    kafka: String,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topic")
    }
}

impl Topic {
    /// Its name, for every bridge.
    pub const NAME: &str = TELEMETRY;

    /// Creates it, and what else an edge asks for.
    ///
    /// # Errors
    /// If Kafka does not.
    pub async fn create(kafka: &str) -> Result<Self> {
        Self::create_with(kafka, &[]).await
    }

    /// As [`Topic::create`], and further topics that tell when a record was appended.
    ///
    /// # Errors
    /// As [`Topic::create`].
    pub async fn create_with(kafka: &str, further: &[&str]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka).set("broker.address.family", "v4");
        let admin: AdminClient<_> = config.create()?;
        let ours = [TELEMETRY, DEAD_LETTER, VEHICLE_STATUS, VEHICLE_COMMANDS, COMMAND_REPLIES];
        make(&admin, &[&ours, further].concat()).await?;
        let consumer = config
            // librdkafka wants a group even where none is joined; nothing is committed.
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .create()?;
        let topic = Self { consumer: Arc::new(consumer), admin: Arc::new(admin), kafka: kafka.to_owned() };
        // Leaders are elected a moment later.
        crate::poll::until("the topics have leaders", LEADERS_WITHIN, async || Ok(topic.count().await.ok())).await?;
        Ok(topic)
    }

    /// How many records it holds.
    ///
    /// # Errors
    /// If Kafka does not answer.
    pub async fn count(&self) -> Result<u64> {
        let marks = self.marks().await?;
        Ok(marks.iter().map(|(_, low, high)| high.saturating_sub(*low)).sum::<i64>().unsigned_abs())
    }

    /// First and next offset of each partition.
    async fn marks(&self) -> Result<Vec<(i32, i64, i64)>> {
        let consumer = Arc::clone(&self.consumer);
        let ask = move || {
            let mark = |partition| {
                let (low, high) = consumer.fetch_watermarks(TELEMETRY, partition, ANSWER)?;
                anyhow::Ok((partition, low, high))
            };
            (0..PARTITIONS).map(mark).collect()
        };
        tokio::task::spawn_blocking(ask).await?
    }

    /// Between the appends of the first and the last record.
    ///
    /// # Errors
    /// If Kafka does not answer, or the topic is empty.
    pub async fn span(&self) -> Result<Duration> {
        let marks = self.marks().await?;
        let consumer = Arc::clone(&self.consumer);
        let read = move || {
            let (mut first, mut last) = (i64::MAX, i64::MIN);
            for (partition, low, high) in marks.into_iter().filter(|(_, low, high)| low < high) {
                first = first.min(append_time(&consumer, partition, low)?);
                last = last.max(append_time(&consumer, partition, high - 1)?);
            }
            ensure!(first <= last, "the topic is empty");
            anyhow::Ok(Duration::from_millis((last - first).unsigned_abs()))
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// Makes it anew. A Kafka that is killed may bring back what was forgotten, because it writes down only each
    /// minute where a partition begins; of a topic that is gone nothing comes back. No bridge may run.
    ///
    /// # Errors
    /// If Kafka does not.
    pub async fn renew(&self) -> Result<()> {
        self.remove(TELEMETRY).await?;
        let empty = async || Ok((self.count().await.ok() == Some(0)).then_some(()));
        make(&self.admin, &[TELEMETRY]).await?;
        crate::poll::until("the new topic is empty", LEADERS_WITHIN, empty).await
    }

    /// Creates another topic that tells when a record was appended.
    ///
    /// # Errors
    /// If Kafka does not.
    pub async fn add(&self, name: &str) -> Result<()> {
        make(&self.admin, &[name]).await?;
        // A new client each time: one that has asked too early believes for long that there is no such topic.
        let kafka = KafkaConfig::new(&self.kafka);
        let led = async || Ok(History::watermarks(&kafka, name).await.ok().map(|_| ()));
        crate::poll::until("the topic has leaders", LEADERS_WITHIN, led).await
    }

    /// Removes a topic with its records.
    ///
    /// # Errors
    /// If Kafka does not.
    pub async fn remove(&self, name: &str) -> Result<()> {
        for answer in self.admin.delete_topics(&[name], &options()).await? {
            answer.map_err(|(name, code)| anyhow!("delete {name}: {code}"))?;
        }
        Ok(())
    }

    /// Removes every record.
    ///
    /// # Errors
    /// If Kafka does not.
    pub async fn forget(&self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, low, high) in self.marks().await? {
            if low < high {
                list.add_partition_offset(TELEMETRY, partition, Offset::Offset(high))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let removed = self.admin.delete_records(&list, &options()).await.context("empty the topic")?;
        removed.elements().iter().try_for_each(|element| Ok(element.error()?))
    }
}

async fn make(admin: &AdminClient<DefaultClientContext>, names: &[&str]) -> Result<()> {
    let topics = names.iter().map(|name| {
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        // Latency is told by the broker's clock, which is this machine's too, and not by the bridge. Small segments,
        // so that what was forgotten leaves the disk.
        topic.set("message.timestamp.type", "LogAppendTime").set("segment.bytes", "134217728")
    });
    let topics: Vec<_> = topics.collect();
    for answer in admin.create_topics(&topics, &options()).await? {
        answer.map_err(|(name, code)| anyhow!("create {name}: {code}"))?;
    }
    Ok(())
}

/// When a record was appended, ms.
fn append_time(consumer: &BaseConsumer, partition: i32, offset: i64) -> Result<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TELEMETRY, partition, Offset::Offset(offset))?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + ANSWER;
    let message = loop {
        match consumer.poll(deadline.saturating_duration_since(Instant::now())).context("no record came")? {
            Ok(message) => break message,
            // It may be of a time when Kafka was away, and be told only now.
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => {}
        }
    };
    let time = match message.timestamp() {
        rdkafka::Timestamp::LogAppendTime(ms) => Ok(ms),
        other => Err(anyhow!("a record has {other:?} instead of the append's time")),
    };
    consumer.unassign()?;
    time
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER * 4)).operation_timeout(Some(ANSWER * 4))
}
