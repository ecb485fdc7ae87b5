//! When readings are due. Pure: the times stand before anything is sent, whatever becomes of the system under load, so
//! that a slow one shows in the latencies and not in a lighter load (no coordinated omission).
//!
//! The readings of the fleet are numbered in turn, one vehicle after the other, and the k-th is due when the area under
//! the curve of the fleet's rate has grown to k. So every profile is a curve of straight pieces, every vehicle finds
//! its own times by itself, and none of them takes memory.

use serde::{Deserialize, Serialize};

/// When readings are due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Arrivals {
    /// One after the other, evenly: the n-th of vehicle i of f is due at (n × f + i) × `us` / `readings`. Open loop:
    /// the times stand before anything is sent, and a late reading keeps its own.
    Even {
        /// Vehicles of the whole fleet.
        fleet: u32,
        /// So many µs
        us: u64,
        /// for so many readings of the fleet.
        readings: u64,
    },
    /// As [`Arrivals::Even`], at a rate that changes.
    Curve {
        /// Vehicles of the whole fleet.
        fleet: u32,
        /// The rate.
        curve: Curve,
    },
    /// Whenever the window has room: due when it is made.
    Blast,
}

impl Arrivals {
    /// When the n-th reading (from 0) of a vehicle (its place in the fleet, from 0) is due, µs after the start. None
    /// where that does not depend on the clock, or where it never is.
    pub fn due_us(&self, vehicle: u32, n: u32) -> Option<u64> {
        match self {
            Self::Even { fleet, us, readings } => {
                let turn = u128::from(n) * u128::from(*fleet) + u128::from(vehicle);
                u64::try_from(turn * u128::from(*us) / u128::from(*readings)).ok()
            }
            Self::Curve { fleet, curve } => curve.due_us(u64::from(n) * u64::from(*fleet) + u64::from(vehicle)),
            Self::Blast => None,
        }
    }
}

/// A part of a curve: so long, from one rate to another in a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Its length, µs, above 0.
    pub us: u64,
    /// Readings of the fleet in a second at its beginning,
    pub from: f64,
    /// and at its end.
    pub to: f64,
}

/// The rate of a fleet over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pieces: Vec<Piece>,
    /// It begins again after so long, with so many readings in each round: µs and count. None: its last rate stays.
    round: Option<(u64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Piece {
    /// When it begins, µs.
    at_us: u64,
    us: u64,
    /// Readings due before it.
    before: f64,
    /// Readings in a µs at its beginning, and by how much that grows in a µs.
    rate: f64,
    slope: f64,
}

/// Longer than any run, µs.
const ENDLESS_US: u64 = 1 << 50;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of weeks and counts of readings are far below 2^53"
)]
impl Curve {
    /// Over these stretches again and again where `cyclic`; otherwise the last rate stays. At least one stretch.
    pub fn new(stretches: &[Stretch], cyclic: bool) -> Self {
        let (mut at_us, mut before, mut pieces) = (0, 0.0, Vec::new());
        for Stretch { us, from, to } in stretches {
            let length = *us as f64;
            let (rate, end) = (from / 1e6, to / 1e6);
            pieces.push(Piece { at_us, us: *us, before, rate, slope: (end - rate) / length });
            at_us += us;
            before += (rate + end) / 2.0 * length;
        }
        let last = stretches.last().map_or(0.0, |stretch| stretch.to / 1e6);
        if !cyclic {
            pieces.push(Piece { at_us, us: ENDLESS_US, before, rate: last, slope: 0.0 });
        }
        Self { pieces, round: cyclic.then_some((at_us, before)) }
    }

