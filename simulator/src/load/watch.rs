//! What a load tells while it runs: a line each second on a terminal, each ten seconds in a log, or JSON for programs.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::counts::Counts;
use crate::ProgressForm;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds between two lines in a log.
const LOGGED: u32 = 10;

/// Seconds that end half-way between two ticks of the workers.
#[derive(Debug)]
pub(super) struct Beat {
    next: Instant,
}

impl Beat {
    pub(super) fn new() -> Self {
        let into = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        let half = SECOND / 2 + SECOND - Duration::from_nanos(into.into());
        // The first one is between half a second and one and a half.
        Self { next: Instant::now() + half }
    }

    /// Whether a second has ended since the last one did.
    pub(super) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let over = now >= self.next;
        while self.next <= now {
            self.next += SECOND;
        }
        over
    }
}

/// One line for programs. Counts are of the whole run.
#[derive(Debug, Serialize)]
struct Progress {
    /// Always `progress`.
    event: &'static str,
    /// Since the run began, s.
    time_s: f64,
    /// What it does: `connecting`, `driving`, or a step of a search.
    phase: &'static str,
    vehicles: u32,
    connected: u64,
    made: u64,
    acknowledged: u64,
    given_up: u64,
    in_outbox: u64,
    published: u64,
    connections_lost: u64,
    connect_failures: u64,
    /// Until acknowledged, of the whole run so far, ms; none: nothing was.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Tells whoever looks.
#[derive(Debug)]
pub(super) struct Teller {
    form: ProgressForm,
    vehicles: u32,
    terminal: bool,
    /// The counts of the last look.
    before: Counts,
    looks: u32,
}

impl Teller {
    pub(super) fn new(form: ProgressForm, vehicles: u32) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { form, vehicles, terminal, before: Counts::default(), looks: 0 }
    }

    /// Tells where the load stands, with the latencies of the whole run so far.
    pub(super) fn tell(&mut self, at_s: f64, phase: &'static str, counts: Counts, us: &Histogram<u64>) {
        let progress = progress(at_s, phase, self.vehicles, &counts, us);
        self.looks += 1;
        let line = line(&progress, &self.before);
        // Whoever looked may have gone.
        if self.terminal {
            writeln!(std::io::stderr().lock(), "{at_s:>5.0} s {phase}: {line}").ok();
        } else if self.looks.is_multiple_of(LOGGED) {
            tracing::info!("{at_s:.0} s {phase}: {line}");
        }
        if self.form == ProgressForm::Json
            && let Ok(json) = serde_json::to_string(&progress)
        {
            writeln!(std::io::stdout().lock(), "{json}").ok();
        }
        self.before = counts;
    }
}

#[expect(clippy::cast_precision_loss, reason = "times below an hour")]
fn progress(at_s: f64, phase: &'static str, vehicles: u32, counts: &Counts, us: &Histogram<u64>) -> Progress {
    let quantile = |quantile| (!us.is_empty()).then(|| us.value_at_quantile(quantile) as f64 / 1_000.0);
    Progress {
        event: "progress",
        time_s: (at_s * 1_000.0).round() / 1_000.0,
        phase,
        vehicles,
        connected: counts.connected,
        made: counts.made,
        acknowledged: counts.settled(),
        given_up: counts.given_up,
        in_outbox: counts.in_outbox,
        published: counts.published,
        connections_lost: counts.lost.values().sum(),
        connect_failures: counts.failed.values().sum(),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    }
}

/// The same for people; rates are since `before`, a second ago.
fn line(now: &Progress, before: &Counts) -> String {
    let latency = now.p99_ms.map_or_else(|| "nothing acknowledged yet".into(), |ms| format!("p99 {ms:.0} ms"));
    format!(
        "{}/{} connected, {} readings (+{}), {} acknowledged (+{}), {} in outboxes, {} lost connections, {latency}",
        now.connected,
        now.vehicles,
        now.made,
        now.made.saturating_sub(before.made),
        now.acknowledged,
        now.acknowledged.saturating_sub(before.settled()),
        now.in_outbox,
        now.connections_lost,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_ends_once_and_half_way_between_ticks() {
        let mut beat = Beat::new();
        assert!(!beat.is_over(), "at least half a second is left");
        beat.next = Instant::now() - 3 * SECOND;
        assert!(beat.is_over(), "however late");
        assert!(!beat.is_over(), "missed ones are not made up for");
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let mut us = Histogram::new(3).unwrap();
        let counts = Counts { connected: 4, made: 30, acked: 20, unheard: 1, in_outbox: 9, ..Counts::default() };
        let before = Counts { made: 10, acked: 20, ..Counts::default() };
        let quiet = progress(3.0, "driving", 5, &counts, &us);
        assert!(line(&quiet, &before).ends_with("nothing acknowledged yet"));
        us.record(7_000).unwrap();
        let now = progress(3.0, "driving", 5, &counts, &us);
        assert!(line(&now, &before).starts_with("4/5 connected, 30 readings (+20), 21 acknowledged (+1)"));
        let json = serde_json::to_value(&now).unwrap();
        assert_eq!(
            (&json["event"], &json["made"], &json["phase"]),
            (&"progress".into(), &30.into(), &"driving".into())
        );
    }
}
