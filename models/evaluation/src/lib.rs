//! How good a detector is, judged from scores and labels alone. Pure.
//!
//! - [`average_precision`]: the area under the curve of precision over recall, reading by reading;
//! - [`vus_pr`]: the same with labels that fade out around each event, averaged over how far they do;
//! - [`events`]: which events were found, how soon, and how many alarms were false;
//! - [`outcome`]: all of it for scored vehicles with labels, at each of the [`BUDGETS`];
//! - [`labels`]: the file that labels come in;
//! - [`paired`] and [`more_found`]: whether one detector is better than another, or only luckier;
//! - [`limit_for`]: the limit that keeps to a budget of alarms;
//! - [`rate_interval`]: what a count of alarms says about their rate;
//! - [`Bins`]: how far a distribution has moved from the one that was learnt from.
//!
//! There is no point-adjusted F1 here: under it random scores look excellent (Kim et al., AAAI 2022).

mod bins;
mod curve;
pub mod events;
mod interval;
pub mod labels;
mod limit;
mod outcome;
mod rivalry;
mod volume;

pub use bins::{BINS, Bins, Counts};
pub use curve::average_precision;
pub use interval::{Interval, poisson_quantile, rate_interval};
pub use limit::{Peak, Spread, heights, limit_for};
pub use outcome::{AtBudget, BUDGETS, Labelled, Measure, Outcome, Scored, limits, outcome};
pub use rivalry::{Paired, more_found, paired};
pub use volume::vus_pr;

/// One vehicle's scores and labels, reading by reading.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Larger is more anomalous. NaN: not scored, which counts as the least of all scores.
    pub scores: &'a [f32],
    /// Whether something was wrong at that reading; as many as scores.
    pub labels: &'a [bool],
}

impl Series<'_> {
    /// Runs of wrong readings, first to last.
    fn runs(&self) -> Vec<std::ops::RangeInclusive<usize>> {
        let mut runs = Vec::new();
        let mut from = None;
        for (at, wrong) in self.labels.iter().enumerate() {
            match (from, wrong) {
                (None, true) => from = Some(at),
                (Some(first), false) => {
                    runs.push(first..=at - 1);
                    from = None;
                }
                _ => {}
            }
        }
        if let Some(first) = from {
            runs.push(first..=self.labels.len() - 1);
        }
        runs
    }
}

/// A score with its place in the order: NaN below everything.
fn ordered(score: f32) -> f32 {
    if score.is_nan() { f32::NEG_INFINITY } else { score }
}
