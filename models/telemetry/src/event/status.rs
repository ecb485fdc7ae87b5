//! Birth and will of a vehicle, on `v1/{vehicle}/status` and in `vehicle-status`.

use serde::{Deserialize, Serialize};

use crate::{UnixMillis, VehicleId, codec::object::objects_only};

/// Whether the vehicle is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// Birth: published after CONNACK.
    Online,
    /// The will, or a clean goodbye.
    Offline,
}

/// What a vehicle says of its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Status {
    /// Who.
    pub vehicle: VehicleId,
    /// The boot of its unit.
    pub boot: u32,
    /// Online or offline.
    pub state: StatusState,
    /// Event time, ms; a will carries the time of the connection that it was left at.
    pub time: UnixMillis,
    /// Software of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
}

objects_only!(Status);
