//! The judge: compares what the vehicles wrote down with what Kafka, MongoDB and the technicians hold.
//!
//! It reads with consumers of its own and trusts no counter of the product; only G4, which *is* about counters,
//! looks at tallies.

mod alarms;
mod alerts;
mod conservation;
mod durability;
mod lifecycle;
mod rebuilt;
mod scores;

pub use alarms::{Alarms, Detection, judge_alarms};
pub use alerts::{Alerts, Received, Step, judge_alerts, read_alerts};
pub use conservation::judge_tallies;
pub use durability::{Facts, judge_ledger, judge_replay, judge_twins};
pub use rebuilt::judge_rebuilt;
pub use scores::Scores;
