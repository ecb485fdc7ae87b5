//! What a network makes of a reading: expectation and deviation of every signal. Pure.

/// One deviation counts at most so many spreads.
pub(crate) const MOST_DEVIATION: f32 = 12.0;

/// Bounds of the logarithm of a spread.
pub(crate) const LOG_SPREAD: (f32, f32) = (-5.0, 2.0);

/// What is expected of one signal, scaled, and how far the reading is from that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Head {
    pub(crate) expected: f32,
    pub(crate) spread: f32,
    /// (observed − expected) / spread, held within ± [`MOST_DEVIATION`]; NaN where this head says nothing.
    pub(crate) deviation: f32,
}

/// What a network makes of a query: for each of its places that is an input, in their order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Residual {
    /// Index in the query, input of the model, head A and head B.
    pub(crate) signals: Vec<(u16, u16, [Head; 2])>,
}

impl Residual {
    /// Whether every expectation is a number. Where one is not, the network broke on this query.
    pub fn is_sound(&self) -> bool {
        let is_number = |head: &Head| head.expected.is_finite() && head.spread.is_finite();
        self.signals.iter().all(|(_, _, heads)| heads.iter().all(is_number))
    }
}

/// Both heads from a signal's scaled value and, of each, what it expects and with what spread.
pub(crate) fn heads(scaled: f32, out: [f32; 4], own_past: bool) -> [Head; 2] {
    let head = |at: usize, says: bool| {
        let (expected, spread) = (out[2 * at], out[2 * at + 1]);
        let deviation = ((scaled - expected) / spread).clamp(-MOST_DEVIATION, MOST_DEVIATION);
        Head { expected, spread, deviation: if says { deviation } else { f32::NAN } }
    };
    [head(0, true), head(1, own_past)]
}

/// Student-t with 4 degrees of freedom, negative log-likelihood up to a constant.
pub(crate) fn student(deviation: f64) -> f64 {
    2.5 * (deviation * deviation / 4.0).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_is_sound_while_the_network_answers_in_numbers() {
        let residual = |out: &[f32; 4]| Residual { signals: vec![(0, 0, heads(0.5, *out, false))] };
        assert!(residual(&[0.0, 1.0, 0.0, 1.0]).is_sound(), "no past is no fault");
        for at in 0..4 {
            let mut out = [0.0, 1.0, 0.0, 1.0];
            out[at] = f32::NAN;
            assert!(!residual(&out).is_sound(), "{at}");
        }
    }
}
