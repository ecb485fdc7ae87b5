//! Names of the gateway's metrics.

use metrics::{counter, gauge};

pub(crate) fn received() {
    counter!("gateway_records_received_total").increment(1);
}

pub(crate) fn ringed() {
    counter!("gateway_records_sent_total").increment(1);
}

pub(crate) fn discarded(reason: &'static str) {
    counter!("gateway_records_discarded_total", "reason" => reason).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn connections(now: usize) {
    gauge!("gateway_connections").set(now as f64);
}

/// How a client's resume was served: `ring`, `log`, `snapshot` or `head`.
pub(crate) fn resumed(from: &'static str) {
    counter!("gateway_resumes_total", "from" => from).increment(1);
}

pub(crate) fn closed(reason: &'static str) {
    counter!("gateway_connections_closed_total", "reason" => reason).increment(1);
}

pub(crate) fn delivered(events: u64) {
    counter!("gateway_events_delivered_total").increment(events);
}

/// `accepted`, or why not.
pub(crate) fn command(outcome: &'static str) {
    counter!("gateway_commands_total", "outcome" => outcome).increment(1);
}
