//! Training: scaler, network, baselines, threshold, and the gate that a model must pass.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor, nn, nn::OptimizerConfig};
use telemetry::{UnixMillis, VehicleId, signal};

use crate::{
    Card, Detector, Error, History, NAME, Query,
    artifact::{Artifact, FORM},
    calibration::{self, Sample, Threshold},
    card::CardSignal,
    detect::{Eyes, cpu_capability, means, put_threshold},
    features::{self, BLOCK, COUNT, FEATURES, MEMORY, STEPS, Values},
    network::{self, BATCH, INPUT, Network},
    scaler::{Scaler, quantiles},
};

/// Ends of the parts of the event time, as shares of the windows: network and first baselines, threshold; the rest
/// is held out.
const SPLIT: [f64; 2] = [0.5, 0.92];
/// Share of signals hidden in every other row.
const HIDDEN_SHARE: f32 = 0.3;
/// Windows that residuals are computed for at once.
const CHUNK: usize = 4_096;
/// Windows of the held-out part whose explained variance is measured.
const MEASURED: usize = 8_192;
/// The gate: at least half of the judged signals have this share of their variance explained.
const LEAST_EXPLAINED: f64 = 0.5;

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// Promised alarms per 1,000 vehicle-hours of healthy driving.
    pub budget_per_1000_h: f64,
    /// Steps of the optimiser, each over 256 windows.
    pub steps: u32,
    /// Fewest windows to learn from.
    pub min_windows: usize,
    /// Fewest vehicles to learn from.
    pub min_vehicles: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, budget_per_1000_h: 20.0, steps: 4_000, min_windows: 3_000, min_vehicles: 5 }
    }
}

/// Windows in order of vehicle and time, and the moments that part them.
pub(crate) struct Parts<'a> {
    pub(crate) vehicles: Vec<VehicleId>,
    windows: Vec<(u32, UnixMillis, &'a Query)>,
    ends: [UnixMillis; 2],
}

impl<'a> Parts<'a> {
    pub(crate) fn of(history: &'a History, options: &Options) -> Result<Self, Error> {
        let vehicles: Vec<VehicleId> = history.queries.keys().cloned().collect();
        let windows: Vec<_> = (0_u32..)
            .zip(history.queries.values())
            .flat_map(|(vehicle, own)| own.iter().map(move |(time, query)| (vehicle, *time, query)))
            .collect();
        if windows.len() < options.min_windows || vehicles.len() < options.min_vehicles {
            let (found, least) = (windows.len(), options.min_windows);
            let text = format!(
                "{found} windows of {} vehicles; {least} of {} are needed",
                vehicles.len(),
                options.min_vehicles
            );
            return Err(Error::TooLittle(text));
        }
        let mut times: Vec<UnixMillis> = windows.iter().map(|(_, time, _)| *time).collect();
        times.sort_unstable();
        let ends = SPLIT.map(|share| times[((times.len() - 1) as f64 * share) as usize]);
        Ok(Self { vehicles, windows, ends })
    }

    fn part(&self, part: usize) -> impl Iterator<Item = &(u32, UnixMillis, &'a Query)> + Clone {
        let from = if part == 0 { UnixMillis::MIN } else { self.ends[part - 1] };
        let to = self.ends.get(part).copied().unwrap_or(UnixMillis::MAX);
        self.windows.iter().filter(move |(_, time, _)| (from..to).contains(time))
    }
}

/// Learns from history. The same history and options give the same artefact, on the same class of CPU.
///
/// # Errors
/// [`Error::TooLittle`], or [`Error::Refused`] if the model fails its own calibration.
pub fn train(history: &History, options: &Options) -> Result<Detector, Error> {
    let detector = learn(history, options)?;
    gate(detector.card())?;
    Ok(detector)
}

/// Learns and calibrates, whatever comes of it.
pub(crate) fn learn(history: &History, options: &Options) -> Result<Detector, Error> {
    let parts = Parts::of(history, options)?;
    let mut draws = ChaCha8Rng::seed_from_u64(options.seed);
    let scaler = Scaler::fit(&parts.part(0).map(|(_, _, query)| &query.frames[features::DEPTH - 1].values));
    let eyes = Eyes { scaler, network: Network::random(&mut draws) };
    let losses = optimise(&eyes, &parts, options, &mut draws)?;
    calibrate(history, &parts, &eyes, options, losses)
}

