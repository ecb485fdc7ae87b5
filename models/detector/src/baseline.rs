//! What deviations a healthy vehicle shows: the fleet's, and each vehicle's own, shrunk towards the fleet's. Pure.

use std::collections::HashMap;

use telemetry::{PayloadHash, VehicleId};

use crate::{
    scaler::median,
    track::{MEANS, Raw, STATISTICS},
};

/// Vehicles with a baseline of their own, at most; all others share the fleet's.
pub(crate) const MAX_VEHICLES: usize = 2_000;
/// The spread of a mean over 6, 60, 360 readings is never believed to be below this.
const LEAST_SPREAD: [f32; MEANS] = [0.15, 0.08, 0.05];
/// Fewer blocks say nothing about a vehicle.
const LEAST_BLOCKS: usize = 12;
/// So many blocks weigh as much as what is known of the fleet.
const PRIOR_BLOCKS: f32 = 8.0;
/// A vehicle's own spread has at most this share in the variance that it is held against.
const OWN_SHARE: f32 = 0.5;
/// Centres are written in so many parts of a spread.
const CENTER_PARTS: f32 = 2_048.0;
/// Spreads are written as powers of this.
const SPREAD_BASE: f32 = 1.03;
/// The least spread that can be written.
const SPREAD_LEAST: f32 = 0.02;

/// Of one signal, per head: where the means lie, and how far they spread around that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Baseline {
    pub(crate) center: [f32; 2],
    pub(crate) spread: [[f32; MEANS]; 2],
    /// One over the spreads: a product takes less time than a quotient.
    per_spread: [[f32; MEANS]; 2],
}

impl Baseline {
    pub(crate) const PLAIN: Self = Self { center: [0.0; 2], spread: [[1.0; MEANS]; 2], per_spread: [[1.0; MEANS]; 2] };

    fn of(center: [f32; 2], spread: [[f32; MEANS]; 2]) -> Self {
        Self { center, spread, per_spread: spread.map(|of_head| of_head.map(|spread| 1.0 / spread)) }
    }

    /// The statistics, held against this baseline: a head's largest deviation as it is, means as distances in spreads.
    pub(crate) fn compare(&self, raw: &Raw) -> [f32; STATISTICS] {
        let mut found = [f32::NAN; STATISTICS];
        for head in 0..2 {
            let at = head * (1 + MEANS);
            found[at] = raw.largest[head];
            for length in 0..MEANS {
                let distance = (raw.means[head][length] - self.center[head]).abs();
                found[at + 1 + length] = distance * self.per_spread[head][length];
            }
        }
        found[crate::track::CUSUM] = raw.cusum;
        found[crate::track::RUN] = run(raw.run);
        found
    }

    /// As few bytes: what is read back is what counts.
    pub(crate) fn write(&self) -> ([i16; 2], [u8; 2 * MEANS]) {
        let center = self.center.map(|center| (center * CENTER_PARTS).round().clamp(-32_767.0, 32_767.0) as i16);
        let mut spread = [0_u8; 2 * MEANS];
        for (to, from) in spread.iter_mut().zip(self.spread.iter().flatten()) {
            *to = ((from.max(SPREAD_LEAST) / SPREAD_LEAST).ln() / SPREAD_BASE.ln()).ceil().clamp(0.0, 255.0) as u8;
        }
        (center, spread)
    }

    pub(crate) fn read(center: [i16; 2], spread: [u8; 2 * MEANS]) -> Self {
        let spread = spread.map(|power| SPREAD_LEAST * SPREAD_BASE.powi(i32::from(power)));
        let center = center.map(|parts| f32::from(parts) / CENTER_PARTS);
        Self::of(center, [[spread[0], spread[1], spread[2]], [spread[3], spread[4], spread[5]]])
    }
}

/// Long runs differ less than short ones.
fn run(run: u16) -> f32 {
    if run == 0 { 0.0 } else { f32::from(run).ln_1p() }
}

/// Baselines of the fleet and of its vehicles, one for each input of the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Baselines {
    pub(crate) fleet: Vec<Baseline>,
    pub(crate) vehicles: HashMap<u64, Vec<Baseline>>,
}

/// The key of a vehicle's baseline.
pub(crate) fn key(vehicle: &VehicleId) -> u64 {
    PayloadHash::of(vehicle.as_str().as_bytes()).0
}

impl Baselines {
    pub(crate) fn of(&self, key: u64) -> &[Baseline] {
        self.vehicles.get(&key).unwrap_or(&self.fleet)
    }
}

/// What one vehicle's blocks say of one signal and head: centre and spreads; NaN where there is too little.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Own {
    pub(crate) center: f32,
    pub(crate) spread: [f32; MEANS],
    pub(crate) blocks: f32,
}

