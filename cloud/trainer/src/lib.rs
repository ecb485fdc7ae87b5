//! The trainer: replays recorded telemetry, fits the detector, publishes what passes its own calibration.
//!
//! As a role it follows `telemetry` until enough history is there, replays exactly what was there then, trains and
//! publishes, and from then on watches for drift; as a tool ([`tools`]) it trains once. Publishing moves an alias on
//! `models`; scorers follow that.

pub mod alias;
mod challenge;
mod checked;
mod choice;
mod contest;
mod drift;
mod due;
mod evidence;
mod fitting;
mod gate;
mod metrics;
pub mod publish;
pub mod registry;
pub mod replay;
mod report;
mod role;
mod schedule;
pub mod spool;
pub mod tools;
mod unscored;

pub use crate::{
    choice::Choice,
    fitting::{Fitting, Trained, fit},
    role::{Config, Trainer, connect},
};
