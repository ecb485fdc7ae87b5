//! The anomaly detector: features, scaler, network, threshold, artefact.
//!
//! Four public verbs: [`train`] · [`Detector::score`] · [`Detector::save`] · [`Detector::load`]. Trainer, scorer,
//! verification and tests all call these, so that training and serving can't drift apart.
//!
//! The detector is a masked, windowed autoencoder: a reading's signals go in with one signal hidden, and that
//! signal is reconstructed from the others with its own spread. What a vehicle measured is compared with what the
//! rest of it lets one expect; the residuals of a block of readings are averaged and held against what that same
//! vehicle showed in training.
//!
//! A score is a pure function of the last [`features::MEMORY`] readings of a vehicle and of the artefact's bytes.
//! Without the feature `torch` the crate still reads artefacts and their cards ([`artifact`], [`card`]).

pub mod artifact;
#[cfg(feature = "torch")]
mod calibration;
pub mod card;
mod error;
pub mod features;
#[cfg(feature = "torch")]
mod scaler;

#[cfg(feature = "torch")]
pub mod control;
#[cfg(feature = "torch")]
mod detect;
#[cfg(feature = "torch")]
mod fit;
#[cfg(feature = "torch")]
mod history;
#[cfg(feature = "torch")]
mod network;
#[cfg(feature = "torch")]
#[cfg(test)]
mod tests;

pub use card::{Card, Span};
pub use error::Error;
pub use features::{Query, Window};

#[cfg(feature = "torch")]
pub use {
    detect::{Detector, Judgement},
    fit::{Options, train},
    history::History,
};

/// The detector's name: the first part of a version, the middle part of an alert's id.
pub const NAME: &str = "autoencoder";
