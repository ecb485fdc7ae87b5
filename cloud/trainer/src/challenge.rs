//! A model that passed its calibration challenges whoever holds the alias: it is registered, and the alias moves only if
//! the gate says so.

use std::sync::Arc;

use cloud_log::{KafkaConfig, Producer};
use evaluation::labels::Labels;
use service::Error;
use telemetry::event::{ModelEvent, Registry};

use crate::{
    Trained, checked, contest,
    due::Due,
    gate::{Champion, Decision, SILENT, decide},
    metrics, publish,
    replay::Replayed,
};

/// How to challenge.
pub(crate) struct Challenge<'a> {
    pub(crate) alias: &'a str,
    /// What the alias tells of a move, before the gate's reason.
    pub(crate) reason: &'a str,
    /// A person's reason to promote whatever the gate would say.
    pub(crate) force: Option<&'a str>,
    /// What both are compared on; none where nothing was replayed.
    pub(crate) replayed: Option<Arc<Replayed>>,
    pub(crate) labels: Option<Arc<Labels>>,
    pub(crate) threads: usize,
}

/// What became of the alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It points to the challenger now, and why.
    Moved(String),
    /// It pointed to the challenger already.
    Unmoved,
    /// It stays.
    Kept { champion: String, reason: String },
}

/// Registers what is not there yet of the challenger and moves the alias, or tells why not.
///
/// # Errors
/// If Kafka refuses, or the two can't be compared; the alias then stays.
pub(crate) async fn challenge(
    producer: &Producer,
    kafka: &KafkaConfig,
    challenger: &Trained,
    how: Challenge<'_>,
) -> Result<Standing, Error> {
    let registry = crate::registry::read(kafka).await?;
    let champion = match how.force {
        // A person has decided: nothing has to be computed.
        Some(_) => Champion::None,
        None => champion(kafka, &registry, challenger, &how).await?,
    };
    if champion == Champion::Same {
        Due::of(kafka, &registry, challenger).await?.write(producer, &registry, challenger).await?;
        return Ok(Standing::Unmoved);
    }
    match decide(&champion, how.force) {
        Decision::Promote(why) => {
            let reason = format!("{}: {why}", how.reason);
            publish::publish(producer, kafka, challenger, how.alias, &reason).await?;
            Ok(Standing::Moved(why))
        }
        Decision::Keep(reason) => {
            Due::of(kafka, &registry, challenger).await?.write(producer, &registry, challenger).await?;
            let champion = registry.aliases.get(how.alias).map(|alias| alias.version.clone()).unwrap_or_default();
            let event = ModelEvent::Kept {
                alias: how.alias.to_owned(),
                champion: champion.clone(),
                version: challenger.version.clone(),
                reason: reason.clone(),
                time: publish::now_ms(),
            };
            publish::tell(producer, &challenger.version, &event).await?;
            metrics::kept();
            // The reason is the caller's to tell.
            tracing::info!(version = challenger.version, champion, "registered; the champion stays");
            Ok(Standing::Kept { champion, reason })
        }
    }
}

/// Who holds the alias, and how it does beside the challenger.
async fn champion(
    kafka: &KafkaConfig,
    registry: &Registry,
    challenger: &Trained,
    how: &Challenge<'_>,
) -> Result<Champion, Error> {
    let Some(alias) = registry.aliases.get(how.alias) else { return Ok(Champion::None) };
    if alias.version == challenger.version {
        return Ok(Champion::Same);
    }
    let Some(version) = registry.version_of(how.alias) else {
        return Ok(Champion::Unusable(format!("{} is not on models any more", alias.version)));
    };
    let bytes = match crate::registry::artifact_of(kafka, version).await {
        Ok(bytes) => bytes,
        Err(Error::BadInput(why)) => return Ok(Champion::Unusable(why)),
        Err(error) => return Err(error),
    };
    let champion = match checked::load(&version.version, bytes).await {
        Ok(champion) => champion,
        Err(Error::BadInput(why)) => return Ok(Champion::Unusable(why)),
        Err(error) => return Err(error),
    };
    let Some(replayed) = how.replayed.clone() else { return Ok(Champion::None) };
    let (challenger, labels, threads) = (challenger.clone(), how.labels.clone(), how.threads);
    tracing::info!(champion = champion.version, challenger = challenger.version, "comparing on what was held out");
    let contest = move || contest::hold(&replayed.history, &challenger, &champion, labels.as_deref(), threads);
    tokio::task::spawn_blocking(contest).await.map_err(anyhow::Error::from)?
}

/// What to do where the champion stays, for people.
pub(crate) fn advice(version: &str, alias: &str, champion: &str, reason: &str) -> String {
    let next = if reason.starts_with(SILENT) {
        format!(
            "`motorcade models promote {version}` promotes it all the same, `--alias NAME` lets another alias point to it"
        )
    } else {
        format!("train on more or newer history, or `motorcade models promote {version}` if you know better")
    };
    format!("{version} is registered, but {alias} stays {champion}: {reason}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_champion_judged_nothing_more_history_is_no_advice() {
        let said = |reason: &str| advice("pca-2", "champion", "pca-1", reason);
        assert!(said("its loss is lower by 0.001").contains("more or newer history"));
        let silent = said(&format!("{SILENT}: steps of 1h"));
        assert!(
            silent.contains("models promote pca-2") && silent.contains("--alias") && !silent.contains("history"),
            "{silent}"
        );
    }
}
