//! How a vehicle obeys: each command once, whatever is repeated and whoever is killed.
//!
//! A command is entered in the log, fsynced, before it is carried out, and its effect follows from the log: a process
//! that was killed in between has the interval, the properties and the new boot all the same. A repeated id is
//! answered as before, without acting. An id is remembered until the end of its command's life, when the command is
//! refused as expired; so the memory is bounded.

mod log;
mod memory;
mod obey;
#[cfg(test)]
mod tests;

pub use self::log::{Act, acts};
pub(crate) use self::{log::CommandLog, memory::Memory};
