//! What scores of a test are worth.

use std::fmt;

use evaluation::{Interval, Labelled, Measure, Scored, events::Event};

use crate::fleet::{STEP_MS, Set, Test};

/// By what all are measured; after a fault, half a day is neither right nor wrong.
pub(crate) const MEASURE: Measure = Measure {
    step_ms: STEP_MS,
    merge_ms: 600_000,
    settle_ms: 12 * 3_600_000,
    block_ms: 60_000,
    // Half an hour.
    tolerance: 180,
    steps: 5,
};

/// How a method did on one test.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The set.
    pub(crate) set: Set,
    /// Size of its faults; none: healthy.
    pub(crate) percent: Option<u16>,
    /// What came of it.
    pub(crate) judged: evaluation::Outcome,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.set.as_str().replace('_', " "))?;
        match self.percent {
            Some(percent) => write!(f, ", severity {}", f64::from(percent) / 100.0)?,
            None => write!(f, ", healthy")?,
        }
        for at in &self.judged.budgets {
            write!(f, "; at {}", at.name.replace('_', " "))?;
            match (&at.realised, at.recall()) {
                (_, Some(recall)) => write!(f, " {recall:.3} found")?,
                (Some(Interval { rate, low, high }), None) => write!(f, " {rate:.2} ({low:.2} to {high:.2}) a week")?,
                (None, None) => write!(f, " nothing to find")?,
            }
        }
        self.judged.vus_pr.map_or(Ok(()), |vus| write!(f, "; VUS-PR {vus:.3}"))
    }
}

/// Judges the scores of a test.
pub(crate) fn outcome(test: &Test, scored: &[Scored], limits: &[f32]) -> Outcome {
    let events = test.faults.iter().map(|faults| {
        let event = |fault: &simulator::fault::Fault| Labelled {
            event: Event { from: fault.from, to: fault.to, full_from: fault.full_from() },
            kind: fault.kind.as_str().to_owned(),
        };
        faults.iter().map(event).collect()
    });
    let judged = evaluation::outcome(scored, &events.collect::<Vec<_>>(), limits, &MEASURE);
    Outcome { set: test.set, percent: test.percent, judged }
}
