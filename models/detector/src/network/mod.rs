//! What a detector expects of each signal: four kinds of it, one form of input and output.
//!
//! Input of a reading: for each input signal [`FEATURES`] scaled numbers and whether it is known. Output: for each
//! input signal two expectations with their spread, scaled: *head A* from what the other signals show, *head B* with
//! the signal's own past as well (none for kinds that have no such head).
//!
//! Inference always runs batches of exactly [`BATCH`] rows, zero padded, on one thread: then a row's bits do not
//! depend on its neighbours or its place.

mod autoencoder;
mod leave_one_out;
pub(crate) mod pca;
mod robust_z;

use std::{collections::BTreeMap, sync::Once};

use tch::{Device, Kind as Dtype, Tensor, nn};

use crate::{
    Error, Kind,
    residual::{Residual, heads},
    scaler::{Scaler, has_past},
    window::{FEATURES, Query, VALUES},
};

/// Rows of a batch at inference.
pub(crate) const BATCH: usize = 256;
/// Numbers of an expectation: of head A and of head B, each the value and the logarithm of its spread.
pub(crate) const OUTPUT: usize = 4;
/// A tensor's shape and numbers, by name.
pub(crate) type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A network of one kind, with its weights.
#[derive(Debug)]
pub(crate) struct Network {
    kind: Kind,
    inputs: usize,
    pub(crate) store: nn::VarStore,
    tensors: Vec<Tensor>,
}

/// One thread per calling thread; libtorch keeps the number per thread.
pub(crate) fn one_thread() {
    static INTEROP: Once = Once::new();
    thread_local!(static DONE: () = tch::set_num_threads(1));
    INTEROP.call_once(|| tch::set_num_interop_threads(1));
    DONE.with(|()| ());
}

/// Names and shapes of the weights of a kind, in the order of their use.
pub(crate) fn shapes(kind: Kind, inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    match kind {
        Kind::RobustZ => robust_z::shapes(inputs),
        Kind::Pca => pca::shapes(inputs),
        Kind::Autoencoder => autoencoder::shapes(inputs),
        Kind::LeaveOneOut => leave_one_out::shapes(inputs),
    }
}

impl Network {
    /// Weights to begin the training with.
    pub(crate) fn initial(kind: Kind, inputs: usize, draw: &mut dyn FnMut() -> f32) -> Result<Self, Error> {
        let weights = shapes(kind, inputs).into_iter().map(|(name, shape)| {
            let bound = match kind {
                Kind::RobustZ | Kind::Pca => 0.0,
                Kind::Autoencoder => autoencoder::bound(name, &shape),
                Kind::LeaveOneOut => leave_one_out::bound(name, &shape),
            };
            let numbers = (0..shape.iter().product()).map(|_| (draw() * 2.0 - 1.0) * bound).collect();
            (name.to_owned(), (shape, numbers))
        });
        Self::of(kind, inputs, &weights.collect())
    }

    pub(crate) fn of(kind: Kind, inputs: usize, weights: &Weights) -> Result<Self, Error> {
        one_thread();
        let store = nn::VarStore::new(Device::Cpu);
        let root = store.root();
        let mut tensors = Vec::new();
        for (name, shape) in shapes(kind, inputs) {
            let (_, numbers) = weights
                .get(name)
                .filter(|(found, _)| *found == shape)
                .ok_or_else(|| Error::Malformed(format!("tensor network.{name} is not {shape:?}")))?;
            let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            // A dot would nest in the store; the artefact has the dots.
            tensors.push(root.f_var_copy(&name.replace('.', "_"), &Tensor::f_from_slice(numbers)?.f_view(&*dims)?)?);
        }
        Ok(Self { kind, inputs, store, tensors })
    }

    pub(crate) fn weights(&self) -> Result<Weights, Error> {
        let read = |tensor: &Tensor| {
            let mut numbers = vec![0_f32; tensor.numel()];
            tensor.f_detach()?.f_contiguous()?.f_copy_data(&mut numbers, tensor.numel())?;
            Ok::<_, Error>(numbers)
        };
        let shapes = shapes(self.kind, self.inputs).into_iter().zip(&self.tensors);
        shapes.map(|((name, shape), tensor)| Ok((name.to_owned(), (shape, read(tensor)?)))).collect()
    }

