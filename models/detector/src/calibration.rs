//! Calibration: every vehicle's own baseline, the limit per signal, and the count of false alarms. Pure.

use std::collections::HashMap;

use telemetry::{PayloadHash, UnixMillis, VehicleId};

use crate::{
    Error, card,
    features::{BLOCK, COUNT, FEATURES, Values},
    scaler::{median, quantiles},
};

/// Vehicles with a baseline of their own, at most; all others share the fleet's.
pub(crate) const MAX_BASELINES: usize = 2_000;
/// A baseline spread is never believed to be below this many expected spreads.
const LEAST_SPREAD: f64 = 0.15;
/// So many blocks of a vehicle weigh as much as what is known of the fleet.
const PRIOR_BLOCKS: f64 = 8.0;
/// The share of blocks whose maxima make the tail.
const TAIL: f64 = 0.05;
/// Fewer blocks say nothing about a tail.
const LEAST_BLOCKS: usize = 40;
/// No limit lies below so many spreads.
const LEAST_LIMIT: f64 = 3.0;

/// Averaged deviations of one judged window.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) vehicle: u32,
    pub(crate) time: UnixMillis,
    pub(crate) means: Values,
}

/// What averaged deviations a healthy vehicle shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    pub(crate) center: [f32; COUNT],
    pub(crate) spread: [f32; COUNT],
}

/// Everything between averaged deviations and a score.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) limits: Values,
    pub(crate) fleet: Baseline,
    pub(crate) vehicles: HashMap<u64, Baseline>,
}

/// The key of a vehicle's baseline.
pub(crate) fn key(vehicle: &VehicleId) -> u64 {
    PayloadHash::of(vehicle.as_str().as_bytes()).0
}

impl Threshold {
    pub(crate) fn baseline(&self, key: u64) -> &Baseline {
        self.vehicles.get(&key).unwrap_or(&self.fleet)
    }

    /// Score per signal; NaN where nothing is known or the signal is not judged. 1 is the limit.
    pub(crate) fn scores(&self, key: u64, means: &Values) -> Values {
        let baseline = self.baseline(key);
        std::array::from_fn(|at| {
            let distance = (means[at] - f64::from(baseline.center[at])).abs();
            if FEATURES[at].judged { distance / f64::from(baseline.spread[at]) / self.limits[at] } else { f64::NAN }
        })
    }
}

/// The largest score, or NaN if nothing is known.
pub(crate) fn largest(scores: &Values) -> f64 {
    scores.iter().copied().fold(f64::NAN, f64::max)
}

/// Baselines of the fleet and of each vehicle, from averaged deviations of the baseline part.
pub(crate) fn baselines(samples: &[Sample], vehicles: &[VehicleId]) -> Threshold {
    let mut of_vehicle: Vec<Vec<&Sample>> = vec![Vec::new(); vehicles.len()];
    for sample in samples {
        of_vehicle[sample.vehicle as usize].push(sample);
    }
    let mut centers = vec![[f64::NAN; COUNT]; vehicles.len()];
    let mut spreads = centers.clone();
    let mut fleet = Baseline { center: [0.0; COUNT], spread: [1.0; COUNT] };
    let mut between = [0.0; COUNT];
    let mut within = [1.0; COUNT];
    for at in 0..COUNT {
        for (vehicle, own) in of_vehicle.iter().enumerate() {
            let mut column: Vec<f64> = own.iter().map(|sample| sample.means[at]).filter(|m| !m.is_nan()).collect();
            if column.len() >= 2 * BLOCK {
                let center = median(&mut column);
                column.iter_mut().for_each(|value| *value = (*value - center).abs());
                centers[vehicle][at] = center;
                spreads[vehicle][at] = median(&mut column) * 1.4826;
            }
        }
        let known = |rows: &[Values]| rows.iter().map(|row| row[at]).filter(|v| !v.is_nan()).collect::<Vec<_>>();
        let mut column = known(&centers);
        if column.is_empty() {
            continue;
        }
        let center = median(&mut column);
        column.iter_mut().for_each(|value| *value = (*value - center).abs());
        between[at] = median(&mut column) * 1.4826;
        within[at] = median(&mut known(&spreads)).max(LEAST_SPREAD);
        fleet.center[at] = center as f32;
        fleet.spread[at] = (between[at] * between[at] + within[at] * within[at]).sqrt() as f32;
    }
    let mut threshold = Threshold { limits: [1.0; COUNT], fleet, vehicles: HashMap::new() };
    for (vehicle, id) in vehicles.iter().enumerate().take(MAX_BASELINES) {
        let mut baseline = threshold.fleet.clone();
        for at in 0..COUNT {
            let (center, spread) = (centers[vehicle][at], spreads[vehicle][at]);
            if center.is_nan() {
                continue;
            }
            let blocks = of_vehicle[vehicle].len() as f64 / BLOCK as f64;
            // The centre of a vehicle is known up to its spread over the root of its blocks.
            let doubt = within[at] * within[at] / blocks;
            let trust = between[at] * between[at] / (between[at] * between[at] + doubt).max(1e-12);
            let fleet_center = f64::from(threshold.fleet.center[at]);
            let variance =
                (blocks * spread * spread + PRIOR_BLOCKS * within[at] * within[at]) / (blocks + PRIOR_BLOCKS) + doubt;
            baseline.center[at] = (fleet_center + trust * (center - fleet_center)) as f32;
            baseline.spread[at] = variance.sqrt().max(LEAST_SPREAD) as f32;
        }
        threshold.vehicles.insert(key(id), baseline);
    }
    threshold
}

