//! The negative control: a detector whose network has forgotten what it learnt but which is calibrated like any
//! other. If such a model still finds faults, the network has no part in finding them.
//!
//! For tests and judges only: no command of the product publishes what is made here.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Detector, Error, History, Options,
    network::Network,
    train::{self, Survey},
};

/// Shuffles all weights inside each tensor, then sets baselines and limit anew on this history to the same budget.
/// The gate is left out: such a model would not pass it.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn shuffled(detector: &Detector, history: &dyn History, options: &Options, seed: u64) -> Result<Detector, Error> {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let (scaler, network) = detector.parts();
    let mut weights = network.weights()?;
    for (_, numbers) in weights.values_mut() {
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, draws.random_range(0..=at));
        }
    }
    let card = detector.card();
    let options = Options { kind: card.detector, ..options.clone() };
    let network = Network::of(card.detector, scaler.len(), &weights)?;
    let survey = Survey::of(history, options.threads)?;
    let parts = survey.part(&options)?;
    train::finish(
        history,
        &survey,
        parts,
        (scaler, &network),
        &options,
        (card.sample, card.training_steps as u32, card.loss),
    )
}

/// Trains without the gate: to look at a model that was refused.
///
/// # Errors
/// As [`crate::train`], less its refusals.
pub fn ungated(history: &dyn History, options: &Options) -> Result<Detector, Error> {
    train::learn(history, options)
}
