//! What deviations a healthy vehicle shows: the fleet's, and each vehicle's own, shrunk towards the fleet's. Pure.

use std::{collections::HashMap, sync::LazyLock};

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
            // What was read is written as it was, whatever a logarithm makes of its last bit.
            let power = (from.max(SPREAD_LEAST) / SPREAD_LEAST).ln() / SPREAD_BASE.ln();
            *to = (power - 0.01).ceil().clamp(0.0, 255.0) as u8;
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
    /// Nearly all runs are this short.
    const SHORT: usize = 1_024;
    static LOGARITHMS: LazyLock<[f32; SHORT]> = LazyLock::new(|| std::array::from_fn(|run| (run as f32).ln_1p()));
    LOGARITHMS.get(usize::from(run)).copied().unwrap_or_else(|| f32::from(run).ln_1p())
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

/// Whether a model knows a vehicle. What is usual in a vehicle that it does not know it can only take from the fleet, so
/// more is usual there: tails and limit are others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a baseline of its own.
    Known,
    /// It is held against the fleet's.
    Stranger,
}

impl Baselines {
    pub(crate) fn of(&self, key: u64) -> (Standing, &[Baseline]) {
        match self.vehicles.get(&key) {
            Some(own) => (Standing::Known, own),
            None => (Standing::Stranger, &self.fleet),
        }
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

/// What is known of a signal in the fleet, from what each vehicle's own blocks say, per head: where centres lie, how far
/// they differ between vehicles, and how far means spread within one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fleet {
    /// None where no vehicle says anything.
    heads: [Option<OfHead>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct OfHead {
    center: f32,
    between: f32,
    within: [f32; MEANS],
}

impl Fleet {
    pub(crate) fn of(owns: &[&[Own; 2]]) -> Self {
        let heads = [0, 1].map(|head: usize| {
            let known = |value: &dyn Fn(&Own) -> f32| -> Vec<f32> {
                owns.iter().map(|own| value(&own[head])).filter(|value| !value.is_nan()).collect()
            };
            let mut centers = known(&|own| own.center);
            if centers.is_empty() {
                return None;
            }
            let center = median(&mut centers);
            centers.iter_mut().for_each(|value| *value = (*value - center).abs());
            let between = median(&mut centers) * 1.4826;
            let within = std::array::from_fn(|length| {
                let mut spreads = known(&|own| own.spread[length]);
                let found = if spreads.is_empty() { f32::NAN } else { median(&mut spreads) };
                found.max(LEAST_SPREAD[length])
            });
            Some(OfHead { center, between, within })
        });
        Self { heads }
    }

    /// Whether any vehicle says anything.
    pub(crate) fn is_known(&self) -> bool {
        self.heads.iter().any(Option::is_some)
    }

    /// The baseline of a vehicle that nothing is known of.
    pub(crate) fn stranger(&self) -> Baseline {
        self.baseline(|of, _| {
            let spread = of.within.map(|within| (of.between * of.between + within * within).sqrt());
            (of.center, spread)
        })
    }

    /// A vehicle's baseline: what its own blocks say, the less of them there are the closer to the fleet's.
    pub(crate) fn vehicle(&self, own: &[Own; 2]) -> Baseline {
        let stranger = self.stranger();
        self.baseline(|of, head| {
            let own = &own[head];
            if own.center.is_nan() {
                return (stranger.center[head], stranger.spread[head]);
            }
            let mut center = of.center;
            let spread = std::array::from_fn(|length| {
                let within = of.within[length];
                // The centre of a vehicle is known up to its spread over the root of its blocks.
                let doubt = within * within / own.blocks.max(1.0);
                let trust = of.between * of.between / (of.between * of.between + doubt).max(1e-12);
                center = of.center + trust * (own.center - of.center);
                let weight = OWN_SHARE * own.blocks / (own.blocks + PRIOR_BLOCKS);
                let spread = if own.spread[length].is_nan() { within } else { own.spread[length] };
                let variance = weight * spread * spread + (1.0 - weight) * within * within + doubt;
                variance.sqrt().max(LEAST_SPREAD[length])
            });
            (center, spread)
        })
    }

    /// As it will be read: what judges must be what was calibrated.
    fn baseline(&self, of_head: impl Fn(&OfHead, usize) -> (f32, [f32; MEANS])) -> Baseline {
        let mut found = Baseline::PLAIN;
        for (head, of) in self.heads.iter().enumerate() {
            if let Some(of) = of {
                (found.center[head], found.spread[head]) = of_head(of, head);
            }
        }
        let (center, spread) = found.write();
        Baseline::read(center, spread)
    }
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
        }
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for power in 0..=255 {
            let (center, spread) = ([i16::from(power) * 7, -i16::from(power)], [power; 2 * MEANS]);
            assert_eq!(Baseline::read(center, spread).write(), (center, spread));
        }
    }

    #[test]
    fn a_vehicle_with_many_blocks_keeps_its_own_centre_and_one_with_none_gets_the_fleets() {
        let of = |center: f32, blocks: f32| [Own { center, spread: [0.3, 0.2, 0.1], blocks }; 2];
        let mut owns: Vec<[Own; 2]> = [-1.0_f32, -0.5, 0.0, 0.5, 1.0].map(|c| of(c, 500.0)).to_vec();
        owns.push([Own { center: f32::NAN, spread: [f32::NAN; MEANS], blocks: 0.0 }; 2]);
        let fleet = Fleet::of(&owns.iter().collect::<Vec<_>>());
        let (stranger, last) = (fleet.stranger(), fleet.vehicle(&owns[4]));
        assert_eq!(stranger.center[0], 0.0);
        assert!((last.center[0] - 1.0).abs() < 0.01, "{last:?}");
        assert_eq!(fleet.vehicle(&owns[5]), stranger);
        assert!(stranger.spread[0][1] > 3.0 * last.spread[0][1]);
        assert_eq!(Fleet::of(&[]).stranger(), Baseline::read(Baseline::PLAIN.write().0, Baseline::PLAIN.write().1));
    }
}
