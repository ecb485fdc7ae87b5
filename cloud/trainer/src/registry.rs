//! The registry as it is now: a fold of the topic `models`.

use std::collections::BTreeMap;

use cloud_log::{History, InRecord, KafkaConfig};
use service::Error;
use telemetry::{
    event::{ModelAlias, ModelKey, ModelVersion},
    kafka_topic,
};

/// Versions, aliases and sizes of artefacts.
#[derive(Debug, Default)]
pub struct Registry {
    /// By version.
    pub versions: BTreeMap<String, ModelVersion>,
    /// By alias.
    pub aliases: BTreeMap<String, ModelAlias>,
    /// Bytes by SHA-256.
    pub artifact_bytes: BTreeMap<String, u64>,
}

impl Registry {
    /// Reads the whole topic.
    ///
    /// # Errors
    /// If Kafka can't be reached.
    pub async fn read(kafka: &KafkaConfig) -> Result<Self, Error> {
        let mut registry = Self::default();
        let mut log = History::everything(kafka, kafka_topic::MODELS).await?;
        while let Some(records) = log.next(64).await? {
            records.iter().for_each(|record| registry.take(record));
        }
        Ok(registry)
    }

    fn take(&mut self, record: &InRecord) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::parse::<ModelKey>);
        let payload = record.payload.as_deref();
        match key {
            Some(Ok(ModelKey::Artifact(hash))) => {
                put(&mut self.artifact_bytes, hash, payload.map(|bytes| bytes.len() as u64));
            }
            Some(Ok(ModelKey::Version(name))) => put(&mut self.versions, name, payload.and_then(parse)),
            Some(Ok(ModelKey::Alias(name))) => put(&mut self.aliases, name, payload.and_then(parse)),
            Some(Err(_)) | None => {
                tracing::warn!(offset = record.offset, "a record on models without a key of the registry")
            }
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).inspect_err(|error| tracing::warn!(%error, "an unreadable record on models")).ok()
}

fn put<T>(map: &mut BTreeMap<String, T>, name: String, value: Option<T>) {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
}
