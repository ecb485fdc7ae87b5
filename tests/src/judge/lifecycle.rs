//! The alerts that there have to be: the rules of the alerter, folded over `scores` by the judge itself.
//!
//! What stands on `alerts` is not enough to judge by: an episode that died with a killed alerter is missing there
//! too. The rules are the alerter's (they are pure); the fold is not, and knows nothing of states, commits, owners.

use std::collections::{BTreeMap, BTreeSet};

use alerter::lifecycle::{self, Rules, Track, detector_of};
use anyhow::Result;
use telemetry::{
    event::{AlertCommand, AlertEvent, Score},
    kafka_topic,
};

use super::alerts::{Alerts, Step};
use crate::kafka_reader;

/// A vehicle and the detector that judges it.
type TrackKey = (String, String);

/// What follows from the scores.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Every event by step.
    events: BTreeMap<Step, AlertEvent>,
    /// The first alert of each track.
    first: BTreeMap<TrackKey, Step>,
    /// Tracks that a technician's command has met. When a command takes effect among the scores is written
    /// nowhere, so beyond the first alert nothing exact can be said of them.
    commanded: BTreeSet<TrackKey>,
}

impl Expected {
    /// Folds scores, those of a vehicle in the order of their partition; repeats are refused by the rules.
    pub(super) fn fold(
        scores: impl IntoIterator<Item = Score>,
        commands: impl IntoIterator<Item = AlertCommand>,
        rules: &Rules,
    ) -> Self {
        let mut expected = Self::default();
        let mut tracks: BTreeMap<TrackKey, Track> = BTreeMap::new();
        for score in scores {
            let detector = detector_of(&score.model);
            let key = (score.vehicle.to_string(), detector.to_owned());
            let track = tracks.entry(key.clone()).or_default();
            if let lifecycle::Step::Event(event) = track.score(rules, detector, &score) {
                let step = (event.id.to_string(), event.revision);
                expected.first.entry(key).or_insert_with(|| step.clone());
                expected.events.insert(step, *event);
            }
        }
        expected.commanded =
            commands.into_iter().map(|command| (command.alert.vehicle.to_string(), command.alert.detector)).collect();
        expected
    }

    /// Reads `scores` and `alert-commands` to their ends and folds them by the default rules; blocking.
    pub(super) fn read(kafka: &str) -> Result<Self> {
        let scores = kafka_reader::read(kafka, kafka_topic::SCORES)?;
        let scores = scores.iter().map(|record| serde_json::from_slice(&record.payload));
        let commands = kafka_reader::read(kafka, kafka_topic::ALERT_COMMANDS)?;
        let commands = commands.iter().map(|record| serde_json::from_slice(&record.payload));
        let (scores, commands): (Vec<_>, Vec<_>) =
            (scores.collect::<Result<_, _>>()?, commands.collect::<Result<_, _>>()?);
        Ok(Self::fold(scores, commands, &Rules::default()))
    }

    /// Whether this step is judged.
    fn is_exact(&self, step: &Step, event: &AlertEvent) -> bool {
        let key = (event.id.vehicle.to_string(), event.id.detector.clone());
        !self.commanded.contains(&key) || self.first.get(&key) == Some(step)
    }

