//! How far a distribution has moved from the one that was learnt from: the population stability index (PSI) over ten bins.
//!
//! PSI = Σ (found − learnt) · ln(found / learnt) over the bins' shares; common usage reads below 0.1 as no change, above
//! 0.25 as a change worth a look (Siddiqi, Credit Risk Scorecards, 2006).

use serde::{Deserialize, Serialize};

/// Bins.
pub const BINS: usize = 10;
/// Of fewer values the index is mostly noise: its mean without any change is about (bins − 1) · (1/n + 1/m).
const LEAST_VALUES: u64 = 500;
/// No share is taken to be smaller: an empty bin says no more than that it is rare.
const LEAST_SHARE: f64 = 5e-4;

/// Counts of values by bin.
pub type Counts = [u64; BINS];

/// Ten bins and the share of the learnt values in each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bins {
    /// Inner bounds, ascending: the deciles of the learnt values. A value that equals a bound lies below it.
    pub bounds: [f64; BINS - 1],
    /// Shares of the learnt values by bin, whose sum is 1: a tenth each, but for values that occur often.
    pub shares: [f64; BINS],
}

impl Bins {
    /// Bins of what was learnt from; sorts the values. `None` without any. NaN must not be among them.
    pub fn of(values: &mut [f32]) -> Option<Self> {
        values.sort_unstable_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |tenth: usize| f64::from(values[(last as f64 * tenth as f64 / BINS as f64).round() as usize]);
        let mut bins = Self { bounds: std::array::from_fn(|n| at(n + 1)), shares: [0.0; BINS] };
        let mut counts = Counts::default();
        values.iter().for_each(|value| counts[bins.index(f64::from(*value))] += 1);
        bins.shares = counts.map(|count| count as f64 / values.len() as f64);
        Some(bins)
    }

    /// The bin of a value.
    pub fn index(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    /// The population stability index of what was counted; `None` of too few values.
    pub fn psi(&self, counts: &Counts) -> Option<f64> {
        let total: u64 = counts.iter().sum();
        let share = |share: f64| share.max(LEAST_SHARE);
        let term = |(learnt, count): (&f64, &u64)| {
            let (learnt, found) = (share(*learnt), share(*count as f64 / total as f64));
            (found - learnt) * (found / learnt).ln()
        };
        (total >= LEAST_VALUES).then(|| self.shares.iter().zip(counts).map(term).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(bins: &Bins, values: impl Iterator<Item = f32>) -> Counts {
        let mut counts = Counts::default();
        values.for_each(|value| counts[bins.index(f64::from(value))] += 1);
        counts
    }

    #[test]
    fn the_same_distribution_has_none_and_a_moved_one_has_what_the_formula_says() {
        let even = || (0..1_000_u16).map(f32::from);
        let bins = Bins::of(&mut even().collect::<Vec<_>>()).unwrap();
        assert!(bins.shares.iter().all(|share| (share - 0.1).abs() < 0.002), "{bins:?}");
        assert!(bins.psi(&counts(&bins, even())).unwrap() < 1e-9);
        // Everything in the upper half: five bins of 0.2 instead of 0.1, five of nearly nothing.
        let moved = bins.psi(&counts(&bins, (0..1_000_u16).map(|n| 500.0 + f32::from(n) / 2.0))).unwrap();
        let exact = 5.0 * (0.1 * 2_f64.ln()) + 5.0 * ((0.1 - LEAST_SHARE) * (0.1 / LEAST_SHARE).ln());
        assert!((moved - exact).abs() < 0.1, "{moved} for {exact}");
        assert_eq!(bins.psi(&counts(&bins, (0..499_u16).map(f32::from))), None, "too few");
    }

    #[test]
    fn values_that_occur_often_are_no_change_as_long_as_they_stay_as_often() {
        let of = |ones: u16| (0..1_000_u16).map(move |n| f32::from(u8::from(n < ones)));
        let bins = Bins::of(&mut of(300).collect::<Vec<_>>()).unwrap();
        assert!(bins.psi(&counts(&bins, of(300))).unwrap() < 1e-9);
        assert!(bins.psi(&counts(&bins, of(700))).unwrap() > 0.25);
        let constant = Bins::of(&mut [4.0; 600]).unwrap();
        assert!(constant.psi(&counts(&constant, [4.0; 600].into_iter())).unwrap() < 1e-9);
        assert!(constant.psi(&counts(&constant, [5.0; 600].into_iter())).unwrap() > 1.0);
        assert_eq!(Bins::of(&mut []), None);
    }
}
