//! Tails and limit, from the largest statistics of each block of a minute.

use evaluation::{Bins, Peak, heights, limit_for};
use telemetry::UnixMillis;

use super::{Options, calibrate::UNKNOWN};
use crate::{
    Error,
    baseline::Baseline,
    card::Calibration,
    judge::Judge,
    residual::{Residual, student},
    scaler::{Scaler, quantiles},
    tail::{LEAST_VALUES, Tail},
    track::{BLOCKS_ALIKE, Raw, STATISTICS},
    window::{COARSE, FINE, Query},
};

/// No limit lies below this level: one in a hundred.
const LEAST_LIMIT: f32 = 2.0;
/// Budgets that a card tells of beside its own: an alarm in a vehicle-week, one and ten in a vehicle-day.
const OTHER_BUDGETS: [f64; 3] = [1_000.0 / 168.0, 1_000.0 / 24.0, 10_000.0 / 24.0];
/// Half a fleet of fewer vehicles says too little about the other half.
const LEAST_VEHICLES: usize = 2;
/// Levels below this one are not told apart: what can't belong to a tail was left out (one in twenty).
const LEAST_TOLD: f32 = 1.3;
/// The share of blocks whose levels are the upper twentieth.
const TWENTIETH: f64 = 0.05;

/// One signal's statistic that may belong to a tail.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    block: u32,
    input: u16,
    statistic: u16,
    value: f32,
}

/// What was seen of an input in a part.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
    left: f64,
    loss: f64,
    trivial: f64,
}

/// The blocks of one vehicle in the part that sets the limit, or in the held-out part.
#[derive(Debug)]
pub(super) struct Seen {
    vehicle: u32,
    /// Beginning of each block.
    blocks: Vec<UnixMillis>,
    readings: u64,
    candidates: Vec<Candidate>,
    /// Blocks in which each statistic was known.
    known: Vec<[u32; STATISTICS]>,
    /// By input.
    sums: Vec<Sums>,
}

/// Collects the blocks of a vehicle.
pub(super) struct Blocks<'a> {
    own: &'a [Baseline],
    candidates: &'a [[f32; STATISTICS]],
    judged: &'a [bool],
    current: Option<i64>,
    largest: Vec<[f32; STATISTICS]>,
    seen: Seen,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(
        vehicle: u32,
        (own, candidates, judged): (&'a [Baseline], &'a [[f32; STATISTICS]], &'a [bool]),
    ) -> Self {
        let inputs = candidates.len();
        let seen = Seen {
            vehicle,
            blocks: Vec::new(),
            readings: 0,
            candidates: Vec::new(),
            known: vec![[0; STATISTICS]; inputs],
            sums: vec![Sums::default(); inputs],
        };
        let largest = vec![[f32::NAN; STATISTICS]; inputs];
        Self { own, candidates, judged, current: None, largest, seen }
    }

    pub(super) fn take(&mut self, block: i64, query: &Query, residual: &Residual, raw: &[Raw], scaler: &Scaler) {
        if self.current != Some(block) {
            self.close();
            self.current = Some(block);
            self.seen.blocks.push(query.time());
        }
        self.seen.readings += 1;
        for ((n, input, heads), raw) in residual.signals.iter().zip(raw) {
            let input = usize::from(*input);
            if !self.judged[input] {
                continue;
            }
            for (most, found) in self.largest[input].iter_mut().zip(self.own[input].compare(raw)) {
                *most = most.max(found);
            }
            let observed = query.signals[usize::from(*n)].features[0];
            let scaled = f64::from(scaler.scale(input, observed));
            let (expected, spread) = (f64::from(heads[0].expected), f64::from(heads[0].spread));
            let sums = &mut self.seen.sums[input];
            sums.count += 1.0;
            sums.sum += scaled;
            sums.squares += scaled * scaled;
            sums.left += (scaled - expected).powi(2);
            sums.loss += student((scaled - expected) / spread) + spread.ln();
            sums.trivial += student(scaled);
        }
    }

    fn close(&mut self) {
        let Some(block) = (self.seen.blocks.len() as u32).checked_sub(1) else { return };
        for (input, largest) in self.largest.iter_mut().enumerate() {
            for (statistic, value) in largest.iter_mut().enumerate().filter(|(_, value)| !value.is_nan()) {
                self.seen.known[input][statistic] += 1;
                if *value >= self.candidates[input][statistic] {
                    let (input, statistic) = (input as u16, statistic as u16);
                    self.seen.candidates.push(Candidate { block, input, statistic, value: *value });
                }
                *value = f32::NAN;
            }
        }
    }

    pub(super) fn finish(mut self) -> Seen {
        self.close();
        self.seen
    }
}

