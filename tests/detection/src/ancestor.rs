//! The autoencoder of the demo that everyone knows, on our readings: single rows of 18 signals scaled to ±1, layers of
//! 14 (tanh), 7 (relu), 7 (tanh) and 18 (relu), mean squared error, Adam. Its output can't be negative, half of its input
//! is. Scored by the error of a row, as its authors would have.

use detector::{History, Reading};
use evaluation::Scored;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use crate::scoring::reading_by_reading;

const SIGNALS: usize = 18;
const WIDTHS: [usize; 5] = [SIGNALS, 14, 7, 7, SIGNALS];
/// Rows that it learns from.
const ROWS: usize = 100_000;
const EPOCHS: usize = 5;
const BATCH: usize = 64;
const RATE: f32 = 1e-3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Activation {
    Tanh,
    Relu,
}

const ACTIVATIONS: [Activation; 4] = [Activation::Tanh, Activation::Relu, Activation::Tanh, Activation::Relu];

impl Activation {
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Tanh => x.tanh(),
            Self::Relu => x.max(0.0),
        }
    }

    /// The slope, from the output.
    fn slope(self, y: f32) -> f32 {
        match self {
            Self::Tanh => 1.0 - y * y,
            Self::Relu => f32::from(u8::from(y > 0.0)),
        }
    }
}

/// A layer: weights by output, then the bias; with what Adam remembers.
#[derive(Debug, Clone)]
struct Layer {
    inputs: usize,
    weights: Vec<f32>,
    slopes: Vec<f32>,
    moments: Vec<(f32, f32)>,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, draws: &mut ChaCha8Rng) -> Self {
        // Glorot, as Keras draws.
        let bound = (6.0 / (inputs + outputs) as f32).sqrt();
        let draw =
            |at: usize| if at % (inputs + 1) == inputs { 0.0 } else { (draws.random::<f32>() * 2.0 - 1.0) * bound };
        let weights: Vec<f32> = (0..outputs * (inputs + 1)).map(draw).collect();
        let (slopes, moments) = (vec![0.0; weights.len()], vec![(0.0, 0.0); weights.len()]);
        Self { inputs, weights, slopes, moments }
    }

    fn forward(&self, from: &[f32], to: &mut Vec<f32>, activation: Activation) {
        to.clear();
        to.extend(self.weights.chunks_exact(self.inputs + 1).map(|row| {
            let sum: f32 = row.iter().zip(from).map(|(weight, value)| weight * value).sum();
            activation.of(sum + row[self.inputs])
        }));
    }

    /// Adds the slopes for this row; what goes back to the layer before.
    fn backward(&mut self, from: &[f32], to: &[f32], error: &[f32], activation: Activation) -> Vec<f32> {
        let mut back = vec![0.0; self.inputs];
        let rows = self.weights.chunks_exact(self.inputs + 1).zip(self.slopes.chunks_exact_mut(self.inputs + 1));
        for ((row, slopes), (output, error)) in rows.zip(to.iter().zip(error)) {
            let error = error * activation.slope(*output);
            for at in 0..self.inputs {
                back[at] += error * row[at];
                slopes[at] += error * from[at];
            }
            slopes[self.inputs] += error;
        }
        back
    }

    /// One step of Adam.
    fn step(&mut self, number: i32) {
        for ((weight, slope), (first, second)) in self.weights.iter_mut().zip(&mut self.slopes).zip(&mut self.moments) {
            let mean = *slope / BATCH as f32;
            *first = 0.9 * *first + 0.1 * mean;
            *second = 0.999 * *second + 0.001 * mean * mean;
            let (first, second) = (*first / (1.0 - 0.9_f32.powi(number)), *second / (1.0 - 0.999_f32.powi(number)));
            *weight -= RATE * first / (second.sqrt() + 1e-7);
            *slope = 0.0;
        }
    }
}

/// The trained autoencoder.
#[derive(Debug, Clone)]
pub(crate) struct Ancestor {
    places: Vec<u16>,
    /// Least and most of each signal.
    ranges: Vec<(f32, f32)>,
    layers: Vec<Layer>,
}

