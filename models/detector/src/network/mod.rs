//! What a detector expects of each signal: four kinds of it, one form of input and output.
//!
//! Input of a reading: for each input signal its scaled features and whether it is known ([`Cells`]). Output: for each
//! input signal two expectations with their spread, scaled: *head A* from what the other signals show, *head B* with
//! the signal's own past as well (none for kinds that have no such head).
//!
//! Inference always runs batches of exactly [`BATCH`] rows, zero padded, on one thread: then a row's bits do not
//! depend on its neighbours or its place.

mod autoencoder;
mod cells;
mod leave_one_out;
pub(crate) mod pca;
mod robust_z;

pub(crate) use cells::{Answers, Cells};

use std::{cell::RefCell, collections::BTreeMap, sync::Once};

use tch::{Device, Tensor, nn};

use crate::{
    Error, Kind,
    residual::{Residual, heads},
    scaler::{Scaler, has_past},
    window::{Query, VALUES},
};

/// Rows of a batch at inference.
pub(crate) const BATCH: usize = 256;
/// Numbers of an expectation: of head A and of head B, each the value and the logarithm of its spread.
pub(crate) const OUTPUT: usize = 4;
/// Values before the current one.
const PAST: usize = VALUES - 1;
/// A tensor's shape and numbers, by name.
pub(crate) type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A network of one kind, with its weights.
#[derive(Debug)]
pub(crate) struct Network {
    kind: Kind,
    inputs: usize,
    pub(crate) store: nn::VarStore,
    tensors: Vec<Tensor>,
    /// What is looked at is put in here: a quarter of a megabyte that need not be asked for again and again.
    cells: RefCell<Cells>,
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
        Ok(Self { kind, inputs, store, tensors, cells: RefCell::new(Cells::new(inputs)) })
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

    /// Expectations [inputs, [`OUTPUT`], rows] for what is seen of all signals, [inputs, [`cells::NUMBERS`], rows]. What head B
    /// reads of a signal's own past, [inputs, [`PAST`], rows], stands apart: in training it stays where the signal itself
    /// is hidden.
    pub(crate) fn forward(&self, seen: &Tensor, past: &Tensor) -> Result<Tensor, Error> {
        match self.kind {
            Kind::RobustZ => robust_z::forward(&self.tensors, past),
            Kind::Pca => pca::forward(&self.tensors, seen),
            Kind::Autoencoder => autoencoder::forward(&self.tensors, seen),
            Kind::LeaveOneOut => leave_one_out::forward(&self.tensors, seen, past),
        }
    }

    /// One batch.
    pub(crate) fn infer(&self, cells: &Cells) -> Result<Answers, Error> {
        one_thread();
        let _guard = tch::no_grad_guard();
        let seen = cells.tensor()?;
        Answers::read(&self.forward(&seen, &past(&seen)?)?)
    }

    /// What is expected at each query. A residual depends on its own query alone.
    pub(crate) fn look(&self, scaler: &Scaler, queries: &[&Query]) -> Result<Vec<Residual>, Error> {
        let own_past = self.kind.has_own_past();
        let mut cells = self.cells.borrow_mut();
        let mut residuals = Vec::with_capacity(queries.len());
        for batch in queries.chunks(BATCH) {
            cells.clear();
            for (row, query) in batch.iter().enumerate() {
                scaler.scaled(query).for_each(|(_, input, scaled)| cells.put(row, input, &scaled));
            }
            let answers = self.infer(&cells)?;
            for (row, query) in batch.iter().enumerate() {
                let mut signals = Vec::with_capacity(query.signals.len());
                scaler.scaled(query).for_each(|(n, input, scaled)| {
                    let own_past = own_past && has_past(&scaled);
                    signals.push((n as u16, input as u16, heads(scaled[0], answers.of(row, input), own_past)));
                });
                residuals.push(Residual { signals });
            }
        }
        Ok(residuals)
    }
}

/// Of each signal, the values before the current one.
pub(crate) fn past(cells: &Tensor) -> Result<Tensor, Error> {
    Ok(cells.f_narrow(1, 1, PAST as i64)?)
}

/// The last [`VALUES`] values of every signal, as rows [rows, inputs × values].
fn flat(cells: &Tensor) -> Result<Tensor, Error> {
    let (inputs, rows) = (cells.size()[0], cells.size()[2]);
    let values = cells.f_narrow(1, 0, VALUES as i64)?.f_permute([2, 0, 1])?;
    Ok(values.f_contiguous()?.f_view([rows, inputs * VALUES as i64])?)
}

/// Puts expectations and logarithms of spreads, each [inputs, rows], together; head B says nothing.
fn only_head_a(expected: &Tensor, log_spread: &Tensor) -> Result<Tensor, Error> {
    let nothing = expected.f_zeros_like()?;
    Ok(Tensor::f_stack(&[expected, log_spread, &nothing, &nothing], 1)?)
}
