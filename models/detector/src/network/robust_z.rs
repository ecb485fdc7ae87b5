//! Robust z: every signal on its own. Head A expects the fleet's centre, head B the mean of the last three values; the
//! means over blocks behind it do what an EWMA does, in finite memory.

use tch::Tensor;

use crate::{
    Error,
    network::OUTPUT,
    window::{FEATURES, VALUES},
};

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    vec![("log_spread", vec![inputs, 2])]
}

pub(super) fn forward(weights: &[Tensor], features: &Tensor) -> Result<Tensor, Error> {
    debug_assert_eq!(features.size()[2], FEATURES as i64);
    let rows = features.size()[1];
    let zero = features.f_narrow(2, 0, 1)?.f_zeros_like()?;
    let past = features.f_narrow(2, 1, VALUES as i64 - 1)?.f_mean_dim(&[2_i64][..], true, None)?;
    let log_spread = |head: i64| weights[0].f_narrow(1, head, 1)?.f_unsqueeze(1)?.f_expand([-1, rows, 1], false);
    let out = Tensor::f_cat(&[zero, log_spread(0)?, past, log_spread(1)?], 2)?;
    debug_assert_eq!(out.size()[2], OUTPUT as i64);
    Ok(out)
}
