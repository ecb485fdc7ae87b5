//! The registry as scorers need it: with the artefacts.

use std::collections::{HashMap, VecDeque};

use cloud_log::{History, InRecord, KafkaConfig};
use service::Error;
use telemetry::{
    UnixMillis,
    event::{self, ModelKey},
    kafka_topic::MODELS,
};

/// Artefacts that are kept; of more, the one published first goes. It can be read again.
const MOST_ARTIFACTS: usize = 32;

/// What an alias asks for: a version, and the move that asked. After a rollback it is a version that has scored before,
/// so the version alone would not tell that it begins again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) version: String,
    pub(crate) since: UnixMillis,
}

/// Versions, aliases and the newest artefacts.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: event::Registry,
    artifacts: HashMap<String, Vec<u8>>,
    /// Hashes in the order of their publication.
    order: VecDeque<String>,
}

impl Registry {
    pub(crate) fn take(&mut self, record: InRecord) {
        let key = record.key.as_deref().unwrap_or_default();
        match (self.entries.apply(key, record.payload.as_deref()), record.payload) {
            (Ok(ModelKey::Artifact(hash)), payload) => self.keep(hash, payload.map(Vec::from)),
            (Ok(ModelKey::Version(_) | ModelKey::Alias(_)), _) => {}
            (Err(error), _) => tracing::warn!(offset = record.offset, error, "an unreadable record on models"),
        }
    }

    fn keep(&mut self, hash: String, payload: Option<Vec<u8>>) {
        self.order.retain(|known| *known != hash);
        let Some(bytes) = payload else {
            self.artifacts.remove(&hash);
            return;
        };
        self.order.push_back(hash.clone());
        self.artifacts.insert(hash, bytes);
        if self.order.len() > MOST_ARTIFACTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.artifacts.remove(&oldest);
        }
    }

    /// The version that an alias points to, and since when.
    pub(crate) fn alias(&self, name: &str) -> Option<Wanted> {
        let alias = self.entries.aliases.get(name)?;
        Some(Wanted { version: alias.version.clone(), since: alias.time })
    }

    /// The artefact of a version, if it is kept.
    pub(crate) fn artifact(&self, version: &str) -> Option<&[u8]> {
        self.artifacts.get(&self.entries.versions.get(version)?.artifact).map(Vec::as_slice)
    }

    /// The artefact of a version: one that is kept, or from the log once more. None where there is no such version, or its
    /// artefact is gone.
    ///
    /// # Errors
    /// If Kafka can't be reached.
    pub(crate) async fn find_artifact(&self, kafka: &KafkaConfig, version: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(kept) = self.artifact(version) {
            return Ok(Some(kept.to_vec()));
        }
        let Some(known) = self.entries.versions.get(version) else { return Ok(None) };
        let key = ModelKey::Artifact(known.artifact.clone()).to_string();
        Ok(History::newest(kafka, MODELS, &key).await?.map(Vec::from))
    }

    /// Whether a version is registered.
    pub(crate) fn knows(&self, version: &str) -> bool {
        self.entries.versions.contains_key(version)
    }
}
