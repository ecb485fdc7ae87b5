//! The scorer's metrics.

use crate::shadow::ShadowCounts;

/// Records taken from `telemetry`.
pub(crate) fn received(n: u64) {
    metrics::counter!("scorer_records_received_total").increment(n);
}

/// Scores that Kafka confirmed.
pub(crate) fn sent(n: u64) {
    metrics::counter!("scorer_records_sent_total").increment(n);
}

/// Records put aside.
pub(crate) fn discarded(reason: &'static str, n: u64) {
    metrics::counter!("scorer_records_discarded_total", "reason" => reason).increment(n);
}

/// From ingest to the score's confirmation: of one score in each batch.
pub(crate) fn ingest_to_score(seconds: f64) {
    metrics::histogram!("scorer_ingest_to_score_seconds").record(seconds);
}

/// Records not yet read, readings that wait for a missing seq.
pub(crate) fn lag(records: u64, waiting: u64) {
    metrics::gauge!("scorer_lag_records").set(records as f64);
    metrics::gauge!("scorer_waiting_records").set(waiting as f64);
}

/// Vehicles that are kept in mind.
pub(crate) fn vehicles(n: u64) {
    metrics::gauge!("scorer_vehicles").set(n as f64);
}

/// Vehicles that were forgotten because they were silent for so long.
pub(crate) fn forgotten(n: u64) {
    metrics::counter!("scorer_vehicles_forgotten_total").increment(n);
}

/// States written, and their bytes.
pub(crate) fn states(records: u64, bytes: usize) {
    metrics::counter!("scorer_states_written_total").increment(records);
    metrics::counter!("scorer_state_bytes_total").increment(bytes as u64);
}

/// What a challenger made of the sample, and the champion of the same vehicles.
pub(crate) fn shadow(counts: ShadowCounts) {
    let ShadowCounts { scored, alerts, champion_alerts, failed } = counts;
    if scored + failed > 0 {
        metrics::counter!("scorer_shadow_scores_total").increment(scored);
        metrics::counter!("scorer_shadow_alerts_total").increment(alerts);
        metrics::counter!("scorer_shadow_champion_alerts_total").increment(champion_alerts);
        metrics::counter!("scorer_shadow_failures_total").increment(failed);
    }
}

/// A scorer changed its model.
pub(crate) fn switched() {
    metrics::counter!("scorer_model_switches_total").increment(1);
}

/// A published model could not be loaded.
pub(crate) fn model_refused() {
    metrics::counter!("scorer_models_refused_total").increment(1);
}
