//! Training: what the history holds, a sample of it, the networks, baselines, tails, limit, and the gate.

mod acquaintance;
mod calibrate;
mod cross;
mod expectation;
mod fit;
mod folds;
mod gate;
mod sample;
mod seen;
mod strangers;
mod survey;
mod tails;
mod walk;

use evaluation::Bins;
use telemetry::UnixMillis;

use crate::{
    Card, Detector, Error, History, Kind, Layout,
    artifact::{self, Artifact, FORM},
    card::{CardSignal, cpu_capability},
    detector::{shape, write_eyes, write_judge},
    judge::is_judged,
    memory_ms,
    network::{Network, Weights},
    scaler::Scaler,
    window::CARRY,
};

pub use self::gate::keeps_its_promise;
pub(crate) use self::survey::Survey;
use self::{calibrate::Calibrated, survey::Parts};

/// How history is parted in event time: the network and first baselines, the limit, and what is held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Split {
    /// Ends of the first two parts, as shares of the readings.
    Shares([f64; 2]),
    /// Ends of the first two parts, ms.
    Times([UnixMillis; 2]),
}

/// Windows that a network is fitted on, at most, unless somebody wants it otherwise.
pub const SAMPLE: usize = 1_000_000;
/// Steps of the optimiser, each over 256 windows, unless somebody wants it otherwise. With half of them two trainings found
/// 0.91 and 0.87 of the events of severity 1, where 0.9 is wanted (`make bench-detection FLAGS="--steps 4000"`).
pub const STEPS: u32 = 8_000;

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What to train.
    pub kind: Kind,
    /// Everything random follows from it.
    pub seed: u64,
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    pub budget_per_1000_h: f64,
    /// Alarms of a vehicle that are less than so many steps apart count once.
    pub merge_steps: i64,
    /// Windows that the network is fitted on, at most.
    pub sample: usize,
    /// Steps of the optimiser, each over 256 windows.
    pub steps: u32,
    /// Fewest readings to learn from.
    pub min_readings: u64,
    /// Fewest vehicles to learn from.
    pub min_vehicles: usize,
    /// How history is parted.
    pub split: Split,
    /// Threads. They do not change the result.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::LeaveOneOut,
            seed: 1,
            budget_per_1000_h: 20.0,
            merge_steps: 2_160,
            sample: SAMPLE,
            steps: STEPS,
            min_readings: 3_000,
            min_vehicles: 5,
            split: Split::Shares([0.5, 0.92]),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Learns from history. The same history and options give the same artefact, on the same class of CPU.
///
/// # Errors
/// [`Error::TooLittle`], or [`Error::Refused`] if the model fails its own calibration.
pub fn train(history: &dyn History, options: &Options) -> Result<Detector, Error> {
    let detector = learn(history, options)?;
    keeps_its_promise(detector.card())?;
    Ok(detector)
}

/// Sets baselines, tails and limit of a detector anew on this history; scaler and network stay. Networks for vehicles that
/// nothing is known of are fitted as in a training, so that it takes about as long.
///
/// # Errors
/// As [`train`], and [`Error::Malformed`] if history has another layout than the detector.
pub fn calibrate(detector: &Detector, history: &dyn History, options: &Options) -> Result<Detector, Error> {
    if history.layout().id() != detector.layout().id() {
        return Err(Error::Malformed("history and detector have other layouts".into()));
    }
    let (scaler, network) = detector.parts();
    let card = detector.card();
    let mut options = Options { kind: card.detector, seed: card.seed, ..options.clone() };
    if card.detector.is_learnt() {
        // What stands for the network's ignorance learns as long as it did.
        options.steps = u32::try_from(card.training_steps).unwrap_or(u32::MAX);
    }
    let survey = Survey::of(history, options.threads)?;
    let parts = survey.part(&options)?;
    let out_of_fold = if cross::pays(survey.training_steps(history.layout(), parts)) {
        let sample = sample::draw(history, &survey, parts, scaler, &options)?;
        cross::to_parts(&sample, scaler.len(), &options)?
    } else {
        Vec::new()
    };
    let fitted = (card.sample, u32::try_from(card.training_steps).unwrap_or(u32::MAX), card.loss);
    let detector = finish(history, &survey, parts, (scaler, network, &out_of_fold), &options, fitted)?;
    keeps_its_promise(detector.card())?;
    Ok(detector)
}

/// Learns and calibrates, whatever comes of it.
pub(crate) fn learn(history: &dyn History, options: &Options) -> Result<Detector, Error> {
    Learnt::from(history, options, true)?.calibrate(history, options)
}

