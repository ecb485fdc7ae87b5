//! Tails and limit, from the largest statistics of each block of a minute.

use evaluation::{Bins, Peak, Spread, heights, limit_for, poisson_quantile};
use telemetry::UnixMillis;

use super::{
    Options,
    folds::{self, FOLDS},
};
use crate::{
    Error,
    baseline::{Baseline, Standing},
    card::{Calibration, Strangers},
    judge::Measure,
    residual::Residual,
    scaler::quantiles,
    tail::{LEAST_VALUES, Tail},
    track::{BLOCKS_ALIKE, Raw, STATISTICS},
    window::{COARSE, FINE, Query},
};

/// No limit lies below this level: one in a hundred.
const LEAST_LIMIT: f32 = 2.0;
/// How far levels spread beyond the limit, where a history is too short to count alarms. Of exact levels it would be 0.43
/// (1 / ln 10); in 42 simulated fleets of 200 vehicles and 40 minutes the ten highest alarms gave a median of 0.79 and
/// anything from 0.2 to 4.6, and up to 24 alarms came where 3 were promised. With this the promise is true on average, of
/// other fleets too: `make bench-detection FLAGS=short`.
const LEVELS_SPREAD: Spread = Spread { mean: 0.7, worth: 24.0 };
/// Budgets that a card tells of beside its own: an alarm in a vehicle-week, one and ten in a vehicle-day.
const OTHER_BUDGETS: [f64; 3] = [1_000.0 / 168.0, 1_000.0 / 24.0, 10_000.0 / 24.0];
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
}

/// Collects the blocks of a vehicle.
pub(super) struct Blocks<'a> {
    candidates: &'a [[f32; STATISTICS]],
    judged: &'a [bool],
    current: Option<i64>,
    largest: Vec<[f32; STATISTICS]>,
    seen: Seen,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(vehicle: u32, (candidates, judged): (&'a [[f32; STATISTICS]], &'a [bool])) -> Self {
        let inputs = candidates.len();
        let known = vec![[0; STATISTICS]; inputs];
        let seen = Seen { vehicle, blocks: Vec::new(), readings: 0, candidates: Vec::new(), known };
        let largest = vec![[f32::NAN; STATISTICS]; inputs];
        Self { candidates, judged, current: None, largest, seen }
    }

    /// Takes a reading's statistics, held against these baselines; `block` is its block.
    pub(super) fn take(&mut self, block: i64, own: &[Baseline], query: &Query, residual: &Residual, raw: &[Raw]) {
        if self.current != Some(block) {
            self.close();
            self.current = Some(block);
            self.seen.blocks.push(query.time());
        }
        self.seen.readings += 1;
        for ((_, input, _), raw) in residual.signals.iter().zip(raw) {
            let input = usize::from(*input);
            if !self.judged[input] {
                continue;
            }
            for (most, found) in self.largest[input].iter_mut().zip(own[input].compare(raw)) {
                *most = most.max(found);
            }
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
        // Of many vehicles: room to grow would take as much again.
        self.seen.candidates.shrink_to_fit();
        self.seen.blocks.shrink_to_fit();
        self.seen
    }
}

/// A limit that was set.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) measure: Measure,
    /// How it was set and how it held; without a distribution of scores.
    pub(super) calibration: Calibration,
    /// Vehicle and score of each held-out block.
    scores: Vec<(u32, f32)>,
}

