//! Roles and tools of the cloud side, behind one command line.
//!
//! Nothing is decided here: [`command`] names the roles and tools, [`start`] hands each its flags, its process
//! and its stop signal. `alerts` and `commands` are the tools that live here: a client of the gateway and one of the
//! edge, not parts of a role.

pub mod alerts;
mod arithmetic;
pub mod command;
pub mod commands;
pub mod topology;

pub use arithmetic::pin_arithmetic;
pub use command::{Arguments, Command, check, start};
