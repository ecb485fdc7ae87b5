//! The benches: how fast the edge is and what it costs, beside other bridges on the same services and the same load
//! ([`edge`]), what a fleet of many thousand vehicles does to the whole ([`fleet`]), and what scoring costs ([`model`]).
//!
//! They judge nothing themselves: speed is what Kafka's append times say, CPU and memory what the kernel says, loss
//! what `motorcade-simulator audit` says. Another bridge or scorer comes in as a command line ([`contender`]) and is
//! started, killed and measured as ours is. A bench writes a report; [`page`] makes `BENCHMARKS.md` of the reports.

pub mod contender;
pub mod edge;
pub mod fleet;
pub mod goals;
pub mod load;
pub mod model;
pub mod page;
pub mod pin;
pub mod result;
pub mod rig;
pub mod source;
pub mod topic;
pub mod usage;

use std::io::Write;

/// Tells how far a bench is.
pub(crate) fn say(line: &str) {
    // Whoever read it may have gone.
    writeln!(std::io::stdout().lock(), "{line}").ok();
}
