//! The events that travel between the roles, all as JSON: one file each.
//!
//! Readers ignore fields that they do not know; identifiers of derived events are functions of their input.

mod ack;
mod alert;
mod command;
mod drift;
mod model;
mod registry;
mod score;
mod status;

pub use ack::{Ack, AckedRange, MAX_ACK_BYTES, MAX_ACK_HASHES, MAX_ACK_RANGES};
pub use alert::{AlertAction, AlertCommand, AlertEvent, AlertId, AlertState, Episode, InvalidAlertId, Severity};
pub use command::{
    CommandHead, CommandReply, MAX_COMMAND_BYTES, MAX_COMMAND_LIFE_MS, PropertyName, VehicleCommand, VehicleCommandKind,
};
pub use drift::{Drift, DriftSign, SignalShift};
pub use model::{ModelAlias, ModelEvent, ModelKey, ModelVersion};
pub use registry::Registry;
pub use score::{Contribution, Score, Source, Verdict};
pub use status::{Status, StatusState};