/// A tail for every statistic of every input, from all folds or all but one.
fn fit(seen: &[Seen], inputs: usize, standing: Standing, without: Option<usize>) -> Vec<[Tail; STATISTICS]> {
    let mut columns: Vec<[Vec<f32>; STATISTICS]> = (0..inputs).map(|_| Default::default()).collect();
    let mut known = vec![[0_u64; STATISTICS]; inputs];
    for vehicle in seen.iter().filter(|one| Some(folds::of_vehicle(one.vehicle as usize)) != without) {
        for candidate in &vehicle.candidates {
            columns[usize::from(candidate.input)][usize::from(candidate.statistic)].push(candidate.value);
        }
        for (sum, count) in known.iter_mut().flatten().zip(vehicle.known.iter().flatten()) {
            *sum += u64::from(*count);
        }
    }
    let share = folds::tail_share(standing);
    let of = |(mut row, known): ([Vec<f32>; STATISTICS], [u64; STATISTICS])| {
        let mut tails = [Tail::NONE; STATISTICS];
        for (statistic, (tail, column)) in tails.iter_mut().zip(&mut row).enumerate() {
            // Means over an hour of two minutes that follow each other are the same mean.
            if known[statistic] / BLOCKS_ALIKE[statistic] >= LEAST_VALUES {
                *tail = Tail::fit(known[statistic], column, share);
            }
        }
        tails
    };
    columns.into_iter().zip(known).map(of).collect()
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

/// Whether there are blocks enough to set a limit.
pub(super) fn are_enough(setting: &[Seen]) -> bool {
    setting.iter().map(|seen| seen.blocks.len() as u64).sum::<u64>() >= LEAST_VALUES
}

/// Fits the tails and sets the limit to the budget, and counts what is held out; `gap_ms`: event time that a reading
/// stands for; `losses`: of what is held out.
pub(super) fn limit(
    (setting, held_out): (&[Seen], &[Seen]),
    inputs: usize,
    standing: Standing,
    (gap_ms, step_ms): (f64, i64),
    (held_out_loss, trivial_loss): (f64, f64),
    options: &Options,
) -> Result<Set, Error> {
    let tails = fit(setting, inputs, standing, None);
    let without = |fold| {
        let mut others = fit(setting, inputs, standing, Some(fold));
        // Where the others say too little, as beside a single vehicle, there are only the tails of all.
        for (others, all) in others.iter_mut().flatten().zip(tails.iter().flatten()) {
            if others.from.is_nan() {
                *others = *all;
            }
        }
        others
    };
    // One after the other: each takes a copy of all that may belong to a tail.
    let without: Vec<_> = (0..FOLDS.min(setting.len())).map(without).collect();
    let tails_for = |vehicle: &Seen| &without[folds::of_vehicle(vehicle.vehicle as usize)];
    let readings = |seen: &[Seen]| seen.iter().map(|vehicle| vehicle.readings).sum::<u64>() as f64;
    let hours = [setting, held_out].map(|seen| readings(seen) * gap_ms / 3_600_000.0);
    let setting: Vec<Peak> = setting.iter().flat_map(|vehicle| levels(vehicle, tails_for(vehicle))).collect();
    let held_out: Vec<Peak> = held_out.iter().flat_map(|vehicle| levels(vehicle, &tails)).collect();
    if (setting.len() as u64) < LEAST_VALUES {
        return Err(Error::TooLittle(format!(
            "{} blocks of {FINE} steps behind the training part are too few to set a limit: record longer",
            setting.len()
        )));
    }
    let (budget, merge_ms) = (options.budget_per_1000_h, options.merge_steps * step_ms);
    let wanted = budget * hours[0] / 1_000.0;
    let limit = limit_for(&setting, wanted, merge_ms, Some(LEVELS_SPREAD)).map_or(1.0, |limit| limit.max(LEAST_LIMIT));
    let other = |budget: f64| {
        let other = limit_for(&setting, budget * hours[0] / 1_000.0, merge_ms, Some(LEVELS_SPREAD));
        f64::from(other.unwrap_or(limit) / limit)
    };
    let limit_alarms = heights(&setting, limit, merge_ms).len() as u64;
    let held_out_alarms = heights(&held_out, limit, merge_ms).len() as u64;
    let mut upper: Vec<f32> = setting.iter().map(|peak| peak.score).collect();
    let [twentieth] = quantiles(&mut upper, [1.0 - TWENTIETH]);
    let scores = held_out.iter().map(|peak| (peak.vehicle, peak.score / limit)).collect();
    let tail_blocks = held_out.iter().filter(|peak| peak.score > twentieth).count() as u64;
    let expected = budget * hours[1] / 1_000.0;
    let expected_tail = held_out.len() as f64 * TWENTIETH;
    // Blocks that follow each other are alike: they come in runs, and it is runs that chance makes.
    let runs = heights(&setting, twentieth.next_up(), COARSE * step_ms).len().max(1) as f64;
    let run = (setting.iter().filter(|peak| peak.score > twentieth).count() as f64 / runs).max(1.0);
    let by_chance = (poisson_quantile(expected_tail / run, 0.99) as f64 * run) as u64;
    let calibration = Calibration {
        budget_per_1000_h: budget,
        merge_ms,
        limit_hours: hours[0],
        limit_alarms,
        limit: f64::from(limit),
        other_budgets: OTHER_BUDGETS.map(|budget| (budget, other(budget))).to_vec(),
        held_out_hours: hours[1],
        held_out_alarms,
        allowed_alarms: poisson_quantile(expected, 0.99).max((2.0 * expected) as u64),
        realised_per_1000_h: if hours[1] > 0.0 { held_out_alarms as f64 * 1_000.0 / hours[1] } else { 0.0 },
        tail_blocks,
        allowed_tail_blocks: by_chance.max((2.0 * expected_tail) as u64),
        held_out_loss,
        trivial_loss,
        scores: None,
        strangers: Strangers::default(),
    };
    Ok(Set { measure: Measure { tails, limit }, calibration, scores })
}

/// How the scores of the held-out blocks are distributed, each vehicle's as what the artefact will judge it.
pub(super) fn scores(known: &Set, strangers: &Set, standings: &[Standing]) -> Option<Bins> {
    let of = |set: &Set, standing| {
        let own = |(vehicle, _): &&(u32, f32)| standings[*vehicle as usize] == standing;
        set.scores.iter().filter(own).map(|(_, score)| *score).collect::<Vec<_>>()
    };
    let mut all = of(known, Standing::Known);
    all.extend(of(strangers, Standing::Stranger));
    let least = LEAST_TOLD / known.measure.limit.min(strangers.measure.limit);
    all.iter_mut().for_each(|score| *score = score.max(least));
    Bins::of(&mut all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vehicle whose only statistic lies around this value.
    fn seen(vehicle: u32, around: f32) -> Seen {
        let value = |block: u32| around + (block as f32 * 0.618).fract();
        let candidates = (0..200).map(|block| Candidate { block, input: 0, statistic: 0, value: value(block) });
        let blocks = (0..200).map(|block| i64::from(block) * 60_000).collect();
        Seen { vehicle, blocks, readings: 1_200, candidates: candidates.collect(), known: vec![[200; STATISTICS]] }
    }

    #[test]
    fn a_vehicle_is_judged_by_tails_that_it_had_no_part_in() {
        let around = |vehicle: u32| if folds::of_vehicle(vehicle as usize) == 0 { 50.0 } else { 1.0 };
        let fleet: Vec<Seen> = (0..2 * FOLDS as u32).map(|vehicle| seen(vehicle, around(vehicle))).collect();
        let from = |without| fit(&fleet, 1, Standing::Known, without)[0][0].from;
        assert!(from(None) > 50.0 && from(Some(1)) > 50.0 && from(Some(0)) < 2.0);
        let options = Options { budget_per_1000_h: 1.0, threads: 1, ..Options::default() };
        let set = |fleet: &[Seen]| {
            let Set { measure, calibration, .. } =
                limit((fleet, &[]), 1, Standing::Known, (10_000.0, 10_000), (0.0, 0.0), &options).unwrap();
            (measure.limit, measure.tails[0][0].level(50.0), calibration.limit_hours)
        };
        let (limit, level, hours) = set(&fleet);
        assert!((hours - 53.3).abs() < 0.1, "{hours}");
        assert!(limit > 10.0 * level, "two of sixteen are new to the others: {limit}, {level} to those that know them");
        let (alike, _, _) = set(&(0..16).map(|vehicle| seen(vehicle, 1.0)).collect::<Vec<_>>());
        assert!(alike < 8.0, "{alike}");
        // Two of 100 blocks each, and a single one: without a fold there are too few for a tail.
        let short = |vehicle| {
            let mut seen = seen(vehicle, 1.0);
            seen.blocks.truncate(100);
            seen.candidates.truncate(100);
            Seen { known: vec![[100; STATISTICS]], ..seen }
        };
        for few in [set(&[short(0), short(1)]).0, set(&[seen(0, 1.0)]).0] {
            assert!(few > LEAST_LIMIT, "{few}");
        }
    }

    #[test]
    fn scores_are_distributed_as_vehicles_will_be_judged() {
        let fleet: Vec<Seen> = (0..16).map(|vehicle| seen(vehicle, 1.0)).collect();
        let options = Options { budget_per_1000_h: 1.0, threads: 1, ..Options::default() };
        let set = |standing| limit((&fleet, &fleet), 1, standing, (10_000.0, 10_000), (0.0, 0.0), &options).unwrap();
        let (known, mut strangers) = (set(Standing::Known), set(Standing::Stranger));
        strangers.scores.iter_mut().for_each(|(_, score)| *score += 10.0);
        // Of sixteen vehicles the artefact keeps four: a quarter of the blocks.
        let standings: Vec<_> = (0..16).map(|n| if n < 4 { Standing::Known } else { Standing::Stranger }).collect();
        let mixed = scores(&known, &strangers, &standings).unwrap();
        let psi = |judged: &dyn Fn(u32) -> bool| {
            let of = |set: &Set, is_known: bool| {
                let own = set.scores.iter().filter(|(vehicle, _)| judged(*vehicle) == is_known);
                own.map(|(_, score)| *score).collect::<Vec<_>>()
            };
            let mut counts = evaluation::Counts::default();
            let found = of(&known, true).into_iter().chain(of(&strangers, false));
            found.for_each(|score| counts[mixed.index(f64::from(score))] += 1);
            mixed.psi(&counts).unwrap()
        };
        assert!(psi(&|vehicle| vehicle < 4) < 1e-9, "the fleet as it was learnt");
        assert!(psi(&|_| true) > 0.25 && psi(&|_| false) > 0.25, "all known, and none");
    }

    #[test]
    fn chance_alone_explains_few_alarms() {
        assert_eq!(poisson_quantile(0.0, 0.99), 0);
        assert_eq!(poisson_quantile(0.1, 0.99), 1);
        assert_eq!(poisson_quantile(1.0, 0.99), 4);
    }
}
