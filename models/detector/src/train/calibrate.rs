//! Calibration: baselines from the training part, tails and limit from what came after it, and how they hold.
//!
//! For vehicles that no training saw there is a measure of its own, from the same vehicles: each held against the baseline
//! of a fleet without its fold, and seen by a network that has not learnt from it as well as by the one that has.

use telemetry::UnixMillis;

use super::{
    Options,
    acquaintance::{self, Acquaintance, Means, OfBoth, Selected, Selection},
    cross::Networks,
    expectation::{self, Expectation},
    folds,
    seen::{Blocks, Seen},
    strangers::Strangers,
    survey::{Parts, Survey},
    tails,
    walk::{self, Carried, Walk},
};
use crate::{
    Error, History,
    baseline::{Baseline, Standing},
    card::{self, Calibration},
    history,
    judge::{Judge, is_judged},
    network::Weights,
    residual::Residual,
    scaler::{Scaler, quantiles},
    track::{CUSUM, Raw, STATISTICS},
    window::Query,
};

/// Blocks of the training part that are looked at, over all vehicles.
const BLOCKS: usize = 150_000;
/// A CUSUM from this on may belong to a tail: the training part does not show it.
const CANDIDATE_CUSUM: f32 = 4.0;

/// All that a judgement needs, and how it holds.
#[derive(Debug)]
pub(super) struct Calibrated {
    pub(super) judge: Judge,
    pub(super) calibration: Calibration,
    /// Of each input, the share of variance that head A explains.
    pub(super) explained: Vec<f64>,
}

/// Of each input and statistic, the value from which on it may belong to a tail.
type Candidates = Vec<[f32; STATISTICS]>;

