//! Calibration: baselines from the training part, tails and limit from what came after it, and how they hold.
//!
//! For vehicles that no training saw there is a measure of its own, from the same vehicles, each held against the baseline
//! of a fleet without its fold.

use telemetry::UnixMillis;

use super::{
    Options,
    acquaintance::{self, Acquaintance, Means, Selected, Selection},
    expectation::{self, Expectation},
    folds,
    survey::{Parts, Survey},
    tails::{self, Blocks, Seen},
    walk::{self, Walk},
};
use crate::{
    Error, History,
    baseline::{Baseline, Standing},
    card::{Calibration, Strangers},
    history,
    judge::{Judge, is_judged},
    network::{Network, Weights},
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

/// Calibrates a network.
pub(super) fn calibrate(
    history: &dyn History,
    survey: &Survey,
    parts: Parts,
    (scaler, weights): (&Scaler, &Weights),
    options: &Options,
) -> Result<Calibrated, Error> {
    let inputs = scaler.len();
    let network = || Network::of(options.kind, inputs, weights);
    let vehicles = history.vehicles().len();
    let most = (BLOCKS / vehicles.max(1)).clamp(24, 4_000);
    let raw = acquaintance::select(history, (scaler, &network), parts, most, options)?;
    let mut selected = acquaintance::means(&raw);
    let known = Acquaintance::of(&selected, inputs);
    let candidates = [
        candidates(&raw, inputs, folds::candidates(Standing::Known), |vehicle| known.known(vehicle)),
        candidates(&raw, inputs, folds::candidates(Standing::Stranger), |vehicle| Some(known.stranger(vehicle))),
    ];
    drop(raw);
    let judged: Vec<bool> = scaler.inputs.iter().map(|at| is_judged(history.layout(), *at)).collect();
    let setting = history::each(vehicles, options.threads, network, |network, vehicle| {
        let context = Context { history, scaler, judged: &judged, candidates: &candidates };
        let mut look = Look::new(&context, vehicle, &known, parts.train);
        let mut later = Selection::new(crate::block_ms(history.layout()), most, |raw| raw.means);
        let span = (parts.train, parts.limit);
        walk::look_through(history, vehicle, (scaler, network), span, &mut |query, residual| {
            look.take(query, residual, Some(&mut later));
        })?;
        Ok((look.finish(), later.blocks))
    })?;
    let (setting, later): (Vec<_>, Vec<_>) = setting.into_iter().unzip();
    // The limits are set as the model is used: on what came after the vehicles were got to know. Only then is what is
    // known of them brought up to date, and what is held out is judged with that, as everything to come will be.
    selected.iter_mut().zip(later).for_each(|(known, later)| known.extend(later));
    let known = Acquaintance::of(&selected, inputs);
    drop(selected);
    let held_out = history::each(vehicles, options.threads, network, |network, vehicle| {
        let context = Context { history, scaler, judged: &judged, candidates: &candidates };
        let mut look = Look::new(&context, vehicle, &known, parts.limit);
        let span = (parts.limit, UnixMillis::MAX);
        walk::look_through(history, vehicle, (scaler, network), span, &mut |query, residual| {
            look.take(query, residual, None);
        })?;
        Ok(look.finish())
    })?;
    let ([setting, setting_strangers], expected) = unzip(setting);
    let ([held_out, held_out_strangers], expected_held_out) = unzip(held_out);
    let explained = |input| expectation::explained(expected.iter().chain(&expected_held_out), input);
    let explained = (0..inputs).map(explained).collect();
    let steps = (survey.gap_ms(), history.layout().step_ms());
    let losses = expectation::losses(&expected_held_out);
    let strangers =
        tails::limit((&setting_strangers, &held_out_strangers), inputs, Standing::Stranger, steps, losses, options)?;
    drop((setting_strangers, held_out_strangers));
    let own = if tails::are_enough(&setting) {
        tails::limit((&setting, &held_out), inputs, Standing::Known, steps, losses, options)?
    } else {
        // Of vehicles with so short a history none is known well enough to be judged by more than the fleet's measure.
        strangers.clone()
    };
    let scores = tails::scores(&own, &strangers, &known.standings());
    let calibration = Calibration { scores, strangers: Strangers::from(&strangers.calibration), ..own.calibration };
    let judge = Judge { baselines: known.baselines(history), known: own.measure, strangers: strangers.measure };
    Ok(Calibrated { judge, calibration, explained })
}

/// What was seen of each vehicle: as a known one, as a stranger; and what was expected of it.
type AllSeen = ([Vec<Seen>; 2], Vec<Expectation>);

fn unzip(looks: Vec<([Seen; 2], Expectation)>) -> AllSeen {
    let (mut all, mut expectations) = ([Vec::new(), Vec::new()], Vec::new());
    for ([known, stranger], expectation) in looks {
        all[0].push(known);
        all[1].push(stranger);
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

/// A look at a vehicle, as at one that is known and as at a stranger.
struct Look<'a> {
    context: &'a Context<'a>,
    block_ms: i64,
    from: UnixMillis,
    /// None while nothing is known of it.
    own: Option<Vec<Baseline>>,
    stranger: Vec<Baseline>,
    walks: [Walk; 2],
    blocks: [Blocks<'a>; 2],
    expectation: Expectation,
}

impl<'a> Look<'a> {
    fn new(context: &'a Context<'a>, vehicle: usize, known: &Acquaintance, from: UnixMillis) -> Self {
        let layout = context.history.layout();
        let blocks = |at: usize| Blocks::new(vehicle as u32, (&context.candidates[at], context.judged));
        Self {
            context,
            block_ms: crate::block_ms(layout),
            from,
            own: known.known(vehicle),
            stranger: known.stranger(vehicle),
            walks: [Walk::new(layout.step_ms(), from), Walk::new(layout.step_ms(), from)],
            blocks: [blocks(0), blocks(1)],
            expectation: Expectation::new(context.scaler.len()),
        }
    }

    fn take(&mut self, query: &Query, residual: &Residual, later: Option<&mut Selection<Means>>) {
        let block = query.time().div_euclid(self.block_ms);
        let [known, stranger] = &mut self.walks;
        if let Some(raw) = known.follow(self.own.as_ref().unwrap_or(&self.stranger), query, residual) {
            if let Some(later) = later {
                later.take(query, residual, raw);
            }
            if let Some(own) = &self.own {
                self.blocks[0].take(block, own, query, residual, raw);
            }
        }
        if let Some(raw) = stranger.follow(&self.stranger, query, residual) {
            self.blocks[1].take(block, &self.stranger, query, residual, raw);
        }
        if query.time() >= self.from {
            self.expectation.take(query, residual, self.context.judged, self.context.scaler);
        }
    }

    fn finish(self) -> ([Seen; 2], Expectation) {
        (self.blocks.map(Blocks::finish), self.expectation)
    }
}

/// From which value on a statistic may belong to a tail: by blocks of the training part, held against these baselines.
fn candidates(
    selected: &[Selected<Raw>],
    inputs: usize,
    quantile: f64,
    baselines: impl Fn(usize) -> Option<Vec<Baseline>>,
) -> Candidates {
    let mut columns: Vec<[Vec<f32>; STATISTICS]> = (0..inputs).map(|_| Default::default()).collect();
    for (vehicle, blocks) in selected.iter().enumerate() {
        let Some(own) = baselines(vehicle) else { continue };
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
