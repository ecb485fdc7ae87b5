//! When readings are due in a load whose rate changes while it runs: as [`Arrivals`] say, and from some time on as
//! other ones do. Pure: a reading's time follows from its number alone, however late it is asked for.

use super::arrivals::Arrivals;

/// See the module. What came before the last phase is counted when that begins: a load that has changed often is asked
/// as fast as one that never has.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Growing.
    phases: Vec<Phase>,
    /// Vehicles before each of these have one reading more in a phase that has ended. Growing.
    ahead: Vec<u32>,
}

/// From one change to the next.
#[derive(Debug)]
struct Phase {
    /// When it begins, µs after the start.
    from_us: u64,
    /// None: nothing is due.
    arrivals: Option<Arrivals>,
    /// Readings that every vehicle had before it, but for those `ahead`.
    before: u64,
    /// Readings of every vehicle in it, once it has ended, and
    each: u64,
    /// how many vehicles, the first ones, have one more.
    ahead: u32,
}

impl Phase {
    fn new(from_us: u64, arrivals: Option<Arrivals>) -> Self {
        Self { from_us, arrivals, before: 0, each: 0, ahead: 0 }
    }

    /// Counts what is due until its end.
    fn end(&mut self, end_us: u64) {
        let Some(arrivals) = &self.arrivals else { return };
        let (fleet, turns) = turns(arrivals, end_us - self.from_us);
        self.each = turns / u64::from(fleet);
        // Less than the fleet.
        self.ahead = u32::try_from(turns % u64::from(fleet)).unwrap_or(0);
    }

    /// How many readings of a vehicle are due in it, once it has ended.
    fn readings(&self, vehicle: u32) -> u64 {
        self.each + u64::from(vehicle < self.ahead)
    }

    fn due_us(&self, vehicle: u32, n: u64) -> Option<u64> {
        let due = self.arrivals.as_ref()?.due_us(vehicle, u32::try_from(n).ok()?)?;
        Some(self.from_us + due)
    }
}

impl Schedule {
    pub(super) fn new(arrivals: Arrivals) -> Self {
        Self { phases: vec![Phase::new(0, Some(arrivals))], ahead: Vec::new() }
    }

    /// From `from_us` after the start on, the fleet makes so many readings in a second, evenly; 0: none. A change that
    /// comes before the one known last takes its place.
    pub(super) fn change(&mut self, from_us: u64, fleet: u32, per_s: u64) {
        self.phases.retain(|phase| phase.from_us < from_us);
        let mut next = Phase::new(from_us, None);
        if let Some(last) = self.phases.last_mut() {
            last.end(from_us);
            next.before = last.before + last.each;
        }
        next.arrivals = (per_s > 0).then_some(Arrivals::Even { fleet, us: 1_000_000, readings: per_s });
        self.ahead = self.phases.iter().map(|phase| phase.ahead).collect();
        self.ahead.sort_unstable();
        self.phases.push(next);
    }

    /// When the n-th reading (from 0) of a vehicle (its place in the fleet, from 0) is due, µs after the start.
    pub(super) fn due_us(&self, vehicle: u32, n: u32) -> Option<u64> {
        let (last, ended) = self.phases.split_last()?;
        let ahead = self.ahead.len() - self.ahead.partition_point(|ahead| *ahead <= vehicle);
        let (n, mut before) = (u64::from(n), last.before + ahead as u64);
        if n >= before {
            return last.due_us(vehicle, n - before);
        }
        // It is late.
        for phase in ended.iter().rev() {
            before -= phase.readings(vehicle);
            if n >= before {
                return phase.due_us(vehicle, n - before);
            }
        }
        None
    }
}

