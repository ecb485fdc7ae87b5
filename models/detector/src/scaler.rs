//! The robust scaler: median and spread per signal, learnt from the training part alone.

use crate::features::{COUNT, Values};

/// Scaled values are held within ± this.
const CLIP: f64 = 8.0;

/// Centre and spread of every signal, in physical units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaler {
    pub(crate) center: Values,
    pub(crate) spread: Values,
}

impl Scaler {
    pub(crate) fn fit<'a>(rows: &(impl Iterator<Item = &'a Values> + Clone)) -> Self {
        let mut scaler = Self { center: [0.0; COUNT], spread: [1.0; COUNT] };
        for at in 0..COUNT {
            let mut column: Vec<f64> = rows.clone().map(|row| row[at]).filter(|value| !value.is_nan()).collect();
            if column.is_empty() {
                continue;
            }
            let [least, low, middle, high, most] = quantiles(&mut column, [0.001, 0.1, 0.5, 0.9, 0.999]);
            // A signal that rests most of the time (a brake) has no such range; its rare values then count.
            let range = (high - low) / 2.563;
            let extent = (most - least) / 12.0;
            let spread = range.max(extent);
            scaler.center[at] = middle;
            scaler.spread[at] = if spread > 1e-9 { spread } else { 1.0 };
        }
        scaler
    }

    /// Scaled and clipped; NaN stays NaN.
    pub(crate) fn scale(&self, at: usize, value: f64) -> f64 {
        ((value - self.center[at]) / self.spread[at]).clamp(-CLIP, CLIP)
    }

    /// Back to the physical unit.
    pub(crate) fn unscale(&self, at: usize, scaled: f64) -> f64 {
        scaled * self.spread[at] + self.center[at]
    }
}

/// Quantiles by nearest rank; sorts the column. NaN must not be in it.
pub(crate) fn quantiles<const N: usize>(column: &mut [f64], at: [f64; N]) -> [f64; N] {
    column.sort_unstable_by(f64::total_cmp);
    at.map(|q| column.get(((column.len().saturating_sub(1)) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN))
}

pub(crate) fn median(column: &mut [f64]) -> f64 {
    quantiles(column, [0.5])[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_does_not_move_the_scale_and_nan_stays_nan() {
        let rows: Vec<Values> =
            (0..=1000).map(|n| [if n == 7 { 5_000.0 } else { f64::from(n) / 10.0 }; COUNT]).collect();
        let scaler = Scaler::fit(&rows.iter());
        assert!((scaler.center[0] - 50.0).abs() < 1.0, "{}", scaler.center[0]);
        // 80 % of an even spread over 100, in standard deviations of a normal distribution.
        assert!((scaler.spread[0] - 31.2).abs() < 1.0, "{}", scaler.spread[0]);
        assert!(scaler.scale(0, f64::NAN).is_nan());
        assert_eq!(scaler.scale(0, 1e9), CLIP);
        assert!((scaler.unscale(3, scaler.scale(3, 60.0)) - 60.0).abs() < 1e-9);
    }
}
