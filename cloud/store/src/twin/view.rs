//! What readers see of a twin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use telemetry::{Position, UnixMillis, VehicleId, event::StatusState};

use super::TwinUpdate;
use crate::{SignalKey, Stamp};

/// A vehicle's current state: the fold of its records in the order of (boot, sequence).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// Whose.
    pub vehicle: VehicleId,
    /// The newest reading; none if only the connection's status is known.
    pub last: Option<LastReading>,
    /// Values by VSS path.
    pub signals: BTreeMap<String, TwinSignal>,
    /// The last known position.
    pub position: Option<TwinPosition>,
    /// What the vehicle last said of its connection.
    pub status: Option<TwinStatus>,
}

/// Where and when the newest reading was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReading {
    /// Boot of the vehicle's unit.
    pub boot: u32,
    /// Sequence in the boot.
    pub seq: i64,
    /// Event time, ms.
    pub time: UnixMillis,
    /// Ingest time, ms.
    pub ingest: UnixMillis,
    /// Partition of `telemetry`.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

/// A signal's value and the event time of the reading that it is from, ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwinSignal {
    /// The value, in the catalogue's unit.
    pub value: crate::SignalValue,
    /// Event time, ms.
    pub time: UnixMillis,
}

/// A position and the event time of the reading that it is from, ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TwinPosition {
    /// Where.
    #[serde(flatten)]
    pub position: Position,
    /// Event time, ms.
    pub time: UnixMillis,
}

/// The connection's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinStatus {
    /// Online or offline.
    pub state: StatusState,
    /// Boot of the vehicle's unit.
    pub boot: u32,
    /// Event time, ms.
    pub time: UnixMillis,
    /// Software of the unit.
    pub software: Option<String>,
}

impl Twin {
    /// Whether the vehicle said that it is connected, and nothing ended that connection since.
    pub fn is_online(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.state == StatusState::Online)
    }
}

impl TwinUpdate {
    /// What readers see of these registers: the `full` record, overlaid by later changes.
    pub fn view(&self) -> Twin {
        let since = self.full.as_ref().map(|full| full.stamp);
        let later = |stamp: Stamp| since.is_none_or(|since| stamp > since);
        let mut signals = BTreeMap::new();
        let mut position = None;
        let mut last = None;
        if let Some(full) = &self.full {
            let signal = |(key, value): (&SignalKey, &crate::SignalValue)| {
                (key.path(), TwinSignal { value: value.clone(), time: full.time })
            };
            signals.extend(full.signals.iter().map(signal));
            position = full.position.map(|position| TwinPosition { position, time: full.time });
            last = Some(reading(full.stamp, full.time, full.ingest));
        }
        for (key, changed) in self.signals.iter().filter(|(_, changed)| later(changed.stamp)) {
            signals.insert(key.path(), TwinSignal { value: changed.value.clone(), time: changed.time });
        }
        if let Some(changed) = self.position.as_ref().filter(|changed| later(changed.stamp)) {
            position = Some(TwinPosition { position: changed.value, time: changed.time });
        }
        if let Some(newest) = self.change.filter(|newest| later(newest.stamp)) {
            last = Some(reading(newest.stamp, newest.time, newest.ingest));
        }
        let status = self.status.as_ref().map(|register| TwinStatus {
            state: register.state,
            boot: register.boot,
            time: register.time,
            software: register.software.clone(),
        });
        Twin { vehicle: self.vehicle.clone(), last, signals, position, status }
    }
}

fn reading(stamp: Stamp, time: UnixMillis, ingest: UnixMillis) -> LastReading {
    let Stamp { boot, seq, partition, offset } = stamp;
    LastReading { boot, seq, time, ingest, partition, offset }
}
