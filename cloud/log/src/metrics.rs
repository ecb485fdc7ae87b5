//! Names of this crate's metrics. Labels: `kafka_topic`, from the topic table.

/// Records that were gone from the log before they were read (retention passed them). Alarm on any.
const MISSING: &str = "log_records_missing_total";
/// Commits that failed and are tried again.
const COMMIT_FAILURES: &str = "log_commit_failures_total";
/// Partitions gained.
const ASSIGNED: &str = "log_partitions_assigned_total";
/// Partitions given up.
const REVOKED: &str = "log_partitions_revoked_total";
/// Records whose delivery failed for good.
const PRODUCE_FAILURES: &str = "log_produce_failures_total";
/// From the beginning of a transaction to its commit; one that is aborted does not count.
const TRANSACTIONS: &str = "log_transaction_seconds";

pub(crate) use metrics::Gauge;

/// `<role>_assigned_partitions`: partitions that the role's process owns now, of all topics of its group. While it
/// is 0 the role's lag says nothing.
pub(crate) fn assigned_now(role: &str) -> Gauge {
    metrics::gauge!(format!("{role}_assigned_partitions"))
}

pub(crate) fn missing(kafka_topic: &str, records: u64) {
    metrics::counter!(MISSING, "kafka_topic" => kafka_topic.to_owned()).increment(records);
}

pub(crate) fn commit_failed() {
    metrics::counter!(COMMIT_FAILURES).increment(1);
}

pub(crate) fn assigned(partitions: usize) {
    metrics::counter!(ASSIGNED).increment(partitions as u64);
}

pub(crate) fn revoked(partitions: usize) {
    metrics::counter!(REVOKED).increment(partitions as u64);
}

pub(crate) fn produce_failed() {
    metrics::counter!(PRODUCE_FAILURES).increment(1);
}

pub(crate) fn transaction(seconds: f64) {
    metrics::histogram!(TRANSACTIONS).record(seconds);
}