/// Refuses a model that does not hold what it promises.
fn gate(card: &Card) -> Result<(), Error> {
    let calibration = &card.calibration;
    if calibration.held_out_hours == 0.0 {
        return Err(Error::Refused("too few readings to hold any out".into()));
    }
    if calibration.held_out_alarms > calibration.allowed_alarms {
        return Err(Error::Refused(format!(
            "{} alarms in {:.1} held-out vehicle-hours, {} allowed for a budget of {} per 1,000 h",
            calibration.held_out_alarms,
            calibration.held_out_hours,
            calibration.allowed_alarms,
            calibration.budget_per_1000_h
        )));
    }
    if calibration.tail_blocks > calibration.allowed_tail_blocks {
        return Err(Error::Refused(format!(
            "scores grow after the threshold was set: {} held-out blocks in its upper twentieth, {} allowed",
            calibration.tail_blocks, calibration.allowed_tail_blocks
        )));
    }
    let judged = || card.signals.iter().filter(|signal| signal.judged);
    let explained = judged().filter(|signal| signal.explained >= LEAST_EXPLAINED).count();
    if 2 * explained < judged().count() {
        let text = format!("of {} signals only {explained} are explained to {LEAST_EXPLAINED}", judged().count());
        return Err(Error::Refused(text));
    }
    if card.loss[1] > card.trivial_loss - 0.2 {
        let text = format!("loss {:.3}, {:.3} without any network", card.loss[1], card.trivial_loss);
        return Err(Error::Refused(text));
    }
    Ok(())
}

/// Loss of the first and the last tenth, and of the trivial expectation.
type Losses = ([f64; 2], f64);

fn optimise(eyes: &Eyes, parts: &Parts<'_>, options: &Options, draws: &mut ChaCha8Rng) -> Result<Losses, Error> {
    network::one_thread();
    let inputs: Vec<[f32; COUNT * STEPS]> =
        parts.part(0).map(|(_, _, query)| eyes.input(&query.frames[BLOCK - 1..])).collect();
    if inputs.is_empty() {
        return Err(Error::TooLittle("no windows in the training part".into()));
    }
    let mut optimiser = nn::AdamW { wd: 1e-4, ..nn::AdamW::default() }.build(&eyes.network.store, 1e-3)?;
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    let (mut rows, mut targets, mut weights) =
        (vec![0_f32; BATCH * INPUT], vec![0_f32; BATCH * COUNT], vec![0_f32; BATCH * COUNT]);
    let mut next = order.len();
    let tenth = (options.steps / 10).max(1);
    let (mut first, mut last, mut trivial) = (0.0, 0.0, 0.0);
    for step in 0..options.steps {
        optimiser.set_lr(learning_rate(step, options.steps));
        for row in 0..BATCH {
            if next >= order.len() {
                shuffle(&mut order, draws);
                next = 0;
            }
            let input = &inputs[order[next]];
            next += 1;
            hide(input, row, (&mut rows, &mut targets, &mut weights), draws);
        }
        let shaped =
            |numbers: &[f32], width: usize| Tensor::f_from_slice(numbers)?.f_view([BATCH as i64, width as i64]);
        let (rows, targets, weights) = (shaped(&rows, INPUT)?, shaped(&targets, COUNT)?, shaped(&weights, COUNT)?);
        let (expected, spread) = eyes.network.forward(&rows)?;
        let loss = student(&targets, &expected, &spread, &weights)?;
        optimiser.backward_step_clip_norm(&loss, 1.0);
        if step < tenth || step >= options.steps - tenth {
            let share = 1.0 / f64::from(tenth);
            let value = f64::try_from(&loss)?;
            if step < tenth {
                first += value * share;
            }
            if step >= options.steps - tenth {
                last += value * share;
                let zero = targets.f_zeros_like()?;
                trivial += f64::try_from(&student(&targets, &zero, &zero, &weights)?)? * share;
            }
        }
    }
    Ok(([first, last], trivial))
}

