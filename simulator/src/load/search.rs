//! The search for the highest rate that holds: steps up until one fails, then halves the gap. Pure.

use serde::Serialize;
use service::Error;

/// There are never more steps: each costs the workers a moment for every reading.
pub(super) const MOST_STEPS: usize = 40;
/// A gap below it is not halved: runs differ by as much, %.
const CLOSE_PERCENT: u64 = 2;

/// Flags of a search.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Capacity")]
pub struct Flags {
    /// Looks for the highest rate at which no --fail-if comes true and the acknowledgements keep up: the same fleet
    /// begins at --rate and makes more in each step.
    #[arg(long, env = "MOTORCADE_LOAD_FIND_CAPACITY", conflicts_with = "messages")]
    pub find_capacity: bool,
    /// Each step has so many times the rate of the one before.
    #[arg(long, env = "MOTORCADE_LOAD_STEP_FACTOR", value_name = "X", default_value_t = 1.5)]
    pub step_factor: f64,
    /// Instead: so many readings a second more.
    #[arg(long, env = "MOTORCADE_LOAD_STEP", value_name = "N", conflicts_with = "step_factor")]
    pub step: Option<u64>,
    /// How long a step takes, ms; its first third is not judged. At least three times what an acknowledgement takes.
    #[arg(long, env = "MOTORCADE_LOAD_STEP_MS", value_name = "MS", default_value_t = 15_000)]
    pub step_ms: u64,
    /// How often the gap between the last step that held and the first that did not is halved.
    #[arg(long, env = "MOTORCADE_LOAD_BISECTIONS", value_name = "N", default_value_t = 2)]
    pub bisections: u32,
}

impl Flags {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub(super) fn validate(&self, rate: Option<u64>, duration_ms: u64) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        if !(self.step_factor > 1.0 && self.step_factor <= 100.0) {
            return usage("step-factor", format!("{} is not above 1 and at most 100", self.step_factor));
        }
        if self.step == Some(0) {
            return usage("step", "must be above 0".into());
        }
        if !(3_000..=3_600_000).contains(&self.step_ms) {
            return usage("step-ms", format!("{} is not 3000 to 3600000", self.step_ms));
        }
        if self.bisections > 10 {
            return usage("bisections", format!("{} is above 10", self.bisections));
        }
        if self.find_capacity && rate.is_none() {
            return usage("find-capacity", "needs the first step's --rate".into());
        }
        if self.find_capacity && duration_ms > 0 {
            return usage("find-capacity", "ends by itself: without --duration-ms".into());
        }
        Ok(())
    }
}

/// What one step showed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// Readings in a second, as asked for,
    pub(super) rate: u64,
    /// as made,
    pub(super) made: f64,
    /// and as acknowledged.
    pub(super) settled: f64,
    /// Until acknowledged, ms.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
    /// Readings in outboxes at its end.
    pub(super) in_outbox: u64,
    pub(super) lost: u64,
    pub(super) given_up: u64,
    /// Why it did not hold; none: it did.
    pub(super) broke: Option<String>,
}

/// What is to be tried next.
#[derive(Debug)]
pub(super) struct Search {
    factor: f64,
    step: Option<u64>,
    bisections: u32,
    steps: usize,
    /// The highest rate that held, and the lowest that did not.
    pub(super) held: Option<u64>,
    broke: Option<u64>,
}

impl Search {
    pub(super) fn new(flags: &Flags) -> Self {
        let Flags { step_factor: factor, step, bisections, .. } = *flags;
        Self { factor, step, bisections, steps: 0, held: None, broke: None }
    }

    /// The rate after one that held or did not; none: the search is over.
    pub(super) fn next(&mut self, rate: u64, holds: bool) -> Option<u64> {
        self.steps += 1;
        let end = if holds { &mut self.held } else { &mut self.broke };
        *end = Some(rate);
        if self.steps >= MOST_STEPS {
            return None;
        }
        let Some(broke) = self.broke else { return Some(self.above(rate)) };
        let held = self.held.unwrap_or(0);
        if self.bisections == 0 || (broke - held) * 100 <= held * CLOSE_PERCENT || broke - held < 2 {
            return None;
        }
        self.bisections -= 1;
        Some(held.midpoint(broke))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "rates are far below 2^52"
    )]
    fn above(&self, rate: u64) -> u64 {
        match self.step {
            Some(step) => rate + step,
            None => ((rate as f64 * self.factor).round() as u64).max(rate + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried on a system that holds up to `capacity`, and what is found.
    fn tried(first: u64, capacity: u64, step: Option<u64>, bisections: u32) -> (Vec<u64>, Option<u64>) {
        let mut search = Search { factor: 1.5, step, bisections, steps: 0, held: None, broke: None };
        let (mut rates, mut next) = (Vec::new(), Some(first));
        while let Some(rate) = next {
            rates.push(rate);
            next = search.next(rate, rate <= capacity);
        }
        (rates, search.held)
    }

    #[test]
    fn the_gap_between_the_last_that_held_and_the_first_that_broke_is_halved() {
        assert_eq!(tried(1_000, 2_000, None, 2), (vec![1_000, 1_500, 2_250, 1_875, 2_062], Some(1_875)));
        assert_eq!(tried(1_000, 2_000, Some(600), 0), (vec![1_000, 1_600, 2_200], Some(1_600)));
    }

    #[test]
    fn a_first_step_that_breaks_is_followed_by_lower_ones() {
        assert_eq!(tried(1_000, 300, None, 2), (vec![1_000, 500, 250], Some(250)));
        assert_eq!(tried(1_000, 0, None, 2), (vec![1_000, 500, 250], None), "nothing held, and nothing is claimed");
    }

    #[test]
    fn a_search_ends() {
        let (rates, held) = tried(1, u64::MAX, None, 2);
        assert_eq!((rates.len(), held), (MOST_STEPS, rates.last().copied()));
        assert_eq!(tried(1, 2, Some(1), 10), (vec![1, 2, 3], Some(2)), "there is nothing between 2 and 3");
    }
}
