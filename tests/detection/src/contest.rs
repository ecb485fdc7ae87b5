//! All contestants, one after the other, on the same readings.

use std::{io::Write, time::Instant};

use anyhow::Result;
use detector::{Detector, Kind, Options, Split, control, judged_by_both};

use evaluation::{BUDGETS, Scored};

use crate::{
    ancestor::Ancestor,
    figures::{self, MEASURE, Outcome},
    fleet::{Fleet, Test},
    settings::Settings,
    trivial::{Ranges, blind},
};

/// Readings, over all vehicles, that a loss is taken of.
const LOSS_READINGS: usize = 200_000;

/// How a contestant did with one seed.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Name of the contestant.
    pub(crate) name: &'static str,
    /// Seconds of training.
    pub(crate) training_s: f64,
    /// Bytes of the artefact; 0 where there is none.
    pub(crate) bytes: usize,
    /// What the gate compares: mean loss a value on the part that sets the limits; none of contestants without one.
    pub(crate) loss: Option<f64>,
    /// On every test.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Lets all of them try.
pub(crate) fn run(settings: &Settings, fleet: &Fleet) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    let learnt = (fleet.train_until, fleet.limit_until);
    let threads = settings.threads;
    let all = (i64::MIN, i64::MAX);
    let ranges = Ranges::train(&fleet.history, fleet.train_until)?;
    attempts.push(attempt("range rules", 0.0, fleet, |test, within| {
        let history = test.map_or(&fleet.history, |test| &test.history);
        ranges.score(history, within.unwrap_or(all), threads)
    })?);
    for (name, seed) in [("random", Some(settings.fleet_seed)), ("always", None)] {
        attempts.push(attempt(name, 0.0, fleet, |test, within| {
            let history = test.map_or(&fleet.history, |test| &test.history);
            blind(history, within.unwrap_or(all), seed)
        })?);
    }
    for seed in 1..=u64::from(settings.seeds) {
        let started = Instant::now();
        let ancestor = Ancestor::train(&fleet.history, fleet.train_until, seed)?;
        attempts.push(attempt("ancestor", started.elapsed().as_secs_f64(), fleet, |test, within| {
            let history = test.map_or(&fleet.history, |test| &test.history);
            ancestor.score(history, within.unwrap_or(all), threads)
        })?);
    }
    for kind in &settings.detectors {
        for seed in 1..=u64::from(settings.seeds) {
            attempts.push(detector(*kind, seed, learnt, settings, fleet)?);
        }
    }
    Ok(attempts)
}

fn detector(kind: Kind, seed: u64, (train, limit): (i64, i64), settings: &Settings, fleet: &Fleet) -> Result<Attempt> {
    let started = Instant::now();
    let options = Options {
        kind,
        seed,
        // One alarm in a vehicle-week.
        budget_per_1000_h: 1_000.0 * BUDGETS[0].1 / 168.0,
        merge_steps: MEASURE.merge_ms / MEASURE.step_ms,
        sample: settings.sample,
        steps: settings.steps,
        split: Split::Times([train, limit]),
        threads: settings.threads,
        ..Options::default()
    };
    // The gate wants readings that are held out; here the tests are.
    let detector: Detector = control::ungated(&fleet.history, &options)?;
    let training_s = started.elapsed().as_secs_f64();
    let bytes = detector.save();
    let signals = judged_by_both(detector.card(), detector.card());
    let losses = detector::losses(&bytes, &fleet.history, (train, limit), &signals, (LOSS_READINGS, settings.threads))?;
    let losses: Vec<f64> = losses.into_iter().flatten().collect();
    let loss = Some(losses.iter().sum::<f64>() / losses.len() as f64);
    let limits: Vec<f32> = detector.card().calibration.other_budgets.iter().map(|(_, score)| *score as f32).collect();
    let score = |test: &Test| Ok(detector::score(&bytes, &test.history, (test.from, i64::MAX), settings.threads)?);
    let attempt = Attempt { name: kind.as_str(), training_s, bytes: bytes.len(), loss, outcomes: Vec::new() };
    judged(attempt, fleet, &limits, score)
}

/// A contestant without limits of its own: they are set on its scores of healthy vehicles.
fn attempt(
    name: &'static str,
    training_s: f64,
    fleet: &Fleet,
    score: impl Fn(Option<&Test>, Option<(i64, i64)>) -> Result<Vec<Scored>>,
) -> Result<Attempt> {
    let healthy = score(None, Some((fleet.train_until, fleet.limit_until)))?;
    let limits = evaluation::limits(&healthy, &MEASURE);
    drop(healthy);
    let attempt = Attempt { name, training_s, bytes: 0, loss: None, outcomes: Vec::new() };
    judged(attempt, fleet, &limits, |test| score(Some(test), Some((test.from, i64::MAX))))
}

fn judged(
    mut attempt: Attempt,
    fleet: &Fleet,
    limits: &[f32],
    score: impl Fn(&Test) -> Result<Vec<Scored>>,
) -> Result<Attempt> {
    for test in &fleet.tests {
        let outcome = figures::outcome(test, &score(test)?, limits);
        // Whoever watched may have gone.
        writeln!(std::io::stdout().lock(), "▸ {}: {outcome}", attempt.name).ok();
        attempt.outcomes.push(outcome);
    }
    Ok(attempt)
}
