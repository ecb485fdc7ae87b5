//! The figures that an audit's report may hold, so that a condition on one that does not exist is refused before
//! anything is read.

use report::{Names, PERCENTILES};

const FIGURES: [&str; 21] = [
    "verified_vehicles",
    "verified_readings",
    "kafka_records",
    "found_readings",
    "dead_letter_readings",
    "refused_readings",
    "duplicate_records",
    "reordered_readings",
    "late_readings",
    "early_readings",
    "scattered_vehicles",
    "append_stamped_records",
    "acknowledged_readings",
    "unacknowledged_readings",
    "unacknowledged_but_stored_readings",
    "given_up_readings",
    "torn_bytes",
    "lost_readings",
    "altered_readings",
    "invented_records",
    "foreign_records",
];

const SHORT: [(&str, &str); 15] = [
    ("p50_ms", "schedule_to_kafka_p50_ms"),
    ("p90_ms", "schedule_to_kafka_p90_ms"),
    ("p99_ms", "schedule_to_kafka_p99_ms"),
    ("p999_ms", "schedule_to_kafka_p999_ms"),
    ("max_ms", "schedule_to_kafka_max_ms"),
    ("lost", "lost_readings"),
    ("refused", "refused_readings"),
    ("altered", "altered_readings"),
    ("invented", "invented_records"),
    ("foreign", "foreign_records"),
    ("duplicated", "duplicate_records"),
    ("reordered", "reordered_readings"),
    ("late", "late_readings"),
    ("given_up", "given_up_readings"),
    ("unacknowledged", "unacknowledged_readings"),
];

/// All figures.
pub(super) fn known() -> Vec<String> {
    let percentiles = || PERCENTILES.iter().map(|(percentile, _)| *percentile).chain(["max"]);
    let until = |until: &'static str| percentiles().map(move |p| format!("schedule_to_{until}_{p}_ms"));
    let latencies = until("kafka").chain(until("stamp"));
    FIGURES.iter().map(|name| (*name).to_owned()).chain(latencies).collect()
}

/// All figures, and short names for those that people mean.
pub(crate) fn figures_and_short_names() -> (Vec<String>, &'static [(&'static str, &'static str)]) {
    (known(), &SHORT)
}

/// What a condition may name.
pub(super) fn names(figures: &[String]) -> Names<'_> {
    Names { figures, short: &SHORT }
}
