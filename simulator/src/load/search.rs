//! The search for the highest rate that holds: steps up until one fails, then halves the gap. Pure.

use serde::Serialize;
use service::Error;

/// There are never more steps: each costs the workers a moment for every reading.
pub(super) const MOST_STEPS: usize = 40;
/// A gap below it is not halved: runs differ by as much, %.
const CLOSE_PERCENT: u64 = 2;

/// No fleet is asked for more readings in a second: no machine makes them, and times in µs stay what they are.
pub(super) const MOST_RATE: u64 = 1_000_000_000;

/// Flags of a search.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Capacity")]
pub struct Flags {
    /// Looks for the highest rate at which no --fail-if comes true and the acknowledgements keep up: the same fleet
    /// begins at --rate and makes more in each step, 40 at most. Where every one of them holds, nothing was found, and
    /// the run fails.
    #[arg(long, env = "MOTORCADE_LOAD_FIND_CAPACITY", conflicts_with = "messages")]
    pub find_capacity: bool,
    /// Each step has so many times the rate of the one before [default: 1.5].
    #[arg(long, env = "MOTORCADE_LOAD_STEP_FACTOR", value_name = "X")]
    pub step_factor: Option<f64>,
    /// Instead: so many readings a second more.
    #[arg(long, env = "MOTORCADE_LOAD_STEP", value_name = "N", conflicts_with = "step_factor")]
    pub step: Option<u64>,
    /// How long a step takes, ms; its first third is not judged. At least three times what an acknowledgement
    /// takes [default: 15000].
    #[arg(long, env = "MOTORCADE_LOAD_STEP_MS", value_name = "MS")]
    pub step_ms: Option<u64>,
    /// How often the gap between the last step that held and the first that did not is halved [default: 2].
    #[arg(long, env = "MOTORCADE_LOAD_BISECTIONS", value_name = "N")]
    pub bisections: Option<u32>,
}

impl Flags {
    fn step_factor(&self) -> f64 {
        self.step_factor.unwrap_or(1.5)
    }

    /// How long a step takes, ms.
    pub(super) fn step_ms(&self) -> u64 {
        self.step_ms.unwrap_or(15_000)
    }

    fn bisections(&self) -> u32 {
        self.bisections.unwrap_or(2)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub(super) fn validate(&self, rate: Option<u64>, duration_ms: u64) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        let unused = [
            ("step-factor", self.step_factor.is_some()),
            ("step", self.step.is_some()),
            ("step-ms", self.step_ms.is_some()),
            ("bisections", self.bisections.is_some()),
        ];
        if let Some((flag, _)) = unused.into_iter().find(|(_, given)| *given && !self.find_capacity) {
            return usage(flag, "says nothing without --find-capacity".into());
        }
        let (factor, bisections) = (self.step_factor(), self.bisections());
        if !(factor > 1.0 && factor <= 100.0) {
            return usage("step-factor", format!("{factor} is not above 1 and at most 100"));
        }
        if self.step.is_some_and(|step| !(1..=MOST_RATE).contains(&step)) {
            return usage("step", format!("is not 1 to {MOST_RATE}"));
        }
        if !(3_000..=3_600_000).contains(&self.step_ms()) {
            return usage("step-ms", format!("{} is not 3000 to 3600000", self.step_ms()));
        }
        if bisections > 10 {
            return usage("bisections", format!("{bisections} is above 10"));
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

/// How a search came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    /// A rate broke: the highest that held lies below it.
    #[default]
    Broke,
    /// It went no farther, and every rate held: how fast it could be is not known.
    Unbroken,
    /// It was broken off before.
    BrokenOff,
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
        let (factor, bisections) = (flags.step_factor(), flags.bisections());
        Self { factor, step: flags.step, bisections, steps: 0, held: None, broke: None }
    }

    /// How it came to its end, if nobody broke it off.
    pub(super) fn end(&self) -> End {
        if self.broke.is_some() { End::Broke } else { End::Unbroken }
    }

    /// The rate after one that held or did not; none: the search is over.
    pub(super) fn next(&mut self, rate: u64, holds: bool) -> Option<u64> {
        self.steps += 1;
        let end = if holds { &mut self.held } else { &mut self.broke };
        *end = Some(rate);
        if self.steps >= MOST_STEPS {
            return None;
        }
        let Some(broke) = self.broke else { return Some(self.above(rate)).filter(|above| *above > rate) };
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
            Some(step) => rate.saturating_add(step),
            None => ((rate as f64 * self.factor).round() as u64).max(rate.saturating_add(1)),
        }
        .min(MOST_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried on a system that holds up to `capacity`, and what is found.
    fn tried(first: u64, capacity: u64, step: Option<u64>, bisections: u32) -> (Vec<u64>, Option<u64>) {
        let (rates, search) = searched(first, capacity, step, bisections);
        (rates, search.held)
    }

    fn searched(first: u64, capacity: u64, step: Option<u64>, bisections: u32) -> (Vec<u64>, Search) {
        let mut search = Search { factor: 1.5, step, bisections, steps: 0, held: None, broke: None };
        let (mut rates, mut next) = (Vec::new(), Some(first));
        while let Some(rate) = next {
            rates.push(rate);
            next = search.next(rate, rate <= capacity);
        }
        (rates, search)
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
        assert_eq!(
            tried(MOST_RATE / 2, u64::MAX, Some(u64::MAX), 2).0,
            [MOST_RATE / 2, MOST_RATE],
            "and never overflows"
        );
        let (rates, held) = tried(1, u64::MAX, None, 2);
        assert_eq!((rates.len(), held), (MOST_STEPS, rates.last().copied()));
        assert_eq!(tried(1, 2, Some(1), 10), (vec![1, 2, 3], Some(2)), "there is nothing between 2 and 3");
    }

    #[test]
    fn a_search_that_goes_no_farther_tells_that_nothing_broke() {
        let end = |first, capacity, step| searched(first, capacity, step, 2).1.end();
        assert_eq!(end(1, u64::MAX, Some(1)), End::Unbroken, "after the last step");
        assert_eq!(end(MOST_RATE / 2, u64::MAX, None), End::Unbroken, "at the highest rate");
        assert_eq!((end(1, 20, Some(1)), end(1_000, 0, None)), (End::Broke, End::Broke));
    }
}
