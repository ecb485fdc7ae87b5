//! The anomaly detector: layout, window, network, track, judgement, artefact.
//!
//! Four public verbs: [`train`] · [`Detector::score`] · [`Detector::save`] · [`Detector::load`]. Trainer, scorer,
//! verification and tests all call these, so that training and serving can't drift apart. Four [`Kind`]s of detector
//! stand behind the same verbs; they differ only in what they expect of a signal.
//!
//! ```text
//! Record ─▶ Window ─▶ Query ─▶ network ─▶ Residual ─▶ Track ─▶ Judge ─▶ Judgement
//!           (raw, of no model)  (in batches)          (of one model)
//! ```
//!
//! A judgement is a pure function of the vehicle's readings over the last [`memory_ms`] of event time, with the
//! [`window::CARRY`] records before them, and of the artefact's bytes. Without the feature `torch` the crate still
//! reads artefacts and their cards ([`artifact`], [`card`]), and keeps windows.

// Without libtorch nothing is judged: what does that then only has to compile.
#![cfg_attr(not(feature = "torch"), allow(dead_code))]

pub mod artifact;
pub mod card;
pub mod drift;
mod error;
pub mod history;
mod kind;
pub mod layout;
mod track;
pub mod window;

mod baseline;
#[cfg(feature = "torch")]
pub mod control;
#[cfg(feature = "torch")]
mod detector;
mod family;
mod judge;
#[cfg(feature = "torch")]
mod network;
mod residual;
mod ring;
#[cfg(feature = "torch")]
mod rival;
mod scaler;
#[cfg(feature = "torch")]
mod score;
mod tail;
#[cfg(feature = "torch")]
#[cfg(test)]
mod tests;
#[cfg(feature = "torch")]
mod train;
mod view;

pub use card::{Card, Span};
pub use error::Error;
pub use history::{History, Recorded};
pub use judge::{HOLD_STEPS, Judgement, is_anomalous};
pub use kind::Kind;
pub use layout::{Layout, Values};
pub use residual::Residual;
pub use track::Track;
pub use view::View;
pub use window::{Query, Reading, Window};

#[cfg(feature = "torch")]
pub use {
    detector::{Detector, Question},
    rival::{Losses, SEED_SPREAD, judged_by_both, losses},
    score::score,
    train::{Options, SAMPLE, STEPS, Split, calibrate, keeps_its_promise, train},
};

/// The length of the blocks of time whose largest scores set the limit, ms: a minute at a reading every 10 s.
pub fn block_ms(layout: &Layout) -> i64 {
    window::FINE * layout.step_ms()
}

/// L: a judgement depends on readings that are at most so much older, in event time, ms. Readings before a window's
/// horizon, itself before a track's.
pub fn memory_ms(layout: &Layout) -> i64 {
    (track::HORIZON + window::HORIZON) * layout.step_ms()
}
