//! The model card: what an artefact says about itself, for people and for the registry.

use std::borrow::Cow;

use evaluation::Bins;
use serde::{Deserialize, Serialize};
use telemetry::{UnixMillis, kafka_topic::TELEMETRY};

use crate::{Kind, layout::Written};

/// A range of one partition that was learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Topic; older cards do not name it.
    #[serde(default = "telemetry")]
    pub kafka_topic: Cow<'static, str>,
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

/// The topic that all of an older card's spans belong to.
fn telemetry() -> Cow<'static, str> {
    TELEMETRY.into()
}

/// What is known of one input signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardSignal {
    /// VSS path, or a foreign one.
    pub path: String,
    /// Unit; empty where there is none or it is not known.
    pub unit: String,
    /// Whether it is judged or only context.
    pub judged: bool,
    /// Centre of the scaler, in the unit.
    pub center: f64,
    /// Spread of the scaler, in the unit.
    pub spread: f64,
    /// Share of the variance that the expectation from the other signals explains, on readings after the training
    /// part.
    pub explained: f64,
    /// How the training part's values are distributed, in the unit: what drift is measured against (PSI).
    pub bins: Bins,
}

/// How the limit was set, and how it held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    pub budget_per_1000_h: f64,
    /// Alarms of a vehicle that are less than this apart count once, ms.
    pub merge_ms: i64,
    /// Vehicle-hours that set the limit.
    pub limit_hours: f64,
    /// Alarms in these hours.
    pub limit_alarms: u64,
    /// −log₁₀ of the probability that is a score of 1.
    pub limit: f64,
    /// What other budgets would have given: alarms per 1,000 vehicle-hours, and the score that is their limit.
    pub other_budgets: Vec<(f64, f64)>,
    /// Vehicle-hours held out from that, later in event time.
    pub held_out_hours: f64,
    /// Alarms in the held-out hours.
    pub held_out_alarms: u64,
    /// The largest number of alarms that the gate lets pass: twice the budget, or what chance makes of the budget in
    /// so few hours (99 %).
    pub allowed_alarms: u64,
    /// The rate of the held-out hours.
    pub realised_per_1000_h: f64,
    /// Held-out blocks above the level that 5 % of the blocks exceeded which set the limit. Alarms are too rare to
    /// count in a few hours; this shows in as few whether levels have grown since.
    pub tail_blocks: u64,
    /// The largest such number that the gate lets pass, by the same rule.
    pub allowed_tail_blocks: u64,
    /// Mean negative logarithm of the likelihood of a signal's value on held-out readings, in units of the signals'
    /// own spread over all of history (Student-t, 4 degrees of freedom, head A).
    pub held_out_loss: f64,
    /// The same for expecting each signal's centre with its spread.
    pub trivial_loss: f64,
    /// How the largest scores of each minute of a vehicle ([`crate::block_ms`]) are distributed in the held-out hours: what
    /// drift is measured against. Small ones are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Bins>,
    /// The same for vehicles that have no baseline of their own. Cards of older forms do not have it.
    #[serde(default)]
    pub strangers: Strangers,
}

/// How the limit of vehicles without a baseline of their own was set, and how it held: by all vehicles, each held against
/// the baseline of a fleet without its fold. The budget is the same. Where there are networks that have not learnt from the
/// vehicle, what they see counts by half, and what the network itself sees by the other half.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Strangers {
    /// Networks that each saw a part of the vehicles which they had not learnt from. 0 in older cards, and where the history
    /// was too short for that or hung on one part of the vehicles: the limit then comes of what was learnt from alone.
    #[serde(default)]
    pub networks: u64,
    /// −log₁₀ of the probability that is a score of 1.
    pub limit: f64,
    /// Alarms in the hours that set it.
    pub limit_alarms: u64,
    /// Held-out vehicle-hours: of vehicles that come later, too.
    pub held_out_hours: f64,
    /// Alarms in the held-out hours.
    pub held_out_alarms: u64,
    /// The largest number of alarms in them that the budget and chance allow.
    pub allowed_alarms: u64,
    /// The rate of the held-out hours.
    pub realised_per_1000_h: f64,
}

impl Strangers {
    pub(crate) fn of(of: &Calibration, networks: usize) -> Self {
        Self {
            networks: networks as u64,
            limit: of.limit,
            limit_alarms: of.limit_alarms,
            held_out_hours: of.held_out_hours,
            held_out_alarms: of.held_out_alarms,
            allowed_alarms: of.allowed_alarms,
            realised_per_1000_h: of.realised_per_1000_h,
        }
    }
}

/// The card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The kind of detector.
    pub detector: Kind,
    /// Form of the artefact.
    pub form: u32,
    /// Identity of the features: layout and window.
    pub schema: String,
    /// What the layout is made of.
    pub layout: Written,
    /// The input signals.
    pub signals: Vec<CardSignal>,
    /// L: a score depends on readings of the vehicle that are at most so much older, in event time, ms …
    pub memory_ms: i64,
    /// … and on so many records before these, whose values may be carried.
    pub memory_records: u64,
    /// For people: shape of the network.
    pub network: String,
    /// What was learnt from.
    pub spans: Vec<Span>,
    /// Event time of the first record, ms.
    pub from_time: UnixMillis,
    /// Event time of the last record, ms.
    pub to_time: UnixMillis,
    /// The training part ends here, ms.
    pub train_until: UnixMillis,
    /// The part that set the limit ends here, ms; the rest is held out.
    pub limit_until: UnixMillis,
    /// Records taken in.
    pub records: u64,
    /// Vehicles.
    pub vehicles: u64,
    /// Vehicles with a baseline of their own.
    pub baselines: u64,
    /// Windows that the network was fitted on.
    pub sample: u64,
    /// Steps of the optimiser.
    pub training_steps: u64,
    /// Loss over the first and the last tenth of the training; 0 for kinds without an optimiser.
    pub loss: [f64; 2],
    /// The limit.
    pub calibration: Calibration,
    /// Seed of everything random.
    pub seed: u64,
    /// `ATEN_CPU_CAPABILITY` while training; same bits only within one class.
    pub cpu_capability: String,
    /// Versions of what computed it.
    pub versions: Vec<String>,
    /// SHA-256 over the tensors, set when they are written: one damaged byte is noticed, also where the golden vector does
    /// not reach. Older artefacts have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors_sha256: Option<String>,
    /// Whether baselines, tails, limit and the figures of what was held out belong to other weights than these:
    /// `models/python` writes weights, and `models calibrate` measures anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub uncalibrated: bool,
}

impl Card {
    /// Where this process computes in another class of CPU capability than the one that made the artefact: which. Scores may
    /// then differ in their last bits from those of a process in that class.
    pub fn other_cpu(&self) -> Option<(&str, String)> {
        let here = cpu_capability();
        (self.cpu_capability != here).then_some((&self.cpu_capability, here))
    }
}

/// What libtorch was told about the CPU before it loaded.
pub(crate) fn cpu_capability() -> String {
    std::env::var("ATEN_CPU_CAPABILITY").unwrap_or_else(|_| "not set".into())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(is: &bool) -> bool {
    !*is
}