/// Warms up over a tenth, then falls along a cosine.
fn learning_rate(step: u32, steps: u32) -> f64 {
    let at = f64::from(step) / f64::from(steps.max(1));
    let peak = 4e-3;
    if at < 0.1 {
        peak * (0.1 + 9.0 * at)
    } else {
        peak * (0.5 + 0.5 * ((at - 0.1) / 0.9 * std::f64::consts::PI).cos()) + 1e-5
    }
}

fn shuffle(order: &mut [usize], draws: &mut ChaCha8Rng) {
    for at in (1..order.len()).rev() {
        order.swap(at, draws.random_range(0..=at));
    }
}

/// Every other row hides one judged signal, as scoring does; the rest hide a share, so that any combination of
/// missing signals has been seen. What is hidden counts in full, the rest a little.
fn hide(
    input: &[f32; COUNT * STEPS],
    row: usize,
    (rows, targets, weights): (&mut [f32], &mut [f32], &mut [f32]),
    draws: &mut ChaCha8Rng,
) {
    let one = draws.random_range(0..COUNT);
    let mut hidden = [false; COUNT];
    for (at, hidden) in hidden.iter_mut().enumerate() {
        let drawn = draws.random::<f32>();
        *hidden = if row.is_multiple_of(4) { drawn < HIDDEN_SHARE } else { at == one };
    }
    network::fill(&mut rows[row * INPUT..(row + 1) * INPUT], input, |at| hidden[at]);
    let last = &input[(STEPS - 1) * COUNT..];
    for at in 0..COUNT {
        let cell = row * COUNT + at;
        let known = !last[at].is_nan();
        targets[cell] = if known { last[at] } else { 0.0 };
        weights[cell] = match (known, hidden[at]) {
            (true, true) => 1.0,
            (true, false) => 0.01,
            (false, _) => 0.0,
        };
    }
}

/// Weighted mean of Student-t (4 degrees of freedom) negative log-likelihoods, up to a constant.
fn student(targets: &Tensor, expected: &Tensor, log_spread: &Tensor, weights: &Tensor) -> Result<Tensor, Error> {
    let deviation = targets.f_sub(expected)?.f_mul(&log_spread.f_neg()?.f_exp()?)?;
    let each = deviation.f_square()?.f_div_scalar(4.0)?.f_log1p()?.f_mul_scalar(2.5)?.f_add(log_spread)?;
    Ok(each.f_mul(weights)?.f_sum(Kind::Float)?.f_div(&weights.f_sum(Kind::Float)?)?)
}