/// A tail for every statistic of every input, from the part that sets the limit.
pub(super) fn fit(seen: &[Seen], inputs: usize) -> Vec<[Tail; STATISTICS]> {
    fit_to(&seen.iter().collect::<Vec<_>>(), inputs)
}

fn fit_to(seen: &[&Seen], inputs: usize) -> Vec<[Tail; STATISTICS]> {
    let mut columns: Vec<[Vec<f32>; STATISTICS]> = (0..inputs).map(|_| Default::default()).collect();
    for vehicle in seen {
        for candidate in &vehicle.candidates {
            columns[usize::from(candidate.input)][usize::from(candidate.statistic)].push(candidate.value);
        }
    }
    let of = |(input, mut row): (usize, [Vec<f32>; STATISTICS])| {
        let mut tails = UNKNOWN;
        for (statistic, (tail, column)) in tails.iter_mut().zip(&mut row).enumerate() {
            let known: u64 = seen.iter().map(|vehicle| u64::from(vehicle.known[input][statistic])).sum();
            // Means over an hour of two minutes that follow each other are the same mean.
            if known / BLOCKS_ALIKE[statistic] >= LEAST_VALUES {
                *tail = Tail::fit(known, column);
            }
        }
        tails
    };
    columns.into_iter().enumerate().map(of).collect()
}

/// Share of the variance that head A explains behind the training part.
pub(super) fn explained<'a>(seen: impl Iterator<Item = &'a Seen>, input: usize) -> f64 {
    let mut sums = Sums::default();
    for part in seen.map(|vehicle| &vehicle.sums[input]) {
        sums.count += part.count;
        sums.sum += part.sum;
        sums.squares += part.squares;
        sums.left += part.left;
    }
    let total = sums.squares - sums.sum * sums.sum / sums.count.max(1.0);
    if total > 0.0 { 1.0 - sums.left / total } else { 0.0 }
}

/// The level of each block of a vehicle, by its place in time.
fn levels<'a>(vehicle: &'a Seen, tails: &[[Tail; STATISTICS]]) -> impl Iterator<Item = Peak> + use<'a> {
    let mut levels = vec![0.0_f32; vehicle.blocks.len()];
    for candidate in &vehicle.candidates {
        let tail = &tails[usize::from(candidate.input)][usize::from(candidate.statistic)];
        let level = tail.level(candidate.value);
        let held = &mut levels[candidate.block as usize];
        // NaN, where no tail is known, changes nothing.
        *held = held.max(level);
    }
    vehicle.blocks.iter().zip(levels).map(|(time, score)| Peak { vehicle: vehicle.vehicle, time: *time, score })
}

