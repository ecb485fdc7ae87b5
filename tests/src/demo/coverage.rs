//! Whether a model was in time: how much of what the fleet sent once faults began was scored.
//!
//! Without it a run in which nothing was scored would look like one without false alarms.

use std::collections::BTreeMap;

use simulator::truth::Truth;
use telemetry::Identity;

use super::{latency::Published, timeline::Timeline};

/// At least this share must have been scored, of all readings and of those of each fault.
const ENOUGH_PERCENT: u64 = 90;

/// Readings that were made, and how many of them were scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Made.
    pub made: u64,
    /// Scored.
    pub scored: u64,
}

impl Share {
    fn count(&mut self, scored: bool) {
        self.made += 1;
        self.scored += u64::from(scored);
    }

    /// Whether there was something to score, and enough of it was.
    pub fn is_enough(self) -> bool {
        self.made > 0 && self.scored * 100 >= self.made * ENOUGH_PERCENT
    }
}

/// What was scored since faults began.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// The whole fleet since the first fault may begin.
    pub fleet: Share,
    /// Faults of which too few readings were scored, for people.
    pub missed: Vec<String>,
}

impl Coverage {
    /// Compares what was published with what was scored (`scored`: every reading with a score).
    pub fn of(published: &Published, scored: impl Fn(&Identity) -> bool, timeline: &Timeline, truth: &[Truth]) -> Self {
        let mut fleet = Share::default();
        let mut faults: BTreeMap<(&str, i64), Share> = BTreeMap::new();
        for label in truth {
            faults.insert((label.vehicle.as_str(), label.from), Share::default());
        }
        for ((vehicle, boot), readings) in published {
            let labels: Vec<_> = truth.iter().filter(|label| label.vehicle.as_str() == vehicle).collect();
            let Ok(id) = vehicle.parse() else { continue };
            let mut identity = Identity { vehicle: id, boot: *boot, seq: 0 };
            for (seq, due) in readings {
                identity.seq = *seq;
                let time = timeline.event_time(*due);
                if time < timeline.start + timeline.faults_from_ms {
                    continue;
                }
                let is_scored = scored(&identity);
                fleet.count(is_scored);
                for label in labels.iter().filter(|label| (label.from..label.to).contains(&time)) {
                    faults.entry((label.vehicle.as_str(), label.from)).or_default().count(is_scored);
                }
            }
        }
        let missed = faults.into_iter().filter(|(_, share)| !share.is_enough()).map(|((vehicle, _), share)| {
            format!("only {} of {} readings of the fault of {vehicle} were scored", share.scored, share.made)
        });
        Self { fleet, missed: missed.collect() }
    }

    /// Whether a model was in time.
    pub fn is_enough(&self) -> bool {
        self.fleet.is_enough() && self.missed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 100 s at 60 times the speed: faults may begin after 60 s of wall time.
    fn coverage(first_scored: u64) -> Coverage {
        let timeline = Timeline::new(1_000_000_000_000, Duration::from_secs(100), 60);
        let readings = |n: u64| (n, 1_000_000_000_000 + i64::try_from(n).expect("small") * 1000);
        let published = ["v-1", "v-2"].map(|v| ((v.to_owned(), 1), (0..100).map(readings).collect()));
        let truth: Truth = serde_json::from_value(serde_json::json!({
            "vehicle": "v-1", "kind": "tyre_leak", "severity": "", "signals": [],
            "from": timeline.event_time(readings(70).1), "full_from": timeline.event_time(readings(75).1),
            "to": timeline.event_time(readings(100).1),
        }))
        .expect("a label");
        let scored = |identity: &Identity| identity.seq >= first_scored;
        Coverage::of(&Published::from(published), scored, &timeline, &[truth])
    }

    #[test]
    fn a_model_that_was_late_is_noticed() {
        let in_time = coverage(50);
        assert_eq!(in_time.fleet, Share { made: 80, scored: 80 });
        assert!(in_time.is_enough());
        assert!(coverage(63).is_enough());
        let late = coverage(80);
        assert!(!late.is_enough());
        assert_eq!(late.missed, ["only 20 of 30 readings of the fault of v-1 were scored"]);
        assert!(!coverage(1000).is_enough());
    }
}
