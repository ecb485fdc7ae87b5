//! The registry as scorers need it: a fold of the topic `models`.

use std::collections::{BTreeMap, HashMap};

use cloud_log::InRecord;
use telemetry::event::{ModelAlias, ModelKey, ModelVersion};

/// Artefacts that are kept; of more, the one published first goes.
const MOST_ARTIFACTS: usize = 32;

/// Artefacts, versions and the alias that is followed.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    artifacts: HashMap<String, Vec<u8>>,
    order: Vec<String>,
    versions: BTreeMap<String, String>,
    aliases: BTreeMap<String, String>,
}

impl Registry {
    pub(crate) fn take(&mut self, record: InRecord) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::parse::<ModelKey>);
        match (key, record.payload) {
            (Some(Ok(ModelKey::Artifact(hash))), Some(bytes)) => {
                self.order.retain(|known| *known != hash);
                self.order.push(hash.clone());
                self.artifacts.insert(hash, bytes);
                if self.order.len() > MOST_ARTIFACTS {
                    self.artifacts.remove(&self.order.remove(0));
                }
            }
            (Some(Ok(ModelKey::Artifact(hash))), None) => {
                self.artifacts.remove(&hash);
            }
            (Some(Ok(ModelKey::Version(name))), Some(bytes)) => match serde_json::from_slice::<ModelVersion>(&bytes) {
                Ok(version) => {
                    self.versions.insert(name, version.artifact);
                }
                Err(error) => tracing::warn!(%error, name, "an unreadable version on models"),
            },
            (Some(Ok(ModelKey::Alias(name))), Some(bytes)) => match serde_json::from_slice::<ModelAlias>(&bytes) {
                Ok(alias) => {
                    self.aliases.insert(name, alias.version);
                }
                Err(error) => tracing::warn!(%error, name, "an unreadable alias on models"),
            },
            (Some(Ok(ModelKey::Version(name))), None) => {
                self.versions.remove(&name);
            }
            (Some(Ok(ModelKey::Alias(name))), None) => {
                self.aliases.remove(&name);
            }
            (Some(Err(_)) | None, _) => {
                tracing::warn!(offset = record.offset, "a record on models without a key of the registry");
            }
        }
    }

    /// The version that an alias points to.
    pub(crate) fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(String::as_str)
    }

    /// The artefact of a version.
    pub(crate) fn artifact(&self, version: &str) -> Option<&[u8]> {
        self.artifacts.get(self.versions.get(version)?).map(Vec::as_slice)
    }
}
