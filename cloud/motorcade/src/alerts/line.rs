//! One line for people.

use telemetry::{
    UnixMillis,
    event::{AlertEvent, AlertState, Severity},
    signal,
};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BLUE: &str = "34";

/// The event as a line, without a line break.
pub(super) fn render(event: &AlertEvent, colours: bool) -> String {
    let paint =
        |text: &str, colour: &str| if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() };
    let (state, colour) = match event.state {
        AlertState::Firing => ("FIRING  ", if event.severity == Severity::Critical { RED } else { YELLOW }),
        AlertState::Acknowledged => ("ACKED   ", BLUE),
        AlertState::Resolved => ("RESOLVED", GREEN),
    };
    let severity = match event.severity {
        Severity::Warning => paint("warning ", YELLOW),
        Severity::Critical => paint("critical", RED),
    };
    let mut line = format!(
        "{}  {}  {severity}  {}  {:.1}× threshold",
        paint(&clock(event.time), DIM),
        paint(state, colour),
        paint(event.id.vehicle.as_str(), BOLD),
        event.score,
    );
    if let Some(top) = event.contributions.first() {
        let unit = signal::by_path(&top.signal).map_or("", |signal| signal.unit);
        let name = top.signal.strip_prefix("Vehicle.").unwrap_or(&top.signal);
        line += &format!("  {name} {:.1} {unit} (expected {:.1})", top.observed, top.expected);
    }
    if let Some(actor) = &event.actor {
        line += &format!("  by {}", printable(actor));
    }
    if let Some(note) = &event.note {
        line += &format!(": {}", printable(note));
    }
    line + &paint(&format!("  {}#{}", event.id, event.revision), DIM)
}

/// People type names and notes: no control sequence of theirs reaches a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// UTC, hours to seconds.
fn clock(time: UnixMillis) -> String {
    let seconds = time.div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_what_and_how_bad() {
        let mut event: AlertEvent = serde_json::from_value(serde_json::json!({
            "id": "veh-1|autoencoder|7.5", "revision": 2, "state": "acknowledged", "severity": "critical",
            "time": 45_296_000, "opened_at": 1, "trigger": {"boot": 7, "seq": 8},
            "source": {"partition": 0, "offset": 1}, "model": "m", "score": 2.74, "actor": "kim",
            "note": "on\u{1b}[2Jmy way",
            "contributions": [{"signal": "Vehicle.Speed", "score": 2.7, "expected": 50.0, "observed": 80.04}],
        }))
        .unwrap();
        let plain = render(&event, false);
        assert_eq!(
            plain,
            "12:34:56Z  ACKED     critical  veh-1  2.7× threshold  Speed 80.0 km/h (expected 50.0)  by kim: on [2Jmy way  \
             veh-1|autoencoder|7.5#2"
        );
        event.contributions.clear();
        assert!(render(&event, true).contains("\x1b[31mcritical\x1b[0m"));
    }
}