/// From the means of a head over the blocks of one vehicle; columns by length of the mean, NaN dropped.
pub(crate) fn own(columns: &mut [Vec<f32>; MEANS]) -> Own {
    // The means over 60 readings show the centre best; a short history has only those over 6.
    let middle = columns.iter().position(|column| column.len() >= LEAST_BLOCKS).map(|_| {
        let best = [1, 0, 2].into_iter().find(|at| columns[*at].len() >= LEAST_BLOCKS).unwrap_or(0);
        median(&mut columns[best])
    });
    let center = middle.unwrap_or(f32::NAN);
    let blocks = columns[0].len() as f32;
    let spread = [0, 1, 2].map(|at: usize| {
        let column = &mut columns[at];
        if column.len() < LEAST_BLOCKS {
            return f32::NAN;
        }
        column.iter_mut().for_each(|value| *value = (*value - center).abs());
        median(column) * 1.4826
    });
    Own { center, spread, blocks }
}

/// The fleet's baseline of a signal, and each vehicle's, from what each vehicle's own blocks say (per head).
pub(crate) fn shrink(owns: &[[Own; 2]]) -> (Baseline, Vec<Baseline>) {
    let mut fleet = Baseline::PLAIN;
    let mut vehicles = vec![Baseline::PLAIN; owns.len()];
    for head in 0..2 {
        let known = |value: &dyn Fn(&Own) -> f32| -> Vec<f32> {
            owns.iter().map(|own| value(&own[head])).filter(|value| !value.is_nan()).collect()
        };
        let mut centers = known(&|own| own.center);
        if centers.is_empty() {
            continue;
        }
        let center = median(&mut centers);
        centers.iter_mut().for_each(|value| *value = (*value - center).abs());
        let between = median(&mut centers) * 1.4826;
        fleet.center[head] = center;
        for (length, least) in LEAST_SPREAD.into_iter().enumerate() {
            let mut spreads = known(&|own| own.spread[length]);
            let found = if spreads.is_empty() { f32::NAN } else { median(&mut spreads) };
            let within = found.max(least);
            fleet.spread[head][length] = (between * between + within * within).sqrt();
            for (own, vehicle) in owns.iter().zip(&mut vehicles) {
                let own = &own[head];
                if own.center.is_nan() {
                    vehicle.center[head] = center;
                    vehicle.spread[head][length] = fleet.spread[head][length];
                    continue;
                }
                // The centre of a vehicle is known up to its spread over the root of its blocks.
                let doubt = within * within / own.blocks.max(1.0);
                let trust = between * between / (between * between + doubt).max(1e-12);
                vehicle.center[head] = center + trust * (own.center - center);
                let weight = OWN_SHARE * own.blocks / (own.blocks + PRIOR_BLOCKS);
                let spread = if own.spread[length].is_nan() { within } else { own.spread[length] };
                let variance = weight * spread * spread + (1.0 - weight) * within * within + doubt;
                vehicle.spread[head][length] = variance.sqrt().max(least);
            }
        }
    }
    let ready = |baseline: Baseline| Baseline::of(baseline.center, baseline.spread);
    (ready(fleet), vehicles.into_iter().map(ready).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_close_and_never_tighter() {
        for value in [0.03_f32, 0.15, 0.9, 7.0] {
            let baseline = Baseline::of([value, -value], [[value; MEANS]; 2]);
            let (center, spread) = baseline.write();
            let read = Baseline::read(center, spread);
            assert!((read.center[0] - value).abs() < 1e-3 && (read.center[1] + value).abs() < 1e-3);
            let ratio = read.spread[1][2] / value;
            assert!((0.999..1.031).contains(&ratio), "{ratio}");
            assert_eq!(Baseline::read(read.write().0, read.write().1).center, read.center);
        }
    }

    #[test]
    fn a_vehicle_with_many_blocks_keeps_its_own_centre_and_one_with_none_gets_the_fleets() {
        let of = |center: f32, blocks: f32| [Own { center, spread: [0.3, 0.2, 0.1], blocks }; 2];
        let mut owns: Vec<[Own; 2]> = [-1.0_f32, -0.5, 0.0, 0.5, 1.0].map(|c| of(c, 500.0)).to_vec();
        owns.push([Own { center: f32::NAN, spread: [f32::NAN; MEANS], blocks: 0.0 }; 2]);
        let (fleet, vehicles) = shrink(&owns);
        assert_eq!(fleet.center[0], 0.0);
        assert!((vehicles[4].center[0] - 1.0).abs() < 0.01, "{:?}", vehicles[4]);
        assert_eq!(vehicles[5], fleet);
        assert!(fleet.spread[0][1] > 3.0 * vehicles[4].spread[0][1]);
    }
}