/// What was learnt from history before it is calibrated.
pub(crate) struct Learnt {
    survey: Survey,
    parts: Parts,
    pub(crate) scaler: Scaler,
    pub(crate) network: Network,
    /// What was fitted without a part of the vehicles each, if anything.
    out_of_fold: Vec<Weights>,
    /// Windows, steps of the optimiser, loss.
    fitted: (u64, u32, [f64; 2]),
}

impl Learnt {
    /// `parted`: whether parts of the vehicles are to be judged by networks that have not learnt from them.
    pub(crate) fn from(history: &dyn History, options: &Options, parted: bool) -> Result<Self, Error> {
        let survey = Survey::of(history, options.threads)?;
        let parts = survey.part(options)?;
        let scaler = survey.scaler(history.layout(), parts);
        if scaler.len() < 2 {
            let text = format!("{} numeric signals with enough values; at least 2 are needed", scaler.len());
            return Err(Error::TooLittle(text));
        }
        if !survey.changes(parts, &scaler.inputs) {
            let text = format!(
                "none of the {} signals ever changes in the training part: there is nothing to learn; record vehicles at \
                 work, or widen the range",
                scaler.len()
            );
            return Err(Error::TooLittle(text));
        }
        let sample = sample::draw(history, &survey, parts, &scaler, options)?;
        let parted = parted && cross::pays(survey.training_steps(history.layout(), parts));
        let (fit::Fitted { network, loss, steps }, out_of_fold) =
            cross::to_all(&sample, scaler.len(), parted, options)?;
        let fitted = (sample.len() as u64, steps, loss);
        Ok(Self { survey, parts, scaler, network, out_of_fold, fitted })
    }

    pub(crate) fn calibrate(&self, history: &dyn History, options: &Options) -> Result<Detector, Error> {
        let networks = (&self.scaler, &self.network, &self.out_of_fold[..]);
        finish(history, &self.survey, self.parts, networks, options, self.fitted)
    }
}

/// Baselines, tails, limit and card for a scaler and a network, and from them the artefact; beside the network stand those
/// that were fitted without a part of the vehicles each, if there are any. Passes no judgement.
pub(crate) fn finish(
    history: &dyn History,
    survey: &Survey,
    parts: Parts,
    (scaler, network, out_of_fold): (&Scaler, &Network, &[Weights]),
    options: &Options,
    (sample, steps, loss): (u64, u32, [f64; 2]),
) -> Result<Detector, Error> {
    let weights = network.weights()?;
    let Calibrated { judge, calibration, explained } =
        calibrate::calibrate(history, survey, parts, (scaler, &weights, out_of_fold), options)?;
    let layout = history.layout();
    let card = Card {
        detector: options.kind,
        form: FORM,
        schema: artifact::schema_id(layout),
        layout: layout.write(),
        signals: signals(layout, survey, parts, scaler, &explained),
        memory_ms: memory_ms(layout),
        memory_records: u64::from(CARRY),
        network: shape(options.kind, scaler.len()),
        spans: history.spans().to_vec(),
        from_time: survey.from,
        to_time: survey.to,
        train_until: parts.train,
        limit_until: parts.limit,
        records: survey.readings,
        vehicles: history.vehicles().len() as u64,
        baselines: judge.baselines.vehicles.len() as u64,
        sample,
        training_steps: u64::from(steps),
        loss,
        calibration,
        seed: options.seed,
        cpu_capability: cpu_capability(),
        versions: [
            ("detector", env!("CARGO_PKG_VERSION")),
            ("tch", env!("TCH_VERSION")),
            ("libtorch", env!("LIBTORCH_VERSION")),
        ]
        .map(|(of, version)| format!("{of} {version}"))
        .to_vec(),
        tensors_sha256: None,
        uncalibrated: false,
    };
    let mut artifact = Artifact::new(card);
    write_eyes(&mut artifact, scaler, network)?;
    write_judge(&mut artifact, &judge);
    // What was saved is what scores: the trainer uses the very bytes that it publishes.
    Detector::load(&artifact.to_bytes()?)
}

fn signals(layout: &Layout, survey: &Survey, parts: Parts, scaler: &Scaler, explained: &[f64]) -> Vec<CardSignal> {
    let mut columns = survey.columns(layout, parts);
    let signal = |(input, at): (usize, &u16)| {
        let place = &layout.places()[usize::from(*at)];
        // An input has enough values, or it would be none.
        let bins = Bins::of(&mut columns[usize::from(*at)]).unwrap_or_default();
        CardSignal {
            path: place.path.to_string(),
            unit: place.unit.to_owned(),
            judged: is_judged(layout, *at),
            center: f64::from(scaler.center[input]),
            spread: f64::from(scaler.spread[input]),
            explained: explained[input],
            bins,
        }
    };
    scaler.inputs.iter().enumerate().map(signal).collect()
}
