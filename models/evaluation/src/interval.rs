//! What a count of rare events says about their rate.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A rate with what it may be, per the unit of the exposure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The observed rate.
    pub rate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a promised rate is compatible with what was seen.
    pub fn contains(&self, rate: f64) -> bool {
        (self.low..=self.high).contains(&rate)
    }
}

/// The exact 95 % interval (Garwood 1936) of the rate of a Poisson process that showed `count` events in `exposure`, in
/// events per unit of exposure. `None` without exposure.
pub fn rate_interval(count: u64, exposure: f64) -> Option<Interval> {
    if exposure <= 0.0 || !exposure.is_finite() {
        return None;
    }
    let quantile =
        |freedom: f64, share: f64| ChiSquared::new(freedom).map_or(f64::NAN, |law| law.inverse_cdf(share) / 2.0);
    let count = count as f64;
    let low = if count > 0.0 { quantile(2.0 * count, 0.025) } else { 0.0 };
    let high = quantile(2.0 * count + 2.0, 0.975);
    Some(Interval { rate: count / exposure, low: low / exposure, high: high / exposure })
}

/// The least count that a Poisson number of this mean stays at or below with this probability.
pub fn poisson_quantile(mean: f64, probability: f64) -> u64 {
    let (mut term, mut sum, mut count) = ((-mean).exp(), (-mean).exp(), 0_u64);
    while sum < probability && count < 1_000_000 && term > 0.0 {
        count += 1;
        term *= mean / count as f64;
        sum += term;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published values (Ulm 1990, and any table of Poisson limits).
    #[test]
    fn exact_limits_are_those_of_the_tables() {
        for (count, low, high) in [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390), (100, 81.36, 121.63)] {
            let interval = rate_interval(count, 1.0).unwrap();
            assert!((interval.low - low).abs() < 0.01, "{count}: {interval:?}");
            assert!((interval.high - high).abs() < 0.01, "{count}: {interval:?}");
        }
        let weekly = rate_interval(60, 60.0).unwrap();
        assert!(weekly.contains(1.0) && !weekly.contains(1.5) && !weekly.contains(0.7));
        assert_eq!(rate_interval(3, 0.0), None);
    }

    /// Any table: P(X <= 8 | 3) = 0.9962, P(X <= 7 | 3) = 0.9881.
    #[test]
    fn a_quantile_is_that_of_the_tables() {
        assert_eq!(poisson_quantile(3.0, 0.99), 8);
        assert_eq!(poisson_quantile(3.0, 0.988), 7);
        assert_eq!(poisson_quantile(0.0, 0.99), 0);
    }
}
