//! The model card: what an artefact says about itself, for people and for the registry.

use serde::{Deserialize, Serialize};
use telemetry::UnixMillis;

/// A range of one partition of `telemetry` that was learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last.
    pub to: i64,
    /// Records learnt from.
    pub count: u64,
    /// XXH3-64, chained over the payloads in order of offset, 16 hexadecimal digits.
    pub hash: String,
}

/// What is known of one input signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardSignal {
    /// VSS path.
    pub path: String,
    /// Unit.
    pub unit: String,
    /// Whether it is judged or only context.
    pub judged: bool,
    /// Centre of the scaler, in the unit.
    pub center: f64,
    /// Spread of the scaler, in the unit.
    pub spread: f64,
    /// Typical distance of the reconstruction from the reading, in the unit.
    pub residual: f64,
    /// Share of the variance that the reconstruction explains while the signal itself is hidden, on readings
    /// after the training part.
    pub explained: f64,
    /// The averaged deviation, in spreads of the vehicle, that is a score of 1.
    pub limit: f64,
}

/// How the threshold was set, and how it held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    pub budget_per_1000_h: f64,
    /// Vehicle-hours that set the threshold.
    pub threshold_hours: f64,
    /// Vehicle-hours held out from that, later in event time.
    pub held_out_hours: f64,
    /// Runs of blocks of readings with a score of 1 or more in the held-out hours.
    pub held_out_alarms: u64,
    /// The largest number of alarms that the gate lets pass: twice the budget, or what chance makes of the budget in
    /// so few hours (99 %).
    pub allowed_alarms: u64,
    /// Held-out blocks of readings above the score that 5 % of the blocks exceeded which set the threshold. Alarms are
    /// too rare to count in a few hours; this shows in as few whether scores have grown since.
    pub tail_blocks: u64,
    /// The largest such number that the gate lets pass, by the same rule.
    pub allowed_tail_blocks: u64,
    /// The same as a rate.
    pub realised_per_1000_h: f64,
}

/// The card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The detector's name.
    pub detector: String,
    /// Form of the artefact.
    pub form: u32,
    /// Identity of the features.
    pub schema: String,
    /// The input signals.
    pub signals: Vec<CardSignal>,
    /// Readings that the network sees at once.
    pub steps: usize,
    /// Residuals averaged into one judgement.
    pub block: usize,
    /// L: records of a vehicle that a score depends on.
    pub memory: usize,
    /// Shape of the network.
    pub network: String,
    /// What was learnt from.
    pub spans: Vec<Span>,
    /// Event time of the first record, ms.
    pub from_time: UnixMillis,
    /// Event time of the last record, ms.
    pub to_time: UnixMillis,
    /// Records taken in.
    pub records: u64,
    /// Windows judged while calibrating.
    pub windows: u64,
    /// Vehicles.
    pub vehicles: u64,
    /// Vehicles with a baseline of their own.
    pub baselines: u64,
    /// Parts of the event time: network and first baselines, threshold, held out.
    pub split: [f64; 3],
    /// Steps of the optimiser.
    pub training_steps: u64,
    /// Loss over the first and the last tenth of the training.
    pub loss: [f64; 2],
    /// Loss of always expecting the centre with the signal's own spread.
    pub trivial_loss: f64,
    /// The threshold.
    pub calibration: Calibration,
    /// Seed of everything random.
    pub seed: u64,
    /// SHA-256 of the network's outputs for fixed inputs.
    pub golden: String,
    /// `ATEN_CPU_CAPABILITY` while training; same bits only within one class.
    pub cpu_capability: String,
    /// Versions of what computed it.
    pub versions: Vec<String>,
}
