//! Fitting: the flags that say how, and the work on a thread of its own.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use detector::{Detector, History, Kind, Options, SAMPLE, STEPS, card::Calibration};
use evaluation::labels::Labels;
use service::Error;

use crate::{Choice, alias, contest, metrics, replay::Replayed, report};

/// How a model is fitted; shared by the role and the tools.
#[derive(Debug, Clone, clap::Args)]
pub struct Fitting {
    /// What to train: robust-z, pca, autoencoder, leave-one-out, or auto: of all of them the simplest that the best is
    /// not shown to beat.
    #[arg(long, env = "MOTORCADE_TRAINER_DETECTOR", default_value_t = Choice::One(Kind::LeaveOneOut))]
    pub detector: Choice,
    /// Everything random follows from it.
    #[arg(long, env = "MOTORCADE_TRAINER_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    #[arg(long, env = "MOTORCADE_TRAINER_ALARM_BUDGET", default_value_t = 20.0)]
    pub alarm_budget: f64,
    /// Steps of the optimiser, each over 256 windows.
    #[arg(long, env = "MOTORCADE_TRAINER_STEPS", default_value_t = STEPS)]
    pub steps: u32,
    /// Windows that the network is fitted on, at most.
    #[arg(long, env = "MOTORCADE_TRAINER_SAMPLE", default_value_t = SAMPLE)]
    pub sample: usize,
    /// Fewest vehicles to learn from.
    #[arg(long, env = "MOTORCADE_TRAINER_MIN_VEHICLES", default_value_t = 5)]
    pub min_vehicles: usize,
    /// The alias to move to the new version.
    #[arg(long, env = "MOTORCADE_TRAINER_ALIAS", default_value = "champion")]
    pub alias: String,
    /// Where to write the report.
    #[arg(long, env = "MOTORCADE_TRAINER_REPORT", value_name = "PATH")]
    pub report: Option<PathBuf>,
}

impl Fitting {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        if !(self.alarm_budget.is_finite() && self.alarm_budget > 0.0) {
            return Err(Error::Usage { flag: "alarm-budget", detail: "must be above 0".into() });
        }
        if self.steps < 10 {
            return Err(Error::Usage { flag: "steps", detail: "must be at least 10".into() });
        }
        if self.sample < 1_000 {
            return Err(Error::Usage { flag: "sample", detail: "must be at least 1000".into() });
        }
        if !alias::is_name(&self.alias) {
            return Err(Error::Usage { flag: "alias", detail: format!("{:?} is no name", self.alias) });
        }
        Ok(())
    }

    /// The first kind to train.
    pub(crate) fn first(&self) -> Kind {
        self.detector.kinds()[0]
    }

    pub(crate) fn options(&self, kind: Kind) -> Options {
        Options {
            kind,
            seed: self.seed,
            sample: self.sample,
            budget_per_1000_h: self.alarm_budget,
            steps: self.steps,
            min_vehicles: self.min_vehicles.max(1),
            ..Options::default()
        }
    }
}

/// A model that passed, as bytes: libtorch's tensors stay on the thread that made them.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The artefact.
    pub artifact: Vec<u8>,
    /// Its version.
    pub version: String,
    /// Its card.
    pub card: detector::Card,
}

impl From<&Detector> for Trained {
    fn from(detector: &Detector) -> Self {
        Self { artifact: detector.save(), version: detector.version().to_owned(), card: detector.card().clone() }
    }
}

/// Fits on a thread of its own and writes the report. Of several kinds the simplest comes out that the best is not shown
/// to beat.
///
/// # Errors
/// [`Error::VerdictFailed`] if the history is too short or no model passed its calibration.
pub async fn fit(replayed: Arc<Replayed>, fitting: &Fitting, labels: Option<Arc<Labels>>) -> Result<Trained, Error> {
    let fitting = fitting.clone();
    let task = tokio::task::spawn_blocking(move || {
        let started = SystemTime::now();
        let (records, vehicles) = (replayed.history.records(), replayed.history.vehicles().len());
        tracing::info!(records, vehicles, detector = %fitting.detector, "training");
        let result = learn(&replayed, &fitting, labels.as_deref());
        let seconds = started.elapsed().unwrap_or_default().as_secs_f64();
        metrics::trained(seconds, records);
        if let Some(path) = &fitting.report {
            report::write(path, &fitting, (started, seconds), &replayed, result.as_ref())?;
        }
        if let Ok(trained) = &result {
            let Calibration { limit, held_out_hours, held_out_alarms, allowed_alarms, .. } = trained.card.calibration;
            let version = &trained.version;
            tracing::info!(version, seconds, limit, held_out_hours, held_out_alarms, allowed_alarms, "trained");
        }
        result
    });
    task.await.map_err(anyhow::Error::from)?
}

fn learn(replayed: &Replayed, fitting: &Fitting, labels: Option<&Labels>) -> Result<Trained, Error> {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for kind in fitting.detector.kinds() {
        match detector::train(&replayed.history, &fitting.options(kind)) {
            Ok(detector) => candidates.push(Trained::from(&detector)),
            Err(error) => refused.push((kind, contest::failed(error))),
        }
    }
    if candidates.is_empty() {
        return Err(none_passed(refused));
    }
    for (kind, error) in &refused {
        tracing::info!(%kind, %error, "not trained");
    }
    let chosen = match candidates.len() {
        1 => 0,
        _ => contest::choose(&replayed.history, &candidates, labels, fitting.options(fitting.first()).threads)?,
    };
    Ok(candidates.swap_remove(chosen))
}

/// One error for those of all kinds, each reason once.
fn none_passed(refused: Vec<(Kind, Error)>) -> Error {
    let mut reasons: Vec<(Vec<String>, String)> = Vec::new();
    for (kind, error) in refused {
        let Error::VerdictFailed(reason) = error else { return error };
        match reasons.iter_mut().find(|(_, known)| *known == reason) {
            Some((kinds, _)) => kinds.push(kind.to_string()),
            None => reasons.push((vec![kind.to_string()], reason)),
        }
    }
    let text = match &reasons[..] {
        [(_, reason)] => reason.clone(),
        _ => reasons
            .iter()
            .map(|(kinds, reason)| format!("{}: {reason}", kinds.join(", ")))
            .collect::<Vec<_>>()
            .join("; "),
    };
    Error::VerdictFailed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_kinds_are_refused_for_is_said_once() {
        let refused = |reasons: &[&str]| {
            let all = Kind::ALL.into_iter().zip(reasons);
            none_passed(all.map(|(kind, reason)| (kind, Error::VerdictFailed((*reason).into()))).collect()).to_string()
        };
        assert_eq!(refused(&["too little", "too little"]), "too little");
        assert_eq!(refused(&["loss"]), "loss");
        let several = refused(&["alarms", "loss", "alarms"]);
        assert!(several.ends_with(": alarms; pca: loss") && several.starts_with("robust-z, "), "{several}");
        let broken = none_passed(vec![(Kind::Pca, Error::Internal(anyhow::anyhow!("no disk")))]);
        assert_eq!(broken.exit_code(), 70);
    }
}
