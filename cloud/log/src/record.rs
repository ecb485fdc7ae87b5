//! Records as they leave and enter Kafka.

use bytes::Bytes;
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
    util::IntoOpaque,
};
use smol_str::SmolStr;
use telemetry::UnixMillis;

use crate::Headers;

/// A partition of a topic.
pub type TopicPartition = (SmolStr, i32);

/// A record that was read. Whoever keeps key, value or headers for long copies them: they may lie in one piece of memory
/// with those of the records that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRecord {
    /// The topic.
    pub kafka_topic: SmolStr,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Kafka's timestamp, ms since the epoch: the time of ingest. 0 where the record has none.
    pub timestamp: UnixMillis,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub payload: Option<Bytes>,
    /// Headers in their order.
    pub headers: Headers,
}

impl InRecord {
    /// A place in the log, of which nothing else is known.
    pub fn at(kafka_topic: impl Into<SmolStr>, partition: i32, offset: i64) -> Self {
        let kafka_topic = kafka_topic.into();
        Self { kafka_topic, partition, offset, timestamp: 0, key: None, payload: None, headers: Headers::new() }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// The partition that it stands in.
    pub fn topic_partition(&self) -> TopicPartition {
        (self.kafka_topic.clone(), self.partition)
    }

    /// Key and value, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.payload.as_ref().map_or(0, Bytes::len)
    }
}

/// A record to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// The topic.
    pub kafka_topic: SmolStr,
    /// The partition; without one it follows from the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Bytes,
    /// The value; none is a tombstone.
    pub payload: Option<Bytes>,
    /// Headers in their order.
    pub headers: Headers,
    /// Kafka's timestamp, ms since the epoch; without one, now.
    pub timestamp: Option<UnixMillis>,
}

impl OutRecord {
    /// A record with key and value and nothing else.
    pub fn new(kafka_topic: impl Into<SmolStr>, key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kafka_topic: kafka_topic.into(),
            partition: None,
            key: key.into().into(),
            payload: Some(payload.into().into()),
            headers: Headers::new(),
            timestamp: None,
        }
    }

    /// As librdkafka takes it; its report carries the opaque.
    pub(crate) fn to_send<O: IntoOpaque>(&self, opaque: O) -> BaseRecord<'_, [u8], [u8], O> {
        let mut record = BaseRecord::<[u8], [u8], O>::with_opaque_to(&self.kafka_topic, opaque).key(&*self.key);
        record.partition = self.partition;
        record.payload = self.payload.as_deref();
        record.timestamp = self.timestamp;
        if !self.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(self.headers.len());
            let insert = |all: OwnedHeaders, (key, value)| all.insert(Header { key, value: Some(value) });
            record.headers = Some(self.headers.iter().fold(headers, insert));
        }
        record
    }
}
