//! The leave-one-signal-out network: every signal is expected from all the others, as by a virtual sensor.
//!
//! A small encoder of its own turns each signal's features into a code; what a signal is expected from is the sum of
//! all codes less its own. Head A reads that sum; head B reads it together with the signal's own last values. A signal
//! that is not known has no features, not even the constant one, and so a code of nothing.

use tch::Tensor;

use crate::{
    Error,
    network::{PAST, cells::NUMBERS},
};

/// Width of a signal's code.
pub(crate) const CODE: usize = 24;
/// Width of what the heads read.
pub(crate) const HIDDEN: usize = 32;

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("encoder.weight", vec![inputs, NUMBERS, CODE]),
        ("context.weight", vec![inputs, CODE, HIDDEN]),
        ("context.bias", vec![inputs, 1, HIDDEN]),
        ("past.weight", vec![inputs, PAST, HIDDEN]),
        ("a.weight", vec![inputs, HIDDEN, 2]),
        ("b.weight", vec![inputs, HIDDEN, 2]),
        ("heads.bias", vec![inputs, 1, 4]),
    ]
}

pub(super) fn bound(name: &str, shape: &[usize]) -> f32 {
    match (name, shape) {
        (_, [_, 1, _]) => 0.0,
        ("a.weight" | "b.weight", _) => 0.08,
        // The context is a sum over all signals.
        ("context.weight", [_, fan_in, _]) => 0.3 * (3.0 / *fan_in as f32).sqrt(),
        ("past.weight", _) => 0.5,
        (_, shape) => (3.0 / shape[1] as f32).sqrt(),
    }
}

pub(super) fn forward(weights: &[Tensor], seen: &Tensor, past: &Tensor) -> Result<Tensor, Error> {
    let [encoder, context, context_bias, own, a, b, heads_bias] = weights else {
        return Err(Error::Malformed("seven tensors make a leave-one-out network".into()));
    };
    // Rows are the last dimension of what is computed, and the first of what weights were written for.
    let times = |weight: &Tensor, rows: &Tensor| weight.f_transpose(1, 2)?.f_bmm(rows);
    let codes = times(encoder, seen)?.f_relu_()?;
    let others = codes.f_sum_dim_intlist(&[0_i64][..], true, None)?.f_sub(&codes)?;
    let from_others = times(context, &others)?.f_add_(&context_bias.f_transpose(1, 2)?)?;
    let from_own = times(own, past)?.f_add_(&from_others)?.f_relu_()?;
    let from_others = from_others.f_relu()?;
    let heads = Tensor::f_cat(&[times(a, &from_others)?, times(b, &from_own)?], 1)?;
    Ok(heads.f_add(&heads_bias.f_transpose(1, 2)?)?)
}
