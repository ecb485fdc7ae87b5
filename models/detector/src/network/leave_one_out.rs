//! The leave-one-signal-out network: every signal is expected from all the others, as by a virtual sensor.
//!
//! A small encoder of its own turns each signal's features into a code; what a signal is expected from is the sum of
//! all codes less its own. Head A reads that sum; head B reads it together with the signal's own last values. A signal
//! that is not known has no features, not even the constant one, and so a code of nothing.

use tch::Tensor;

use crate::{
    Error,
    window::{FEATURES, VALUES},
};

/// Width of a signal's code.
pub(crate) const CODE: usize = 24;
/// Width of what the heads read.
pub(crate) const HIDDEN: usize = 32;
const PAST: usize = VALUES - 1;

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("encoder.weight", vec![inputs, FEATURES + 1, CODE]),
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

pub(super) fn forward(weights: &[Tensor], features: &Tensor, known: &Tensor) -> Result<Tensor, Error> {
    let [encoder, context, context_bias, past, a, b, heads_bias] = weights else {
        return Err(Error::Malformed("seven tensors make a leave-one-out network".into()));
    };
    let codes = Tensor::f_cat(&[features.f_mul(known)?, known.shallow_clone()], 2)?.f_bmm(encoder)?.f_relu_()?;
    let others = codes.f_sum_dim_intlist(&[0_i64][..], true, None)?.f_sub(&codes)?;
    let seen = others.f_bmm(context)?.f_add_(context_bias)?;
    let own = features.f_narrow(2, 1, PAST as i64)?.f_bmm(past)?.f_add_(&seen)?.f_relu_()?;
    let seen = seen.f_relu()?;
    Ok(Tensor::f_cat(&[seen.f_bmm(a)?, own.f_bmm(b)?], 2)?.f_add_(heads_bias)?)
}