impl Ancestor {
    /// Learns from what lies before `until`.
    pub(crate) fn train(history: &dyn History, until: UnixMillis, seed: u64) -> anyhow::Result<Self> {
        let vehicles = history.vehicles().len();
        let mut rows: Vec<Vec<f32>> = Vec::new();
        let mut counts = vec![0_u32; history.layout().len()];
        for vehicle in 0..vehicles {
            let (mut readings, mut own) = (0_usize, Vec::new());
            history.read(vehicle, &mut |reading| {
                readings += 1;
                if reading.time < until && readings.is_multiple_of(41) {
                    own.push(dense(reading, counts.len()));
                }
                Ok(())
            })?;
            own.truncate(ROWS / vehicles.max(1));
            rows.append(&mut own);
        }
        for row in &rows {
            counts.iter_mut().zip(row).for_each(|(count, value)| *count += u32::from(!value.is_nan()));
        }
        // The signals that most vehicles send.
        let mut places: Vec<u16> = (0..counts.len() as u16).collect();
        places.sort_by_key(|at| (std::cmp::Reverse(counts[usize::from(*at)]), *at));
        places.truncate(SIGNALS);
        let range = |at: &u16| {
            let values = rows.iter().map(|row| row[usize::from(*at)]).filter(|value| !value.is_nan());
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
        };
        let ranges = places.iter().map(range).collect();
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        let layers = WIDTHS.windows(2).map(|pair| Layer::new(pair[0], pair[1], &mut draws)).collect();
        let mut this = Self { places, ranges, layers };
        let rows: Vec<Vec<f32>> = rows.iter().map(|row| this.scale(row)).collect();
        let mut number = 0;
        for _ in 0..EPOCHS {
            for _ in 0..rows.len() / BATCH {
                for _ in 0..BATCH {
                    let row = draws.random_range(0..rows.len());
                    this.learn(&rows[row]);
                }
                number += 1;
                this.layers.iter_mut().for_each(|layer| layer.step(number));
            }
        }
        Ok(this)
    }

    /// Scaled to ±1; what is missing is 0.
    fn scale(&self, row: &[f32]) -> Vec<f32> {
        let scaled = self.places.iter().zip(&self.ranges).map(|(at, (least, most))| {
            let value = row[usize::from(*at)];
            let scaled = 2.0 * (value - least) / (most - least).max(1e-6) - 1.0;
            if scaled.is_finite() { scaled } else { 0.0 }
        });
        scaled.collect()
    }

    fn through(&self, row: &[f32]) -> Vec<Vec<f32>> {
        let mut values = vec![row.to_vec()];
        for (layer, activation) in self.layers.iter().zip(ACTIVATIONS) {
            let mut to = Vec::new();
            layer.forward(&values[values.len() - 1], &mut to, activation);
            values.push(to);
        }
        values
    }

    fn learn(&mut self, row: &[f32]) {
        let values = self.through(row);
        let out = &values[values.len() - 1];
        let mut error: Vec<f32> = out.iter().zip(row).map(|(y, x)| 2.0 * (y - x) / SIGNALS as f32).collect();
        for (at, layer) in self.layers.iter_mut().enumerate().rev() {
            error = layer.backward(&values[at], &values[at + 1], &error, ACTIVATIONS[at]);
        }
    }

    /// Mean squared error of every reading.
    pub(crate) fn score(
        &self,
        history: &dyn History,
        within: (UnixMillis, UnixMillis),
        threads: usize,
    ) -> anyhow::Result<Vec<Scored>> {
        let width = history.layout().len();
        let error = |(): &mut (), reading: &Reading<'_>| {
            let row = self.scale(&dense(reading, width));
            let values = self.through(&row);
            let out = &values[values.len() - 1];
            out.iter().zip(&row).map(|(y, x)| (y - x).powi(2)).sum::<f32>() / SIGNALS as f32
        };
        reading_by_reading(history, within, threads, |_| (), error)
    }
}

/// A reading's numbers by place; NaN where there is none.
pub(crate) fn dense(reading: &Reading<'_>, places: usize) -> Vec<f32> {
    let mut row = vec![f32::NAN; places];
    for (at, number) in reading.at.iter().zip(reading.numbers) {
        row[usize::from(*at)] = *number;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_error() {
        let mut draws = ChaCha8Rng::seed_from_u64(3);
        let layers = WIDTHS.windows(2).map(|pair| Layer::new(pair[0], pair[1], &mut draws)).collect();
        let (places, ranges) = ((0..SIGNALS as u16).collect(), vec![(-1.0, 1.0); SIGNALS]);
        let mut ancestor = Ancestor { places, ranges, layers };
        let row: Vec<f32> = (0..SIGNALS).map(|_| draws.random::<f32>()).collect();
        let error = |ancestor: &Ancestor| {
            let values = ancestor.through(&row);
            let out = &values[4];
            out.iter().zip(&row).map(|(y, x)| (y - x).powi(2)).sum::<f32>() / SIGNALS as f32
        };
        ancestor.learn(&row);
        for (layer, weight) in [(0, 5), (1, 3), (2, 9), (3, 20)] {
            let found = ancestor.layers[layer].slopes[weight];
            let mut moved = ancestor.clone();
            moved.layers[layer].weights[weight] += 1e-2;
            let above = error(&moved);
            moved.layers[layer].weights[weight] -= 2e-2;
            let expected = (above - error(&moved)) / 2e-2;
            assert!(
                (found - expected).abs() < 2e-3 + 0.05 * expected.abs(),
                "{layer}/{weight}: {found} for {expected}"
            );
        }
    }
}
