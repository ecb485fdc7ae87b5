//! The tail of a statistic: how improbable a large value is in a healthy vehicle (peaks over a threshold). Pure.

use crate::track::STATISTICS;

/// The largest values make the tail: this share of all, where there are enough of them.
pub(crate) const SHARE: f64 = 0.02;
/// So many values make a tail; of few, a larger share of them.
const ENOUGH: f64 = 30.0;
/// The tail is never more than this share.
pub(crate) const MOST_SHARE: f64 = 0.1;
/// No tail is steeper than this, in spreads: of values that differ by the last bit nothing can be said about one that
/// differs by a twentieth of a spread.
const LEAST_SCALE: f64 = 0.05;
/// No tail is heavier than this.
const MOST_SHAPE: f64 = 0.5;
/// Fewer values say nothing about a tail.
pub(crate) const LEAST_VALUES: u64 = 120;

/// A generalised Pareto tail above a threshold; `from` is NaN where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tail {
    /// The threshold.
    pub(crate) from: f32,
    /// Share of the values above it.
    pub(crate) share: f32,
    pub(crate) scale: f32,
    pub(crate) shape: f32,
}

impl Tail {
    /// Nothing is known: no value is improbable.
    pub(crate) const NONE: Self = Self { from: f32::NAN, share: 1.0, scale: 1.0, shape: 0.0 };

    /// Fits the largest of `count` values, of which these are all that lie above some bound; at least `share` of all make
    /// the tail.
    ///
    /// Moments, with the shape held within 0 to 0.5: heavier tails than exponential, never a bounded one.
    pub(crate) fn fit(count: u64, largest: &mut [f32], share: f64) -> Self {
        if count < LEAST_VALUES || largest.is_empty() {
            return Self::NONE;
        }
        let share = (ENOUGH / count as f64).clamp(share, MOST_SHARE);
        largest.sort_unstable_by(|a, b| b.total_cmp(a));
        let wanted = ((share * count as f64) as usize).clamp(1, largest.len());
        let from = largest[wanted - 1];
        let excesses: Vec<f64> =
            largest.iter().take_while(|value| **value > from).map(|v| f64::from(v - from)).collect();
        if excesses.len() < 2 {
            // All alike: anything clearly larger is new.
            let scale = (f64::from(from.abs()) * 0.05).max(LEAST_SCALE) as f32;
            return Self { from, share: (wanted as f64 / count as f64) as f32, scale, shape: 0.0 };
        }
        let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
        let variance = excesses.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (excesses.len() - 1) as f64;
        let shape = (0.5 * (1.0 - mean * mean / variance.max(1e-12))).clamp(0.0, MOST_SHAPE);
        let scale = (mean * (1.0 - shape)).max(LEAST_SCALE);
        let share = (excesses.len() as f64 / count as f64) as f32;
        Self { from, share, scale: scale as f32, shape: shape as f32 }
    }

    /// Whether it is one that [`Tail::fit`] can give.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { from, share, scale, shape } = *self;
        let steep = scale.is_finite() && scale >= LEAST_SCALE as f32;
        !from.is_infinite() && steep && share > 0.0 && share <= 1.0 && (0.0..=MOST_SHAPE as f32).contains(&shape)
    }

    /// −log₁₀ of the share.
    pub(crate) fn at_threshold(&self) -> f32 {
        -self.share.log10()
    }

    /// See [`Level::of_value`].
    #[cfg(test)]
    pub(crate) fn level(&self, value: f32) -> f32 {
        Level::of(self).of_value(value)
    }
}

/// ln(1 + x) ≤ x, by more than the last bits that a logarithm may be off; of sound tails nothing overflows on the way.
const MOST_GROWTH: f32 = std::f32::consts::LOG10_E * 1.000_01;

/// A tail made ready to be asked often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    from: f32,
    at_threshold: f32,
    /// The level of 1 below the threshold.
    slope: f32,
    shape: f32,
    /// Parts of the scale.
    per_scale: f32,
}

