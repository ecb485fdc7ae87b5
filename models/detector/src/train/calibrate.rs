//! Calibration: baselines from the training part, tails and limit from what came after it, and how they hold.

use super::{
    Options,
    survey::{Parts, Survey},
    tails::{self, Blocks},
    walk,
};
use crate::{
    Error, History,
    baseline::{self, Baseline, Baselines, MAX_VEHICLES, Own, key},
    card::Calibration,
    history,
    judge::{Judge, is_judged},
    network::{Network, Weights},
    residual::Residual,
    scaler::{Scaler, quantiles},
    tail::Tail,
    track::{CUSUM, MEANS, Raw, STATISTICS},
    window::Query,
};

/// Blocks of the training part that are looked at, over all vehicles.
const BLOCKS: usize = 150_000;
/// What is above this quantile in the training part may belong to a tail.
const CANDIDATE: f64 = 0.95;
/// The same for a CUSUM, which the training part does not show.
const CANDIDATE_CUSUM: f32 = 4.0;

/// All that a judgement needs, and how it holds.
#[derive(Debug)]
pub(super) struct Calibrated {
    pub(super) judge: Judge,
    pub(super) calibration: Calibration,
    /// Of each input, the share of variance that head A explains.
    pub(super) explained: Vec<f64>,
}

/// Raw statistics of some blocks of a vehicle: input and statistics of each signal.
type Selected = Vec<Vec<(u16, Raw)>>;

/// Calibrates a network.
pub(super) fn calibrate(
    history: &dyn History,
    survey: &Survey,
    parts: Parts,
    (scaler, weights): (&Scaler, &Weights),
    options: &Options,
) -> Result<Calibrated, Error> {
    let inputs = scaler.len();
    let context = || Network::of(options.kind, inputs, weights);
    let vehicles = history.vehicles().len();
    let most = (BLOCKS / vehicles.max(1)).clamp(24, 4_000);
    let mut selected = history::each(vehicles, options.threads, context, |network, vehicle| {
        select(history, vehicle, (scaler, network), parts, most)
    })?;
    let baselines = baselines(history, &selected, inputs);
    let candidates = candidates(history, &baselines, &selected, scaler);
    let judged: Vec<bool> = scaler.inputs.iter().map(|at| is_judged(history.layout(), *at)).collect();
    let block_ms = crate::block_ms(history.layout());
    let setting = history::each(vehicles, options.threads, context, |network, vehicle| {
        let own = baselines.of(key(&history.vehicles()[vehicle]));
        let mut blocks = Blocks::new(vehicle as u32, (own, &candidates, &judged));
        let mut later = Selection::new(block_ms, most);
        let span = (parts.train, parts.limit);
        walk::look_through(history, vehicle, (scaler, network, own), span, &mut |query, residual, raw| {
            blocks.take(query.time().div_euclid(block_ms), query, residual, raw, scaler);
            later.take(query, residual, raw);
        })?;
        Ok((blocks.finish(), later.blocks))
    })?;
    let (setting, later): (Vec<_>, Vec<_>) = setting.into_iter().unzip();
    // The limits are set as the model is used: on what came after the vehicles were got to know. Only then is what is
    // known of them brought up to date, and what is held out is judged with that, as everything to come will be.
    selected.iter_mut().zip(later).for_each(|(known, later)| known.extend(later));
    let baselines = self::baselines(history, &selected, inputs);
    let held_out = history::each(vehicles, options.threads, context, |network, vehicle| {
        let own = baselines.of(key(&history.vehicles()[vehicle]));
        let mut blocks = Blocks::new(vehicle as u32, (own, &candidates, &judged));
        let span = (parts.limit, i64::MAX);
        walk::look_through(history, vehicle, (scaler, network, own), span, &mut |query, residual, raw| {
            blocks.take(query.time().div_euclid(block_ms), query, residual, raw, scaler);
        })?;
        Ok(blocks.finish())
    })?;
    let tails = tails::fit(&setting, inputs);
    let explained = (0..inputs).map(|input| tails::explained(setting.iter().chain(&held_out), input)).collect();
    let mut judge = Judge { baselines, tails, limit: 1.0 };
    let steps = (survey.gap_ms(), history.layout().step_ms());
    let calibration = tails::limit((&setting, &held_out), &mut judge, steps, options)?;
    Ok(Calibrated { judge, calibration, explained })
}

/// Collects statistics of some blocks, evenly spread.
struct Selection {
    blocks: Selected,
    length_ms: i64,
    most: usize,
    stride: u64,
    seen: u64,
    last: Option<i64>,
}

