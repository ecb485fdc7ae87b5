//! PCA: the last four values of all signals, projected onto the directions of most variance and back.

use tch::Tensor;

use crate::{
    Error,
    network::{flat, only_head_a},
    window::VALUES,
};

/// Directions that are kept.
pub(crate) const COMPONENTS: usize = 12;

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    let width = inputs * VALUES;
    vec![("mean", vec![width]), ("components", vec![width, COMPONENTS.min(width)]), ("log_spread", vec![inputs])]
}

pub(super) fn forward(weights: &[Tensor], seen: &Tensor) -> Result<Tensor, Error> {
    let [mean, components, log_spread] = weights else {
        return Err(Error::Malformed("three tensors make a PCA".into()));
    };
    let (inputs, rows) = (seen.size()[0], seen.size()[2]);
    let centred = flat(seen)?.f_sub(mean)?;
    let back = centred.f_matmul(components)?.f_matmul(&components.f_transpose(0, 1)?)?.f_add(mean)?;
    let now = back.f_view([rows, inputs, VALUES as i64])?.f_select(2, 0)?.f_transpose(0, 1)?;
    only_head_a(&now, &log_spread.f_unsqueeze(1)?.f_expand([-1, rows], false)?)
}