/// Calibrates a network; with it come those that were fitted without a part of the vehicles each, if there are any.
pub(super) fn calibrate(
    history: &dyn History,
    survey: &Survey,
    parts: Parts,
    (scaler, weights, out_of_fold): (&Scaler, &Weights, &[Weights]),
    options: &Options,
) -> Result<Calibrated, Error> {
    let inputs = scaler.len();
    let networks = || Networks::of(options.kind, inputs, (weights, out_of_fold));
    let vehicles = history.vehicles().len();
    let most = (BLOCKS / vehicles.max(1)).clamp(24, 4_000);
    let (raw, carried) = acquaintance::select(history, (scaler, &networks), parts, most, options)?;
    let mut selected = raw.each_ref().map(|raw| acquaintance::means(raw));
    let know = |selected: &OfBoth<Means>| {
        let known = Acquaintance::of(&selected[0], inputs);
        let strangers = Strangers::of(&known, (!out_of_fold.is_empty()).then_some(&selected[1]), inputs);
        (known, strangers)
    };
    let (known, strangers) = know(&selected);
    let candidates = {
        let of = |at: usize| raw[at].iter().enumerate();
        let own = of(0).filter_map(|(vehicle, blocks)| Some((blocks, known.known(vehicle)?)));
        let as_strangers = of(0).map(|(vehicle, blocks)| (blocks, strangers.without(vehicle)));
        let as_strangers = as_strangers.chain(of(1).map(|(vehicle, blocks)| (blocks, strangers.out_of_fold(vehicle))));
        [
            candidates(own, inputs, folds::candidates(Standing::Known)),
            candidates(as_strangers, inputs, folds::candidates(Standing::Stranger)),
        ]
    };
    drop(raw);
    let judged: Vec<bool> = scaler.inputs.iter().map(|at| is_judged(history.layout(), *at)).collect();
    let context = Context { history, scaler, judged: &judged, candidates: &candidates };
    let setting = history::each(vehicles, options.threads, networks, |networks, vehicle| {
        let mut look = Look::new(&context, vehicle, (&known, &strangers), parts.train, &carried[vehicle])?;
        let mut later = [(); 2].map(|()| Selection::new(crate::block_ms(history.layout()), most, |raw| raw.means));
        let span = (parts.train, parts.limit, carried[vehicle].is_some());
        let in_order =
            walk::look_through(history, vehicle, (scaler, networks), span, &mut |query, residual, other| {
                look.take(query, (residual, other), Some(&mut later));
            })?;
        let carried = look.carried(vehicle, in_order);
        Ok(((look.finish(), carried), later.map(|later| later.blocks)))
    })?;
    drop(carried);
    let (setting, later): (Vec<_>, Vec<_>) = setting.into_iter().unzip();
    let (setting, carried): (Vec<_>, Vec<_>) = setting.into_iter().unzip();
    // The limits are set as the model is used: on what came after the vehicles were got to know. Only then is what is
    // known of them brought up to date, and what is held out is judged with that, as everything to come will be.
    for (vehicle, later) in later.into_iter().enumerate() {
        selected.iter_mut().zip(later).for_each(|(selected, later)| selected[vehicle].extend(later));
    }
    let (known, strangers) = know(&selected);
    drop(selected);
    let held_out = history::each(vehicles, options.threads, networks, |networks, vehicle| {
        let mut look = Look::new(&context, vehicle, (&known, &strangers), parts.limit, &carried[vehicle])?;
        let span = (parts.limit, UnixMillis::MAX, carried[vehicle].is_some());
        walk::look_through(history, vehicle, (scaler, networks), span, &mut |query, residual, other| {
            look.take(query, (residual, other), None);
        })?;
        Ok(look.finish())
    })?;
    drop(carried);
    let ([setting, setting_strangers], expected) = unzip(setting);
    let ([held_out, held_out_strangers], expected_held_out) = unzip(held_out);
    let explained = |input| expectation::explained(expected.iter().chain(&expected_held_out), input);
    let explained = (0..inputs).map(explained).collect();
    let steps = (survey.gap_ms(), history.layout().step_ms());
    let losses = expectation::losses(&expected_held_out);
    let as_strangers =
        tails::limit((&setting_strangers, &held_out_strangers), inputs, Standing::Stranger, steps, losses, options)?;
    drop((setting_strangers, held_out_strangers));
    let own = if tails::are_enough(&setting) {
        tails::limit((&setting, &held_out), inputs, Standing::Known, steps, losses, options)?
    } else {
        // Of vehicles with so short a history none is known well enough to be judged by more than the fleet's measure.
        as_strangers.clone()
    };
    let standings = known.standings();
    let scores = tails::scores(&own, &as_strangers, &standings);
    let of_strangers = card::Strangers::of(&as_strangers.calibration, out_of_fold.len());
    let calibration = Calibration { scores, strangers: of_strangers, ..own.calibration };
    let baselines = known.baselines(history, &standings, strangers.baselines());
    let judge = Judge { baselines, known: own.measure, strangers: as_strangers.measure };
    Ok(Calibrated { judge, calibration, explained })
}

/// What was seen of the vehicles: as of known ones, as of strangers; and what was expected of each.
type AllSeen = ([Vec<Seen>; 2], Vec<Expectation>);

fn unzip(looks: Vec<([Option<Seen>; 3], Expectation)>) -> AllSeen {
    let (mut all, mut expectations) = ([Vec::new(), Vec::new()], Vec::new());
    for ([known, stranger, out_of_fold], expectation) in looks {
        all[0].extend(known);
        all[1].extend([stranger, out_of_fold].into_iter().flatten());
        expectations.push(expectation);
    }
    (all, expectations)
}

/// What all looks at vehicles share.
struct Context<'a> {
    history: &'a dyn History,
    scaler: &'a Scaler,
    judged: &'a [bool],
    candidates: &'a [Candidates; 2],
}

/// A way of looking at a vehicle: what it is held against, and what comes of that.
struct Way<'a> {
    baselines: Vec<Baseline>,
    walk: Walk,
    blocks: Blocks<'a>,
    /// Whether what comes of it may set limits.
    counts: bool,
}

impl Way<'_> {
    fn take(&mut self, block: i64, query: &Query, residual: &Residual, later: Option<&mut Selection<Means>>) {
        let Some(raw) = self.walk.follow(&self.baselines, query, residual) else { return };
        if let Some(later) = later {
            later.take(query, residual, raw);
        }
        if self.counts {
            self.blocks.take(block, &self.baselines, query, residual, raw);
        }
    }
}

