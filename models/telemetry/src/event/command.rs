//! Commands to vehicles and their replies.

use serde::{Deserialize, Serialize};

use crate::{UnixMillis, VehicleId, codec::object::objects_only};

/// What a vehicle is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum VehicleCommandKind {
    /// Report every so many ms.
    SetReportingInterval {
        /// Interval, ms.
        interval_ms: u64,
    },
    /// Start again with a new boot.
    Reboot,
}

/// A command, on `vehicle-commands` and `v1/{vehicle}/command`. Carried out once per id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VehicleCommand {
    /// UUIDv7.
    pub id: uuid::Uuid,
    /// Who shall act.
    pub vehicle: VehicleId,
    /// What to do.
    #[serde(flatten)]
    pub kind: VehicleCommandKind,
    /// Not to be carried out after this time, ms.
    pub expires_at: UnixMillis,
}

/// The vehicle's answer, on `v1/{vehicle}/command/reply` and `command-replies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct CommandReply {
    /// The command's id.
    pub id: uuid::Uuid,
    /// Who answers.
    pub vehicle: VehicleId,
    /// Whether it was carried out.
    pub done: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

objects_only!(CommandReply);
