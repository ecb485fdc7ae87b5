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

/// Windows as scaled features in 16 bits: a million of 38 signals take 600 MB.
#[derive(Debug)]
pub(super) struct Sample {
    inputs: usize,
    rows: Vec<i16>,
}

impl Sample {
    /// Number of windows.
    pub(super) fn len(&self) -> usize {
        self.rows.len() / (self.inputs * FEATURES)
    }

    /// Scaled features of a signal in a window; NaN where unknown.
    pub(super) fn features(&self, window: usize, input: usize) -> [f32; FEATURES] {
        let from = (window * self.inputs + input) * FEATURES;
        std::array::from_fn(|feature| match self.rows[from + feature] {
            UNKNOWN => f32::NAN,
            parts => f32::from(parts) / PARTS,
        })
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
            let mut rows = Vec::new();
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
            Ok(rows)
        },
    )?;
    let rows = drawn.concat();
    let sample = Sample { inputs: scaler.len(), rows };
    if sample.len() < crate::network::BATCH {
        let text =
            format!("{} windows in the training part, at least {} are needed", sample.len(), crate::network::BATCH);
        return Err(Error::TooLittle(text));
    }
    Ok(sample)
}
