//! What a vehicle remembers of commands, and what it makes of the next one. Pure: the clock is an argument.

use std::collections::BTreeMap;

use telemetry::{
    UnixMillis, Value, VehicleId,
    event::{CommandHead, CommandReply, PropertyName, VehicleCommand, VehicleCommandKind},
};
use uuid::Uuid;

use super::Act;

/// Ids that a vehicle remembers. Beyond it commands get no answer until older ones have expired, and come again.
pub(super) const MAX_REMEMBERED: usize = 1_000;
/// Properties that a vehicle keeps.
const MAX_PROPERTIES: usize = 64;
/// Reporting intervals that a vehicle takes, ms.
const INTERVALS: std::ops::RangeInclusive<u64> = 100..=86_400_000;
/// The longest text of an error, bytes.
const MAX_ERROR_BYTES: usize = 200;

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judgement {
    /// To be entered, then carried out.
    Act(Act),
    /// Carried out before: the same answer.
    Repeated(CommandReply),
    /// Not carried out, and why.
    Refused(CommandReply),
    /// The memory is full: no answer, it comes again.
    Full,
    /// Nobody can be answered.
    Unreadable,
}

/// What follows from the commands that were carried out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory {
    /// The deadline of each.
    ids: BTreeMap<Uuid, UnixMillis>,
    /// The reporting interval that was set last, ms.
    pub(crate) interval_ms: Option<u64>,
    /// Desired values.
    pub(crate) properties: BTreeMap<PropertyName, Value>,
}

impl Memory {
    /// What these, oldest first, leave behind.
    pub(crate) fn of<'a>(acts: impl IntoIterator<Item = &'a Act>) -> Self {
        let mut memory = Self::default();
        acts.into_iter().for_each(|act| memory.acted(act));
        memory
    }

    /// A command is being carried out.
    pub(crate) fn acted(&mut self, act: &Act) {
        self.ids.insert(act.id, act.deadline);
        match &act.kind {
            VehicleCommandKind::SetReportingInterval { interval_ms } => self.interval_ms = Some(*interval_ms),
            VehicleCommandKind::SetProperty { name, value } => {
                self.properties.insert(name.clone(), value.clone());
            }
            VehicleCommandKind::Reboot => {}
        }
    }

    /// Judges what came for `vehicle` at `now`, ms since the epoch.
    pub(crate) fn judge(&mut self, vehicle: &VehicleId, payload: &[u8], now: UnixMillis) -> Judgement {
        let Ok(head) = serde_json::from_slice::<CommandHead>(payload) else { return Judgement::Unreadable };
        let refused = |why: &str| {
            let error = Some(why[..why.floor_char_boundary(MAX_ERROR_BYTES)].to_owned());
            Judgement::Refused(CommandReply { id: head.id, vehicle: vehicle.clone(), done: false, error })
        };
        if head.vehicle != *vehicle {
            return refused("it is not for this vehicle");
        }
        if self.ids.contains_key(&head.id) {
            return Judgement::Repeated(done(vehicle, head.id));
        }
        let deadline = head.deadline();
        if deadline <= now {
            return refused("it has expired");
        }
        let kind = match serde_json::from_slice::<VehicleCommand>(payload) {
            Ok(command) => command.kind,
            Err(error) => return refused(&format!("it is of no known kind: {error}")),
        };
        match &kind {
            VehicleCommandKind::SetReportingInterval { interval_ms } if !INTERVALS.contains(interval_ms) => {
                return refused(&format!("the interval is not {} to {} ms", INTERVALS.start(), INTERVALS.end()));
            }
            VehicleCommandKind::SetProperty { name, .. }
                if self.properties.len() >= MAX_PROPERTIES && !self.properties.contains_key(name) =>
            {
                return refused(&format!("{MAX_PROPERTIES} properties are set"));
            }
            _ => {}
        }
        if self.ids.len() >= MAX_REMEMBERED {
            self.ids.retain(|_, deadline| *deadline > now);
        }
        if self.ids.len() >= MAX_REMEMBERED {
            return Judgement::Full;
        }
        Judgement::Act(Act { id: head.id, deadline, at: now, kind })
    }
}

/// The answer to a command that was carried out.
pub(super) fn done(vehicle: &VehicleId, id: Uuid) -> CommandReply {
    CommandReply { id, vehicle: vehicle.clone(), done: true, error: None }
}
