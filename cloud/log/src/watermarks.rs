//! How far topics reach, asked again and again with one client; and which cluster it is that answers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};
use service::Error;

use crate::{
    KafkaConfig, Marks,
    client::{self, REQUEST_TIMEOUT, Reader},
    replay,
};

/// How long a transaction may stay open: Kafka aborts one that nobody ends.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two looks for its end.
const LOOK: Duration = Duration::from_millis(20);

/// A client that asks where topics begin and end. Joins no group.
pub struct Watermarks {
    kafka: KafkaConfig,
    reader: Arc<Reader>,
}

impl Watermarks {
    /// Makes the client; Kafka is reached by the first question.
    ///
    /// # Errors
    /// [`Error::Usage`] if a flag is wrong.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, Error> {
        Ok(Self { reader: replay::create(kafka)?, kafka: kafka.clone() })
    }

    /// The topic's marks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka can't be reached within the connect timeout or lacks the topic.
    pub async fn of(&self, kafka_topic: &str) -> Result<Marks, Error> {
        let partitions = replay::reach(&self.reader, &self.kafka, kafka_topic).await?;
        replay::watermarks(&self.reader, &self.kafka, kafka_topic, partitions).await
    }

    /// The marks of some of the topic's partitions, once every transaction has ended that is open there now: whatever was
    /// committed before stands below them. An end that a reader sees may lag behind offsets that were committed in the
    /// same transaction.
    ///
    /// # Errors
    /// As [`Self::of`]; [`Error::Unavailable`] too if a transaction does not end.
    pub async fn settled(&self, kafka_topic: &str, partitions: &[i32]) -> Result<Marks, Error> {
        let all = replay::create_uncommitted(&self.kafka)?;
        replay::reach(&all, &self.kafka, kafka_topic).await?;
        let ends = replay::watermarks(&all, &self.kafka, kafka_topic, partitions.to_vec()).await?;
        let began = Instant::now();
        loop {
            let marks = replay::watermarks(&self.reader, &self.kafka, kafka_topic, partitions.to_vec()).await?;
            let is_open = |partition: &&i32| marks.get(*partition).is_some_and(|(_, end)| *end < ends[*partition].1);
            let Some(open) = ends.keys().find(is_open) else { return Ok(marks) };
            if began.elapsed() > SETTLE {
                return Err(self.kafka.unavailable(format!("a transaction on {kafka_topic}/{open} does not end")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Of every partition the first offset whose ingest time (ms since the epoch) is not earlier. Partitions that hold
    /// no such record are left out.
    ///
    /// Everything before it was ingested earlier, whatever order the times are in; what is behind it need not be later.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub async fn since(&self, kafka_topic: &str, ingest_time: i64) -> Result<BTreeMap<i32, i64>, Error> {
        let partitions = replay::reach(&self.reader, &self.kafka, kafka_topic).await?;
        let (reader, kafka, name) = (Arc::clone(&self.reader), self.kafka.clone(), kafka_topic.to_owned());
        client::blocking(move || {
            let mut asked = TopicPartitionList::new();
            for partition in partitions {
                asked
                    .add_partition_offset(&name, partition, Offset::Offset(ingest_time.max(0)))
                    .context("ask for offsets by time")?;
            }
            let answers = reader.consumer()?.offsets_for_times(asked, REQUEST_TIMEOUT);
            let answers = answers.map_err(|error| kafka.unavailable(format!("{name}: {}", client::reason(&error))))?;
            let found = answers.elements().into_iter().filter_map(|answer| match answer.offset() {
                Offset::Offset(offset) => Some((answer.partition(), offset)),
                _ => None,
            });
            Ok(found.collect())
        })
        .await?
    }

    /// The id that the cluster was given when it was made: offsets mean something only within it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka can't be reached within the connect timeout or does not say it.
    pub async fn cluster(&self) -> Result<String, Error> {
        let (reader, kafka) = (Arc::clone(&self.reader), self.kafka.clone());
        client::blocking(move || {
            let client = reader.consumer()?.client();
            client::reach(client, &kafka, &[])?;
            let id = client.fetch_cluster_id(REQUEST_TIMEOUT);
            id.ok_or_else(|| kafka.unavailable("it does not say which cluster it is"))
        })
        .await?
    }
}

impl std::fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermarks").field("kafka", &self.kafka).finish_non_exhaustive()
    }
}
