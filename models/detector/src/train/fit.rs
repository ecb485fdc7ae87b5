//! Fitting a network of each kind to a sample.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Kind as Dtype, Tensor, nn, nn::OptimizerConfig};

use super::{Options, sample::Sample};
use crate::{
    Error, Kind,
    network::{self, BATCH, Cells, Network, pca::COMPONENTS},
    residual::LOG_SPREAD,
    scaler::{has_past, median},
    window::{FEATURES, VALUES},
};

/// Peak of the learning rate.
const PEAK: f64 = 5e-3;
/// A small sample is gone through so often at most: more would learn it by heart.
const MOST_EPOCHS: usize = 24;
/// Share of the signals that are hidden in some rows, so that any combination of missing ones has been seen.
fn hidden_share(kind: Kind) -> f32 {
    if kind == Kind::Autoencoder { 0.3 } else { 0.1 }
}
/// Windows that spreads and principal components are computed from.
const MEASURED: usize = 50_000;
/// The least spread of an expectation, scaled.
const LEAST_SPREAD: f32 = 0.01;

/// A network, and the loss of the first and the last tenth of its training.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) network: Network,
    pub(super) loss: [f64; 2],
    /// Steps of the optimiser.
    pub(super) steps: u32,
}

/// Fits a network of the wanted kind to some windows of a sample; everything random comes from `draws`.
pub(super) fn fit(
    sample: &Sample,
    windows: &[u32],
    inputs: usize,
    options: &Options,
    mut draws: ChaCha8Rng,
) -> Result<Fitted, Error> {
    network::one_thread();
    let network = Network::initial(options.kind, inputs, &mut || draws.random())?;
    match options.kind {
        Kind::RobustZ => Ok(Fitted { network: robust_z(sample, windows, inputs)?, loss: [0.0; 2], steps: 0 }),
        Kind::Pca => Ok(Fitted { network: pca(sample, windows, inputs)?, loss: [0.0; 2], steps: 0 }),
        Kind::Autoencoder | Kind::LeaveOneOut => {
            let epochs = (MOST_EPOCHS * windows.len()).div_ceil(BATCH);
            let steps = options.steps.min(u32::try_from(epochs).unwrap_or(u32::MAX));
            let options = Options { steps, ..options.clone() };
            let loss = optimise(&network, (sample, windows), inputs, &options, &mut draws)?;
            Ok(Fitted { network, loss, steps })
        }
    }
}

/// Buffers of a batch.
struct Batch {
    inputs: usize,
    /// All that is known.
    all: Cells,
    /// What the network may see.
    seen: Cells,
    /// What counts [inputs, 1, rows], for head A and for head B.
    weights: [Vec<f32>; 2],
}

impl Batch {
    fn new(inputs: usize) -> Self {
        let weights = || vec![0_f32; inputs * BATCH];
        Self {
            inputs,
            all: Cells::new(inputs, BATCH),
            seen: Cells::new(inputs, BATCH),
            weights: [weights(), weights()],
        }
    }

    fn clear(&mut self) {
        self.all.clear();
        self.seen.clear();
        self.weights.iter_mut().for_each(|weights| weights.fill(0.0));
    }

    fn fill(&mut self, row: usize, sample: &Sample, window: usize, own_past: bool, hidden: &mut dyn FnMut() -> bool) {
        let window = sample.window(window);
        for input in 0..self.inputs {
            let (features, hide) = (window.features(input), hidden());
            if features[0].is_nan() {
                continue;
            }
            self.all.put(row, input, &features);
            if !hide {
                self.seen.put(row, input, &features);
            }
            self.weights[0][input * BATCH + row] = 1.0;
            self.weights[1][input * BATCH + row] = f32::from(u8::from(own_past && has_past(&features)));
        }
    }

    fn loss(&self, network: &Network) -> Result<Tensor, Error> {
        let all = self.all.tensor()?;
        let out = network.forward(&self.seen.tensor()?, &network::past(&all)?)?;
        let target = all.f_narrow(1, 0, 1)?;
        let mut loss = Tensor::f_zeros([], (Dtype::Float, tch::Device::Cpu))?;
        for (head, weights) in self.weights.iter().enumerate() {
            let weights = Tensor::f_from_slice(weights)?.f_view([self.inputs as i64, 1, BATCH as i64])?;
            let expected = out.f_narrow(1, 2 * head as i64, 1)?;
            let spread =
                out.f_narrow(1, 2 * head as i64 + 1, 1)?.f_clamp(f64::from(LOG_SPREAD.0), f64::from(LOG_SPREAD.1))?;
            let deviation = target.f_sub(&expected)?.f_mul(&spread.f_neg()?.f_exp()?)?;
            // Student-t with 4 degrees of freedom, negative log-likelihood up to a constant.
            let each = deviation.f_square()?.f_div_scalar(4.0)?.f_log1p()?.f_mul_scalar(2.5)?.f_add(&spread)?;
            let count = weights.f_sum(Dtype::Float)?.f_clamp_min(1.0)?;
            loss = loss.f_add(&each.f_mul(&weights)?.f_sum(Dtype::Float)?.f_div(&count)?)?;
        }
        Ok(loss)
    }
}

