//! The model registry as every reader sees it: the fold of the topic `models`. Pure.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use super::{ModelAlias, ModelKey, ModelVersion};

/// Versions and aliases. Artefacts are large; whoever needs them keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Registry {
    /// By alias.
    pub aliases: BTreeMap<String, ModelAlias>,
    /// By name.
    pub versions: BTreeMap<String, ModelVersion>,
}

impl Registry {
    /// Takes the next record of `models` in and gives back its key. No payload: the entry is deleted.
    ///
    /// # Errors
    /// Says what can't be read; the registry is then as before.
    pub fn apply(&mut self, key: &[u8], payload: Option<&[u8]>) -> Result<ModelKey, String> {
        let key: ModelKey = std::str::from_utf8(key).map_err(|error| error.to_string())?.parse()?;
        match &key {
            ModelKey::Artifact(_) => {}
            ModelKey::Version(name) => put(&mut self.versions, name, payload)?,
            ModelKey::Alias(name) => put(&mut self.aliases, name, payload)?,
        }
        Ok(key)
    }

    /// The version that an alias points to.
    pub fn version_of(&self, alias: &str) -> Option<&ModelVersion> {
        self.versions.get(&self.aliases.get(alias)?.version)
    }
}

fn put<T: DeserializeOwned>(
    entries: &mut BTreeMap<String, T>,
    name: &str,
    payload: Option<&[u8]>,
) -> Result<(), String> {
    match payload {
        Some(payload) => {
            let entry = serde_json::from_slice(payload).map_err(|error| format!("{name}: {error}"))?;
            entries.insert(name.to_owned(), entry);
        }
        None => {
            entries.remove(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str) -> Vec<u8> {
        let version = ModelVersion {
            version: name.into(),
            detector: "autoencoder".into(),
            artifact: "ab12".into(),
            card: serde_json::Value::Null,
            time: 7,
        };
        serde_json::to_vec(&version).unwrap()
    }

    fn alias(version: &str) -> Vec<u8> {
        let alias = ModelAlias { version: version.into(), previous: None, reason: "test".into(), time: 8 };
        serde_json::to_vec(&alias).unwrap()
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_none_deletes() {
        let mut registry = Registry::default();
        for (key, payload) in [
            ("artifact/ab12", Some(vec![1, 2, 3])),
            ("version/one", Some(version("one"))),
            ("version/two", Some(version("two"))),
            ("alias/champion", Some(alias("one"))),
            ("alias/champion", Some(alias("two"))),
            ("version/one", None),
        ] {
            assert_eq!(registry.apply(key.as_bytes(), payload.as_deref()).unwrap().to_string(), key);
        }
        assert_eq!(registry.version_of("champion").unwrap().version, "two");
        assert_eq!(registry.versions.keys().collect::<Vec<_>>(), ["two"]);
        registry.apply(b"version/two", None).unwrap();
        assert_eq!(registry.version_of("champion"), None, "an alias of a version that is gone points to nothing");
    }

    #[test]
    fn what_can_not_be_read_changes_nothing() {
        let mut registry = Registry::default();
        registry.apply(b"alias/champion", Some(&alias("one"))).unwrap();
        let before = registry.clone();
        assert!(registry.apply(b"alias/champion", Some(b"{}")).unwrap_err().contains("champion"));
        assert!(registry.apply(b"weights/x", Some(b"{}")).is_err());
        assert!(registry.apply(b"\xff", None).is_err());
        assert_eq!(registry, before);
    }
}
