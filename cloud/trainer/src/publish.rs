//! Publishing: artefact, then version, then alias, then the event; each confirmed before the next.

use std::time::{SystemTime, UNIX_EPOCH};

use cloud_log::{KafkaConfig, OutRecord, Producer};
use detector::artifact;
use service::Error;
use telemetry::{
    UnixMillis,
    event::{ModelAlias, ModelEvent, ModelKey, ModelVersion},
    kafka_topic::{MODEL_EVENTS, MODELS},
};

use crate::{Trained, metrics, registry};

/// Publishes a model and moves the alias to it. It asks for no gate: [`crate::fit`] has done so.
///
/// # Errors
/// If Kafka refuses; what was confirmed before stays and harms nobody.
pub async fn publish(
    producer: &Producer,
    kafka: &KafkaConfig,
    trained: &Trained,
    alias: &str,
    reason: &str,
) -> Result<ModelVersion, Error> {
    let previous = registry::read(kafka).await?.aliases.remove(alias).map(|alias| alias.version);
    let time = now_ms();
    let card = serde_json::to_value(&trained.card).map_err(anyhow::Error::from)?;
    let version = ModelVersion {
        version: trained.version.clone(),
        detector: trained.card.detector.to_string(),
        artifact: artifact::hash(&trained.artifact),
        card,
        time,
    };
    let moved = ModelAlias { version: version.version.clone(), previous, reason: reason.to_owned(), time };
    let event = ModelEvent::Promoted { alias: alias.to_owned(), version: version.version.clone(), time };
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(anyhow::Error::from);
    let steps = [
        (MODELS, ModelKey::Artifact(version.artifact.clone()).to_string(), trained.artifact.clone()),
        (MODELS, ModelKey::Version(version.version.clone()).to_string(), json(serde_json::to_vec(&version))?),
        (MODELS, ModelKey::Alias(alias.to_owned()).to_string(), json(serde_json::to_vec(&moved))?),
        (MODEL_EVENTS, version.version.clone(), json(serde_json::to_vec(&event))?),
    ];
    for (kafka_topic, key, payload) in steps {
        producer.send(OutRecord::new(kafka_topic, key, payload)).await?;
        producer.flush().await?;
    }
    metrics::published();
    tracing::info!(version = version.version, alias, previous = ?moved.previous, "published");
    Ok(version)
}

fn now_ms() -> UnixMillis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}
