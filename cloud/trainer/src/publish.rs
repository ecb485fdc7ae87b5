//! Writing to the registry: artefact, then version, then alias, then the event; each confirmed before the next.

use std::time::{SystemTime, UNIX_EPOCH};

use cloud_log::{KafkaConfig, OutRecord, Producer};
use detector::artifact;
use serde::Serialize;
use service::Error;
use telemetry::{
    UnixMillis,
    event::{ModelEvent, ModelKey, ModelVersion},
    kafka_topic::{MODEL_EVENTS, MODELS},
};

use crate::{
    Trained,
    alias::{self, Move},
    due::Due,
    metrics, registry,
};

/// Publishes what the registry lacks of a model and moves the alias to it. It asks for no gate: [`crate::fit`] has done so.
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
    let mut registry = registry::read(kafka).await?;
    let due = Due::of(kafka, &registry, trained).await?;
    let version = due.write(producer, &registry, trained).await?;
    registry.versions.insert(version.version.clone(), version.clone());
    // The same history gives the same version again, and then the alias stands where it should.
    let moved = alias::promote(&registry, alias, &version.version, reason, now_ms()).map_err(Error::BadInput)?;
    if let Some(moved) = moved {
        move_alias(producer, &moved).await?;
    }
    metrics::published();
    Ok(version)
}

/// Publishes artefact and version; no alias knows of it yet.
///
/// # Errors
/// If Kafka refuses.
pub(crate) async fn publish_version(producer: &Producer, trained: &Trained) -> Result<ModelVersion, Error> {
    let version = version_of(trained, now_ms())?;
    publish_artifact(producer, trained).await?;
    confirm(producer, MODELS, ModelKey::Version(version.version.clone()).to_string(), json(&version)?).await?;
    tracing::info!(version = version.version, "published");
    Ok(version)
}

/// Publishes the artefact alone: of a version that is there but has lost it.
///
/// # Errors
/// If Kafka refuses.
pub(crate) async fn publish_artifact(producer: &Producer, trained: &Trained) -> Result<(), Error> {
    let key = ModelKey::Artifact(artifact::hash(&trained.artifact)).to_string();
    confirm(producer, MODELS, key, trained.artifact.clone()).await
}

/// Moves an alias, then tells of it.
///
/// # Errors
/// If Kafka refuses.
pub async fn move_alias(producer: &Producer, moved: &Move) -> Result<(), Error> {
    let Move { alias, entry, event } = moved;
    confirm(producer, MODELS, ModelKey::Alias(alias.clone()).to_string(), json(entry)?).await?;
    confirm(producer, MODEL_EVENTS, entry.version.clone(), json(event)?).await?;
    tracing::info!(version = entry.version, alias, previous = ?entry.previous, reason = entry.reason, "alias moved");
    Ok(())
}

/// Tells of something on `model-events`.
pub(crate) async fn tell(producer: &Producer, version: &str, event: &ModelEvent) -> Result<(), Error> {
    confirm(producer, MODEL_EVENTS, version.to_owned(), json(event)?).await
}

/// The entry of a model.
pub(crate) fn version_of(trained: &Trained, time: UnixMillis) -> Result<ModelVersion, Error> {
    Ok(ModelVersion {
        version: trained.version.clone(),
        detector: trained.card.detector.to_string(),
        artifact: artifact::hash(&trained.artifact),
        card: serde_json::to_value(&trained.card).map_err(anyhow::Error::from)?,
        time,
    })
}

async fn confirm(producer: &Producer, kafka_topic: &str, key: String, payload: Vec<u8>) -> Result<(), Error> {
    producer.send(OutRecord::new(kafka_topic, key, payload)).await?;
    Ok(producer.flush().await?)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    Ok(serde_json::to_vec(value).map_err(anyhow::Error::from)?)
}

pub(crate) fn now_ms() -> UnixMillis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}
