//! The masked autoencoder in libtorch: shapes, weights by name, forward pass.
//!
//! Inference always runs batches of exactly [`BATCH`] rows, zero padded, on one thread: then a row's bits do
//! not depend on its neighbours or its place.

use std::{collections::BTreeMap, sync::Once};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor, nn};

use crate::{
    Error,
    artifact::Artifact,
    features::{COUNT, FEATURES, STEPS},
};

/// Rows of a batch, at inference and in training.
pub(crate) const BATCH: usize = 256;
/// Numbers of a row: the scaled readings, step after step, then what of the last reading is known.
pub(crate) const INPUT: usize = COUNT * STEPS + COUNT;
/// Numbers of an output row: expectation, then logarithm of the spread.
pub(crate) const OUTPUT: usize = 2 * COUNT;
const HIDDEN: usize = 64;
const CODE: usize = 24;
/// Bounds of the logarithm of a spread.
const LOG_SPREAD: (f64, f64) = (-5.0, 2.0);

/// Names and shapes of the weights, in the order of their use.
const SHAPES: [(&str, &[usize]); 9] = [
    ("encoder.0.weight", &[HIDDEN, INPUT]),
    ("encoder.0.bias", &[HIDDEN]),
    ("encoder.2.weight", &[CODE, HIDDEN]),
    ("encoder.2.bias", &[CODE]),
    ("decoder.0.weight", &[HIDDEN, CODE]),
    ("decoder.0.bias", &[HIDDEN]),
    ("decoder.2.weight", &[OUTPUT, HIDDEN]),
    ("decoder.2.bias", &[OUTPUT]),
    ("linear.weight", &[COUNT, INPUT]),
];

/// For people: the shape of the network.
pub(crate) fn shape() -> String {
    format!("{INPUT}-{HIDDEN}-{CODE}-{HIDDEN}-{OUTPUT} relu, linear path {INPUT}-{COUNT}")
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) store: nn::VarStore,
    weights: Vec<Tensor>,
}

/// Weights by name.
pub(crate) type Weights = BTreeMap<String, Vec<f32>>;

/// One thread per calling thread; libtorch keeps the number per thread.
pub(crate) fn one_thread() {
    static INTEROP: Once = Once::new();
    thread_local!(static DONE: () = tch::set_num_threads(1));
    INTEROP.call_once(|| tch::set_num_interop_threads(1));
    DONE.with(|()| ());
}

impl Network {
    /// Random weights, drawn outside libtorch.
    pub(crate) fn random(draws: &mut ChaCha8Rng) -> Self {
        let weights = SHAPES.iter().map(|(name, shape)| {
            let numbers = shape.iter().product();
            // The linear path starts at nothing, the last layer small.
            let bound = match (*name, shape) {
                ("linear.weight", _) | (_, [_]) => 0.0,
                ("decoder.2.weight", _) => 0.02,
                (_, shape) => (6.0 / shape[1] as f32).sqrt() * 0.7,
            };
            ((*name).to_owned(), (0..numbers).map(|_| (draws.random::<f32>() * 2.0 - 1.0) * bound).collect())
        });
        let weights: Weights = weights.collect();
        Self::of(&weights).expect("drawn in the right shapes")
    }

    pub(crate) fn of(weights: &Weights) -> Result<Self, Error> {
        one_thread();
        let store = nn::VarStore::new(Device::Cpu);
        let root = store.root();
        let mut tensors = Vec::with_capacity(SHAPES.len());
        for (name, shape) in SHAPES {
            let numbers = weights.get(name).filter(|numbers| numbers.len() == shape.iter().product::<usize>());
            let numbers = numbers.ok_or_else(|| Error::Malformed(format!("tensor {name} is not {shape:?}")))?;
            let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            // A dot would nest in the store; the artefact has the dots.
            tensors.push(root.f_var_copy(&name.replace('.', "_"), &Tensor::f_from_slice(numbers)?.f_view(&*dims)?)?);
        }
        Ok(Self { store, weights: tensors })
    }

    pub(crate) fn weights(&self) -> Result<Weights, Error> {
        let read = |tensor: &Tensor| {
            let mut numbers = vec![0_f32; tensor.numel()];
            tensor.f_detach()?.f_contiguous()?.f_copy_data(&mut numbers, tensor.numel())?;
            Ok::<_, Error>(numbers)
        };
        SHAPES.iter().zip(&self.weights).map(|((name, _), tensor)| Ok(((*name).to_owned(), read(tensor)?))).collect()
    }

