//! The life of the alerts of one (vehicle, detector): scores and commands in, [`AlertEvent`]s out. Pure.
//!
//! Everything that it knows fits in a [`Track`]: a window of at most N scores, the alert that is open, counters.
//! The same input gives the same events, bit for bit, so a replay is recognised by (id, revision).
//!
//! ```text
//!           ≥ K of the last N anomalous                 M normal in a row
//!   quiet ──────────────────────────────▶ open ───────────────────────────▶ quiet
//!     ▲                                     │ resolved by a person            (the alert is resolved)
//!     └────────── M normal in a row ── settling
//! ```
//!
//! *Settling* holds back a second alert while the condition that a person has already resolved still lasts: one
//! alert per episode. A normal score changes nothing in a quiet track with an empty window; such tracks are
//! therefore never written, and a healthy fleet costs no state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use telemetry::{
    UnixMillis,
    event::{AlertAction, AlertCommand, AlertEvent, AlertId, AlertState, Episode, Score, Severity, Verdict},
};

/// When an alert fires, becomes critical and resolves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// K: so many of the last N scores have to be anomalous.
    pub fire_count: u32,
    /// N: length of the window, in scores.
    pub fire_window: u32,
    /// M: so many normal scores in a row resolve.
    pub resolve_after: u32,
    /// Scores from here on are critical; 1 is the threshold of the detector.
    pub critical_score: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { fire_count: 4, fire_window: 6, resolve_after: 12, critical_score: 2.0 }
    }
}

/// One score in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Seen {
    reading: Episode,
    anomalous: bool,
    score: f64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
enum Phase {
    #[default]
    Quiet,
    Open {
        alert: Box<AlertEvent>,
        normals: u32,
    },
    Settling {
        normals: u32,
    },
}

/// The state of one (vehicle, detector).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Track {
    /// The newest score that counted; older ones and itself are repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Episode>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    window: VecDeque<Seen>,
    #[serde(flatten)]
    phase: Phase,
    /// No alert fires for readings before this window time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silenced_until: Option<UnixMillis>,
}

/// What an input did.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, by rule: a normal score of a quiet track.
    Unchanged,
    /// The track changed, and no one needs to hear of it.
    Changed,
    /// The alert took a step.
    Event(Box<AlertEvent>),
    /// Refused as a repeat or as too late.
    Refused(Refusal),
}

/// Why an input had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A score at or before the newest one that counted.
    RepeatedScore,
    /// A command for an alert that is not open (any more).
    NotOpen,
    /// A command that asks for what is already so.
    AlreadySo,
}

impl Refusal {
    /// The reason as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepeatedScore => "repeated_score",
            Self::NotOpen => "alert_not_open",
            Self::AlreadySo => "already_so",
        }
    }
}

impl Track {
    /// The open alert as of now.
    pub fn open(&self) -> Option<&AlertEvent> {
        match &self.phase {
            Phase::Open { alert, .. } => Some(alert),
            Phase::Quiet | Phase::Settling { .. } => None,
        }
    }

    /// Takes the next score of this vehicle by this detector. Scores come in order of (boot, seq), with holes and
    /// repeats.
    pub fn score(&mut self, rules: &Rules, detector: &str, score: &Score) -> Step {
        let reading = Episode { boot: score.boot, seq: score.seq };
        let anomalous = score.verdict == Verdict::Anomalous;
        let idle = matches!(self.phase, Phase::Quiet) && self.window.is_empty();
        if idle && !anomalous {
            return Step::Unchanged;
        }
        if self.last.is_some_and(|last| reading <= last) {
            return Step::Refused(Refusal::RepeatedScore);
        }
        self.last = Some(reading);
        match &mut self.phase {
            Phase::Quiet => {
                self.window.push_back(Seen { reading, anomalous, score: score.score });
                while self.window.len() > rules.fire_window as usize {
                    self.window.pop_front();
                }
                self.judge(rules, detector, score, anomalous)
            }
            Phase::Open { alert, normals } => {
                alert.score = alert.score.max(score.score);
                if !anomalous {
                    *normals += 1;
                    if *normals < rules.resolve_after {
                        return Step::Changed;
                    }
                    step(alert, AlertState::Resolved, score.time);
                    (alert.actor, alert.note) = (None, None);
                    let event = alert.clone();
                    self.phase = Phase::Quiet;
                    return Step::Event(event);
                }
                *normals = 0;
                if alert.severity < Severity::Critical && alert.score >= rules.critical_score {
                    alert.severity = Severity::Critical;
                    let state = alert.state;
                    step(alert, state, score.time);
                    return Step::Event(alert.clone());
                }
                Step::Changed
            }
            Phase::Settling { normals } => {
                *normals = if anomalous { 0 } else { *normals + 1 };
                if *normals >= rules.resolve_after {
                    self.phase = Phase::Quiet;
                }
                Step::Changed
            }
        }
    }

