//! `motorcade models calibrate`: baselines, tails and limit set anew, for weights that are there.

use std::{path::PathBuf, sync::Arc};

use cloud_log::{KafkaConfig, Producer};
use detector::{Detector, History, Options};
use serde_json::json;
use service::Error;

use super::{
    model,
    moving::Moving,
    print,
    replaying::{Replaying, check_labels, read_labels},
};
use crate::{
    Trained,
    challenge::{Challenge, Standing, advice, challenge},
    contest,
    due::Due,
    evidence::Evidence,
    registry,
    replay::Replayed,
};

/// Set baselines, tails and limit of a model anew.
///
/// The weights stay, for example those of an artefact that Python wrote; what they are held against comes from the range
/// that is replayed. What passes its calibration becomes a version of its own; the same weights and readings give the same
/// version, which is registered once. It takes about as long as a training: what vehicles are held against that nothing is
/// known of comes of networks that are fitted anew.
#[derive(Debug, Clone, clap::Args)]
pub struct CalibrateArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version, alias, or artefact file.
    pub model: String,
    /// What to replay.
    #[command(flatten)]
    pub replaying: Replaying,
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    #[arg(long, default_value_t = 20.0)]
    pub alarm_budget: f64,
    /// Fewest vehicles to calibrate with.
    #[arg(long, default_value_t = 5)]
    pub min_vehicles: usize,
    /// Challenge whoever holds the alias, which moves if the new version wins.
    #[arg(long)]
    pub promote: bool,
    /// Labels of `data import` or the simulator's truth: the two are then compared by the labelled events that they find.
    #[arg(long, value_name = "FILE", requires = "promote")]
    pub labels: Option<PathBuf>,
    /// The alias, and why it moves.
    #[command(flatten)]
    pub moving: Moving,
}

/// Runs `models calibrate`.
///
/// # Errors
/// [`Error::VerdictFailed`] if the model fails its calibration, or does not win.
pub async fn run_calibrate(args: CalibrateArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    args.moving.validate()?;
    args.replaying.validate()?;
    if !(args.alarm_budget.is_finite() && args.alarm_budget > 0.0) {
        return Err(Error::Usage { flag: "alarm-budget", detail: "must be above 0".into() });
    }
    model::check(&args.model)?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?.map(Arc::new);
    let known = model::load(&args.kafka, &args.model).await?;
    let replayed = Arc::new(args.replaying.replay(&args.kafka).await?);
    if let Some(labels) = &labels {
        check_labels(labels, replayed.history.vehicles())?;
    }
    let options =
        Options { budget_per_1000_h: args.alarm_budget, min_vehicles: args.min_vehicles.max(1), ..Options::default() };
    let threads = options.threads;
    let history = Arc::clone(&replayed);
    let calibrated = tokio::task::spawn_blocking(move || calibrate(&known, &history, &options));
    let calibrated = calibrated.await.map_err(anyhow::Error::from)??;
    let producer = Producer::connect(&args.kafka).await?;
    let (alias, json) = (&args.moving.alias, args.moving.json);
    let registry = registry::read(&args.kafka).await?;
    let due = Due::of(&args.kafka, &registry, &calibrated).await?;
    let standing = if args.promote {
        let reason = args.moving.reason.as_deref().unwrap_or("models calibrate");
        let how = Challenge { alias, reason, force: None, replayed: Some(replayed), labels, threads };
        Some(challenge(&producer, &args.kafka, &calibrated, how).await?)
    } else {
        due.write(&producer, &registry, &calibrated).await?;
        None
    };
    let evidence = Evidence::from(&calibrated.card);
    if json {
        let promoted = matches!(standing, Some(Standing::Moved(_) | Standing::Unmoved));
        print(
            &json!({"version": calibrated.version, "registered": due != Due::Nothing, "promoted": promoted,
                "promised_alarms": evidence.promised(), "card": calibrated.card})
            .to_string(),
        )?;
    } else {
        print(&format!("{} {}; {}", calibrated.version, due.said(), evidence.told()))?;
        evidence.warnings().try_for_each(|line| print(&line))?;
    }
    match standing {
        Some(Standing::Kept { champion, reason }) => {
            Err(Error::VerdictFailed(advice(&calibrated.version, alias, &champion, &reason)))
        }
        _ => Ok(()),
    }
}

fn calibrate(known: &Trained, replayed: &Replayed, options: &Options) -> Result<Trained, Error> {
    let detector = Detector::load(&known.artifact).map_err(contest::failed)?;
    // Seen through the model's own layout: the range may hold more signals, or come in other steps.
    let view = detector::View::new(&replayed.history, Arc::clone(detector.layout()));
    tracing::info!(records = replayed.history.records(), vehicles = view.vehicles().len(), "calibrating");
    Ok(Trained::from(&detector::calibrate(&detector, &view, options).map_err(contest::failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_is_the_champion_unless_another_is_named() {
        use clap::Parser;

        #[derive(Parser)]
        struct Command {
            #[command(flatten)]
            args: CalibrateArgs,
        }
        let args = Command::try_parse_from(["calibrate", "pca-1-ab"]).unwrap().args;
        assert_eq!((args.moving.alias.as_str(), args.promote), ("champion", false));
    }
}
