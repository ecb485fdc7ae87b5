//! The way in: what a technician does with an alert, checked and written to `alert-commands`. The alerter decides
//! what becomes of it, and everybody sees that as the alert's next event.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use cloud_log::OutRecord;
use serde::Deserialize;
use telemetry::event::{AlertAction, AlertCommand, AlertId};
use uuid::Uuid;

use crate::{
    metrics,
    problem::Problem,
    server::WRITES,
    state::{State, now},
};

const MAX_ACTOR_BYTES: usize = 64;
const MAX_NOTE_BYTES: usize = 1_000;
/// What a finding may be.
const OUTCOMES: [&str; 3] = ["confirmed", "false_alarm", "no_fault_found"];
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// What a client sends; the alert and the action may come from the path instead.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CommandRequest {
    /// UUIDv7 made by the client, so that it may repeat the command; without one, made here.
    pub(crate) id: Option<Uuid>,
    pub(crate) actor: String,
    #[serde(default)]
    pub(crate) note: Option<String>,
    #[serde(default)]
    pub(crate) outcome: Option<String>,
}

/// Checks the command and writes it; gives its id once Kafka has confirmed it.
pub(crate) async fn submit(
    state: &State,
    alert: &AlertId,
    action: &str,
    request: CommandRequest,
) -> Result<Uuid, Problem> {
    let outcome = submit_inner(state, alert, action, request).await;
    metrics::command(match &outcome {
        Ok(_) => "accepted",
        Err(problem) if problem.status().is_server_error() => "failed",
        Err(_) => "refused",
    });
    outcome
}

async fn submit_inner(state: &State, alert: &AlertId, action: &str, request: CommandRequest) -> Result<Uuid, Problem> {
    let command = check(alert, action, request)?;
    let known = state.ring().open_alert(alert).is_some();
    if !known {
        return Err(match state.store.alert(alert).await? {
            Some(_) => Problem::new(StatusCode::CONFLICT, "the alert is resolved"),
            None => Problem::not_found("no such alert"),
        });
    }
    let payload = serde_json::to_vec(&command).map_err(anyhow::Error::from)?;
    let [kafka_topic] = WRITES;
    let record = OutRecord::new(kafka_topic, alert.vehicle.as_str(), payload);
    tokio::time::timeout(CONFIRM_WITHIN, state.producer.deliver(record)).await.map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Kafka did not confirm the command in time; repeat it")
    })??;
    tracing::info!(alert = %command.alert, action, command = %command.id, "command taken");
    Ok(command.id)
}

fn check(alert: &AlertId, action: &str, request: CommandRequest) -> Result<AlertCommand, Problem> {
    let action = match action {
        "acknowledge" => AlertAction::Acknowledge,
        "resolve" => {
            // Never assumed: what was found is what the detector is judged by.
            match request.outcome.filter(|outcome| OUTCOMES.contains(&outcome.as_str())) {
                Some(outcome) => AlertAction::Resolve { outcome },
                None => {
                    return Err(Problem::bad(format!("resolve needs an outcome, one of {}", OUTCOMES.join(", "))));
                }
            }
        }
        _ => return Err(Problem::bad("action is acknowledge or resolve")),
    };
    let actor = request.actor.trim();
    if actor.is_empty() || actor.len() > MAX_ACTOR_BYTES || actor.chars().any(char::is_control) {
        return Err(Problem::bad(format!("actor is 1 to {MAX_ACTOR_BYTES} bytes of text")));
    }
    let note = request.note.filter(|note| !note.trim().is_empty());
    if note.as_ref().is_some_and(|note| note.len() > MAX_NOTE_BYTES) {
        return Err(Problem::bad(format!("note is at most {MAX_NOTE_BYTES} bytes")));
    }
    let id = request.id.unwrap_or_else(Uuid::now_v7);
    if id.get_version_num() != 7 {
        return Err(Problem::bad("id is a UUID of version 7"));
    }
    Ok(AlertCommand { id, alert: alert.clone(), action, actor: actor.to_owned(), note, time: now() })
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, tokens: burst, filled: Instant::now() }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

/// Takes from the bucket that all callers of REST share.
pub(crate) fn admit(state: &State) -> Result<(), Problem> {
    let admitted = state.commands.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    if admitted { Ok(()) } else { Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many commands")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> CommandRequest {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn commands_are_checked_before_they_are_written() {
        let alert: AlertId = "veh-1|autoencoder|7.5".parse().unwrap();
        let good = check(&alert, "acknowledge", request(r#"{"actor":" Kim ","note":" "}"#)).unwrap();
        assert_eq!((good.actor.as_str(), good.note), ("Kim", None));
        assert_eq!(good.id.get_version_num(), 7);
        let resolved = check(&alert, "resolve", request(r#"{"actor":"Kim","outcome":"false_alarm"}"#)).unwrap();
        assert_eq!(resolved.action, AlertAction::Resolve { outcome: "false_alarm".into() });
        for (action, bad) in [
            ("acknowledge", r#"{"actor":""}"#),
            ("acknowledge", r#"{"actor":"a\u0000"}"#),
            ("acknowledge", r#"{"actor":"Kim","id":"6ba7b810-9dad-41d1-80b4-00c04fd430c8"}"#),
            ("resolve", r#"{"actor":"Kim","outcome":"whatever"}"#),
            ("resolve", r#"{"actor":"Kim"}"#),
            ("delete", r#"{"actor":"Kim"}"#),
        ] {
            assert_eq!(check(&alert, action, request(bad)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn a_bucket_admits_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(2.0, 3.0);
        let start = bucket.filled;
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert!(bucket.take(start + Duration::from_millis(500)));
        assert!(!bucket.take(start + Duration::from_millis(600)));
    }
}