    /// Expectations [inputs, rows, 4] for features [inputs, rows, 8] and presence [inputs, rows, 1].
    pub(crate) fn forward(&self, features: &Tensor, known: &Tensor) -> Result<Tensor, Error> {
        match self.kind {
            Kind::RobustZ => robust_z::forward(&self.tensors, features),
            Kind::Pca => pca::forward(&self.tensors, features),
            Kind::Autoencoder => autoencoder::forward(&self.tensors, features, known),
            Kind::LeaveOneOut => leave_one_out::forward(&self.tensors, features, known),
        }
    }

    /// One batch of exactly [`BATCH`] rows, channel-major.
    pub(crate) fn infer(&self, features: &[f32], known: &[f32]) -> Result<Vec<f32>, Error> {
        one_thread();
        let _guard = tch::no_grad_guard();
        let shape = [self.inputs as i64, BATCH as i64, -1];
        let (features, known) = (Tensor::f_from_slice(features)?.f_view(shape)?, Tensor::f_from_slice(known)?);
        let out = self.forward(&features, &known.f_view(shape)?)?.f_to_kind(Dtype::Float)?.f_contiguous()?;
        let mut numbers = vec![0_f32; self.inputs * BATCH * OUTPUT];
        let count = numbers.len();
        out.f_copy_data(&mut numbers, count)?;
        Ok(numbers)
    }

    /// What is expected at each query. A residual depends on its own query alone.
    pub(crate) fn look(&self, scaler: &Scaler, queries: &[&Query]) -> Result<Vec<Residual>, Error> {
        let (size, own_past) = (self.inputs * BATCH, self.kind.has_own_past());
        let (mut features, mut known) = (vec![0_f32; size * FEATURES], vec![0_f32; size]);
        let mut residuals = Vec::with_capacity(queries.len());
        // Where each signal of each row went: place in the query, input, and whether it has a past.
        let mut cells: Vec<(u16, u16, bool)> = Vec::new();
        for batch in queries.chunks(BATCH) {
            features.fill(0.0);
            known.fill(0.0);
            cells.clear();
            for (row, query) in batch.iter().enumerate() {
                for (n, input, scaled) in scaler.scaled(query) {
                    let cell = input * BATCH + row;
                    put(&scaled, &mut features[cell * FEATURES..(cell + 1) * FEATURES]);
                    known[cell] = 1.0;
                    cells.push((n as u16, input as u16, own_past && has_past(&scaled)));
                }
            }
            let out = self.infer(&features, &known)?;
            let mut rest = cells.iter();
            for (row, query) in batch.iter().enumerate() {
                let signals = rest.by_ref().take(scaler.count(query)).map(|(n, input, own_past)| {
                    let cell = usize::from(*input) * BATCH + row;
                    (*n, *input, heads(features[cell * FEATURES], &out[cell * OUTPUT..(cell + 1) * OUTPUT], *own_past))
                });
                residuals.push(Residual { signals: signals.collect() });
            }
        }
        Ok(residuals)
    }
}

/// Features as a network takes them: what is unknown of the past is 0.
pub(crate) fn put(scaled: &[f32; FEATURES], cell: &mut [f32]) {
    for (to, from) in cell.iter_mut().zip(scaled) {
        *to = if from.is_nan() { 0.0 } else { *from };
    }
}

/// The last [`VALUES`] values of every signal, as rows [rows, inputs × values].
pub(crate) fn flat(features: &Tensor) -> Result<Tensor, Error> {
    let (inputs, rows) = (features.size()[0], features.size()[1]);
    let values = features.f_narrow(2, 0, VALUES as i64)?.f_permute([1, 0, 2])?;
    Ok(values.f_contiguous()?.f_view([rows, inputs * VALUES as i64])?)
}

/// Puts expectations and logarithms of spreads, each [inputs, rows], together; head B says nothing.
fn only_head_a(expected: &Tensor, log_spread: &Tensor) -> Result<Tensor, Error> {
    let nothing = expected.f_zeros_like()?;
    Ok(Tensor::f_stack(&[expected, log_spread, &nothing, &nothing], 2)?)
}
