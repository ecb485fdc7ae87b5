//! What the registry lacks of a model, and writing just that: a version that is there keeps the time at which it came.

use cloud_log::{KafkaConfig, Producer};
use detector::artifact;
use service::Error;
use telemetry::event::{ModelVersion, Registry};

use crate::{Trained, publish, registry};

/// What is to be written for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Artefact and version.
    All,
    /// The version is there, but its artefact is gone.
    Artefact,
    /// Nothing.
    Nothing,
}

impl Due {
    /// Looks what is there.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the version is there with another artefact; if Kafka can't be reached.
    pub(crate) async fn of(kafka: &KafkaConfig, registry: &Registry, trained: &Trained) -> Result<Self, Error> {
        let hash = artifact::hash(&trained.artifact);
        let held = registry::find_artifact(kafka, &hash).await?;
        let is_held = held.as_deref() == Some(&trained.artifact[..]);
        due(registry, &trained.version, &hash, is_held).map_err(Error::BadInput)
    }

    /// Writes it; the model's entry, as it is then.
    ///
    /// # Errors
    /// If Kafka refuses.
    pub(crate) async fn write(
        self,
        producer: &Producer,
        registry: &Registry,
        trained: &Trained,
    ) -> Result<ModelVersion, Error> {
        match registry.versions.get(&trained.version) {
            Some(known) if self != Self::All => {
                if self == Self::Artefact {
                    publish::publish_artifact(producer, trained).await?;
                }
                Ok(known.clone())
            }
            _ => publish::publish_version(producer, trained).await,
        }
    }

    /// What became of the model, for people.
    pub(crate) fn said(self) -> &'static str {
        match self {
            Self::All => "registered",
            Self::Artefact => "registered again: its artefact was gone",
            Self::Nothing => "is registered already",
        }
    }
}

fn due(registry: &Registry, version: &str, hash: &str, is_held: bool) -> Result<Due, String> {
    match registry.versions.get(version) {
        None => Ok(Due::All),
        // The name holds only the start of the hash.
        Some(known) if known.artifact != hash => {
            Err(format!("{version} is on models with another artefact, {}; nothing was registered", known.artifact))
        }
        Some(_) if is_held => Ok(Due::Nothing),
        Some(_) => Ok(Due::Artefact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alias::tests::registry;

    #[test]
    fn a_new_artefact_is_due_a_known_one_is_not_and_a_lost_one_is_again() {
        let registry = registry(&["pca-1"], &[]);
        assert_eq!(due(&registry, "pca-2", "cd", false), Ok(Due::All));
        assert_eq!(due(&registry, "pca-2", "cd", true), Ok(Due::All), "an artefact without its version");
        assert_eq!(due(&registry, "pca-1", "ab", true), Ok(Due::Nothing));
        assert_eq!(due(&registry, "pca-1", "ab", false), Ok(Due::Artefact));
    }

    #[test]
    fn another_artefact_never_takes_a_versions_name() {
        let error = due(&registry(&["pca-1"], &[]), "pca-1", "cd", false).unwrap_err();
        assert!(error.contains("another artefact, ab"), "{error}");
    }
}
