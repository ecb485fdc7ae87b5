//! The twin writer: keeps the current state of every vehicle, and its recent readings, in MongoDB.
//!
//! It folds each batch of records per vehicle ([`fold`], pure), writes at most one update per vehicle, and
//! commits its offsets only after MongoDB has acknowledged them: a crash repeats work, and repeated work
//! changes nothing. [`verify`] proves the result against an independent fold of the log.

mod config;
mod fold;
mod metrics;
mod naive;
mod role;
pub mod tools;
pub mod verify;

pub use config::Config;
pub use role::{READS, Role, WRITES, connect};

#[cfg(test)]
mod tests;
