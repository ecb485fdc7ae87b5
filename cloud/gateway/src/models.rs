//! The model registry as the page shows it: versions and aliases, without the artefacts.

use std::collections::BTreeMap;

use cloud_log::InRecord;
use serde::Serialize;
use telemetry::event::{ModelAlias, ModelKey, ModelVersion};

/// Versions and aliases.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Models {
    pub(crate) aliases: BTreeMap<String, ModelAlias>,
    pub(crate) versions: BTreeMap<String, ModelVersion>,
}

impl Models {
    /// Takes a record of `models`; an error names what can't be read.
    pub(crate) fn take(&mut self, record: &InRecord) -> Result<(), String> {
        let key = std::str::from_utf8(record.key.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
        let key: ModelKey = key.parse()?;
        match (key, record.payload.as_deref()) {
            (ModelKey::Artifact(_), _) => {}
            (ModelKey::Version(name), None) => {
                self.versions.remove(&name);
            }
            (ModelKey::Alias(name), None) => {
                self.aliases.remove(&name);
            }
            (ModelKey::Version(name), Some(payload)) => {
                let version = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
                self.versions.insert(name, version);
            }
            (ModelKey::Alias(name), Some(payload)) => {
                let alias = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
                self.aliases.insert(name, alias);
            }
        }
        Ok(())
    }
}
