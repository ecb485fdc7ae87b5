//! G3: every alert that follows from the scores is raised, reaches every entitled subscriber, and is shown once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;
use telemetry::{
    event::{AlertEvent, AlertState},
    kafka_topic,
};

use super::lifecycle::Expected;
use crate::{kafka_reader, report::Verdict};

/// A step of an alert: id and revision.
pub type Step = (String, u64);

/// What stands on `alerts`, and how it differs from what follows from the scores.
#[derive(Debug, Default)]
pub struct Alerts {
    /// Every event by step, the first that was written.
    pub events: BTreeMap<Step, AlertEvent>,
    /// Records beyond the first of a step: repeats after a kill.
    pub repeats: u64,
    /// Repeats whose bytes differ from the first: a broken promise.
    pub contradictions: Vec<String>,
    /// Steps that follow from the scores and are not there.
    pub lost: Vec<String>,
    /// Steps that are there and do not follow from the scores.
    pub surplus: Vec<String>,
    /// Steps whose content is not what follows from the scores.
    pub altered: Vec<String>,
}

impl Alerts {
    /// The events that raised an alert.
    pub fn fired(&self) -> impl Iterator<Item = &AlertEvent> {
        self.events.values().filter(|event| event.state == AlertState::Firing && event.revision == 1)
    }

    /// Vehicles and detectors that had more than one alert open at once: an episode must raise one alert only.
    pub fn overlapping_episodes(&self) -> Vec<String> {
        // By vehicle and detector: when each alert was open, and its id.
        type Spans = Vec<(i64, i64, String)>;
        let mut spans: BTreeMap<(String, String), Spans> = BTreeMap::new();
        for fired in self.fired() {
            let id = fired.id.to_string();
            let steps = self.events.range((id.clone(), 0)..=(id.clone(), u64::MAX));
            let end = steps.filter(|(_, e)| e.state == AlertState::Resolved).map(|(_, e)| e.time).next();
            let key = (fired.id.vehicle.to_string(), fired.id.detector.clone());
            spans.entry(key).or_default().push((fired.opened_at, end.unwrap_or(i64::MAX), id));
        }
        let mut overlapping = Vec::new();
        for spans in spans.values_mut() {
            spans.sort();
            overlapping
                .extend(spans.windows(2).filter(|w| w[1].0 < w[0].1).map(|w| format!("{} and {}", w[0].2, w[1].2)));
        }
        overlapping
    }
}

/// Reads `alerts` from its first record to its end, and compares it with the scores; blocking.
pub fn read_alerts(kafka: &str) -> Result<Alerts> {
    let mut alerts = Alerts::default();
    for record in kafka_reader::read(kafka, kafka_topic::ALERTS)? {
        let event: AlertEvent = serde_json::from_slice(&record.payload)?;
        let step = (event.id.to_string(), event.revision);
        match alerts.events.get(&step) {
            Some(first) if *first == event => alerts.repeats += 1,
            Some(_) => alerts.contradictions.push(format!("{} revision {}", step.0, step.1)),
            None => {
                alerts.events.insert(step, event);
            }
        }
    }
    Expected::read(kafka)?.compare(&mut alerts);
    Ok(alerts)
}

/// What one subscriber was shown, in order.
#[derive(Debug, Default)]
pub struct Received {
    /// Who.
    pub name: String,
    /// Steps, with repeats.
    pub shown: Vec<Step>,
    /// Wall time of the first showing of each step, ms since the epoch.
    pub at: BTreeMap<Step, i64>,
}

impl Received {
    /// Reads the JSON lines of `motorcade alerts watch --json`.
    pub fn from_lines(name: &str, lines: &[Value]) -> Self {
        let mut received = Self { name: name.into(), ..Self::default() };
        for line in lines {
            let (Some(id), Some(revision)) = (line["event"]["id"].as_str(), line["event"]["revision"].as_u64()) else {
                continue;
            };
            let step = (id.to_owned(), revision);
            if let Some(at) = line["received_at"].as_i64() {
                received.at.entry(step.clone()).or_insert(at);
            }
            received.shown.push(step);
        }
        received
    }
}

