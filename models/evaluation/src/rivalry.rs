//! Whether one detector is better than another, or only luckier.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// The mean of paired differences, and where the true one lies with 95 % confidence at each end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Pairs.
    pub pairs: u64,
    /// The mean.
    pub mean: f64,
    /// The true mean lies below with 5 %.
    pub low: f64,
    /// The true mean lies above with 5 %.
    pub high: f64,
}

/// The paired t-test, as an interval: what is the same in both of a pair (a hard vehicle, a rough road) falls out of it.
/// `None` for fewer than two pairs.
pub fn paired(differences: &[f64]) -> Option<Paired> {
    let count = differences.len() as f64;
    if differences.len() < 2 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let quantile = StudentsT::new(0.0, 1.0, count - 1.0).ok()?.inverse_cdf(0.95);
    let doubt = quantile * (variance / count).sqrt();
    Some(Paired { pairs: differences.len() as u64, mean, low: mean - doubt, high: mean + doubt })
}

/// The probability that chance alone lets one of two equals find so many of the events that only one of them found
/// (McNemar's exact test, one-sided; Dietterich 1998 recommends it where each was trained once).
pub fn more_found(by_this_alone: u64, by_the_other_alone: u64) -> f64 {
    let all = by_this_alone + by_the_other_alone;
    match (by_this_alone, Binomial::new(0.5, all)) {
        (0, _) | (_, Err(_)) => 1.0,
        (found, Ok(law)) => law.sf(found - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_the_tables() {
        // Student (1908), hours of sleep gained, pair by pair: mean 1.58, sd 1.23, n 10; t(9, 95 %) = 1.833.
        let found = paired(&[1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]).unwrap();
        assert!((found.mean - 1.58).abs() < 1e-9 && (found.low - 0.867).abs() < 0.01, "{found:?}");
        assert_eq!(paired(&[1.0]), None);
        let same = paired(&[0.0; 5]).unwrap();
        assert_eq!((same.low, same.high), (0.0, 0.0));
    }

    #[test]
    fn few_discordant_events_are_chance() {
        assert_eq!(more_found(0, 0), 1.0);
        assert_eq!(more_found(0, 5), 1.0);
        assert!((more_found(5, 0) - 1.0 / 32.0).abs() < 1e-9);
        assert!((more_found(4, 0) - 1.0 / 16.0).abs() < 1e-9);
        assert!(more_found(6, 5) > 0.4);
    }
}