    /// When the k-th reading of the fleet (from 0) is due, µs; none if it never is.
    fn due_us(&self, k: u64) -> Option<u64> {
        let (mut rest, mut begun_us) = (k as f64, 0);
        if let Some((us, readings)) = self.round {
            if readings <= 0.0 {
                return None;
            }
            let rounds = (rest / readings).floor();
            rest = (rest - rounds * readings).max(0.0);
            begun_us = rounds as u64 * us;
        }
        // The last one that begins with so many: one in which nothing is due comes before it.
        let at = self.pieces.partition_point(|piece| piece.before <= rest).checked_sub(1)?;
        let Piece { at_us, us, before, rate, slope } = self.pieces[at];
        let more = rest - before;
        // The root of slope/2 × t² + rate × t = more that does not cancel out.
        let t = 2.0 * more / (rate + (rate * rate + 2.0 * slope * more).max(0.0).sqrt());
        match (more > 0.0, t.is_finite()) {
            (true, true) => Some(begun_us + at_us + (t as u64).min(us)),
            (false, _) if rate > 0.0 || slope > 0.0 => Some(begun_us + at_us),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readings_of_a_fleet_are_due_one_after_the_other() {
        // Three readings in a ms: the gaps are even, and the rounding does not add up.
        let arrivals = Arrivals::Even { fleet: 4, us: 1_000_000, readings: 3_000 };
        let mut due: Vec<_> = (0..3_000)
            .flat_map(|n| (0..4).map(move |vehicle| (n, vehicle)))
            .map(|(n, v)| arrivals.due_us(v, n))
            .collect();
        assert_eq!(due[..4], [Some(0), Some(333), Some(666), Some(1_000)]);
        assert!(due.is_sorted());
        assert_eq!(due.pop(), Some(Some(11_999 * 1_000 / 3)));
        assert_eq!(Arrivals::Blast.due_us(1, 1), None);
    }

    const S: u64 = 1_000_000;

    fn in_each_second(curve: &Curve, seconds: usize) -> Vec<u64> {
        let mut counts = vec![0; seconds];
        for due in (0..).map_while(|k| curve.due_us(k)) {
            let Some(count) = counts.get_mut(usize::try_from(due / S).unwrap()) else { break };
            *count += 1;
        }
        counts
    }

    #[test]
    fn a_flat_curve_is_the_even_one() {
        let curve = Curve::new(&[Stretch { us: 7 * S, from: 250.0, to: 250.0 }], false);
        let even = Arrivals::Even { fleet: 1, us: S, readings: 250 };
        assert!((0..10_000_u32).all(|k| curve.due_us(k.into()).unwrap().abs_diff(even.due_us(0, k).unwrap()) <= 1));
    }

    #[test]
    fn a_ramp_grows_in_a_straight_line_and_then_stays() {
        let curve = Curve::new(&[Stretch { us: 10 * S, from: 0.0, to: 1_000.0 }], false);
        let counts = in_each_second(&curve, 12);
        let expected = [50, 150, 250, 350, 450, 550, 650, 750, 850, 950, 1_000, 1_000];
        assert!(counts.iter().zip(expected).all(|(count, expected)| count.abs_diff(expected) <= 1), "{counts:?}");
    }

    #[test]
    fn bursts_come_again_and_nothing_is_due_where_the_rate_is_nothing() {
        let stretches = [Stretch { us: 3 * S, from: 0.0, to: 0.0 }, Stretch { us: S, from: 100.0, to: 100.0 }];
        assert_eq!(in_each_second(&Curve::new(&stretches, true), 8), [0, 0, 0, 100, 0, 0, 0, 100]);
        let back = [stretches[1], stretches[0]];
        assert_eq!(in_each_second(&Curve::new(&back, false), 8), [100, 0, 0, 0, 0, 0, 0, 0], "and never again");
        assert_eq!(Curve::new(&[stretches[0]], true).due_us(0), None);
    }

    proptest! {
        #[test]
        fn no_reading_is_due_before_an_earlier_one_and_the_counts_are_the_area(
            stretches in prop::collection::vec((1..20_u64, 0..5_000_u32, 0..5_000_u32), 1..8),
            cyclic: bool,
        ) {
            let stretches: Vec<_> = stretches
                .into_iter()
                .map(|(s, from, to)| Stretch { us: s * S / 2, from: from.into(), to: to.into() })
                .collect();
            let curve = Curve::new(&stretches, cyclic);
            let due: Vec<_> = (0..100_000).map_while(|k| curve.due_us(k)).collect();
            prop_assert!(due.is_sorted());
            let (mut area, mut end) = (0.0, 0);
            for Stretch { us, from, to } in stretches {
                area += (from + to) / 2.0 * us as f64 / 1e6;
                end += us;
            }
            let before_end = due.partition_point(|due| *due < end);
            prop_assert!(due.len() == 100_000 && before_end == due.len() || (before_end as f64 - area).abs() <= 1.5);
        }
    }
}