impl Level {
    pub(crate) fn of(tail: &Tail) -> Self {
        let at_threshold = tail.at_threshold();
        // NaN, where nothing is known, stays NaN.
        let slope = at_threshold / if tail.from < 1e-6 { 1e-6 } else { tail.from };
        Self { from: tail.from, at_threshold, slope, shape: tail.shape, per_scale: 1.0 / tail.scale }
    }

    /// −log₁₀ of the probability that a healthy vehicle shows this value or a larger one; below the threshold a
    /// straight line towards it, which only keeps the order. NaN where nothing is known.
    pub(crate) fn of_value(&self, value: f32) -> f32 {
        self.above(value, f32::NEG_INFINITY).unwrap_or(f32::NAN)
    }

    /// The level of a value where it is above a floor; none where it is not, or where nothing is known. A logarithm is
    /// only taken where it may matter: of a reading's hundreds of levels a few do.
    pub(crate) fn above(&self, value: f32, floor: f32) -> Option<f32> {
        // Not larger, or not a number. Statistics are never below 0.
        let larger = value > self.from;
        let level = if larger {
            let excess = (value - self.from) * self.per_scale;
            if self.at_threshold + excess * MOST_GROWTH <= floor {
                return None;
            }
            let beyond = if self.shape < 1e-6 { excess } else { (self.shape * excess).ln_1p() / self.shape };
            self.at_threshold + beyond * std::f32::consts::LOG10_E
        } else {
            value * self.slope
        };
        (level > floor).then_some(level)
    }
}

/// Room for the statistics of a signal, a multiple of what a processor takes at once.
const LANES: usize = STATISTICS.next_multiple_of(4);

/// The levels of a signal's statistics, and bounds of all of them at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Levels {
    // As in a level, side by side.
    from: [f32; LANES],
    at_threshold: [f32; LANES],
    slope: [f32; LANES],
    shape: [f32; LANES],
    per_scale: [f32; LANES],
    /// How much a level grows at most with each unit above the threshold.
    growth: [f32; LANES],
}

impl Levels {
    pub(crate) fn of(tails: &[Tail; STATISTICS]) -> Self {
        let each: [Level; STATISTICS] = std::array::from_fn(|at| Level::of(&tails[at]));
        let lanes = |value: &dyn Fn(&Level) -> f32| std::array::from_fn(|at| each.get(at).map_or(f32::NAN, value));
        Self {
            from: lanes(&|level| level.from),
            at_threshold: lanes(&|level| level.at_threshold),
            slope: lanes(&|level| level.slope),
            shape: lanes(&|level| level.shape),
            per_scale: lanes(&|level| level.per_scale),
            growth: lanes(&|level| level.per_scale * MOST_GROWTH),
        }
    }

    fn level(&self, at: usize) -> Level {
        let Self { from, at_threshold, slope, shape, per_scale, .. } = self;
        let [from, at_threshold, slope, shape, per_scale] =
            [from, at_threshold, slope, shape, per_scale].map(|of| of[at]);
        Level { from, at_threshold, slope, shape, per_scale }
    }

    /// The largest level of these values that is above a floor, and which; the first of several. None where none is.
    pub(crate) fn largest_above(&self, values: &[f32; STATISTICS], floor: f32) -> Option<(usize, f32)> {
        if self.most(values) <= floor {
            return None;
        }
        let (mut floor, mut largest) = (floor, None);
        for (at, value) in values.iter().enumerate() {
            if let Some(level) = self.level(at).above(*value, floor) {
                floor = level;
                largest = Some((at, level));
            }
        }
        largest
    }