    /// Puts what differs into `alerts`.
    pub(super) fn compare(&self, alerts: &mut Alerts) {
        let name = |step: &Step| format!("{} revision {}", step.0, step.1);
        for (step, event) in self.events.iter().filter(|(step, event)| self.is_exact(step, event)) {
            match alerts.events.get(step) {
                None => alerts.lost.push(format!("{} follows from the scores and is not in the log", name(step))),
                Some(found) if found != event => {
                    alerts.altered.push(format!("{} is in the log with another content", name(step)));
                }
                Some(_) => {}
            }
        }
        let surplus = alerts.events.iter().filter(|(step, event)| self.is_exact(step, event));
        let surplus = surplus.filter(|(step, _)| !self.events.contains_key(*step));
        alerts.surplus = surplus.map(|(step, _)| format!("{} does not follow from the scores", name(step))).collect();
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{
        VehicleId,
        event::{AlertAction, AlertState, Source, Verdict},
    };

    use super::*;

    fn score(vehicle: &str, seq: u64, score: f64) -> Score {
        Score {
            vehicle: VehicleId::parse(vehicle).expect("a name"),
            boot: 7,
            seq,
            time: i64::try_from(seq).expect("small") * 1_000,
            source: Source { partition: 0, offset: i64::try_from(seq).expect("small") },
            model: "autoencoder-1763712000000-3f9a2c1b".into(),
            score,
            verdict: if score >= 1.0 { Verdict::Anomalous } else { Verdict::Normal },
            contributions: Vec::new(),
            family: None,
            statistic: None,
            payload: None,
        }
    }

    /// Two vehicles, each with an episode; of the first it is over, and part of it was scored twice.
    fn scores() -> Vec<Score> {
        let first = (1..=30).map(|seq| score("v1", seq, if (5..=12).contains(&seq) { 1.5 } else { 0.5 }));
        let again = (8..=14).map(|seq| score("v1", seq, if seq <= 12 { 1.5 } else { 0.5 }));
        let second = (1..=9).map(|seq| score("v2", seq, 1.2));
        first.chain(again).chain(second).collect()
    }

    fn expected() -> Expected {
        Expected::fold(scores(), [], &Rules::default())
    }

    fn compared(expected: &Expected, events: BTreeMap<Step, AlertEvent>) -> Alerts {
        let mut alerts = Alerts { events, ..Alerts::default() };
        expected.compare(&mut alerts);
        alerts
    }

    #[test]
    fn what_follows_from_the_scores_is_accepted() {
        let expected = expected();
        // The first fires and resolves, the second fires.
        assert_eq!(expected.events.len(), 3);
        let alerts = compared(&expected, expected.events.clone());
        assert!(alerts.lost.is_empty() && alerts.surplus.is_empty() && alerts.altered.is_empty(), "{alerts:?}");
    }

    #[test]
    fn a_dropped_an_invented_and_an_altered_alert_are_found() {
        let expected = expected();
        for step in expected.events.keys() {
            let mut events = expected.events.clone();
            events.remove(step);
            assert_eq!(compared(&expected, events).lost.len(), 1);
        }
        let (step, event) = expected.events.first_key_value().expect("an event");
        let mut invented = expected.events.clone();
        let mut other = event.clone();
        other.id.episode.seq += 100;
        invented.insert((other.id.to_string(), 1), other);
        assert_eq!(compared(&expected, invented).surplus.len(), 1);
        let mut altered = expected.events.clone();
        altered.insert(step.clone(), AlertEvent { score: event.score + 1.0, ..event.clone() });
        assert_eq!(compared(&expected, altered).altered.len(), 1);
    }

    #[test]
    fn of_a_track_with_a_command_the_first_alert_is_judged() {
        let all = expected().events;
        let fired = all.values().find(|event| event.id.vehicle.as_str() == "v1").expect("it fires").clone();
        let command = AlertCommand {
            id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a UUID"),
            alert: fired.id.clone(),
            action: AlertAction::Acknowledge,
            actor: "kim".into(),
            note: None,
            time: 5,
        };
        let expected = Expected::fold(scores(), [command], &Rules::default());
        // A person's step is no surplus, and moves the revisions behind it.
        let mut events = all;
        events.retain(|_, event| event.id != fired.id || event.revision == 1);
        for (revision, state) in [(2, AlertState::Acknowledged), (3, AlertState::Resolved)] {
            events.insert((fired.id.to_string(), revision), AlertEvent { revision, state, ..fired.clone() });
        }
        let alerts = compared(&expected, events.clone());
        assert!(alerts.lost.is_empty() && alerts.surplus.is_empty() && alerts.altered.is_empty(), "{alerts:?}");
        events.retain(|_, event| event.id != fired.id);
        assert_eq!(compared(&expected, events).lost.len(), 1);
    }
}