/// How large the fleet is, and how many of its readings are due in the first `us_long` µs.
fn turns(arrivals: &Arrivals, us_long: u64) -> (u32, u64) {
    match arrivals {
        Arrivals::Even { fleet, us, readings } => {
            let turns = (u128::from(us_long) * u128::from(*readings)).div_ceil(u128::from(*us));
            ((*fleet).max(1), u64::try_from(turns).unwrap_or(u64::MAX))
        }
        Arrivals::Curve { fleet, .. } => {
            let fleet = (*fleet).max(1);
            // Times grow with the turn: the first that is not in it says how many are.
            let (mut inside, mut outside) = (0, u64::from(fleet) * u64::from(u32::MAX));
            while inside < outside {
                let middle = inside + (outside - inside) / 2;
                // Both are below 2^32.
                let [vehicle, n] = [middle % u64::from(fleet), middle / u64::from(fleet)]
                    .map(|part| u32::try_from(part).unwrap_or(u32::MAX));
                if arrivals.due_us(vehicle, n).is_some_and(|due| due < us_long) {
                    inside = middle + 1;
                } else {
                    outside = middle;
                }
            }
            (fleet, inside)
        }
        // It follows no clock.
        Arrivals::Blast => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::arrivals::{Curve, Stretch};

    /// The same, one phase after the other from the first one on: slow, and plain to see.
    fn walked(phases: &[(u64, Option<Arrivals>)], vehicle: u32, mut n: u32) -> Option<u64> {
        let ends = phases[1..].iter().map(|(from, _)| Some(*from)).chain([None]);
        for ((from, arrivals), end) in phases.iter().zip(ends) {
            let due = |n| arrivals.as_ref().and_then(|arrivals| arrivals.due_us(vehicle, n)).map(|due| from + due);
            let Some(end) = end else { return due(n) };
            let inside = (0..=n).take_while(|n| due(*n).is_some_and(|due| due < end)).count();
            match u32::try_from(inside).unwrap() {
                inside if inside > n => return due(n),
                inside => n -= inside,
            }
        }
        None
    }

    fn all(schedule: &Schedule, fleet: u32, readings: u32) -> Vec<u64> {
        let due = (0..fleet).flat_map(|vehicle| (0..readings).filter_map(move |n| schedule.due_us(vehicle, n)));
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn each_phase_has_its_own_rate_and_a_pause_has_none() {
        let mut schedule = Schedule::new(Arrivals::Even { fleet: 4, us: 1_000_000, readings: 10 });
        schedule.change(1_000_000, 4, 0);
        schedule.change(2_000_000, 4, 20);
        schedule.change(3_000_000, 4, 0);
        let due = all(&schedule, 4, 100);
        assert_eq!(due.len(), 30);
        assert_eq!((due[0], due[9], due[10], due[29]), (0, 900_000, 2_000_000, 2_950_000));
        assert_eq!(schedule.due_us(0, 100), None);
    }

    #[test]
    fn a_change_that_comes_before_the_last_takes_its_place() {
        let mut schedule = Schedule::new(Arrivals::Even { fleet: 1, us: 1_000_000, readings: 10 });
        schedule.change(5_000_000, 1, 1_000);
        schedule.change(1_000_000, 1, 0);
        assert_eq!(all(&schedule, 1, 100).len(), 10);
    }

    #[test]
    fn a_change_after_a_curve_skips_nothing() {
        let curve = Curve::new(&[Stretch { us: 1_000_000, from: 0.0, to: 40.0 }], false);
        let mut schedule = Schedule::new(Arrivals::Curve { fleet: 3, curve });
        schedule.change(1_000_000, 3, 10);
        schedule.change(2_000_000, 3, 0);
        let due = all(&schedule, 3, 100);
        assert_eq!(due.len(), 20 + 10);
        assert_eq!((due[20], due[29]), (1_000_000, 1_900_000));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_reading_is_skipped_or_made_twice_by_a_change(
            fleet in 1_u32..20, rates in proptest::collection::vec(1_u64..500, 1..5), long in 1_u64..2_000_000,
        ) {
            let mut schedule = Schedule::new(Arrivals::Even { fleet, us: 1_000_000, readings: rates[0] });
            let mut expected = 0;
            for (phase, rate) in (0_u64..).zip(&rates) {
                if phase > 0 {
                    schedule.change(phase * long, fleet, *rate);
                }
                expected += (long * rate).div_ceil(1_000_000);
            }
            schedule.change(rates.len() as u64 * long, fleet, 0);
            let due = all(&schedule, fleet, u32::try_from(expected).unwrap() + 1);
            prop_assert_eq!(due.len() as u64, expected);
            for vehicle in 0..fleet {
                let own: Vec<_> = (0..100).map_while(|n| schedule.due_us(vehicle, n)).collect();
                prop_assert!(own.is_sorted());
            }
        }

        #[test]
        fn a_reading_is_due_when_the_phases_one_after_the_other_say(
            fleet in 1_u32..12,
            curved in any::<bool>(),
            first in 1_u64..200,
            // Some come before the one known last, and take its place.
            changes in proptest::collection::vec((0_u64..4_000_000, prop_oneof![Just(0), 1_u64..200]), 0..12),
        ) {
            let stretches = [Stretch { us: 700_000, from: 0.0, to: 90.0 }, Stretch { us: 300_000, from: 90.0, to: 5.0 }];
            let arrivals = match curved {
                true => Arrivals::Curve { fleet, curve: Curve::new(&stretches, first % 2 == 0) },
                false => Arrivals::Even { fleet, us: 1_000_000, readings: first },
            };
            let mut phases = vec![(0, Some(arrivals.clone()))];
            let mut schedule = Schedule::new(arrivals);
            for (from_us, per_s) in changes {
                schedule.change(from_us, fleet, per_s);
                phases.retain(|(from, _)| *from < from_us);
                let even = Arrivals::Even { fleet, us: 1_000_000, readings: per_s };
                phases.push((from_us, (per_s > 0).then_some(even)));
            }
            for vehicle in 0..fleet {
                for n in 0..120 {
                    prop_assert_eq!(schedule.due_us(vehicle, n), walked(&phases, vehicle, n), "{} {}", vehicle, n);
                }
            }
        }
    }
}
