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

/// Width of a signal's code. With less of either a batch takes less time, and fewer faults are found (`BENCHMARKS.md`).
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
    let turned = |weight: &Tensor| weight.f_transpose(1, 2);
    let times = |weight: &Tensor, rows: &Tensor| turned(weight)?.f_bmm(rows);
    let mut codes = times(encoder, seen)?.f_relu_()?;
    let all = codes.f_sum_dim_intlist(&[0_i64][..], true, None)?;
    // A batch's time goes into memory more than into products: what is not needed again is written over. Whoever learns
    // needs the codes again.
    let less_others = if codes.requires_grad() { codes.f_sub(&all)? } else { codes.f_sub_(&all)? };
    let mut from_others = turned(context_bias)?.f_baddbmm(&turned(context)?, &less_others, 1, -1)?;
    let from_own = from_others.f_baddbmm(&turned(own)?, past, 1, 1)?.f_relu_()?;
    let from_others = from_others.f_relu_()?;
    let heads = Tensor::f_cat(&[times(a, &from_others)?, times(b, &from_own)?], 1)?;
    Ok(heads.f_add(&turned(heads_bias)?)?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn what_is_written_over_where_nothing_is_learnt_changes_no_bit() {
        const INPUTS: usize = 7;
        tch::manual_seed(11);
        let random = |shape: &[i64]| Tensor::f_randn(shape, (Kind::Float, Device::Cpu)).unwrap();
        let shape = |shape: Vec<usize>| shape.into_iter().map(|n| n as i64).collect::<Vec<_>>();
        let weights: Vec<Tensor> = shapes(INPUTS).into_iter().map(|(_, of)| random(&shape(of))).collect();
        let seen = random(&[INPUTS as i64, NUMBERS as i64, 32]);
        let past = seen.f_narrow(1, 1, PAST as i64).unwrap();
        let quick = tch::no_grad(|| forward(&weights, &seen, &past)).unwrap();
        let learning: Vec<Tensor> = weights.iter().map(|weight| weight.set_requires_grad(true)).collect();
        let learnt = forward(&learning, &seen, &past).unwrap();
        assert!(learnt.requires_grad() && learnt.equal(&quick));
        learnt.sum(Kind::Float).backward();
        assert!(learning.iter().all(|weight| weight.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0));
    }
}