/// Sets the limits to the budget: per signal first, so that signals compare, then over all of them. A signal that
/// was seen in too few blocks gets NaN and is not judged. Gives back the score that [`TAIL`] of the blocks exceed.
///
/// # Errors
/// [`Error::Refused`] if there are too few blocks for any limit.
pub(crate) fn limits(
    threshold: &mut Threshold,
    samples: &[Sample],
    vehicles: &[VehicleId],
    budget_per_1000_h: f64,
) -> Result<f64, Error> {
    let judged = FEATURES.iter().filter(|feature| feature.judged).count() as f64;
    let chance = budget_per_1000_h / 1_000.0 * block_hours(samples);
    for at in (0..COUNT).filter(|at| FEATURES[*at].judged) {
        let maxima = block_maxima(samples, |sample| {
            threshold.scores(key(&vehicles[sample.vehicle as usize]), &sample.means)[at]
        });
        let limit = tail_quantile(maxima.into_iter().map(|(_, m)| m).collect(), chance / judged);
        threshold.limits[at] = limit.map_or(f64::NAN, |limit| limit.max(LEAST_LIMIT));
    }
    let maxima = block_maxima(samples, |sample| {
        largest(&threshold.scores(key(&vehicles[sample.vehicle as usize]), &sample.means))
    });
    let mut maxima: Vec<f64> = maxima.into_iter().map(|(_, m)| m).collect();
    let [tail] = quantiles(&mut maxima, [1.0 - TAIL]);
    let blocks = maxima.len();
    let all = tail_quantile(maxima, chance).map(|all| all.max(1.0));
    let all = all.ok_or_else(|| Error::Refused(format!("{blocks} blocks are too few to set a threshold")))?;
    threshold.limits.iter_mut().for_each(|limit| *limit *= all);
    Ok(tail / all)
}