/// Sets the limit to the budget, and counts what is held out; `gap_ms`: event time that a reading stands for.
pub(super) fn limit(
    (setting, held_out): (&[Seen], &[Seen]),
    judge: &mut Judge,
    (gap_ms, step_ms): (f64, i64),
    options: &Options,
) -> Result<Calibration, Error> {
    // A tail that was fitted to a vehicle finds nothing improbable in it, least where there is little to fit to. So the
    // limit is set on levels of vehicles that had no part in their tails: each half by the other.
    let half =
        |odd: u32| fit_to(&setting.iter().filter(|one| one.vehicle % 2 == odd).collect::<Vec<_>>(), judge.tails.len());
    let halves = if setting.len() >= 2 * LEAST_VEHICLES { Some([half(1), half(0)]) } else { None };
    let tails_for = |vehicle: &Seen| match &halves {
        Some(halves) => &halves[vehicle.vehicle as usize % 2],
        None => &judge.tails,
    };
    let readings = |seen: &[Seen]| seen.iter().map(|vehicle| vehicle.readings).sum::<u64>() as f64;
    let hours = [setting, held_out].map(|seen| readings(seen) * gap_ms / 3_600_000.0);
    let loss = |of: fn(&Sums) -> f64| {
        let sums = || held_out.iter().flat_map(|vehicle| &vehicle.sums);
        sums().map(of).sum::<f64>() / sums().map(|sums| sums.count).sum::<f64>().max(1.0)
    };
    let (held_out_loss, trivial_loss) = (loss(|sums| sums.loss), loss(|sums| sums.trivial));
    let setting: Vec<Peak> = setting.iter().flat_map(|vehicle| levels(vehicle, tails_for(vehicle))).collect();
    let held_out: Vec<Peak> = held_out.iter().flat_map(|vehicle| levels(vehicle, &judge.tails)).collect();
    if (setting.len() as u64) < LEAST_VALUES {
        return Err(Error::TooLittle(format!(
            "{} blocks of {FINE} steps behind the training part are too few to set a limit: record longer",
            setting.len()
        )));
    }
    let (budget, merge_ms) = (options.budget_per_1000_h, options.merge_steps * step_ms);
    let wanted = budget * hours[0] / 1_000.0;
    judge.limit = limit_for(&setting, wanted, merge_ms).map_or(1.0, |limit| limit.max(LEAST_LIMIT));
    let other = |budget: f64| {
        let limit = limit_for(&setting, budget * hours[0] / 1_000.0, merge_ms);
        f64::from(limit.unwrap_or(judge.limit) / judge.limit)
    };
    let limit_alarms = heights(&setting, judge.limit, merge_ms).len() as u64;
    let held_out_alarms = heights(&held_out, judge.limit, merge_ms).len() as u64;
    let mut upper: Vec<f32> = setting.iter().map(|peak| peak.score).collect();
    let [twentieth] = quantiles(&mut upper, [1.0 - TWENTIETH]);
    let mut scores: Vec<f32> = held_out.iter().map(|peak| peak.score.max(LEAST_TOLD) / judge.limit).collect();
    let tail_blocks = held_out.iter().filter(|peak| peak.score > twentieth).count() as u64;
    let expected = budget * hours[1] / 1_000.0;
    let expected_tail = held_out.len() as f64 * TWENTIETH;
    // Blocks that follow each other are alike: they come in runs, and it is runs that chance makes.
    let runs = heights(&setting, twentieth.next_up(), COARSE * step_ms).len().max(1) as f64;
    let run = (setting.iter().filter(|peak| peak.score > twentieth).count() as f64 / runs).max(1.0);
    let by_chance = (poisson_quantile(expected_tail / run, 0.99) as f64 * run) as u64;
    Ok(Calibration {
        budget_per_1000_h: budget,
        merge_ms,
        limit_hours: hours[0],
        limit_alarms,
        limit: f64::from(judge.limit),
        other_budgets: OTHER_BUDGETS.map(|budget| (budget, other(budget))).to_vec(),
        held_out_hours: hours[1],
        held_out_alarms,
        allowed_alarms: poisson_quantile(expected, 0.99).max((2.0 * expected) as u64),
        realised_per_1000_h: if hours[1] > 0.0 { held_out_alarms as f64 * 1_000.0 / hours[1] } else { 0.0 },
        tail_blocks,
        allowed_tail_blocks: by_chance.max((2.0 * expected_tail) as u64),
        held_out_loss,
        trivial_loss,
        scores: Bins::of(&mut scores),
    })
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
}