    /// No level of these values is above this: the bound of [`Level::above`], for all of them. Without branches: nearly every signal of a reading needs no more.
    fn most(&self, values: &[f32; STATISTICS]) -> f32 {
        let mut lanes = [f32::NAN; LANES];
        lanes[..STATISTICS].copy_from_slice(values);
        let mut most = [f32::NEG_INFINITY; LANES];
        for at in 0..LANES {
            let (value, from) = (lanes[at], self.from[at]);
            let above = self.at_threshold[at] + (value - from) * self.growth[at];
            let bound = if value > from { above } else { value * self.slope[at] };
            // What is not a number is not larger.
            most[at] = if bound > most[at] { bound } else { most[at] };
        }
        most.into_iter().fold(f32::NEG_INFINITY, |most, bound| if bound > most { bound } else { most })
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    // Constants are hidden from the compiler below: a logarithm that it works out beforehand may be a bit off from the one that is
    // taken while the test runs.

    /// The level by its definition: what the bounds must not change.
    fn defined(tail: &Tail, value: f32) -> f32 {
        let (at_threshold, from) = (-tail.share.log10(), if tail.from < 1e-6 { 1e-6 } else { tail.from });
        if value.is_nan() || tail.from.is_nan() || value <= tail.from {
            return value * (at_threshold / from);
        }
        let excess = (value - tail.from) * (1.0 / tail.scale);
        let beyond = if tail.shape < 1e-6 { excess } else { (tail.shape * excess).ln_1p() / tail.shape };
        at_threshold + beyond * std::f32::consts::LOG10_E
    }

    #[test]
    fn an_exponential_tail_is_extended() {
        // Quantiles of the exponential distribution with mean 1: P(X > x) = exp(-x).
        let mut values: Vec<f32> = (0..10_000_u16).map(|n| -((f32::from(n) + 0.5) / 10_000.0).ln()).collect();
        let tail = Tail::fit(10_000, &mut values, SHARE);
        for x in [4.5_f32, 6.0, 9.0, 12.0] {
            let (found, exact) = (tail.level(x), x * std::f32::consts::LOG10_E);
            assert!((found - exact).abs() < 0.4, "{x}: {found} for {exact}");
        }
        assert!(tail.level(1.0) < tail.level(2.0), "the order below the threshold");
        assert_eq!(tail.level(0.0), 0.0);
        assert!(tail.level(f32::NAN).is_nan());
    }

    #[test]
    fn values_that_differ_by_a_bit_do_not_make_all_others_impossible() {
        let alike = |bits: [u32; 4]| -> Vec<f32> {
            (0..200).map(|n| f32::from_bits(2.0_f32.to_bits() + bits[n % bits.len()])).collect()
        };
        for bits in [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 2, 3]] {
            let tail = Tail::fit(200, &mut alike(bits), SHARE);
            let (little, much) = (tail.level(2.1), tail.level(4.0));
            assert!(little < 3.0 && (5.0..30.0).contains(&much), "{tail:?}: {little} and {much}");
        }
    }

    #[test]
    fn the_largest_values_are_enough() {
        let mut all: Vec<f32> = (0..5_000_u16).map(|n| (f32::from(n) * 0.7548).fract().powi(3)).collect();
        let mut largest: Vec<f32> = all.iter().copied().filter(|v| *v > 0.5).collect();
        assert_eq!(Tail::fit(5_000, &mut all, SHARE), Tail::fit(5_000, &mut largest, SHARE));
    }

    #[test]
    fn a_level_above_a_floor_is_the_level_and_none_is_missed() {
        let tails = [0.0, 1e-7, 0.01, 0.2, 0.5].map(|shape| Tail { from: 1.5, share: 0.02, scale: 0.3, shape });
        let tails = black_box(tails);
        let mut found = [0, 0];
        for tail in tails {
            let (level, values) = (Level::of(&tail), (0..4_000_u16).map(|n| f32::from(n) * 0.003_7));
            for value in values {
                let exact = defined(&tail, value);
                assert_eq!(level.of_value(value).to_bits(), exact.to_bits());
                // On both sides of it, down to the next number.
                for floor in [exact * 0.5, exact.next_down(), exact, exact.next_up(), exact * 2.0 + 0.1] {
                    let above = level.above(value, floor);
                    assert_eq!(above, (exact > floor).then_some(exact), "{tail:?}, {value} above {floor}");
                    found[usize::from(above.is_some())] += 1;
                }
            }
        }
        assert!(found.iter().all(|count| *count > 30_000), "{found:?}");
        assert_eq!(Level::of(&Tail::NONE).above(5.0, -1.0), None);
    }

