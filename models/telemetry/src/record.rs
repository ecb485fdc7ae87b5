//! The telemetry record, or *reading*: what one vehicle measured at one moment.

use crate::{Identity, Position, Signals, UnixMillis, VehicleId};

/// The schema version that this code writes. Readers accept it and the one before it (there is none yet).
pub const SCHEMA: u32 = 1;

/// Whether a record is the whole state or what changed since the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Every signal that the vehicle has. A boot starts with one.
    Full,
    /// Only what changed.
    Change,
}

impl Kind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Change => "change",
        }
    }
}

/// A telemetry record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The schema version that the sender wrote.
    pub schema: u32,
    /// The vehicle that measured.
    pub vehicle: VehicleId,
    /// See [`Identity::boot`].
    pub boot: u32,
    /// See [`Identity::seq`].
    pub seq: u64,
    /// Event time: when the vehicle measured, by its own clock.
    pub time: UnixMillis,
    /// Whole state or change.
    pub kind: Kind,
    /// The values.
    pub signals: Signals,
    /// Where, if known.
    pub position: Option<Position>,
}

impl Record {
    /// Vehicle, boot and sequence.
    pub fn identity(&self) -> Identity {
        Identity { vehicle: self.vehicle.clone(), boot: self.boot, seq: self.seq }
    }
}
