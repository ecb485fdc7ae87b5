//! How far topics reach, asked again and again with one client.

use std::sync::Arc;

use service::Error;

use crate::{KafkaConfig, Marks, client::Reader, replay};

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
}

impl std::fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermarks").field("kafka", &self.kafka).finish_non_exhaustive()
    }
}
