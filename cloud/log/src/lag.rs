//! How far a group is behind, seen from outside: for tests, `doctor` and whoever waits for a role.

use anyhow::{Context, Result, anyhow};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    KafkaConfig,
    client::{self, Quiet, REQUEST_TIMEOUT},
};

/// Records of a topic that a group has not committed yet; a partition without a commit counts whole. It does
/// not join the group.
///
/// # Errors
/// If Kafka can't be reached within the connect timeout or lacks the topic.
pub async fn group_lag(kafka: &KafkaConfig, group: &str, kafka_topic: &str) -> Result<u64> {
    kafka.validate()?;
    let consumer: BaseConsumer<Quiet> =
        client::consumer(kafka, group).create_with_context(Quiet).context("create a Kafka consumer")?;
    let (kafka, name) = (kafka.clone(), kafka_topic.to_owned());
    client::blocking(move || {
        let found = client::reach(consumer.client(), &kafka, &[&name])?;
        let mut asked = TopicPartitionList::new();
        for partition in found.values().flatten() {
            asked.add_partition(&name, *partition);
        }
        let committed = consumer.committed_offsets(asked, REQUEST_TIMEOUT).context("committed offsets")?;
        let mut lag = 0;
        for element in committed.elements() {
            let marks = consumer.fetch_watermarks(&name, element.partition(), REQUEST_TIMEOUT);
            let (low, high) = marks.map_err(|error| anyhow!("{name}: {}", client::reason(&error)))?;
            let next = match element.offset() {
                Offset::Offset(next) => next.max(low),
                _ => low,
            };
            lag += u64::try_from(high - next).unwrap_or(0);
        }
        Ok(lag)
    })
    .await?
}