    /// Decides whether the window fires.
    fn judge(&mut self, rules: &Rules, detector: &str, score: &Score, anomalous: bool) -> Step {
        let mut flagged = self.window.iter().filter(|seen| seen.anomalous);
        let Some(first) = flagged.next().copied() else {
            self.window.clear();
            return Step::Changed;
        };
        let (count, highest) =
            flagged.fold((1, first.score), |(count, highest), seen| (count + 1, seen.score.max(highest)));
        let silenced = self.silenced_until.is_some_and(|until| score.time < until);
        if !anomalous || count < rules.fire_count || silenced {
            return Step::Changed;
        }
        let alert = Box::new(AlertEvent {
            id: AlertId { vehicle: score.vehicle.clone(), detector: detector.to_owned(), episode: first.reading },
            revision: 1,
            state: AlertState::Firing,
            severity: if highest >= rules.critical_score { Severity::Critical } else { Severity::Warning },
            time: score.time,
            opened_at: score.time,
            trigger: Episode { boot: score.boot, seq: score.seq },
            source: score.source,
            model: score.model.to_string(),
            score: highest,
            contributions: score.contributions.clone(),
            actor: None,
            note: None,
            outcome: None,
        });
        self.window.clear();
        self.phase = Phase::Open { alert: alert.clone(), normals: 0 };
        Step::Event(alert)
    }

    /// Takes a technician's command. Each asks for a state, not for a change, so a repeat has no effect.
    pub fn command(&mut self, command: &AlertCommand) -> Step {
        // A silence is for the vehicle and the detector: it holds whether or not that alert is still open.
        let silenced = match command.action {
            AlertAction::Silence { until } if self.silenced_until != Some(until) => {
                self.silenced_until = Some(until);
                true
            }
            _ => false,
        };
        let Phase::Open { alert, .. } = &mut self.phase else {
            return if silenced { Step::Changed } else { Step::Refused(Refusal::NotOpen) };
        };
        if alert.id != command.alert {
            return if silenced { Step::Changed } else { Step::Refused(Refusal::NotOpen) };
        }
        let state = match &command.action {
            // Whoever silences has seen it.
            AlertAction::Acknowledge | AlertAction::Silence { .. } => AlertState::Acknowledged,
            AlertAction::Resolve { outcome } => {
                alert.outcome = Some(outcome.clone());
                AlertState::Resolved
            }
        };
        if alert.state == state {
            return if silenced { Step::Changed } else { Step::Refused(Refusal::AlreadySo) };
        }
        step(alert, state, command.time);
        alert.actor = Some(command.actor.clone());
        alert.note.clone_from(&command.note);
        let event = alert.clone();
        if state == AlertState::Resolved {
            self.phase = Phase::Settling { normals: 0 };
        }
        Step::Event(event)
    }
}

fn step(alert: &mut AlertEvent, state: AlertState, time: UnixMillis) {
    alert.revision += 1;
    alert.state = state;
    alert.time = time;
}

/// The detector's name in a model version `name-<time>-<hash>`; the whole text where it has another form.
pub fn detector_of(model: &str) -> &str {
    let mut parts = model.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(time), Some(name)) if !name.is_empty() && time.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => model,
    }
}

#[cfg(test)]
pub(crate) mod tests;
