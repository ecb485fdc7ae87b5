//! Signs of drift in what was found, and when they ask for a new model.

use evaluation::rate_interval;
use telemetry::event::{Drift, DriftSign};

/// A signal that others are expected from has left its range from this PSI on. Smaller shifts of single signals are
/// everyday life: one trip within a season shows 0.05 to 5.5, a whole fleet's day hardly 0.1.
const CONTEXT_PSI: f64 = 1.0;
/// Scores are distributed otherwise than those of the held-out history.
const SCORE_PSI: f64 = 0.25;
/// So many times the promised alarms are too many …
const TOO_MANY: f64 = 3.0;
/// … if there are at least so many.
const LEAST_ALARMS: u64 = 5;

/// The signs among what was found, in order.
pub(super) fn signs(found: &Drift) -> Vec<DriftSign> {
    let context = found.signals.iter().any(|shift| shift.context && shift.psi >= CONTEXT_PSI);
    let scores = found.scores_psi.is_some_and(|psi| psi >= SCORE_PSI);
    // The lower end of what the count says about the rate.
    let at_least = rate_interval(found.alarms, found.hours).map_or(0.0, |interval| interval.low * found.hours);
    let alarms = found.alarms >= LEAST_ALARMS && at_least > TOO_MANY * found.promised_alarms;
    let signs = [(context, DriftSign::Context), (scores, DriftSign::Scores), (alarms, DriftSign::Alarms)];
    signs.into_iter().filter(|(there, _)| *there).map(|(_, sign)| sign).collect()
}

/// Whether to train again: two different signs in one while, or one sign that was there in the while before, too.
pub(super) fn asks_for_training(before: &[DriftSign], now: &[DriftSign]) -> bool {
    now.len() >= 2 || now.iter().any(|sign| before.contains(sign))
}

#[cfg(test)]
mod tests {
    use telemetry::event::SignalShift;

    use super::*;

    fn found() -> Drift {
        let shift = |signal: &str, psi, context| SignalShift { signal: signal.into(), psi, context };
        Drift {
            signals: vec![shift("air", 0.2, true), shift("speed", 3.0, false)],
            scores_psi: Some(0.1),
            hours: 1_000.0,
            alarms: 10,
            promised_alarms: 6.0,
            ..Drift::default()
        }
    }

    #[test]
    fn a_fleet_as_it_was_learnt_shows_no_sign() {
        assert_eq!(signs(&found()), []);
        // A judged signal may move: that is what the others explain.
        assert!(!asks_for_training(&[], &signs(&found())));
    }

    #[test]
    fn each_sign_has_its_own_measure() {
        let mut shifted = found();
        shifted.signals[0].psi = 1.2;
        assert_eq!(signs(&shifted), [DriftSign::Context]);
        assert_eq!(signs(&Drift { scores_psi: Some(0.3), ..found() }), [DriftSign::Scores]);
        assert_eq!(signs(&Drift { alarms: 40, ..found() }), [DriftSign::Alarms]);
        // 20 of 6 promised are more than three times as many, but chance may have helped.
        assert_eq!(signs(&Drift { alarms: 20, ..found() }), []);
        assert_eq!(signs(&Drift { alarms: 4, promised_alarms: 0.1, ..found() }), [], "a handful says nothing");
        assert_eq!(signs(&Drift { hours: 0.0, alarms: 0, promised_alarms: 0.0, ..found() }), []);
    }

    #[test]
    fn two_signs_at_once_or_one_that_stays_ask_for_training() {
        assert!(asks_for_training(&[], &[DriftSign::Context, DriftSign::Alarms]));
        assert!(asks_for_training(&[DriftSign::Scores], &[DriftSign::Scores]));
        assert!(!asks_for_training(&[DriftSign::Context], &[DriftSign::Scores]));
        assert!(!asks_for_training(&[DriftSign::Context, DriftSign::Alarms], &[]));
    }
}
