//! `motorcade models train`: train once on recorded history.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use cloud_log::{KafkaConfig, Producer};
use detector::History;
use serde_json::json;
use service::Error;

use super::{
    moving::check_reason,
    print,
    replaying::{Replaying, check_labels, read_labels},
};
use crate::{
    Choice, Fitting,
    challenge::{Challenge, Standing, advice, challenge},
    contest,
    evidence::Evidence,
    fit,
    replay::Replayed,
};

/// Train once on recorded history.
///
/// With `--publish` the model is registered, and the alias moves to it if it beats whoever holds the alias on readings
/// that were held out; the first one only has to pass its calibration. Exit code 1 where the champion stays. Without
/// `--publish` it is only told how it does.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// How to fit.
    #[command(flatten)]
    pub fitting: Fitting,
    /// What to replay.
    #[command(flatten)]
    pub replaying: Replaying,
    /// Labels of `data import` or the simulator's truth: models are then compared by the labelled events that they find.
    /// They keep no reading out of what is learnt from, and matter only where models are compared: with `--publish`, or
    /// `--detector auto`.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Write a model that failed its calibration to this file, to look at with `models evaluate FILE`. It is still refused;
    /// of several kinds it is the simplest.
    #[arg(long, value_name = "FILE")]
    pub refused_out: Option<PathBuf>,
    /// Publish the model and, if it wins, move the alias to it.
    #[arg(long)]
    pub publish: bool,
    /// Move the alias whether it wins or not; the reason is kept with the alias.
    #[arg(long, value_name = "REASON", requires = "publish")]
    pub force: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `models train`.
///
/// # Errors
/// [`Error::VerdictFailed`] if the model was refused or did not win.
pub async fn run_train(args: TrainArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    args.fitting.validate()?;
    check_reason(args.force.as_deref())?;
    args.replaying.validate()?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?.map(Arc::new);
    if labels.is_some() && !args.publish && args.fitting.detector != Choice::Auto {
        tracing::warn!(
            "--labels compare models, they keep nothing out of training: without --publish they change nothing"
        );
    }
    let began = Instant::now();
    let replayed = Arc::new(args.replaying.replay(&args.kafka).await?);
    let replay_s = began.elapsed().as_secs_f64();
    if let Some(labels) = &labels {
        check_labels(labels, replayed.history.vehicles())?;
    }
    let records = replayed.history.records();
    let began = Instant::now();
    let trained = match (fit(Arc::clone(&replayed), &args.fitting, labels.clone()).await, &args.refused_out) {
        (Err(Error::VerdictFailed(reason)), Some(path)) => {
            write_refused(replayed, &args.fitting, path).await?;
            return Err(Error::VerdictFailed(format!("{reason}; written to {}", path.display())));
        }
        (trained, _) => trained?,
    };
    let fit_s = began.elapsed().as_secs_f64();
    let alias = &args.fitting.alias;
    let standing = if args.publish {
        let producer = Producer::connect(&args.kafka).await?;
        let how = Challenge {
            alias,
            reason: "models train",
            force: args.force.as_deref(),
            replayed: Some(replayed),
            labels,
            threads: args.fitting.options(args.fitting.first()).threads,
        };
        Some(challenge(&producer, &args.kafka, &trained, how).await?)
    } else {
        None
    };
    let kept = match &standing {
        Some(Standing::Kept { champion, reason }) => Some(advice(&trained.version, alias, champion, reason)),
        _ => None,
    };
    let evidence = Evidence::from(&trained.card);
    if args.json {
        let why = match &standing {
            Some(Standing::Moved(reason) | Standing::Kept { reason, .. }) => Some(reason),
            _ => None,
        };
        print(
            &json!({"version": trained.version, "published": standing.is_some(), "champion": standing.is_some() && kept.is_none(),
                "reason": why, "records": records, "replay_s": replay_s, "fit_s": fit_s,
                "promised_alarms": evidence.promised(), "card": trained.card})
            .to_string(),
        )?;
    } else {
        let said = match &standing {
            None => "trained, not kept (--publish keeps it)",
            Some(Standing::Kept { .. }) => "registered",
            Some(_) => "published",
        };
        print(&format!("{} {said}: {records} records, {}", trained.version, evidence.told()))?;
        evidence.warnings().try_for_each(|line| print(&line))?;
    }
    kept.map_or(Ok(()), |text| Err(Error::VerdictFailed(text)))
}

async fn write_refused(replayed: Arc<Replayed>, fitting: &Fitting, path: &Path) -> Result<(), Error> {
    let options = fitting.options(fitting.first());
    let learnt = tokio::task::spawn_blocking(move || {
        detector::control::ungated(&replayed.history, &options).map(|detector| detector.save()).map_err(contest::failed)
    });
    let bytes = learnt.await.map_err(anyhow::Error::from)??;
    std::fs::write(path, bytes).map_err(|error| Error::BadInput(format!("{}: {error}", path.display())))
}