/// Counts alarms, and blocks that score more than `tail`, on samples that had no part in the limits.
pub(crate) fn judge(
    threshold: &Threshold,
    samples: &[Sample],
    vehicles: &[VehicleId],
    budget_per_1000_h: f64,
    tail: f64,
) -> card::Calibration {
    let maxima = block_maxima(samples, |sample| {
        largest(&threshold.scores(key(&vehicles[sample.vehicle as usize]), &sample.means))
    });
    let hours = maxima.len() as f64 * block_hours(samples);
    let tail_blocks = maxima.iter().filter(|(_, maximum)| *maximum > tail).count() as u64;
    let expected_tail = maxima.len() as f64 * TAIL;
    let mut alarms = 0;
    let mut before: Option<(u32, bool)> = None;
    for (vehicle, maximum) in maxima {
        let above = maximum >= 1.0;
        alarms += u64::from(above && before != Some((vehicle, true)));
        before = Some((vehicle, above));
    }
    let expected = budget_per_1000_h * hours / 1_000.0;
    card::Calibration {
        budget_per_1000_h,
        threshold_hours: 0.0,
        held_out_hours: hours,
        held_out_alarms: alarms,
        allowed_alarms: poisson_quantile(expected, 0.99).max((2.0 * expected) as u64),
        tail_blocks,
        allowed_tail_blocks: poisson_quantile(expected_tail, 0.99).max((2.0 * expected_tail) as u64),
        realised_per_1000_h: if hours > 0.0 { alarms as f64 * 1_000.0 / hours } else { 0.0 },
    }
}

/// Hours that one block of readings spans.
pub(crate) fn block_hours(samples: &[Sample]) -> f64 {
    let mut gaps: Vec<f64> = samples
        .windows(2)
        .filter(|pair| pair[0].vehicle == pair[1].vehicle)
        .map(|pair| (pair[1].time - pair[0].time) as f64)
        .collect();
    if gaps.is_empty() { 0.0 } else { median(&mut gaps).max(1.0) * BLOCK as f64 / 3_600_000.0 }
}

/// Largest value of each block of readings of one vehicle; samples lie together by vehicle, in order of time.
pub(crate) fn block_maxima(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<(u32, f64)> {
    let mut maxima = Vec::with_capacity(samples.len() / BLOCK + 1);
    for own in samples.chunk_by(|a, b| a.vehicle == b.vehicle) {
        for block in own.chunks_exact(BLOCK) {
            let largest = block.iter().map(&value).fold(f64::NAN, f64::max);
            if !largest.is_nan() {
                maxima.push((own[0].vehicle, largest));
            }
        }
    }
    maxima
}

/// The value that a block exceeds with this chance: a generalised Pareto tail (by moments, shape 0 to 0.5) above
/// the largest twentieth. None for fewer than [`LEAST_BLOCKS`].
fn tail_quantile(mut maxima: Vec<f64>, chance: f64) -> Option<f64> {
    if maxima.len() < LEAST_BLOCKS {
        return None;
    }
    let [from] = quantiles(&mut maxima, [1.0 - TAIL]);
    let excesses: Vec<f64> = maxima.iter().filter(|m| **m > from).map(|m| m - from).collect();
    if excesses.len() < 2 {
        return Some(from);
    }
    let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
    let variance = excesses.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (excesses.len() - 1) as f64;
    let shape = (0.5 * (1.0 - mean * mean / variance.max(1e-12))).clamp(0.0, 0.5);
    let scale = mean * (1.0 - shape);
    let ratio = (TAIL / chance.clamp(1e-12, TAIL)).max(1.0);
    Some(from + if shape < 1e-6 { scale * ratio.ln() } else { scale / shape * (ratio.powf(shape) - 1.0) })
}

/// The least count that a Poisson number of this mean stays at or below with this probability.
fn poisson_quantile(mean: f64, probability: f64) -> u64 {
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

    #[test]
    fn chance_alone_explains_few_alarms() {
        assert_eq!(poisson_quantile(0.0, 0.99), 0);
        assert_eq!(poisson_quantile(0.1, 0.99), 1);
        assert_eq!(poisson_quantile(1.0, 0.99), 4);
    }

    #[test]
    fn an_exponential_tail_is_extended() {
        // Quantiles of the exponential distribution with mean 1: P(X > x) = exp(-x).
        let maxima: Vec<f64> = (0..10_000).map(|n| -((f64::from(n) + 0.5) / 10_000.0).ln()).collect();
        let quantile = tail_quantile(maxima, 1e-5).unwrap();
        assert!((quantile - 11.5).abs() < 1.0, "{quantile}");
    }

    #[test]
    fn too_few_blocks_set_no_limit() {
        assert_eq!(tail_quantile(vec![1.0; LEAST_BLOCKS - 1], 0.01), None);
    }
}