impl Selection {
    fn new(length_ms: i64, most: usize) -> Self {
        Self { blocks: Vec::new(), length_ms, most, stride: 1, seen: 0, last: None }
    }

    fn take(&mut self, query: &Query, residual: &Residual, raw: &[Raw]) {
        let block = query.time().div_euclid(self.length_ms);
        if self.last.replace(block) == Some(block) {
            return;
        }
        if self.seen.is_multiple_of(self.stride) {
            let signals = residual.signals.iter().zip(raw);
            self.blocks.push(signals.map(|((_, input, _), raw)| (*input, *raw)).collect());
            if self.blocks.len() > self.most {
                // Every other one goes, and from now on only half as many come.
                let mut keep = false;
                self.blocks.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }
}

/// Statistics of some blocks of the training part.
fn select(
    history: &dyn History,
    vehicle: usize,
    (scaler, network): (&Scaler, &Network),
    parts: Parts,
    most: usize,
) -> Result<Selected, Error> {
    let mut selection = Selection::new(crate::block_ms(history.layout()), most);
    let plain = vec![Baseline::PLAIN; scaler.len()];
    let eyes = (scaler, network, &plain[..]);
    walk::look_through(history, vehicle, eyes, (i64::MIN, parts.train), &mut |query, residual, raw| {
        selection.take(query, residual, raw);
    })?;
    Ok(selection.blocks)
}

fn baselines(history: &dyn History, selected: &[Selected], inputs: usize) -> Baselines {
    let mut fleet = Vec::with_capacity(inputs);
    let mut own: Vec<Vec<Baseline>> = vec![Vec::with_capacity(inputs); selected.len()];
    for input in 0..inputs {
        let owns: Vec<[Own; 2]> = selected
            .iter()
            .map(|blocks| {
                [0, 1].map(|head: usize| {
                    let mut columns: [Vec<f32>; MEANS] = Default::default();
                    for (_, raw) in blocks.iter().flatten().filter(|(at, _)| usize::from(*at) == input) {
                        for (column, mean) in columns.iter_mut().zip(raw.means[head]).filter(|(_, m)| !m.is_nan()) {
                            column.push(mean);
                        }
                    }
                    baseline::own(&mut columns)
                })
            })
            .collect();
        let (of_fleet, of_vehicles) = baseline::shrink(&owns);
        fleet.push(of_fleet);
        own.iter_mut().zip(of_vehicles).for_each(|(own, baseline)| own.push(baseline));
    }
    // As it will be read: what judges must be what was calibrated.
    let read = |row: Vec<Baseline>| row.iter().map(Baseline::write).map(|(c, s)| Baseline::read(c, s)).collect();
    let own = own.into_iter().zip(selected).zip(history.vehicles());
    let known = own.filter(|((_, blocks), _)| !blocks.is_empty()).take(MAX_VEHICLES);
    Baselines { fleet: read(fleet), vehicles: known.map(|((row, _), id)| (key(id), read(row))).collect() }
}

/// Of each input and statistic, the value from which on it may belong to a tail.
fn candidates(
    history: &dyn History,
    baselines: &Baselines,
    selected: &[Selected],
    scaler: &Scaler,
) -> Vec<[f32; STATISTICS]> {
    let mut columns: Vec<[Vec<f32>; STATISTICS]> = (0..scaler.len()).map(|_| Default::default()).collect();
    for (blocks, id) in selected.iter().zip(history.vehicles()) {
        let own = baselines.of(key(id));
        for (input, raw) in blocks.iter().flatten() {
            let input = usize::from(*input);
            for (column, value) in columns[input].iter_mut().zip(own[input].compare(raw)).filter(|(_, v)| !v.is_nan()) {
                column.push(value);
            }
        }
    }
    let bound = |(at, column): (usize, &mut Vec<f32>)| match at {
        CUSUM => CANDIDATE_CUSUM,
        _ => quantiles(column, [CANDIDATE])[0],
    };
    let of = |mut row: [Vec<f32>; STATISTICS]| {
        let mut bounds = row.iter_mut().enumerate().map(bound);
        [(); STATISTICS].map(|()| bounds.next().unwrap_or(f32::NAN))
    };
    columns.into_iter().map(of).collect()
}

/// Tails of signals that are not judged.
pub(super) const UNKNOWN: [Tail; STATISTICS] = [Tail::NONE; STATISTICS];
