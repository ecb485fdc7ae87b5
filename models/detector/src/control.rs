//! Negative controls: a detector whose network has forgotten what it learnt but which is calibrated like any other (if such
//! a model still finds faults, the network has no part in finding them), and one whose limits for strangers were set on
//! vehicles that its network has learnt from.
//!
//! For tests and judges only: no command of the product publishes what is made here.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Detector, Error, History, Kind, Options,
    network::Network,
    train::{self, Learnt, Survey},
};

/// Shuffles all weights inside each tensor, then sets baselines and limit anew on this history to the same budget.
/// The gate is left out: such a model would not pass it. So are networks that could tell of strangers: they have learnt.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn shuffled(detector: &Detector, history: &dyn History, options: &Options, seed: u64) -> Result<Detector, Error> {
    let (scaler, network) = detector.parts();
    by_itself(detector, &shuffle(network, detector.card().detector, scaler.len(), seed)?, history, options)
}

/// Learns, then shuffles and calibrates as [`shuffled`] does: a calibration less than a training and `shuffled` after it.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn forgotten(history: &dyn History, options: &Options, seed: u64) -> Result<Detector, Error> {
    let mut learnt = Learnt::from(history, options, false)?;
    learnt.network = shuffle(&learnt.network, options.kind, learnt.scaler.len(), seed)?;
    learnt.calibrate(history, options)
}

fn shuffle(network: &Network, kind: Kind, inputs: usize, seed: u64) -> Result<Network, Error> {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = network.weights()?;
    for (_, numbers) in weights.values_mut() {
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, draws.random_range(0..=at));
        }
    }
    Network::of(kind, inputs, &weights)
}

/// Sets baselines, tails and limits anew on this history by the detector's own network alone: those for strangers too come
/// of vehicles that it has learnt from. What cross-fitting is good for shows beside this one.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn not_cross_fitted(detector: &Detector, history: &dyn History, options: &Options) -> Result<Detector, Error> {
    by_itself(detector, detector.parts().1, history, options)
}

fn by_itself(
    detector: &Detector,
    network: &Network,
    history: &dyn History,
    options: &Options,
) -> Result<Detector, Error> {
    let card = detector.card();
    let options = Options { kind: card.detector, ..options.clone() };
    let survey = Survey::of(history, options.threads)?;
    let parts = survey.part(&options)?;
    let fitted = (card.sample, card.training_steps as u32, card.loss);
    train::finish(history, &survey, parts, (detector.parts().0, network, &[]), &options, fitted)
}

/// Trains without the gate: to look at a model that was refused.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn ungated(history: &dyn History, options: &Options) -> Result<Detector, Error> {
    train::learn(history, options)
}
