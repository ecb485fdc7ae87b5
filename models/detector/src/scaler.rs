//! The robust scaler: which places of a layout a model uses, and their centre and spread, learnt from the training
//! part alone. Pure.

use crate::{
    layout::Layout,
    window::{FEATURES, Query, VALUES},
};

/// Scaled values are held within ± this.
pub(crate) const CLIP: f32 = 8.0;
/// A place is used if it was known in so many of the values that were looked at.
const LEAST_VALUES: usize = 64;

/// Places with centre and spread, in physical units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaler {
    /// Places of the layout that are inputs, ascending.
    pub(crate) inputs: Vec<u16>,
    pub(crate) center: Vec<f32>,
    pub(crate) spread: Vec<f32>,
    /// One over the spread: a product takes less time than a quotient.
    per_spread: Vec<f32>,
    /// Features that are used; the others are 0.
    pub(crate) used: usize,
    /// The input of each place of the layout.
    input_of: Vec<Option<u16>>,
}

impl Scaler {
    /// Learns from values by place; NaN must not be in them.
    pub(crate) fn fit(layout: &Layout, columns: &mut [Vec<f32>], used: usize) -> Self {
        let (mut inputs, mut center, mut spread) = (Vec::new(), Vec::new(), Vec::new());
        for (at, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.len() >= LEAST_VALUES) {
            let [least, low, middle, high, most] = quantiles(column, [0.001, 0.1, 0.5, 0.9, 0.999]);
            // A signal that rests most of the time (a brake) has no such range; its rare values then count. 2.563:
            // from the 10 % to the 90 % quantile of a normal distribution, in standard deviations.
            let found = ((high - low) / 2.563).max((most - least) / 12.0);
            // One that never changed: a hundredth of its value is news.
            let resting = (middle.abs() * 0.01).max(1e-3);
            inputs.push(at as u16);
            center.push(middle);
            spread.push(if found > middle.abs() * 1e-6 + 1e-9 { found } else { resting });
        }
        Self::of(layout.len(), inputs, (center, spread), used)
    }

    pub(crate) fn of(places: usize, inputs: Vec<u16>, (center, spread): (Vec<f32>, Vec<f32>), used: usize) -> Self {
        let mut input_of = vec![None; places];
        for (input, at) in inputs.iter().enumerate() {
            if let Some(place) = input_of.get_mut(usize::from(*at)) {
                *place = Some(input as u16);
            }
        }
        let per_spread = spread.iter().map(|spread| 1.0 / spread).collect();
        Self { inputs, center, spread, per_spread, used, input_of }
    }

    /// Number of inputs.
    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// The input of a place.
    pub(crate) fn input(&self, at: u16) -> Option<usize> {
        self.input_of.get(usize::from(at)).copied().flatten().map(usize::from)
    }

    /// Scaled and clipped; NaN stays NaN.
    pub(crate) fn scale(&self, input: usize, value: f32) -> f32 {
        ((value - self.center[input]) * self.per_spread[input]).clamp(-CLIP, CLIP)
    }

    /// Inputs of a query and their scaled features, in ascending order: NaN where a value is not known.
    pub(crate) fn scaled<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = (usize, usize, [f32; FEATURES])> + 'a {
        query.signals.iter().enumerate().filter_map(move |(n, signal)| {
            let input = self.input(signal.at)?;
            let (center, per_spread) = (self.center[input], self.per_spread[input]);
            let mut scaled = signal.features.map(|value| ((value - center) * per_spread).clamp(-CLIP, CLIP));
            scaled[self.used..].fill(0.0);
            Some((n, input, scaled))
        })
    }

    /// Inputs of a query as [`Scaler::scaled`] gives them: only the current value, and whether [`has_past`].
    pub(crate) fn current<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = (usize, usize, f32, bool)> + 'a {
        query.signals.iter().enumerate().filter_map(move |(n, signal)| {
            let input = self.input(signal.at)?;
            let mut features = signal.features;
            features[self.used..].fill(0.0);
            // What is known stays known when it is scaled.
            Some((n, input, self.scale(input, features[0]), has_past(&features)))
        })
    }
}

/// Whether the values before the current one are all known: only then a signal can be held against its own past.
pub(crate) fn has_past(features: &[f32; FEATURES]) -> bool {
    features[1..VALUES].iter().all(|value| !value.is_nan())
}

/// Quantiles by nearest rank; sorts the column. NaN must not be in it; NaN comes out of an empty one.
pub(crate) fn quantiles<const N: usize>(column: &mut [f32], at: [f64; N]) -> [f32; N] {
    column.sort_unstable_by(f32::total_cmp);
    at.map(|q| column.get(((column.len().saturating_sub(1)) as f64 * q).round() as usize).copied().unwrap_or(f32::NAN))
}

/// The median, or NaN of an empty column.
pub(crate) fn median(column: &mut [f32]) -> f32 {
    quantiles(column, [0.5])[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Known;

    #[test]
    fn an_outlier_does_not_move_the_scale_and_nan_stays_nan() {
        let layout = Layout::default();
        let mut columns = vec![Vec::new(); layout.len()];
        columns[3] = (0..=1000_u16).map(|n| if n == 7 { 5_000.0 } else { f32::from(n) / 10.0 }).collect();
        columns[5] = vec![40.0; 100];
        columns[6] = vec![1.0; LEAST_VALUES - 1];
        let scaler = Scaler::fit(&layout, &mut columns, FEATURES);
        assert_eq!(scaler.inputs, [3, 5]);
        assert!((scaler.center[0] - 50.0).abs() < 1.0, "{}", scaler.center[0]);
        // 80 % of an even spread over 100, in standard deviations of a normal distribution.
        assert!((scaler.spread[0] - 31.2).abs() < 1.0, "{}", scaler.spread[0]);
        assert!(scaler.scale(0, f32::NAN).is_nan());
        assert_eq!(scaler.scale(0, 1e9), CLIP);
        assert!((scaler.spread[1] - 0.4).abs() < 1e-6, "a signal that never changed");
        assert_eq!((scaler.input(3), scaler.input(5), scaler.input(6)), (Some(0), Some(1), None));
    }

    #[test]
    fn the_current_values_are_those_that_are_scaled_with_all_others() {
        let layout = Layout::default();
        let known = |n: usize, at: u16| {
            // Here and there nothing is known.
            let feature = |place: usize| {
                if (n * 7 + place * 3 + usize::from(at)).is_multiple_of(5) { f32::NAN } else { n as f32 }
            };
            let mut features: [f32; FEATURES] = std::array::from_fn(feature);
            features[0] = n as f32 * 1.7 - 40.0;
            Known { at, run: 0, features }
        };
        let mut pasts = [0, 0];
        for used in [VALUES, FEATURES] {
            let scaler = Scaler::of(layout.len(), vec![2, 3, 7], (vec![10.0, -3.0, 0.5], vec![4.0, 0.1, 9.0]), used);
            for n in 0..60 {
                let query = Query { time: 0, signals: [1, 2, 3, 7, 9].map(|at| known(n, at)).to_vec() };
                let current = scaler.current(&query).map(|(n, input, value, past)| (n, input, value.to_bits(), past));
                let scaled = scaler.scaled(&query).map(|(n, input, all)| (n, input, all[0].to_bits(), has_past(&all)));
                let scaled: Vec<_> = scaled.collect();
                assert_eq!(current.collect::<Vec<_>>(), scaled);
                scaled.iter().for_each(|(.., past)| pasts[usize::from(*past)] += 1);
            }
        }
        assert!(pasts.iter().all(|count| *count > 20), "{pasts:?}");
    }
}