fn optimise(
    network: &Network,
    (sample, windows): (&Sample, &[u32]),
    inputs: usize,
    options: &Options,
    draws: &mut ChaCha8Rng,
) -> Result<[f64; 2], Error> {
    let mut optimiser = nn::AdamW { wd: 1e-4, ..nn::AdamW::default() }.build(&network.store, PEAK)?;
    let mut order = windows.to_vec();
    let mut batch = Batch::new(inputs);
    let (mut next, tenth) = (order.len(), (options.steps / 10).max(1));
    let share = hidden_share(options.kind);
    let mut losses = [0.0; 2];
    for step in 0..options.steps {
        optimiser.set_lr(learning_rate(step, options.steps));
        batch.clear();
        for row in 0..BATCH {
            if next >= order.len() {
                shuffle(&mut order, draws);
                next = 0;
            }
            let hides = row.is_multiple_of(2);
            let mut hidden = || hides && draws.random::<f32>() < share;
            batch.fill(row, sample, order[next] as usize, options.kind.has_own_past(), &mut hidden);
            next += 1;
        }
        let loss = batch.loss(network)?;
        optimiser.backward_step_clip_norm(&loss, 1.0);
        if step < tenth || step >= options.steps - tenth {
            let value = f64::try_from(&loss)? / f64::from(tenth);
            losses[0] += if step < tenth { value } else { 0.0 };
            losses[1] += if step >= options.steps - tenth { value } else { 0.0 };
        }
    }
    Ok(losses)
}

/// Rises over three tenths, then falls along a cosine (one cycle).
fn learning_rate(step: u32, steps: u32) -> f64 {
    let at = f64::from(step) / f64::from(steps.max(1));
    let half = |from: f64, to: f64, at: f64| to + (from - to) * (0.5 + 0.5 * (at * std::f64::consts::PI).cos());
    if at < 0.3 { half(PEAK / 25.0, PEAK, at / 0.3) } else { half(PEAK, PEAK / 1e4, (at - 0.3) / 0.7) }
}

fn shuffle(order: &mut [u32], draws: &mut ChaCha8Rng) {
    for at in (1..order.len()).rev() {
        order.swap(at, draws.random_range(0..=at));
    }
}

/// Windows that are measured: evenly spread over all.
fn measured(windows: &[u32]) -> impl Iterator<Item = usize> {
    windows.iter().step_by(windows.len().div_ceil(MEASURED).max(1)).map(|window| *window as usize)
}

/// Logarithm of the robust spread of numbers.
fn log_spread(mut numbers: Vec<f32>) -> f32 {
    let center = median(&mut numbers);
    numbers.iter_mut().for_each(|number| *number = (*number - center).abs());
    let mad = median(&mut numbers) * 1.4826;
    // A signal that mostly rests has no spread by the median; its mean says more.
    let mean = 1.25 * numbers.iter().sum::<f32>() / numbers.len().max(1) as f32;
    let spread = if mad > LEAST_SPREAD { mad } else { mean };
    spread.max(LEAST_SPREAD).ln()
}

fn robust_z(sample: &Sample, windows: &[u32], inputs: usize) -> Result<Network, Error> {
    let mut spreads = Vec::with_capacity(2 * inputs);
    for input in 0..inputs {
        let known = measured(windows).map(|window| sample.window(window).features(input)).filter(|f| !f[0].is_nan());
        let known: Vec<_> = known.collect();
        spreads.push(log_spread(known.iter().map(|f| f[0]).collect()));
        let past = |f: &[f32; FEATURES]| f[1..VALUES].iter().sum::<f32>() / (VALUES - 1) as f32;
        spreads.push(log_spread(known.iter().filter(|f| has_past(f)).map(|f| f[0] - past(f)).collect()));
    }
    Network::of(Kind::RobustZ, inputs, &[("log_spread".to_owned(), (vec![inputs, 2], spreads))].into())
}

fn pca(sample: &Sample, windows: &[u32], inputs: usize) -> Result<Network, Error> {
    let width = inputs * VALUES;
    let windows: Vec<usize> = measured(windows).collect();
    let mut rows = vec![0_f32; windows.len() * width];
    for (row, window) in rows.chunks_exact_mut(width).zip(&windows) {
        for (input, cell) in row.chunks_exact_mut(VALUES).enumerate() {
            let features = sample.window(*window).features(input);
            for (to, from) in cell.iter_mut().zip(features) {
                *to = if from.is_nan() { 0.0 } else { from };
            }
        }
    }
    let _guard = tch::no_grad_guard();
    let rows = Tensor::f_from_slice(&rows)?.f_view([windows.len() as i64, width as i64])?.f_to_kind(Dtype::Double)?;
    let mean = rows.f_mean_dim(&[0_i64][..], false, None)?;
    let centred = rows.f_sub(&mean)?;
    let covariance = centred.f_transpose(0, 1)?.f_matmul(&centred)?.f_div_scalar(windows.len() as f64)?;
    // Ascending by variance.
    let (_, vectors) = covariance.f_linalg_eigh("L")?;
    let kept = COMPONENTS.min(width);
    let components = vectors.f_narrow(1, (width - kept) as i64, kept as i64)?;
    let back = centred.f_matmul(&components)?.f_matmul(&components.f_transpose(0, 1)?)?;
    let residual = centred.f_sub(&back)?.f_view([windows.len() as i64, inputs as i64, VALUES as i64])?;
    let read = |tensor: &Tensor| {
        let tensor = tensor.f_to_kind(Dtype::Float)?.f_contiguous()?;
        let mut numbers = vec![0_f32; tensor.numel()];
        tensor.f_copy_data(&mut numbers, tensor.numel())?;
        Ok::<_, Error>(numbers)
    };
    let now = read(&residual.f_select(2, 0)?)?;
    let spreads = (0..inputs).map(|input| {
        let known =
            windows.iter().enumerate().filter(|(_, window)| !sample.window(**window).features(input)[0].is_nan());
        log_spread(known.map(|(row, _)| now[row * inputs + input]).collect())
    });
    let weights = [
        ("mean".to_owned(), (vec![width], read(&mean)?)),
        ("components".to_owned(), (vec![width, kept], read(&components)?)),
        ("log_spread".to_owned(), (vec![inputs], spreads.collect())),
    ];
    Network::of(Kind::Pca, inputs, &weights.into())
}
