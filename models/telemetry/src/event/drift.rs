//! What was found of drift: how far the fleet has moved from the one that a model learnt from.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// What was found in one while.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Drift {
    /// The model whose scores and inputs were looked at.
    pub version: String,
    /// Event time at which the while begins, ms.
    pub from: UnixMillis,
    /// Event time at which it ends, ms.
    pub to: UnixMillis,
    /// Population stability index of each input signal; signals with too few values are left out.
    pub signals: Vec<SignalShift>,
    /// The same of the scores; none of too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores_psi: Option<f64>,
    /// Vehicle-hours that were scored.
    pub hours: f64,
    /// Alarms in these hours.
    pub alarms: u64,
    /// Alarms that the model promised for these hours.
    pub promised_alarms: f64,
    /// The signs of drift among these figures.
    pub signs: Vec<DriftSign>,
    /// Whether the signs ask for a new model.
    pub asks_for_training: bool,
}

/// How far a signal has moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalShift {
    /// The signal's path.
    pub signal: String,
    /// Population stability index.
    pub psi: f64,
    /// Whether it is never judged, only what others are expected from.
    pub context: bool,
}

/// A sign of drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftSign {
    /// A context signal has left the range that was learnt.
    Context,
    /// Scores are distributed otherwise than those of the held-out history.
    Scores,
    /// Far more alarms than promised, beyond chance.
    Alarms,
}
