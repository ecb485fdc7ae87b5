//! The registry as it is now: the topic `models`, read to its end.

use cloud_log::{History, KafkaConfig};
use detector::artifact;
use service::Error;
use telemetry::{
    event::{ModelKey, ModelVersion, Registry},
    kafka_topic,
};

/// Reads the whole topic. What can't be read is passed over with a warning; an empty topic is an empty registry.
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

/// The artefact that lies under a hash, or none. Artefacts are large, so the topic is read anew for the one.
///
/// # Errors
/// If Kafka can't be reached.
pub async fn find_artifact(kafka: &KafkaConfig, hash: &str) -> Result<Option<Vec<u8>>, Error> {
    let key = ModelKey::Artifact(hash.to_owned()).to_string();
    Ok(History::newest(kafka, kafka_topic::MODELS, &key).await?.map(Vec::from))
}

/// The artefact of a version, checked against its hash.
///
/// # Errors
/// [`Error::BadInput`] if it is gone or damaged.
pub async fn artifact_of(kafka: &KafkaConfig, version: &ModelVersion) -> Result<Vec<u8>, Error> {
    let found = find_artifact(kafka, &version.artifact).await?;
    sound(version, found).map_err(Error::BadInput)
}

fn sound(version: &ModelVersion, found: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let ModelVersion { version, artifact: hash, .. } = version;
    let again = "register its file again: `motorcade models register FILE`";
    let Some(bytes) = found else {
        return Err(format!("{version}: its artefact {hash} is not on models any more; {again}"));
    };
    let found = artifact::hash(&bytes);
    if found != *hash {
        return Err(format!("{version}: its artefact has the hash {found} instead of {hash}; {again}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alias::tests::version;

    #[test]
    fn an_artefact_that_is_gone_or_damaged_is_told() {
        let version = ModelVersion { artifact: artifact::hash(b"weights"), ..version("pca-1") };
        assert_eq!(sound(&version, Some(b"weights".to_vec())).unwrap(), b"weights");
        let gone = sound(&version, None).unwrap_err();
        assert!(
            gone.contains("pca-1") && gone.contains("not on models any more") && gone.contains("register"),
            "{gone}"
        );
        let damaged = sound(&version, Some(b"weight!".to_vec())).unwrap_err();
        assert!(damaged.contains("instead of") && damaged.lines().count() == 1, "{damaged}");
    }
}
