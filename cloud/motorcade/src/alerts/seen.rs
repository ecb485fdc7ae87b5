//! Which revisions were shown. Bounded: of alerts that are resolved, only the newest are remembered.

use std::collections::{HashMap, VecDeque};

use telemetry::event::{AlertEvent, AlertId, AlertState};

const RESOLVED: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Seen {
    revisions: HashMap<AlertId, u64>,
    resolved: VecDeque<AlertId>,
}

impl Seen {
    /// True the first time; false for this and older revisions afterwards.
    pub(super) fn is_news(&mut self, event: &AlertEvent) -> bool {
        let known = self.revisions.get(&event.id).copied().unwrap_or(0);
        if event.revision <= known {
            return false;
        }
        self.revisions.insert(event.id.clone(), event.revision);
        if event.state == AlertState::Resolved {
            self.resolved.push_back(event.id.clone());
            if self.resolved.len() > RESOLVED
                && let Some(oldest) = self.resolved.pop_front()
            {
                self.revisions.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_is_news_once() {
        let event = |revision, state: &str| -> AlertEvent {
            serde_json::from_value(serde_json::json!({
                "id": "veh-1|autoencoder|7.5", "revision": revision, "state": state, "severity": "warning", "time": 1,
                "opened_at": 1, "trigger": {"boot": 7, "seq": 8}, "source": {"partition": 0, "offset": 1},
                "model": "m", "score": 2.0, "contributions": [],
            }))
            .unwrap()
        };
        let mut seen = Seen::default();
        assert!(seen.is_news(&event(1, "firing")));
        assert!(!seen.is_news(&event(1, "firing")));
        assert!(seen.is_news(&event(2, "acknowledged")));
        assert!(!seen.is_news(&event(1, "firing")), "an older one that comes late");
        assert!(seen.is_news(&event(3, "resolved")));
        assert_eq!(seen.resolved.len(), 1);
    }
}
