//! Reads two topics from end to end. The only place in the simulator that knows Kafka.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use telemetry::{
    PayloadHash,
    kafka_topic::{DEAD_LETTER, TELEMETRY},
};

use super::{Found, Place, Stored};

const ANSWER: Duration = Duration::from_secs(10);
/// A reading that stands still for so long has failed.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Leaves librdkafka's own lines to who looks for them: what matters comes back as an error.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

fn consumer(servers: &str) -> anyhow::Result<BaseConsumer<Quiet>> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        // librdkafka wants a name; nothing is ever committed under it.
        .set("group.id", format!("motorcade-audit-{}", std::process::id()))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        // What is fetched ahead is memory too.
        .set("queued.min.messages", "10000")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "8192")
        .set("max.partition.fetch.bytes", "1048576")
        .create_with_context(Quiet)?;
    Ok(consumer)
}

/// Whether there is such a topic.
pub(super) fn exists(servers: &str, kafka_topic: &str) -> anyhow::Result<bool> {
    let metadata = consumer(servers)?.fetch_metadata(Some(kafka_topic), ANSWER)?;
    Ok(metadata.topics().iter().any(|topic| !topic.partitions().is_empty()))
}

/// Reads one topic from its beginning to the end that it has now.
pub(super) fn read_topic_of(servers: &str, kafka_topic: &str, mut take: impl FnMut(&Found<'_>)) -> anyhow::Result<()> {
    read_topic(&consumer(servers)?, kafka_topic, |message| take(&found(message)))
}

pub(super) fn read(servers: &str) -> anyhow::Result<Stored> {
    let consumer = consumer(servers)?;
    let mut stored = Stored::default();
    for kafka_topic in [TELEMETRY, DEAD_LETTER] {
        read_topic(&consumer, kafka_topic, |message| {
            let found = found(message);
            if kafka_topic == TELEMETRY { stored.add_reading(&found) } else { stored.add_dead_letter(&found) }
        })
        .with_context(|| format!("read {kafka_topic}"))?;
    }
    Ok(stored)
}

fn read_topic(
    consumer: &BaseConsumer<Quiet>,
    kafka_topic: &str,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<()> {
    let metadata = consumer.fetch_metadata(Some(kafka_topic), ANSWER)?;
    let partitions: Vec<_> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    ensure!(!partitions.is_empty(), "there is no such topic");
    let mut assignment = TopicPartitionList::new();
    let mut unread = BTreeSet::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(kafka_topic, partition, ANSWER)?;
        if low < high {
            assignment.add_partition_offset(kafka_topic, partition, Offset::Offset(low))?;
            unread.insert(partition);
        }
    }
    consumer.assign(&assignment)?;
    let mut moved = Instant::now();
    while !unread.is_empty() {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                moved = Instant::now();
                take(&message);
            }
            // Everything up to the end that was there at the beginning, and perhaps more.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                moved = Instant::now();
                unread.remove(&partition);
            }
            // librdkafka goes on by itself after what can be mended.
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_passing) => {}
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        ensure!(moved.elapsed() < STANDSTILL, "partitions {unread:?} stand still");
    }
    consumer.unassign()?;
    Ok(())
}

fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(code, Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut)
}

fn found<'a>(message: &'a BorrowedMessage<'_>) -> Found<'a> {
    let payload = message.payload().unwrap_or_default();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Found {
        append_stamped: matches!(message.timestamp(), rdkafka::Timestamp::LogAppendTime(_)),
        key: message.key(),
        payload,
        headers: headers.map(|header| (header.key, header.value.unwrap_or_default())).collect(),
        place: Place {
            hash: PayloadHash::of(payload),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            offset: message.offset(),
            partition: message.partition(),
            copies: NonZeroU32::MIN,
        },
    }
}
