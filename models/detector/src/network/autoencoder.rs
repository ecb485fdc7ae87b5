//! The windowed autoencoder: the last four values of all signals through a narrow middle, the current ones back, with
//! their spread. In training a share of the signals is hidden, which is the cheapest improvement of such a network.

use tch::Tensor;

use crate::{
    Error,
    network::{flat, only_head_a},
    window::{FEATURES, VALUES},
};

const HIDDEN: usize = 64;
const CODE: usize = 16;

pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
    let width = inputs * VALUES + inputs;
    vec![
        ("encoder.0.weight", vec![HIDDEN, width]),
        ("encoder.0.bias", vec![HIDDEN]),
        ("encoder.2.weight", vec![CODE, HIDDEN]),
        ("encoder.2.bias", vec![CODE]),
        ("decoder.0.weight", vec![HIDDEN, CODE]),
        ("decoder.0.bias", vec![HIDDEN]),
        ("decoder.2.weight", vec![2 * inputs, HIDDEN]),
        ("decoder.2.bias", vec![2 * inputs]),
    ]
}

pub(super) fn bound(name: &str, shape: &[usize]) -> f32 {
    match (name, shape) {
        (_, [_]) => 0.0,
        ("decoder.2.weight", _) => 0.02,
        (_, shape) => (6.0 / shape[1] as f32).sqrt() * 0.7,
    }
}

pub(super) fn forward(weights: &[Tensor], seen: &Tensor) -> Result<Tensor, Error> {
    let [e0, e0b, e2, e2b, d0, d0b, d2, d2b] = weights else {
        return Err(Error::Malformed("eight tensors make an autoencoder".into()));
    };
    let inputs = seen.size()[0];
    let presence = seen.f_select(1, FEATURES as i64)?.f_transpose(0, 1)?;
    let rows = Tensor::f_cat(&[flat(seen)?, presence], 1)?;
    let hidden = rows.f_linear(e0, Some(e0b))?.f_relu()?;
    let code = hidden.f_linear(e2, Some(e2b))?.f_relu()?;
    let hidden = code.f_linear(d0, Some(d0b))?.f_relu()?;
    let out = hidden.f_linear(d2, Some(d2b))?.f_transpose(0, 1)?;
    only_head_a(&out.f_narrow(0, 0, inputs)?, &out.f_narrow(0, inputs, inputs)?)
}
