//! The windows that a network is fitted on: a seeded sample, as many of each vehicle, most of them of moving ones.

use std::sync::Arc;

use super::{
    Options,
    survey::{Parts, Survey, moves},
};
use crate::{
    Error, History, Window, history,
    scaler::{CLIP, Scaler},
    window::FEATURES,
};

/// Share of the sample that moves, where vehicles say so.
const MOVING_SHARE: f64 = 0.75;
/// Parts of a scaled unit.
const PARTS: f32 = 4_000.0;
/// What is not known.
const UNKNOWN: i16 = i16::MIN;

/// Windows as scaled features in 16 bits: a million of 38 signals take 600 MB. They stay where they were drawn, vehicle by
/// vehicle: all in one piece would for a moment take twice as much.
#[derive(Debug)]
pub(super) struct Sample {
    inputs: usize,
    /// Of each vehicle.
    rows: Vec<Vec<i16>>,
    /// Number of each vehicle's first window, and the number of all.
    firsts: Vec<usize>,
}

/// One window of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn<'a>(&'a [i16]);

impl Drawn<'_> {
    /// Scaled features of a signal; NaN where unknown.
    pub(super) fn features(self, input: usize) -> [f32; FEATURES] {
        let from = input * FEATURES;
        std::array::from_fn(|feature| match self.0[from + feature] {
            UNKNOWN => f32::NAN,
            parts => f32::from(parts) / PARTS,
        })
    }
}

impl Sample {
    pub(super) fn of(inputs: usize, rows: Vec<Vec<i16>>) -> Self {
        let mut firsts = vec![0];
        for own in &rows {
            firsts.push(firsts[firsts.len() - 1] + own.len() / (inputs * FEATURES));
        }
        Self { inputs, rows, firsts }
    }

    /// Number of windows.
    pub(super) fn len(&self) -> usize {
        self.firsts[self.rows.len()]
    }

    /// Numbers of the windows of some vehicles, in order.
    pub(super) fn windows(&self, of: impl Fn(usize) -> bool) -> Vec<u32> {
        let vehicles = self.firsts.windows(2).enumerate().filter(|(vehicle, _)| of(*vehicle));
        vehicles.flat_map(|(_, ends)| ends[0] as u32..ends[1] as u32).collect()
    }

    /// Whether every signal is known in so many of these windows at least.
    pub(super) fn knows(&self, windows: &[u32], least: usize) -> bool {
        let mut missing = vec![least; self.inputs];
        let mut left = self.inputs;
        for window in windows.iter().map(|window| self.window(*window as usize)) {
            for (input, missing) in missing.iter_mut().enumerate().filter(|(_, missing)| **missing > 0) {
                if window.0[input * FEATURES] != UNKNOWN {
                    *missing -= 1;
                    left -= usize::from(*missing == 0);
                }
            }
            if left == 0 {
                return true;
            }
        }
        left == 0
    }

    /// A window by its number.
    pub(super) fn window(&self, number: usize) -> Drawn<'_> {
        let vehicle = self.firsts.partition_point(|first| *first <= number) - 1;
        let width = self.inputs * FEATURES;
        Drawn(&self.rows[vehicle][(number - self.firsts[vehicle]) * width..][..width])
    }
}

/// A number of 32 bits that follows from a seed and a reading, whatever else there is.
fn lot(seed: u64, vehicle: u64, boot: u32, seq: u64) -> u32 {
    // SplitMix64's finaliser, once for each word.
    let mut state = seed;
    for word in [vehicle, u64::from(boot), seq] {
        state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    (state >> 32) as u32
}

/// Draws the sample from the training part.
pub(super) fn draw(
    history: &dyn History,
    survey: &Survey,
    parts: Parts,
    scaler: &Scaler,
    options: &Options,
) -> Result<Sample, Error> {
    let (layout, vehicles) = (history.layout(), history.vehicles());
    let quota = options.sample as f64 / vehicles.len().max(1) as f64;
    let drawn = history::each(
        vehicles.len(),
        options.threads,
        || Ok::<_, Error>(()),
        |(), vehicle| {
            let (all, moving) = survey.training(vehicle, parts);
            // What one class lacks the other gives.
            let wanted_moving = (quota * MOVING_SHARE).min(moving).max(quota - (all - moving));
            let chance = |wanted: f64, there: f64| (wanted / there.max(1.0)).clamp(0.0, 1.0);
            let chances = [chance(quota - wanted_moving, all - moving), chance(wanted_moving, moving)];
            let bounds = chances.map(|chance| (chance * f64::from(u32::MAX)) as u32);
            let name = crate::baseline::key(&vehicles[vehicle]);
            let mut window = Window::new(Arc::clone(layout));
            let expected = (chances[0] * (all - moving) + chances[1] * moving) * 1.05 + 64.0;
            let mut rows = Vec::with_capacity(expected as usize * scaler.len() * FEATURES);
            history.read(vehicle, &mut |reading| {
                if reading.time >= parts.train {
                    return Ok(());
                }
                let query = window.advance(reading);
                let class = usize::from(moves(layout, reading.at, reading.numbers) == Some(true));
                if lot(options.seed, name, reading.boot, reading.seq) > bounds[class] {
                    return Ok(());
                }
                let Some(query) = query else { return Ok(()) };
                let from = rows.len();
                rows.resize(from + scaler.len() * FEATURES, UNKNOWN);
                for (_, input, scaled) in scaler.scaled(&query) {
                    let cell = &mut rows[from + input * FEATURES..from + (input + 1) * FEATURES];
                    for (to, value) in cell.iter_mut().zip(scaled).filter(|(_, value)| !value.is_nan()) {
                        *to = (value.clamp(-CLIP, CLIP) * PARTS) as i16;
                    }
                }
                Ok(())
            })?;
            rows.shrink_to_fit();
            Ok(rows)
        },
    )?;
    let sample = Sample::of(scaler.len(), drawn);
    if sample.len() < crate::network::BATCH {
        let text =
            format!("{} windows in the training part, at least {} are needed", sample.len(), crate::network::BATCH);
        return Err(Error::TooLittle(text));
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_numbered_through_all_vehicles() {
        let row = |value: i16| vec![value; 2 * FEATURES];
        let sample = Sample::of(2, vec![[row(4_000), row(8_000)].concat(), Vec::new(), row(UNKNOWN)]);
        assert_eq!(sample.len(), 3);
        let first = |number: usize| sample.window(number).features(1)[0];
        assert_eq!((first(0), first(1)), (1.0, 2.0));
        assert!(first(2).is_nan());
        let windows = |wanted: &[usize]| sample.windows(|vehicle| wanted.contains(&vehicle));
        assert_eq!([windows(&[0, 1, 2]), windows(&[1]), windows(&[2])], [vec![0, 1, 2], vec![], vec![2]]);
    }
}
