//! How well head A expects what training did not see. Pure.

use crate::{
    residual::{Residual, student},
    scaler::Scaler,
    window::Query,
};

/// Sums over the values of one input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
    left: f64,
    loss: f64,
    trivial: f64,
}

impl Sums {
    fn with(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.left += other.left;
        self.loss += other.loss;
        self.trivial += other.trivial;
        self
    }
}

/// Of one vehicle, by input; of inputs that are not judged, nothing.
#[derive(Debug)]
pub(super) struct Expectation(Vec<Sums>);

impl Expectation {
    pub(super) fn new(inputs: usize) -> Self {
        Self(vec![Sums::default(); inputs])
    }

    pub(super) fn take(&mut self, query: &Query, residual: &Residual, judged: &[bool], scaler: &Scaler) {
        for (n, input, heads) in &residual.signals {
            let input = usize::from(*input);
            if !judged[input] {
                continue;
            }
            let observed = query.signals[usize::from(*n)].features[0];
            let scaled = f64::from(scaler.scale(input, observed));
            let (expected, spread) = (f64::from(heads[0].expected), f64::from(heads[0].spread));
            let sums = &mut self.0[input];
            sums.count += 1.0;
            sums.sum += scaled;
            sums.squares += scaled * scaled;
            sums.left += (scaled - expected).powi(2);
            sums.loss += student((scaled - expected) / spread) + spread.ln();
            sums.trivial += student(scaled);
        }
    }
}

/// Share of the variance of an input that is explained.
pub(super) fn explained<'a>(of: impl Iterator<Item = &'a Expectation>, input: usize) -> f64 {
    let Sums { count, sum, squares, left, .. } = of.fold(Sums::default(), |sums, one| sums.with(&one.0[input]));
    let total = squares - sum * sum / count.max(1.0);
    if total > 0.0 { 1.0 - left / total } else { 0.0 }
}

/// Mean loss of a value, and that of expecting each signal's centre with its spread.
pub(super) fn losses(of: &[Expectation]) -> (f64, f64) {
    let sums = of.iter().flat_map(|one| &one.0).fold(Sums::default(), Sums::with);
    (sums.loss / sums.count.max(1.0), sums.trivial / sums.count.max(1.0))
}