/// The log holds exactly what follows from the scores, every step was shown to every subscriber exactly once, and no
/// vehicle had two alerts of one detector at once.
pub fn judge_alerts(alerts: &Alerts, subscribers: &[Received]) -> Verdict {
    let expected: BTreeSet<&Step> = alerts.events.keys().collect();
    let (mut missing, mut twice, mut invented) = (Vec::new(), Vec::new(), Vec::new());
    for subscriber in subscribers {
        let mut seen = BTreeSet::new();
        for step in &subscriber.shown {
            if !seen.insert(step) {
                twice.push(format!("{}: {} revision {} shown twice", subscriber.name, step.0, step.1));
            }
            if !expected.contains(step) {
                invented.push(format!("{}: {} revision {} is not in the log", subscriber.name, step.0, step.1));
            }
        }
        missing.extend(
            expected
                .iter()
                .filter(|step| !seen.contains(**step))
                .map(|step| format!("{}: {} revision {} never shown", subscriber.name, step.0, step.1)),
        );
    }
    let overlapping = alerts.overlapping_episodes();
    let problems = [
        ("lost", &alerts.lost),
        ("surplus", &alerts.surplus),
        ("altered", &alerts.altered),
        ("missing", &missing),
        ("shown_twice", &twice),
        ("invented", &invented),
        ("overlapping_episodes", &overlapping),
        ("contradictions", &alerts.contradictions),
    ];
    Verdict {
        ok: problems.iter().all(|(_, list)| list.is_empty()) && !subscribers.is_empty(),
        checked: (expected.len() * subscribers.len()) as u64,
        counts: problems
            .iter()
            .map(|(name, list)| ((*name).to_owned(), list.len() as u64))
            .chain([("repeats_in_log".to_owned(), alerts.repeats)])
            .collect(),
        examples: problems.into_iter().flat_map(|(_, list)| list).take(10).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(vehicle: &str, seq: u64, revision: u64, state: AlertState, time: i64) -> AlertEvent {
        serde_json::from_value(serde_json::json!({
            "id": format!("{vehicle}|autoencoder|7.{seq}"), "revision": revision, "state": state, "severity": "warning",
            "time": time, "opened_at": time, "trigger": {"boot": 7, "seq": seq}, "source": {"partition": 0, "offset": 1},
            "model": "m", "score": 2.0, "contributions": [],
        }))
        .expect("a well-formed event")
    }

    fn log(events: &[AlertEvent]) -> Alerts {
        let events = events.iter().map(|e| ((e.id.to_string(), e.revision), e.clone())).collect();
        Alerts { events, ..Alerts::default() }
    }

    fn shown(steps: &[&AlertEvent]) -> Received {
        let shown = steps.iter().map(|e| (e.id.to_string(), e.revision)).collect();
        Received { name: "kim".into(), shown, at: BTreeMap::new() }
    }

    #[test]
    fn a_missing_a_repeated_and_an_invented_alert_are_noticed() {
        let (a, b) = (event("v1", 1, 1, AlertState::Firing, 10), event("v2", 1, 1, AlertState::Firing, 10));
        let log = log(&[a.clone(), b.clone()]);
        assert!(judge_alerts(&log, &[shown(&[&a, &b])]).ok);
        assert!(!judge_alerts(&log, &[shown(&[&a])]).ok);
        assert!(!judge_alerts(&log, &[shown(&[&a, &b, &a])]).ok);
        let other = event("v3", 1, 1, AlertState::Firing, 10);
        assert!(!judge_alerts(&log, &[shown(&[&a, &b, &other])]).ok);
        assert!(!judge_alerts(&log, &[]).ok, "nobody watched: nothing is shown");
    }

    #[test]
    fn an_alert_that_differs_from_the_scores_fails_the_verdict() {
        let a = event("v1", 1, 1, AlertState::Firing, 10);
        type Field = fn(&mut Alerts) -> &mut Vec<String>;
        let fields: [Field; 3] = [|log| &mut log.lost, |log| &mut log.surplus, |log| &mut log.altered];
        for field in fields {
            let mut log = log(std::slice::from_ref(&a));
            field(&mut log).push("a step".into());
            assert!(!judge_alerts(&log, &[shown(&[&a])]).ok);
        }
    }

    #[test]
    fn two_alerts_of_one_vehicle_at_once_are_noticed() {
        let first = event("v1", 1, 1, AlertState::Firing, 10);
        let second = event("v1", 5, 1, AlertState::Firing, 50);
        let mut events = log(&[first, second]);
        assert_eq!(events.overlapping_episodes().len(), 1);
        let resolved = event("v1", 1, 2, AlertState::Resolved, 40);
        events.events.insert((resolved.id.to_string(), 2), resolved);
        assert!(events.overlapping_episodes().is_empty());
    }
}