    pub(crate) fn put(&self, artifact: &mut Artifact) -> Result<(), Error> {
        let weights = self.weights()?;
        for (name, shape) in SHAPES {
            artifact.put_f32(&format!("network.{name}"), shape, &weights[name]);
        }
        Ok(())
    }

    pub(crate) fn get(artifact: &Artifact) -> Result<Self, Error> {
        let weights = SHAPES
            .iter()
            .map(|(name, shape)| Ok(((*name).to_owned(), artifact.f32(&format!("network.{name}"), shape)?)));
        Self::of(&weights.collect::<Result<_, Error>>()?)
    }

    /// Expectation and logarithm of the spread.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<(Tensor, Tensor), Error> {
        let [e0, e0b, e2, e2b, d0, d0b, d2, d2b, linear] = &self.weights[..] else {
            return Err(Error::Malformed("nine tensors make the network".into()));
        };
        let hidden = rows.f_linear(e0, Some(e0b))?.f_relu()?;
        let code = hidden.f_linear(e2, Some(e2b))?.f_relu()?;
        let hidden = code.f_linear(d0, Some(d0b))?.f_relu()?;
        let out = hidden.f_linear(d2, Some(d2b))?;
        let expected = out.f_narrow(1, 0, COUNT as i64)?.f_add(&rows.f_linear(linear, None::<&Tensor>)?)?;
        let spread = out.f_narrow(1, COUNT as i64, COUNT as i64)?.f_clamp(LOG_SPREAD.0, LOG_SPREAD.1)?;
        Ok((expected, spread))
    }

    /// One batch of exactly [`BATCH`] rows.
    pub(crate) fn infer(&self, rows: &[f32]) -> Result<Vec<f32>, Error> {
        one_thread();
        let _guard = tch::no_grad_guard();
        let rows = Tensor::f_from_slice(rows)?.f_view([BATCH as i64, INPUT as i64])?;
        let (expected, spread) = self.forward(&rows)?;
        let out = Tensor::f_cat(&[expected, spread], 1)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let mut numbers = vec![0_f32; BATCH * OUTPUT];
        out.f_copy_data(&mut numbers, BATCH * OUTPUT)?;
        Ok(numbers)
    }

    /// For each window of [`STEPS`] scaled readings (unknown = NaN): expectation and log spread of every judged
    /// signal of its last reading, each while that signal is hidden.
    pub(crate) fn expectations(&self, windows: &[[f32; COUNT * STEPS]]) -> Result<Vec<[f32; OUTPUT]>, Error> {
        let judged: Vec<usize> = (0..COUNT).filter(|at| FEATURES[*at].judged).collect();
        let mut rows = vec![0_f32; BATCH * INPUT];
        let mut results = Vec::with_capacity(windows.len());
        for group in windows.chunks(BATCH / judged.len()) {
            rows.fill(0.0);
            for (row, (window, hidden)) in
                rows.chunks_exact_mut(INPUT).zip(group.iter().flat_map(|w| judged.iter().map(move |at| (w, *at))))
            {
                fill(row, window, |at| at == hidden);
            }
            let out = self.infer(&rows)?;
            let mut out = out.chunks_exact(OUTPUT);
            for _ in group {
                let mut result = [f32::NAN; OUTPUT];
                for at in &judged {
                    let row = out.next().expect("a row for each judged signal");
                    (result[*at], result[COUNT + at]) = (row[*at], row[COUNT + at]);
                }
                results.push(result);
            }
        }
        Ok(results)
    }

    /// SHA-256 of the outputs for fixed inputs.
    pub(crate) fn golden(&self) -> Result<String, Error> {
        let mut draws = ChaCha8Rng::seed_from_u64(0x6d6f_746f_7263_6164);
        let rows: Vec<f32> = (0..BATCH * INPUT).map(|_| draws.random::<f32>() * 4.0 - 2.0).collect();
        let mut hasher = Sha256::new();
        for number in self.infer(&rows)? {
            hasher.update(number.to_le_bytes());
        }
        Ok(hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Writes a window into a row, with some signals hidden.
pub(crate) fn fill(row: &mut [f32], window: &[f32; COUNT * STEPS], hidden: impl Fn(usize) -> bool) {
    let (values, known) = row.split_at_mut(COUNT * STEPS);
    for at in 0..COUNT {
        let out = hidden(at);
        for step in 0..STEPS {
            let value = window[step * COUNT + at];
            values[step * COUNT + at] = if out || value.is_nan() { 0.0 } else { value };
        }
        let last = window[(STEPS - 1) * COUNT + at];
        known[at] = if out || last.is_nan() { 0.0 } else { 1.0 };
    }
}
