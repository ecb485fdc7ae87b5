//! The model that a tool is told: a version, an alias, or an artefact file.

use std::path::Path;

use cloud_log::KafkaConfig;
use service::Error;

use crate::{Trained, alias::resolve, checked, registry};

/// Whether the name is a file's; a version has neither slash nor dot-suffix of one.
fn is_file(model: &str) -> bool {
    Path::new(model).is_file()
}

/// Checks that a name that can only be a file is one; opens no socket.
pub(super) fn check(model: &str) -> Result<(), Error> {
    if model.contains('/') && !is_file(model) {
        return Err(Error::BadInput(format!("{model}: no such file, and no name of a version or alias")));
    }
    Ok(())
}

/// Reads and loads it.
///
/// # Errors
/// [`Error::BadInput`] if there is none of that name or it does not load here.
pub(super) async fn load(kafka: &KafkaConfig, model: &str) -> Result<Trained, Error> {
    if is_file(model) {
        let bytes = std::fs::read(model).map_err(|error| Error::BadInput(format!("{model}: {error}")))?;
        return checked::load(model, bytes).await;
    }
    let registry = registry::read(kafka).await?;
    let version = resolve(&registry, model).map_err(Error::BadInput)?;
    checked::load(&version.version, registry::artifact_of(kafka, version).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_nowhere_is_told_before_kafka_is_asked() {
        assert_eq!(check("no/such.safetensors").unwrap_err().exit_code(), 65);
        check("champion").unwrap();
        check(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    }
}
