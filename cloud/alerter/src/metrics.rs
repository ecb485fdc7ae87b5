//! Names of the alerter's metrics.

use metrics::{counter, gauge};

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn lag(records: u64) {
    gauge!("alerter_lag_records").set(records as f64);
}

pub(crate) fn received(records: u64) {
    counter!("alerter_records_received_total").increment(records);
}

pub(crate) fn sent(records: u64) {
    counter!("alerter_records_sent_total").increment(records);
}

pub(crate) fn discarded(reason: &'static str) {
    counter!("alerter_records_discarded_total", "reason" => reason).increment(1);
}

pub(crate) fn published(state: &'static str) {
    counter!("alerter_events_published_total", "state" => state).increment(1);
}

pub(crate) fn projected(alerts: u64) {
    counter!("alerter_alerts_projected_total").increment(alerts);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn projection_lag(records: u64) {
    gauge!("alerter_projection_lag_records").set(records as f64);
}
