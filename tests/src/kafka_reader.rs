//! The judge's own view of Kafka: a plain consumer that reads a topic from its first record to its end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};

/// A record as the judge sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Ingest time, ms.
    pub timestamp: i64,
    /// Key.
    pub key: Vec<u8>,
    /// Payload; empty for a tombstone.
    pub payload: Vec<u8>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn consumer(kafka: &str) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("broker.address.family", "v4")
        // librdkafka wants a group even where none is joined; nothing is committed.
        .set("group.id", "judge")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .create()?;
    Ok(consumer)
}

/// First and next offset of every partition.
pub fn watermarks(kafka: &str, kafka_topic: &str) -> Result<Vec<(i32, i64, i64)>> {
    let consumer = consumer(kafka)?;
    let metadata = consumer.fetch_metadata(Some(kafka_topic), PATIENCE).context("ask Kafka for the partitions")?;
    let topic = metadata.topics().first().context("the topic's metadata")?;
    ensure!(!topic.partitions().is_empty(), "{kafka_topic} does not exist");
    let mut watermarks = Vec::new();
    for partition in topic.partitions() {
        let (low, high) = consumer.fetch_watermarks(kafka_topic, partition.id(), PATIENCE)?;
        watermarks.push((partition.id(), low, high));
    }
    Ok(watermarks)
}

/// Number of records between first and next offsets, over all partitions.
pub fn count(kafka: &str, kafka_topic: &str) -> Result<u64> {
    let sum: i64 = watermarks(kafka, kafka_topic)?.iter().map(|(_, low, high)| high - low).sum();
    Ok(sum.unsigned_abs())
}

/// Reads everything that is in the topic now; blocking.
pub fn read(kafka: &str, kafka_topic: &str) -> Result<Vec<Seen>> {
    let watermarks = watermarks(kafka, kafka_topic)?;
    let consumer = consumer(kafka)?;
    let mut list = TopicPartitionList::new();
    let mut open = std::collections::BTreeMap::new();
    for (partition, low, high) in watermarks.into_iter().filter(|(_, low, high)| low < high) {
        list.add_partition_offset(kafka_topic, partition, Offset::Offset(low))?;
        open.insert(partition, high);
    }
    let mut records = Vec::new();
    if open.is_empty() {
        return Ok(records);
    }
    consumer.assign(&list)?;
    let mut last = Instant::now();
    while !open.is_empty() {
        ensure!(last.elapsed() < PATIENCE, "{kafka_topic}: nothing came for {} s", PATIENCE.as_secs());
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            // Compaction leaves gaps: the position, not the last record, tells where the end is.
            let position = consumer.position()?;
            open.retain(|partition, high| {
                position
                    .find_partition(kafka_topic, *partition)
                    .and_then(|at| at.offset().to_raw())
                    .is_none_or(|at| at < *high)
            });
            continue;
        };
        let message = message?;
        last = Instant::now();
        if open.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            open.remove(&message.partition());
        }
        records.push(Seen {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: message
                .headers()
                .map(|headers| {
                    headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
                })
                .unwrap_or_default(),
        });
    }
    Ok(records)
}
