//! Events that were found, how soon, and alarms that were false.

use serde::{Deserialize, Serialize};

/// Something that was wrong with a vehicle for a while. Times are event times, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When it began.
    pub from: i64,
    /// When it was over (exclusive).
    pub to: i64,
    /// When it was at its worst: an alarm before that has lead.
    pub full_from: i64,
}

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// From the beginning to the first alarm, ms.
    pub delay_ms: i64,
    /// From the first alarm to the worst, ms; 0 if it came later.
    pub lead_ms: i64,
}

/// What the alarms of one vehicle were worth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// One for each event, in their order.
    pub found: Vec<Option<Found>>,
    /// Alarms outside all events and what follows them.
    pub false_alarms: u64,
}

/// Moments at which a score reached the limit: the first of each run; runs that are less than `merge_ms` apart are one.
/// Readings ascend by time; what was not scored (NaN) neither begins nor ends a run.
pub fn alarms(readings: impl Iterator<Item = (i64, f32)>, limit: f32, merge_ms: i64) -> Vec<i64> {
    let mut alarms = Vec::new();
    // When a score was last above, and whether the last one was.
    let (mut last_above, mut above): (Option<i64>, bool) = (None, false);
    for (time, score) in readings.filter(|(_, score)| !score.is_nan()) {
        if score >= limit {
            if !above && last_above.is_none_or(|last| time - last > merge_ms) {
                alarms.push(time);
            }
            last_above = Some(time);
        }
        above = score >= limit;
    }
    alarms
}

/// Holds alarms against events, both ascending by time. For `settle_ms` after an event alarms are neither right nor
/// wrong: what it left behind, in the vehicle or in averages, is still there.
pub fn judge(alarms: &[i64], events: &[Event], settle_ms: i64) -> Judged {
    let found = events.iter().map(|event| {
        let first = alarms.iter().find(|time| (event.from..event.to).contains(*time))?;
        Some(Found { delay_ms: first - event.from, lead_ms: (event.full_from - first).max(0) })
    });
    let excused =
        |time: i64| events.iter().any(|event| (event.from..event.to.saturating_add(settle_ms)).contains(&time));
    Judged { found: found.collect(), false_alarms: alarms.iter().filter(|time| !excused(**time)).count() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_are_close_are_one_alarm() {
        let scores = [0.0, 2.0, 2.0, 0.0, f32::NAN, 2.0, 0.0, 0.0, 0.0, 2.0];
        let readings = || (0..).map(|n| n * 10).zip(scores);
        assert_eq!(alarms(readings(), 1.0, 0), [10, 50, 90]);
        assert_eq!(alarms(readings(), 1.0, 30), [10, 90]);
        assert!(alarms(readings(), 3.0, 30).is_empty());
    }

    #[test]
    fn an_event_is_found_within_its_time_and_excuses_alarms_for_a_while() {
        let events = [Event { from: 100, to: 200, full_from: 150 }, Event { from: 500, to: 600, full_from: 500 }];
        let judged = judge(&[50, 120, 130, 210, 400, 650], &events, 20);
        assert_eq!(judged.found, [Some(Found { delay_ms: 20, lead_ms: 30 }), None]);
        assert_eq!(judged.false_alarms, 3, "50, 400 and 650");
        assert_eq!(judge(&[500], &events, 0).found[1], Some(Found { delay_ms: 0, lead_ms: 0 }));
    }
}
