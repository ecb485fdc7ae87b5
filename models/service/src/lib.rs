//! The process shell of every executable: flags, logs, signals, admin listener, ready and tally lines, exit codes.
//!
//! It knows nothing of vehicles, MQTT or Kafka. Components use [`Error`], [`Tally`] and [`Backoff`]; only a
//! `main` uses [`run_checked`]. It is the one crate below `models/` that opens a socket and reads the environment, so
//! that three executables don't carry three copies of it.

mod address;
mod admin;
mod backoff;
mod error;
mod file;
mod flags;
mod heap;
mod readiness;
mod shell;
mod tally;
pub mod tls;
mod token;

pub use address::{Address, InvalidAddress};
pub use backoff::Backoff;
pub use error::Error;
pub use file::Presets;
pub use flags::{Flags, Grace};
pub use readiness::Readiness;
pub use shell::{Kind, Outcome, Process, run, run_checked, run_with_presets};
pub use tally::Tally;
pub use token::Token;
