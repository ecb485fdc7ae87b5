//! Roles and tools of the cloud side, behind one command line.
//!
//! Nothing is decided here: [`command`] names the roles and tools, [`start`] hands each its flags, its process
//! and its stop signal. `alerts` is the one tool that lives here, because it is a client of the gateway, not a
//! part of a role.

pub mod alerts;
mod arithmetic;
pub mod command;
pub mod topology;

pub use arithmetic::pin_arithmetic;
pub use command::{Arguments, Command, check, start};