/// A look at a vehicle: as at one that is known, as at a stranger, and as the network sees it that has not learnt from it.
struct Look<'a> {
    context: &'a Context<'a>,
    block_ms: i64,
    from: UnixMillis,
    ways: [Way<'a>; 3],
    expectation: Expectation,
}

impl<'a> Look<'a> {
    fn new(
        context: &'a Context<'a>,
        vehicle: usize,
        (known, strangers): (&Acquaintance, &Strangers),
        from: UnixMillis,
        carried: &Carried,
    ) -> Result<Self, Error> {
        let layout = context.history.layout();
        let way = |at: usize, (baselines, counts): (Vec<Baseline>, bool)| {
            let candidates = &context.candidates[at.min(1)];
            let blocks = Blocks::new(vehicle as u32, at == 2, (candidates, context.judged));
            // The first two see the same deviations.
            let carried = carried.as_ref().map(|tracks| &tracks[at / 2][..]);
            Ok::<_, Error>(Way { baselines, walk: Walk::new(layout.step_ms(), from, carried)?, blocks, counts })
        };
        let stranger = strangers.without(vehicle);
        let own = known.known(vehicle).map_or_else(|| (stranger.clone(), false), |own| (own, true));
        Ok(Self {
            context,
            block_ms: crate::block_ms(layout),
            from,
            ways: [way(0, own)?, way(1, (stranger, true))?, way(2, (strangers.out_of_fold(vehicle), true))?],
            expectation: Expectation::new(context.scaler.len()),
        })
    }

    /// Its tracks so far.
    fn carried(&self, vehicle: usize, in_order: bool) -> Carried {
        let [known, _, out_of_fold] = &self.ways;
        walk::carried(vehicle, in_order, [&known.walk, &out_of_fold.walk])
    }

    /// Takes what the network makes of a reading and, where there is one, the network that has not learnt from the
    /// vehicle; `later`: where blocks of both are kept.
    fn take(
        &mut self,
        query: &Query,
        (residual, other): (&Residual, Option<&Residual>),
        later: Option<&mut [Selection<Means>; 2]>,
    ) {
        let block = query.time().div_euclid(self.block_ms);
        let [known, stranger, out_of_fold] = &mut self.ways;
        let [own, others] = later.map_or([None, None], |[own, others]| [Some(own), Some(others)]);
        known.take(block, query, residual, own);
        stranger.take(block, query, residual, None);
        if let Some(other) = other {
            out_of_fold.take(block, query, other, others);
        }
        if query.time() >= self.from {
            self.expectation.take(query, residual, self.context.judged, self.context.scaler);
        }
    }

    fn finish(self) -> ([Option<Seen>; 3], Expectation) {
        (self.ways.map(|way| way.blocks.finish()), self.expectation)
    }
}

/// From which value on a statistic may belong to a tail: by blocks of the training part, each held against its baselines.
fn candidates<'a>(
    held: impl Iterator<Item = (&'a Selected<Raw>, Vec<Baseline>)>,
    inputs: usize,
    quantile: f64,
) -> Candidates {
    let mut columns: Vec<[Vec<f32>; STATISTICS]> = (0..inputs).map(|_| Default::default()).collect();
    for (blocks, own) in held {
        for (input, raw) in blocks.iter().flatten() {
            let input = usize::from(*input);
            for (column, value) in columns[input].iter_mut().zip(own[input].compare(raw)).filter(|(_, v)| !v.is_nan()) {
                column.push(value);
            }
        }
    }
    let bound = |(at, column): (usize, &mut Vec<f32>)| match at {
        CUSUM => CANDIDATE_CUSUM,
        _ => quantiles(column, [quantile])[0],
    };
    let of = |mut row: [Vec<f32>; STATISTICS]| {
        let mut bounds = row.iter_mut().enumerate().map(bound);
        [(); STATISTICS].map(|()| bounds.next().unwrap_or(f32::NAN))
    };
    columns.into_iter().map(of).collect()
}
