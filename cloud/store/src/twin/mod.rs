//! The twin: the current state of one vehicle as registers that converge.
//!
//! # Why it converges
//!
//! Records of a vehicle are totally ordered by their [`Stamp`] (boot, sequence, then place in the log). A
//! document holds one register `cur` with the greatest `full` record, and for each signal `s` one register
//! `sig.s` with the greatest `change` record that names `s`. A register is only ever replaced by a greater one
//! (`$max` on a sub-document whose first four fields are the stamp), and a maximum does not depend on the order
//! in which, or how often, or in which groups its arguments arrive: so the registers are a function of the
//! *set* of records. Readers see the signals of `cur`, overlaid by each `sig.s` whose stamp is greater than
//! that of `cur`. This is the fold of the log: let F be the last `full`. If the greatest change of `s` is
//! greater than F, it is the last of the later changes of `s`, which is what the fold ends with. If it is not,
//! no change of `s` is later than F, and the fold ends with F's value. A change below F is never seen again,
//! because F only grows; so a writer may leave it out ([`TwinUpdate::prune`]).

mod document;
mod view;

use std::collections::BTreeMap;

use telemetry::{Position, UnixMillis, VehicleId, event::StatusState};

pub use self::document::MAX_PAGE;
pub(crate) use self::document::{place, read_place, read_signals};
pub use self::view::{LastReading, Twin, TwinPosition, TwinSignal, TwinStatus};
use crate::{SignalKey, SignalValue, Stamp};

/// The greatest `full` record.
#[derive(Debug, Clone, PartialEq)]
pub struct Full {
    /// Its place in the order.
    pub stamp: Stamp,
    /// Event time, ms.
    pub time: UnixMillis,
    /// Ingest time, ms.
    pub ingest: UnixMillis,
    /// All of its values.
    pub signals: BTreeMap<SignalKey, SignalValue>,
    /// Where, if known.
    pub position: Option<Position>,
}

/// The greatest change of one signal, or of the position.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<V> {
    /// The change record's place in the order.
    pub stamp: Stamp,
    /// Its event time, ms.
    pub time: UnixMillis,
    /// The new value.
    pub value: V,
}

/// The greatest `change` record, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its place in the order.
    pub stamp: Stamp,
    /// Event time, ms.
    pub time: UnixMillis,
    /// Ingest time, ms.
    pub ingest: UnixMillis,
}

/// The greatest status. Ordered by boot, then the connection's time by the vehicle's clock; a will carries the
/// time of the connection that it was left at, and so ends just this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRegister {
    /// Boot of the vehicle's unit.
    pub boot: u32,
    /// Event time, ms.
    pub time: UnixMillis,
    /// Online or offline; offline is the greater.
    pub state: StatusState,
    /// Partition of `vehicle-status`.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
    /// Software of the unit.
    pub software: Option<String>,
}

impl StatusRegister {
    fn order(&self) -> (u32, UnixMillis, bool, i32, i64) {
        (self.boot, self.time, self.state == StatusState::Offline, self.partition, self.offset)
    }
}

/// Registers of one vehicle: what some of its records say. Merging two gives what both say together.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinUpdate {
    /// Whose.
    pub vehicle: VehicleId,
    /// The greatest `full` record.
    pub full: Option<Full>,
    /// Per signal the greatest change.
    pub signals: BTreeMap<SignalKey, Changed<SignalValue>>,
    /// The greatest change of the position.
    pub position: Option<Changed<Position>>,
    /// The greatest `change` record.
    pub change: Option<Newest>,
    /// The greatest status.
    pub status: Option<StatusRegister>,
}

impl TwinUpdate {
    /// Knows nothing yet.
    pub fn new(vehicle: VehicleId) -> Self {
        Self { vehicle, full: None, signals: BTreeMap::new(), position: None, change: None, status: None }
    }

    /// Takes the greater of each pair of registers.
    pub fn merge(&mut self, other: Self) {
        greater(&mut self.full, other.full, |full| full.stamp);
        greater(&mut self.position, other.position, |changed| changed.stamp);
        greater(&mut self.change, other.change, |newest| newest.stamp);
        greater(&mut self.status, other.status, StatusRegister::order);
        for (key, changed) in other.signals {
            match self.signals.entry(key) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(changed);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    if changed.stamp > entry.get().stamp {
                        entry.insert(changed);
                    }
                }
            }
        }
    }

    /// Leaves out the changes that no reader will ever see, because a later `full` record is known.
    pub fn prune(&mut self) {
        let Some(full) = self.full.as_ref().map(|full| full.stamp) else { return };
        self.signals.retain(|_, changed| changed.stamp > full);
        self.position.take_if(|changed| changed.stamp < full);
        self.change.take_if(|newest| newest.stamp < full);
    }
}

fn greater<T, K: Ord>(register: &mut Option<T>, other: Option<T>, order: impl Fn(&T) -> K) {
    if let Some(other) = other
        && register.as_ref().is_none_or(|known| order(&other) > order(known))
    {
        *register = Some(other);
    }
}

#[cfg(test)]
mod tests;
