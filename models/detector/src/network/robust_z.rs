//! Robust z: every signal on its own. Head A expects the fleet's centre, head B the mean of the last three values; the
//! means over blocks behind it do what an EWMA does, in finite memory.

use tch::Tensor;

use crate::Error;

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    vec![("log_spread", vec![inputs, 2])]
}

pub(super) fn forward(weights: &[Tensor], past: &Tensor) -> Result<Tensor, Error> {
    let rows = past.size()[2];
    let past = past.f_mean_dim(&[1_i64][..], true, None)?;
    let log_spread = |head: i64| weights[0].f_narrow(1, head, 1)?.f_unsqueeze(2)?.f_expand([-1, 1, rows], false);
    Ok(Tensor::f_cat(&[past.f_zeros_like()?, log_spread(0)?, past, log_spread(1)?], 1)?)
}