/// Baselines, limits and card for a scaler and a network, and from them the artefact. Passes no judgement.
pub(crate) fn calibrate(
    history: &History,
    parts: &Parts<'_>,
    eyes: &Eyes,
    options: &Options,
    (loss, trivial_loss): Losses,
) -> Result<Detector, Error> {
    // Residuals of an unfinished detector must not be taken for another's.
    let tag = u64::from_str_radix(&eyes.network.golden()?[..16], 16).unwrap_or_default();
    let samples = |part: usize| -> Result<Vec<Sample>, Error> {
        let windows: Vec<_> = parts.part(part).collect();
        let mut samples = Vec::with_capacity(windows.len());
        for chunk in windows.chunks(CHUNK) {
            let queries: Vec<Query> = chunk.iter().map(|(_, _, query)| (*query).clone()).collect();
            for ((vehicle, time, _), block) in chunk.iter().zip(eyes.look(&queries, tag)?) {
                samples.push(Sample { vehicle: *vehicle, time: *time, means: means(&block) });
            }
        }
        Ok(samples)
    };
    let (mut known, set, held_out) = (samples(0)?, samples(1)?, samples(2)?);
    let budget = options.budget_per_1000_h;
    // The limits are set as the model is used: on what came after the vehicles were got to know, over a time as
    // long. Only then what is known of them is brought up to date.
    let mut threshold = calibration::baselines(&known, &parts.vehicles);
    let tail = calibration::limits(&mut threshold, &set, &parts.vehicles, budget)?;
    let limits = threshold.limits;
    known.extend(set.iter().cloned());
    known.sort_by_key(|sample| (sample.vehicle, sample.time));
    threshold = Threshold { limits, ..calibration::baselines(&known, &parts.vehicles) };
    let mut judged = calibration::judge(&threshold, &held_out, &parts.vehicles, budget, tail);
    judged.threshold_hours = set.len() as f64 / BLOCK as f64 * calibration::block_hours(&set);
    let (from_time, to_time) = history.times.unwrap_or_default();
    let card = Card {
        detector: NAME.to_owned(),
        form: FORM,
        schema: features::schema_id(),
        signals: signals(eyes, parts, tag, &threshold.limits)?,
        steps: STEPS,
        block: BLOCK,
        memory: MEMORY,
        network: network::shape(),
        spans: history.spans.clone(),
        from_time,
        to_time,
        records: history.records,
        windows: parts.windows.len() as u64,
        vehicles: parts.vehicles.len() as u64,
        baselines: threshold.vehicles.len() as u64,
        split: [SPLIT[0], SPLIT[1] - SPLIT[0], 1.0 - SPLIT[1]],
        training_steps: u64::from(options.steps),
        loss,
        trivial_loss,
        calibration: judged,
        seed: options.seed,
        golden: eyes.network.golden()?,
        cpu_capability: cpu_capability(),
        versions: vec![format!("detector {}", env!("CARGO_PKG_VERSION")), "tch 0.26".into(), "libtorch 2.13".into()],
    };
    let mut artifact = Artifact::new(card);
    artifact.put_f64("scaler.center", &eyes.scaler.center);
    artifact.put_f64("scaler.spread", &eyes.scaler.spread);
    eyes.network.put(&mut artifact)?;
    put_threshold(&mut artifact, &threshold);
    // What was saved is what scores: the trainer uses the very bytes that it publishes.
    Detector::load(&artifact.to_bytes()?)
}

/// How well each signal is reconstructed after the training part.
fn signals(eyes: &Eyes, parts: &Parts<'_>, tag: u64, limits: &Values) -> Result<Vec<CardSignal>, Error> {
    let windows: Vec<_> = parts.part(1).chain(parts.part(2)).collect();
    let stride = windows.len().div_ceil(MEASURED).max(1);
    let queries: Vec<Query> = windows.iter().step_by(stride).map(|(_, _, query)| (*query).clone()).collect();
    let residuals = eyes.look(&queries, tag)?;
    let signal = |at: usize| {
        let row = signal::lookup(FEATURES[at].number);
        let cells: Vec<(f64, f64)> = queries
            .iter()
            .zip(&residuals)
            .map(|(query, block)| {
                let observed = eyes.scaler.scale(at, query.frames[features::DEPTH - 1].values[at]);
                (observed, observed - f64::from(block[BLOCK - 1].expected[at]))
            })
            .filter(|(_, residual)| !residual.is_nan())
            .collect();
        let mean = cells.iter().map(|(observed, _)| observed).sum::<f64>() / cells.len().max(1) as f64;
        let total: f64 = cells.iter().map(|(observed, _)| (observed - mean).powi(2)).sum();
        let left: f64 = cells.iter().map(|(_, residual)| residual.powi(2)).sum();
        let mut distances: Vec<f64> = cells.iter().map(|(_, residual)| residual.abs()).collect();
        let [typical] = quantiles(&mut distances, [0.5]);
        let judged = FEATURES[at].judged && limits[at].is_finite();
        CardSignal {
            path: features::path(at).to_owned(),
            unit: row.map_or("", |row| row.unit).to_owned(),
            judged,
            center: eyes.scaler.center[at],
            spread: eyes.scaler.spread[at],
            residual: if typical.is_nan() { 0.0 } else { typical * eyes.scaler.spread[at] },
            explained: if total > 0.0 { 1.0 - left / total } else { 0.0 },
            limit: if judged { limits[at] } else { 0.0 },
        }
    };
    Ok((0..COUNT).map(signal).collect())
}
