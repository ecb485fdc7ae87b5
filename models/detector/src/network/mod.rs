//! What a detector expects of each signal: four kinds of it, one form of input and output.
//!
//! Input of a reading: for each input signal its scaled features and whether it is known ([`Cells`]). Output: for each
//! input signal two expectations with their spread, scaled: *head A* from what the other signals show, *head B* with
//! the signal's own past as well (none for kinds that have no such head).
//!
//! Inference runs batches of exactly [`BATCH`] rows, zero padded, on one thread: then a row's bits do not depend on its
//! neighbours or its place. Where few are asked at once most of that is padding, so a batch of exactly [`FEW`] rows is
//! used as well, if it is seen to give the same bits.

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
    residual::{LOG_SPREAD, Residual, heads},
    scaler::Scaler,
    window::{FEATURES, Query, VALUES},
};

/// Rows of a batch at inference.
pub(crate) const BATCH: usize = 256;
/// Rows of a batch of few: it takes less than a fifth of the time (`cargo bench -p detector`).
const FEW: usize = 32;
/// Up to so many are looked at in batches of few.
const MOST_FEW: usize = 4 * FEW;
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
    /// The same for [`FEW`] rows; none where their bits are others, or nobody has looked.
    few: Option<RefCell<Cells>>,
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
        Ok(Self { kind, inputs, store, tensors, cells: RefCell::new(Cells::new(inputs, BATCH)), few: None })
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
        Answers::read(&self.output(cells)?)
    }

    fn output(&self, cells: &Cells) -> Result<Tensor, Error> {
        one_thread();
        let _guard = tch::no_grad_guard();
        let seen = cells.tensor()?;
        self.forward(&seen, &past(&seen)?)
    }

    /// One batch, with spreads where networks answer with their logarithms: libtorch takes a row of exponentials at once.
    fn expect(&self, cells: &Cells) -> Result<Answers, Error> {
        let (out, (least, most)) = (self.output(cells)?, LOG_SPREAD);
        // In place: what comes back is a part of it.
        drop(out.f_slice(1, 1, None, 2)?.f_clamp_(f64::from(least), f64::from(most))?.f_exp_()?);
        Answers::read(&out)
    }

    /// Looks whether batches of [`FEW`] rows give the bits that they give in one of [`BATCH`], and uses them from now on if
    /// so. Which sums a library forms in which order follows from shapes, not from numbers, so that one comparison of
    /// numbers without any pattern tells.
    pub(crate) fn try_few(&mut self) -> Result<(), Error> {
        let same = self.gives_same_bits(FEW)?;
        self.few = same.then(|| RefCell::new(Cells::new(self.inputs, FEW)));
        Ok(())
    }

    fn gives_same_bits(&self, few: usize) -> Result<bool, Error> {
        let feature = |row: usize, input: usize, at: usize| {
            let n = (row * self.inputs + input) * FEATURES + at;
            ((n as f64 * 0.618_033_988_749_895).fract() * 6.0 - 3.0) as f32
        };
        let answers = |from: usize, rows: usize| {
            let mut cells = Cells::new(self.inputs, rows);
            for (row, input) in (0..rows).flat_map(|row| (0..self.inputs).map(move |input| (row, input))) {
                // Here and there a signal is missing.
                if (row + from + input) % 7 != 3 {
                    cells.put(row, input, &std::array::from_fn(|at| feature(from + row, input, at)));
                }
            }
            self.expect(&cells)
        };
        let all = answers(0, BATCH)?;
        let mut same = true;
        for from in (0..BATCH).step_by(few) {
            same &= answers(from, few)?.is_at(from, &all, self.inputs);
        }
        Ok(same)
    }

    /// What is expected at each query. A residual depends on its own query alone.
    pub(crate) fn look(&self, scaler: &Scaler, queries: &[&Query]) -> Result<Vec<Residual>, Error> {
        let own_past = self.kind.has_own_past();
        let mut residuals = Vec::with_capacity(queries.len());
        let mut rest = queries;
        while !rest.is_empty() {
            let few = self.few.as_ref().filter(|_| rest.len() <= MOST_FEW);
            let (cells, rows) = few.map_or((&self.cells, BATCH), |few| (few, FEW));
            let (batch, later) = rest.split_at(rows.min(rest.len()));
            rest = later;
            let mut cells = cells.borrow_mut();
            cells.clear();
            for (row, query) in batch.iter().enumerate() {
                scaler.scaled(query).for_each(|(_, input, scaled)| cells.put(row, input, &scaled));
            }
            let answers = self.expect(&cells)?;
            for (row, query) in batch.iter().enumerate() {
                let mut signals = Vec::with_capacity(query.signals.len());
                scaler.current(query).for_each(|(n, input, scaled, has_past)| {
                    let heads = heads(scaled, answers.of(row, input), own_past && has_past);
                    signals.push((n as u16, input as u16, heads));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a loaded model is asked decides; on this family of processors it is known to be so.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn small_batches_give_the_bits_of_large_ones() {
        let mut draws = (0..).map(|n| (f64::from(n) * 0.754_877_666_246_693).fract() as f32 - 0.5);
        for (kind, inputs) in Kind::ALL.into_iter().flat_map(|kind| [1, 7, 18, 37].map(|inputs| (kind, inputs))) {
            let weights = shapes(kind, inputs).into_iter().map(|(name, shape)| {
                let numbers = draws.by_ref().take(shape.iter().product()).collect();
                (name.to_owned(), (shape, numbers))
            });
            let mut network = Network::of(kind, inputs, &weights.collect()).unwrap();
            network.try_few().unwrap();
            assert!(network.few.is_some(), "{kind}, {inputs} inputs");
        }
    }
}
