//! The negative control: a detector whose network has forgotten what it learnt but which is calibrated like any
//! other. If such a model still finds faults, the network has no part in finding them.
//!
//! For tests and judges only; no command of the product leads here.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Detector, Error, History, Options,
    detect::Eyes,
    fit::{self, Parts},
    network::Network,
};

/// Shuffles all weights inside each tensor, then sets baselines and threshold anew on this history to the same
/// budget. The gate is left out: such a model would not pass it.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn shuffled(detector: &Detector, history: &History, options: &Options, seed: u64) -> Result<Detector, Error> {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = detector.eyes.network.weights()?;
    for numbers in weights.values_mut() {
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, draws.random_range(0..=at));
        }
    }
    let eyes = Eyes { scaler: detector.eyes.scaler.clone(), network: Network::of(&weights)? };
    let parts = Parts::of(history, options)?;
    let card = detector.card();
    fit::calibrate(history, &parts, &eyes, options, (card.loss, card.trivial_loss))
}

/// Trains without the gate: to look at a model that was refused.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn ungated(history: &History, options: &Options) -> Result<Detector, Error> {
    fit::learn(history, options)
}
