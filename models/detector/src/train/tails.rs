//! Tails and limit, from the largest statistics of each block of a minute.

use evaluation::{Bins, Peak, Spread, heights, limit_for, poisson_quantile};

use super::{
    Options,
    folds::{self, FOLDS},
    seen::Seen,
};
use crate::{
    Error,
    baseline::Standing,
    card::{Calibration, Strangers},
    history,
    judge::Measure,
    scaler::quantiles,
    tail::{LEAST_VALUES, Level, Tail},
    track::{BLOCKS_ALIKE, STATISTICS},
    window::{COARSE, FINE},
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

/// A limit that was set.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) measure: Measure,
    /// How it was set and how it held; without a distribution of scores.
    pub(super) calibration: Calibration,
    /// Vehicle and score of each held-out block, as the network judges it.
    scores: Vec<(u32, f32)>,
}

/// Tails of an input's statistics: from all vehicles, and from all but those of each fold.
type Folded = ([Tail; STATISTICS], [[Tail; STATISTICS]; FOLDS]);

/// A tail for every statistic of an input.
fn fit(seen: &[Seen], input: usize, standing: Standing) -> Folded {
    let (mut all, mut without) = ([Tail::NONE; STATISTICS], [[Tail::NONE; STATISTICS]; FOLDS]);
    let share = folds::tail_share(standing);
    let (mut column, mut rest): (Vec<(f32, u8)>, Vec<f32>) = (Vec::new(), Vec::new());
    for statistic in 0..STATISTICS {
        // By what all saw, and by what the network itself did: what two networks judged was driven once.
        let mut known = [[0_u64; 2]; FOLDS];
        column.clear();
        for vehicle in seen {
            let (fold, blocks) = (folds::of_vehicle(vehicle.vehicle as usize), vehicle.known[input][statistic]);
            known[fold][0] += u64::from(blocks);
            known[fold][1] += if vehicle.out_of_fold { 0 } else { u64::from(blocks) };
            column.extend(vehicle.candidates(input, statistic).iter().map(|found| (found.value, fold as u8)));
        }
        // In order once: what is left without a fold is then in order as well.
        column.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut fit = |fold: Option<usize>| {
            let left = |at: usize| fold != Some(at);
            let others = known.iter().enumerate().filter(|(at, _)| left(*at));
            let (known, driven) = others.fold((0, 0), |sums, (_, count)| (sums.0 + count[0], sums.1 + count[1]));
            // Means over an hour of two minutes that follow each other are the same mean.
            if driven / BLOCKS_ALIKE[statistic] < LEAST_VALUES {
                return Tail::NONE;
            }
            rest.clear();
            rest.extend(column.iter().filter(|(_, at)| left(usize::from(*at))).map(|(value, _)| *value));
            Tail::fit(known, &mut rest, share)
        };
        all[statistic] = fit(None);
        for (fold, tails) in without.iter_mut().enumerate() {
            tails[statistic] = fit(Some(fold));
            // Where the others say too little, as beside a single vehicle, there are only the tails of all.
            if tails[statistic].from.is_nan() {
                tails[statistic] = all[statistic];
            }
        }
    }
    (all, without)
}

/// So much is added to the number of a vehicle where a network judged it that has not learnt from it: its alarms are others.
const OUT_OF_FOLD: u32 = 1 << 31;

/// The level of each block of a vehicle, by its place in time; `tails` by input.
fn levels<'a>(vehicle: &Seen, tails: impl Iterator<Item = &'a [Tail; STATISTICS]>) -> Vec<Peak> {
    let mut levels = vec![0.0_f32; vehicle.blocks.len()];
    for (input, tails) in tails.enumerate() {
        for (statistic, level) in tails.iter().map(Level::of).enumerate() {
            for candidate in vehicle.candidates(input, statistic) {
                let held = &mut levels[candidate.block as usize];
                // NaN, where no tail is known, changes nothing.
                *held = held.max(level.of_value(candidate.value));
            }
        }
    }
    let number = vehicle.vehicle + if vehicle.out_of_fold { OUT_OF_FOLD } else { 0 };
    vehicle.blocks.iter().zip(levels).map(|(time, score)| Peak { vehicle: number, time: *time, score }).collect()
}

