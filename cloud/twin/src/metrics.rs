//! Names of this role's metrics. Labels come from closed sets.

use std::time::Duration;

const RECEIVED: &str = "twin_records_received_total";
const SENT: &str = "twin_records_sent_total";
const DISCARDED: &str = "twin_records_discarded_total";
const LAG: &str = "twin_lag_records";
/// How long one batch of updates took until a majority acknowledged it.
const WRITE: &str = "twin_write_seconds";
/// From the edge's ingest until the acknowledged write, per record.
const LATENCY: &str = "twin_ingest_to_write_seconds";
/// Updates that were sent, and those that changed a document; the rest was late or duplicate.
const UPDATES: &str = "twin_updates_total";
const CHANGED: &str = "twin_updates_changed_total";
const RETRIES: &str = "twin_write_retries_total";
const HISTORY_REFUSED: &str = "twin_history_refused_total";

pub(crate) fn received(records: u64) {
    metrics::counter!(RECEIVED).increment(records);
}

pub(crate) fn sent(records: u64) {
    metrics::counter!(SENT).increment(records);
}

pub(crate) fn discarded(reason: &str, records: u64) {
    metrics::counter!(DISCARDED, "reason" => reason.to_owned()).increment(records);
}

pub(crate) fn lag(records: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics::gauge!(LAG).set(records as f64);
}

pub(crate) fn wrote(took: Duration, updates: u64, changed: u64) {
    metrics::histogram!(WRITE).record(took.as_secs_f64());
    metrics::counter!(UPDATES).increment(updates);
    metrics::counter!(CHANGED).increment(changed);
}

pub(crate) fn latency(took: Duration) {
    metrics::histogram!(LATENCY).record(took.as_secs_f64());
}

pub(crate) fn retry() {
    metrics::counter!(RETRIES).increment(1);
}

pub(crate) fn history_refused(updates: u64) {
    metrics::counter!(HISTORY_REFUSED).increment(updates);
}
