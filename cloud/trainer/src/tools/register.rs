//! `motorcade models register`: an artefact file becomes a version.

use std::path::PathBuf;

use cloud_log::{KafkaConfig, Producer};
use detector::artifact;
use serde_json::json;
use service::Error;
use telemetry::{event::Registry, kafka_topic::MAX_MESSAGE_BYTES};

use super::{
    moving::{CHAMPION, Moving},
    print,
};
use crate::{
    Trained,
    alias::{Move, promote},
    checked,
    publish::{self, now_ms},
    registry,
};

/// Register an artefact file as a version.
#[derive(Debug, Clone, clap::Args)]
pub struct RegisterArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The artefact: written by `models export`, or by models/python with weights of your own.
    pub file: PathBuf,
    /// Move the alias to it.
    #[arg(long)]
    pub promote: bool,
    /// The alias that `--promote` moves, and why.
    #[command(flatten)]
    pub moving: Moving,
}

impl RegisterArgs {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        // Clap can't say it: the flags are those of the tools that always move.
        if !self.promote && (self.moving.alias != CHAMPION || self.moving.reason.is_some()) {
            let flag = if self.moving.reason.is_some() { "reason" } else { "alias" };
            return Err(Error::Usage { flag, detail: "says something only with --promote".into() });
        }
        self.moving.validate()
    }
}

/// What is to be written for an artefact.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Artefact and version.
    All,
    /// The version is there, but its artefact is gone.
    Artefact,
    /// Nothing.
    Nothing,
}

/// Runs `models register`.
///
/// # Errors
/// [`Error::BadInput`] if the file can't be read or does not load here; nothing is then written.
pub async fn run_register(args: RegisterArgs) -> Result<(), Error> {
    args.validate()?;
    let name = args.file.display().to_string();
    let bytes = std::fs::read(&args.file).map_err(|error| Error::BadInput(format!("{name}: {error}")))?;
    let trained = checked::load(&name, bytes).await?;
    check_size(&name, trained.artifact.len())?;
    let mut registry = registry::read(&args.kafka).await?;
    let hash = artifact::hash(&trained.artifact);
    let held = registry::find_artifact(&args.kafka, &hash).await?;
    let due = due(&registry, &trained.version, &hash, held.as_deref() == Some(&trained.artifact[..]))
        .map_err(Error::BadInput)?;
    let planned = publish::version_of(&trained, now_ms())?;
    registry.versions.entry(planned.version.clone()).or_insert(planned);
    // Decided before anything is written: what can't be promoted as asked is not registered either.
    let reason = args.moving.reason.as_deref().unwrap_or("models register --promote");
    let moved = if args.promote {
        promote(&registry, &args.moving.alias, &trained.version, reason, now_ms()).map_err(Error::BadInput)?
    } else {
        None
    };
    if due != Due::Nothing || moved.is_some() {
        let producer = Producer::connect(&args.kafka).await?;
        match due {
            Due::All => {
                publish::publish_version(&producer, &trained).await?;
            }
            Due::Artefact => publish::publish_artifact(&producer, &trained).await?,
            Due::Nothing => {}
        }
        if let Some(moved) = &moved {
            publish::move_alias(&producer, moved).await?;
        }
    }
    tell(args.moving.json, &trained, &due, moved.as_ref())
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

fn check_size(name: &str, bytes: usize) -> Result<(), Error> {
    let most = MAX_MESSAGE_BYTES as usize - FOR_THE_REST;
    if bytes <= most {
        return Ok(());
    }
    let advice = "train on fewer vehicles: each has a baseline in it";
    Err(Error::BadInput(format!("{name}: {bytes} bytes, a record of Kafka takes {most}; {advice}")))
}

/// What a record holds beside the artefact: key, headers, the batch's frame.
const FOR_THE_REST: usize = 4 * 1024;

fn tell(as_json: bool, trained: &Trained, due: &Due, moved: Option<&Move>) -> Result<(), Error> {
    let Trained { version, .. } = trained;
    if as_json {
        return print(
            &json!({
                "version": version,
                "registered": *due != Due::Nothing,
                "alias": moved.map(|moved| &moved.alias),
                "previous": moved.and_then(|moved| moved.entry.previous.as_ref()),
                "card": trained.card,
            })
            .to_string(),
        );
    }
    let said = match due {
        Due::All => "registered",
        Due::Artefact => "registered again: its artefact was gone",
        Due::Nothing => "is registered already",
    };
    print(&format!("{version} {said}"))?;
    let Some(Move { alias, entry, .. }) = moved else { return Ok(()) };
    print(&format!("{alias}: {version}, before: {}", entry.previous.as_deref().unwrap_or("nothing")))
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

    #[test]
    fn what_kafka_would_not_take_is_refused_before() {
        check_size("a", 500_000).unwrap();
        let error = check_size("a", MAX_MESSAGE_BYTES as usize).unwrap_err();
        assert_eq!(error.exit_code(), 65);
    }
}
