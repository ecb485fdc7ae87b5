//! When readings are due in a load whose rate changes while it runs: as [`Arrivals`] say, and from some time on as
//! other ones do. Pure: a reading's time follows from its number alone, however late it is asked for.

use super::arrivals::Arrivals;

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    /// From when on, µs after the start, growing. None: nothing is due.
    phases: Vec<(u64, Option<Arrivals>)>,
}

impl Schedule {
    pub(super) fn new(arrivals: Arrivals) -> Self {
        Self { phases: vec![(0, Some(arrivals))] }
    }

    /// From `from_us` after the start on, the fleet makes so many readings in a second, evenly; 0: none. A change that
    /// comes before the one known last takes its place.
    pub(super) fn change(&mut self, from_us: u64, fleet: u32, per_s: u64) {
        self.phases.retain(|(from, _)| *from < from_us);
        let even = Arrivals::Even { fleet, us: 1_000_000, readings: per_s };
        self.phases.push((from_us, (per_s > 0).then_some(even)));
    }

    /// When the n-th reading (from 0) of a vehicle (its place in the fleet, from 0) is due, µs after the start.
    pub(super) fn due_us(&self, vehicle: u32, mut n: u32) -> Option<u64> {
        let ends = self.phases[1..].iter().map(|(from, _)| Some(*from)).chain([None]);
        for ((from, arrivals), end) in self.phases.iter().zip(ends) {
            let due = arrivals.as_ref().and_then(|arrivals| arrivals.due_us(vehicle, n)).map(|due| from + due);
            let Some(end) = end else { return due };
            if due.is_some_and(|due| due < end) {
                return due;
            }
            n = n.saturating_sub(arrivals.as_ref().map_or(0, |arrivals| in_phase(arrivals, vehicle, end - from)));
        }
        None
    }
}

/// How many readings of a vehicle are due in the first `us_long` µs.
fn in_phase(arrivals: &Arrivals, vehicle: u32, us_long: u64) -> u32 {
    if let Arrivals::Even { fleet, us, readings } = arrivals {
        let turns = (u128::from(us_long) * u128::from(*readings)).div_ceil(u128::from(*us));
        let own = turns.saturating_sub(vehicle.into()).div_ceil((*fleet).into());
        return u32::try_from(own).unwrap_or(u32::MAX);
    }
    // Times grow with the number: the first that is not in it says how many are.
    let (mut inside, mut outside) = (0, u32::MAX);
    while inside < outside {
        let middle = inside + (outside - inside) / 2;
        if arrivals.due_us(vehicle, middle).is_some_and(|due| due < us_long) {
            inside = middle + 1;
        } else {
            outside = middle;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::arrivals::{Curve, Stretch};

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
    }
}