    #[test]
    fn the_largest_level_of_a_signal_is_found_above_any_floor() {
        let tails: [Tail; STATISTICS] = std::array::from_fn(|at| match at {
            3 => Tail::NONE,
            // Two of a kind; and thresholds and shares at their bounds.
            5 | 6 => Tail { from: 1.5, share: 0.02, scale: 0.6, shape: 0.25 },
            7 => Tail { from: 0.0, share: 0.1, scale: LEAST_SCALE as f32, shape: MOST_SHAPE as f32 },
            8 => Tail { from: 2.0, share: 1.0, scale: 1.0, shape: 0.0 },
            _ => {
                Tail { from: 0.5 + at as f32 * 0.2, share: 0.02, scale: 0.1 + at as f32 * 0.1, shape: at as f32 * 0.05 }
            }
        });
        let tails = black_box(tails);
        let (levels, mut found) = (Levels::of(&tails), [0, 0]);
        for n in 0..20_000_u32 {
            let value = |at: u32| {
                let share = (f64::from(n * 10 + at) * 0.618_033_988_749_895).fract() as f32;
                match (n * 7 + at) % 23 {
                    0..3 => f32::NAN,
                    3 => f32::INFINITY,
                    4 => -0.0,
                    // Few values: many are equal.
                    5..12 => (share * 4.0).round(),
                    _ => share * share * 8.0,
                }
            };
            let values: [f32; STATISTICS] = std::array::from_fn(|at| value(at as u32));
            let mut expected = None;
            for (at, (value, tail)) in values.iter().zip(&tails).enumerate() {
                let level = defined(tail, *value);
                if level > expected.map_or(-1.0, |(_, largest)| largest) {
                    expected = Some((at, level));
                }
            }
            let (_, largest) = expected.unwrap();
            for floor in [-1.0, largest * 0.9, largest.next_down(), largest, largest + 0.1] {
                let above = levels.largest_above(&values, floor);
                assert_eq!(above, expected.filter(|_| largest > floor), "{values:?} above {floor}");
                found[usize::from(above.is_some())] += 1;
            }
        }
        assert!(found.iter().all(|count| *count > 30_000), "{found:?}");
        assert_eq!(levels.largest_above(&[f32::NAN; STATISTICS], -1.0), None);
    }

    #[test]
    fn too_few_values_or_none_know_nothing_and_equal_ones_are_no_trouble() {
        assert!(Tail::fit(LEAST_VALUES - 1, &mut [1.0; 119], SHARE).from.is_nan());
        assert!(Tail::fit(1_000, &mut [], SHARE).from.is_nan());
        assert!(Tail::NONE.level(5.0).is_nan());
        let tail = Tail::fit(1_000, &mut [2.0; 900], SHARE);
        assert!(tail.level(2.0).is_finite() && tail.level(3.0) > 4.0, "{tail:?}");
    }

    #[test]
    fn a_tail_that_nothing_can_give_is_not_sound() {
        let sound = Tail { from: 2.0, share: 0.02, scale: 0.4, shape: 0.1 };
        assert!(sound.is_sound() && Tail::NONE.is_sound());
        for bad in [
            Tail { from: f32::INFINITY, ..sound },
            Tail { share: 0.0, ..sound },
            Tail { share: 1.5, ..sound },
            Tail { share: f32::NAN, ..sound },
            Tail { scale: 0.0, ..sound },
            Tail { scale: f32::NAN, ..sound },
            Tail { shape: -0.1, ..sound },
            Tail { shape: f32::INFINITY, ..sound },
        ] {
            assert!(!bad.is_sound(), "{bad:?}");
        }
    }
}
