//! The registry as it is now: the topic `models`, read to its end.

use cloud_log::{History, KafkaConfig};
use service::Error;
use telemetry::{event::Registry, kafka_topic};

/// Reads the whole topic.
///
/// # Errors
/// If Kafka can't be reached.
pub async fn read(kafka: &KafkaConfig) -> Result<Registry, Error> {
    let mut registry = Registry::default();
    let mut log = History::everything(kafka, kafka_topic::MODELS).await?;
    while let Some(records) = log.next(64).await? {
        for record in records {
            let key = record.key.as_deref().unwrap_or_default();
            if let Err(error) = registry.apply(key, record.payload.as_deref()) {
                tracing::warn!(offset = record.offset, error, "an unreadable record on models");
            }
        }
    }
    Ok(registry)
}
