//! Who has which fault, and when.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use super::{Course, Fault, FaultKind};
use crate::vehicle::FleetSeed;

/// The stream of the plan's draws; vehicles use the streams of their 32-bit indices.
pub(super) const STREAM: u64 = u64::MAX;
/// Vehicles per kind of fault, where the fleet is large enough.
const VEHICLES_PER_KIND: usize = 2;

/// All faults of a run, ascending by vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan {
    faults: Vec<Fault>,
}

impl FaultPlan {
    /// A healthy fleet.
    pub fn none() -> Self {
        Self::default()
    }

    /// Exactly these faults.
    pub fn of(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.vehicle_index, fault.from));
        Self { faults }
    }

    /// Faults for people to see: two distinct vehicles of `indices` per kind, each fault from a moment in the first half of
    /// `from` to `to` (ms since the epoch) and until `to`.
    ///
    /// No vehicle has two faults, and at least half of the fleet stays healthy: a fleet of fewer than four
    /// times as many vehicles as there are kinds gets fewer faults, one of every kind before a second one.
    pub fn demo(fleet: FleetSeed, indices: Range<u32>, from: UnixMillis, to: UnixMillis) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(fleet.seed);
        draws.set_stream(STREAM);
        let wanted = VEHICLES_PER_KIND * FaultKind::DEMO.len();
        let vehicles = indices.end.saturating_sub(indices.start);
        let count = wanted.min(vehicles as usize / 2);
        // Staggered: one slot per fault in the first half of the span, kinds in turn, with a draw inside it.
        let slot = ((to - from).max(0) / 2) as f64 / count.max(1) as f64;
        let mut faults: Vec<Fault> = Vec::with_capacity(count);
        while faults.len() < count {
            let vehicle_index = indices.start + below(&mut draws, vehicles);
            if faults.iter().any(|fault| fault.vehicle_index == vehicle_index) {
                continue;
            }
            let at = faults.len();
            let share = f64::from(below(&mut draws, 1 << 20)) / f64::from(1 << 20);
            let begin = from + ((at as f64 + share) * slot) as i64;
            let kind = FaultKind::DEMO[at % FaultKind::DEMO.len()];
            faults.push(Fault { kind, vehicle_index, from: begin, to, course: Course::Onset, percent: 100 });
        }
        Self::of(faults)
    }

    /// The same faults at the same times, each this much (percent) of the size in the table.
    #[must_use]
    pub fn sized(mut self, percent: u16) -> Self {
        self.faults.iter_mut().for_each(|fault| fault.percent = percent);
        self
    }

    /// All faults, ascending by vehicle.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The faults of a vehicle at any time, ascending by their beginning.
    pub fn of_vehicle(&self, index: u32) -> &[Fault] {
        let first = self.faults.partition_point(|fault| fault.vehicle_index < index);
        let count = self.faults[first..].partition_point(|fault| fault.vehicle_index == index);
        &self.faults[first..first + count]
    }
}

/// A draw from 0 to `bound` (exclusive). The bias of the multiplication is below 2⁻³².
pub(super) fn below(draws: &mut ChaCha8Rng, bound: u32) -> u32 {
    ((u128::from(draws.next_u64()) * u128::from(bound)) >> 64) as u32
}