/// Whether there are blocks enough to set a limit.
pub(super) fn are_enough(setting: &[Seen]) -> bool {
    setting.iter().map(|seen| seen.blocks.len() as u64).sum::<u64>() >= LEAST_VALUES
}

/// Fits the tails and sets the limit to the budget, and counts what is held out; `gap_ms`: event time that a reading
/// stands for; `losses`: of what is held out.
///
/// Of strangers there may be both what the network saw and what those saw that had not learnt from them. The former errs less
/// than it will with vehicles that it has not learnt from, the latter more, since they have learnt from fewer: tails are of
/// both, and an alarm of either is half an alarm, where the limit is set and in what is held out. (Efron's estimator of 1983
/// weighs errors of these two kinds by 0.368 and 0.632.)
pub(super) fn limit(
    (setting, held_out): (&[Seen], &[Seen]),
    inputs: usize,
    standing: Standing,
    (gap_ms, step_ms): (f64, i64),
    (held_out_loss, trivial_loss): (f64, f64),
    options: &Options,
) -> Result<Set, Error> {
    let fits = |(): &mut (), input| Ok::<_, Error>(fit(setting, input, standing));
    let fits: Vec<Folded> = history::each(inputs, options.threads, || Ok(()), fits)?;
    let without = |vehicle: &Seen| {
        let fold = folds::of_vehicle(vehicle.vehicle as usize);
        fits.iter().map(move |(_, without)| &without[fold])
    };
    let all = || fits.iter().map(|(all, _)| all);
    let by = |vehicle: &&Seen| !vehicle.out_of_fold;
    let readings = |seen: &[Seen]| seen.iter().filter(by).map(|vehicle| vehicle.readings).sum::<u64>() as f64;
    let [setting_hours, held_out_hours] = [setting, held_out].map(|seen| readings(seen) * gap_ms / 3_600_000.0);
    // What two networks judged was driven once.
    let weight = if setting.iter().any(|vehicle| vehicle.out_of_fold) { 0.5 } else { 1.0 };
    let driven: usize = setting.iter().filter(by).map(|vehicle| vehicle.blocks.len()).sum();
    if (driven as u64) < LEAST_VALUES {
        return Err(Error::TooLittle(format!(
            "{driven} blocks of {FINE} steps behind the training part are too few to set a limit: record longer"
        )));
    }
    let setting: Vec<Peak> = setting.iter().flat_map(|vehicle| levels(vehicle, without(vehicle))).collect();
    let by_network: Vec<Peak> = held_out.iter().filter(by).flat_map(|vehicle| levels(vehicle, all())).collect();
    let held_out: Vec<Peak> = held_out.iter().flat_map(|vehicle| levels(vehicle, all())).collect();
    let (budget, merge_ms) = (options.budget_per_1000_h, options.merge_steps * step_ms);
    let limit_at =
        |budget: f64| limit_for(&setting, weight, budget * setting_hours / 1_000.0, merge_ms, Some(LEVELS_SPREAD));
    let limit = limit_at(budget).map_or(1.0, |limit| limit.max(LEAST_LIMIT));
    let other = |budget: f64| f64::from(limit_at(budget).unwrap_or(limit) / limit);
    let count = |peaks: &[Peak]| (heights(peaks, limit, merge_ms).len() as f64 * weight).round() as u64;
    let (limit_alarms, held_out_alarms) = (count(&setting), count(&held_out));
    let scores = by_network.iter().map(|peak| (peak.vehicle, peak.score / limit)).collect();
    let mut upper: Vec<f32> = setting.iter().map(|peak| peak.score).collect();
    let [twentieth] = quantiles(&mut upper, [1.0 - TWENTIETH]);
    let above = |peaks: &[Peak]| peaks.iter().filter(|peak| peak.score > twentieth).count() as f64;
    let tail_blocks = (above(&held_out) * weight).round() as u64;
    let expected = budget * held_out_hours / 1_000.0;
    let expected_tail = held_out.len() as f64 * weight * TWENTIETH;
    // Blocks that follow each other are alike: they come in runs, and it is runs that chance makes.
    let runs = heights(&setting, twentieth.next_up(), COARSE * step_ms).len().max(1) as f64;
    let run = (above(&setting) / runs).max(1.0);
    let by_chance = (poisson_quantile(expected_tail / run, 0.99) as f64 * run) as u64;
    let calibration = Calibration {
        budget_per_1000_h: budget,
        merge_ms,
        limit_hours: setting_hours,
        limit_alarms,
        limit: f64::from(limit),
        other_budgets: OTHER_BUDGETS.map(|budget| (budget, other(budget))).to_vec(),
        held_out_hours,
        held_out_alarms,
        allowed_alarms: poisson_quantile(expected, 0.99).max((2.0 * expected) as u64),
        realised_per_1000_h: if held_out_hours > 0.0 { held_out_alarms as f64 * 1_000.0 / held_out_hours } else { 0.0 },
        tail_blocks,
        allowed_tail_blocks: by_chance.max((2.0 * expected_tail) as u64),
        held_out_loss,
        trivial_loss,
        scores: None,
        strangers: Strangers::default(),
    };
    let tails = fits.into_iter().map(|(all, _)| all).collect();
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
        of_blocks(vehicle, around, 200)
    }

    fn of_blocks(vehicle: u32, around: f32, blocks: u32) -> Seen {
        Seen::of_values(vehicle, (0..blocks).map(|block| around + (block as f32 * 0.618).fract()))
    }

    #[test]
    fn a_vehicle_is_judged_by_tails_that_it_had_no_part_in() {
        let around = |vehicle: u32| if folds::of_vehicle(vehicle as usize) == 0 { 50.0 } else { 1.0 };
        let fleet: Vec<Seen> = (0..2 * FOLDS as u32).map(|vehicle| seen(vehicle, around(vehicle))).collect();
        let (all, without) = fit(&fleet, 0, Standing::Known);
        assert!(all[0].from > 50.0 && without[1][0].from > 50.0 && without[0][0].from < 2.0);
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
        let short = |vehicle| of_blocks(vehicle, 1.0, 100);
        for few in [set(&[short(0), short(1)]).0, set(&[seen(0, 1.0)]).0] {
            assert!(few > LEAST_LIMIT, "{few}");
        }
    }

    #[test]
    fn a_limit_for_strangers_is_of_what_is_odd_about_them_and_of_what_is_odd_about_the_network() {
        let by = |around, out_of_fold| {
            let mut fleet: Vec<Seen> = (0..16).map(|n| seen(n, around)).collect();
            fleet.iter_mut().for_each(|vehicle| vehicle.out_of_fold = out_of_fold);
            fleet.into_iter()
        };
        let options = Options { budget_per_1000_h: 100.0, threads: 2, ..Options::default() };
        let set = |fleet: &[Seen]| {
            limit((fleet, fleet), 1, Standing::Stranger, (10_000.0, 10_000), (0.0, 0.0), &options).unwrap()
        };
        let alone: Vec<Seen> = by(1.0, false).collect();
        for (network, others) in [(1.0, 50.0), (50.0, 1.0)] {
            let both: Vec<Seen> = by(network, false).chain(by(others, true)).collect();
            let (alone, both) = (set(&alone), set(&both));
            let is_alarm = |set: &Set| set.measure.tails[0][0].level(50.5) > set.measure.limit;
            assert_eq!((is_alarm(&alone), is_alarm(&both)), (true, false), "{network} and {others}");
            let hours = |set: &Set| [set.calibration.limit_hours, set.calibration.held_out_hours];
            assert_eq!(hours(&alone), hours(&both), "driven once");
            assert_eq!(alone.scores.len(), both.scores.len(), "as the network alone judges");
        }
        // Held out, the alarms of the others count, by half.
        let held_out: Vec<Seen> = by(1.0, false).chain(by(90.0, true)).collect();
        let both: Vec<Seen> = by(1.0, false).chain(by(1.0, true)).collect();
        let set = limit((&both, &held_out), 1, Standing::Stranger, (10_000.0, 10_000), (0.0, 0.0), &options).unwrap();
        assert!(set.calibration.held_out_alarms >= 8, "{:?}", set.calibration);
        assert!(set.scores.iter().all(|(vehicle, score)| *vehicle < 16 && *score < 1.5), "{:?}", set.scores.first());
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
