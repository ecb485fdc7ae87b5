//! `motorcade models register`: an artefact file becomes a version.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use cloud_log::{KafkaConfig, Producer};
use detector::{History, Options};
use serde_json::json;
use service::Error;
use telemetry::{event::Registry, kafka_topic::MAX_MESSAGE_BYTES};

use super::{
    moving::{CHAMPION, Moving, check_reason},
    print,
    replaying::{check_labels, read_labels},
};
use crate::{
    Trained,
    challenge::{Challenge, Standing, advice, challenge},
    checked, contest,
    due::Due,
    registry,
    replay::{Range, Replayed, Spooling, replay},
};

/// Register an artefact file as a version.
///
/// With `--promote` it goes through the same gate as what was trained here: it must keep its promise by its card, and beat
/// whoever holds the alias on the readings that its card says were held out, which are replayed. Exit code 1 where the
/// champion stays.
#[derive(Debug, Clone, clap::Args)]
pub struct RegisterArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The artefact: written by `models export`, or by models/python with weights of your own.
    pub file: PathBuf,
    /// Move the alias to it if it wins.
    #[arg(long)]
    pub promote: bool,
    /// Move the alias whether it wins or not; the reason is kept with the alias.
    #[arg(long, value_name = "REASON", requires = "promote")]
    pub force: Option<String>,
    /// Labels of `data import` or the simulator's truth: the two are then compared by the labelled events that they find.
    #[arg(long, value_name = "FILE", requires = "promote")]
    pub labels: Option<PathBuf>,
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
        check_reason(self.force.as_deref())?;
        self.moving.validate()
    }
}

/// Runs `models register`.
///
/// # Errors
/// [`Error::BadInput`] if the file can't be read or does not load here; nothing is then written.
pub async fn run_register(args: RegisterArgs) -> Result<(), Error> {
    args.validate()?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?.map(Arc::new);
    let name = args.file.display().to_string();
    let bytes = std::fs::read(&args.file).map_err(|error| Error::BadInput(format!("{name}: {error}")))?;
    let trained = checked::load(&name, bytes).await?;
    check_size(&name, trained.artifact.len())?;
    let registry = registry::read(&args.kafka).await?;
    let due = Due::of(&args.kafka, &registry, &trained).await?;
    let standing = if args.promote {
        // Before anything is written: what is not to be promoted by its card is not registered either.
        let replayed = rehearse(&args, &registry, &trained).await?;
        if let (Some(labels), Some(replayed)) = (&labels, &replayed) {
            check_labels(labels, replayed.history.vehicles())?;
        }
        let reason = args.moving.reason.as_deref().unwrap_or("models register");
        let (alias, force) = (args.moving.alias.as_str(), args.force.as_deref());
        let threads = Options::default().threads;
        let how = Challenge { alias, reason, force, replayed, labels, threads };
        Some(challenge(&Producer::connect(&args.kafka).await?, &args.kafka, &trained, how).await?)
    } else {
        due.write(&Producer::connect(&args.kafka).await?, &registry, &trained).await?;
        None
    };
    tell(&args.moving, &trained, due, standing.as_ref())
}

/// What the gate compares on; none where nobody is to be beaten. A card that does not keep its promise is refused here.
async fn rehearse(args: &RegisterArgs, registry: &Registry, trained: &Trained) -> Result<Option<Arc<Replayed>>, Error> {
    if args.force.is_some() {
        return Ok(None);
    }
    detector::keeps_its_promise(&trained.card).map_err(contest::failed)?;
    let holder = registry.aliases.get(&args.moving.alias);
    if holder.is_none_or(|holder| holder.version == trained.version) {
        return Ok(None);
    }
    let gone = |what: &str| {
        Error::BadInput(format!(
            "{what}; {} has to win on readings that were held out: train on what is there, or say why it is to be promoted \
             all the same (--force REASON)",
            trained.version
        ))
    };
    let spans: BTreeMap<_, _> = trained.card.spans.iter().map(|span| (span.partition, span.from..span.to)).collect();
    if spans.is_empty() {
        return Err(gone("its card names no readings"));
    }
    match replay(&args.kafka, &Range::Offsets(spans), &Spooling::default()).await {
        Ok(replayed) => Ok(Some(Arc::new(replayed))),
        Err(Error::BadInput(text)) => Err(gone(&text)),
        Err(error) => Err(error),
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

fn tell(moving: &Moving, trained: &Trained, due: Due, standing: Option<&Standing>) -> Result<(), Error> {
    let (Trained { version, .. }, alias) = (trained, &moving.alias);
    let (why, kept) = match standing {
        Some(Standing::Moved(why)) => (Some(why), None),
        Some(Standing::Kept { champion, reason }) => (Some(reason), Some(advice(version, alias, champion, reason))),
        Some(Standing::Unmoved) | None => (None, None),
    };
    if moving.json {
        print(
            &json!({
                "version": version,
                "registered": due != Due::Nothing,
                "alias": standing.map(|_| alias),
                "promoted": standing.is_some() && kept.is_none(),
                "reason": why,
                "card": trained.card,
            })
            .to_string(),
        )?;
    } else {
        print(&format!("{version} {}", due.said()))?;
        match standing {
            Some(Standing::Moved(why)) => print(&format!("{alias}: {version}: {why}"))?,
            Some(Standing::Unmoved) => print(&format!("{alias}: {version} already; nothing was moved"))?,
            Some(Standing::Kept { .. }) | None => {}
        }
    }
    kept.map_or(Ok(()), |text| Err(Error::VerdictFailed(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_would_not_take_is_refused_before() {
        check_size("a", 500_000).unwrap();
        let error = check_size("a", MAX_MESSAGE_BYTES as usize).unwrap_err();
        assert_eq!(error.exit_code(), 65);
    }
}
