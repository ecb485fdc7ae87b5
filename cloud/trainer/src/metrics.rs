//! The trainer's metrics.

/// A training that ended, published or refused.
pub(crate) fn trained(seconds: f64, records: u64) {
    metrics::histogram!("trainer_training_seconds").record(seconds);
    metrics::gauge!("trainer_training_records").set(records as f64);
}

/// A model that failed its own calibration.
pub(crate) fn refused() {
    metrics::counter!("trainer_models_refused_total").increment(1);
}

/// A model that did not win against the champion.
pub(crate) fn kept() {
    metrics::counter!("trainer_models_kept_total").increment(1);
}

/// A model that is on `models`, confirmed.
pub(crate) fn published() {
    metrics::counter!("trainer_models_published_total").increment(1);
}

/// Records replayed for training.
pub(crate) fn replayed(received: u64, used: u64) {
    metrics::counter!("trainer_records_received_total").increment(received);
    metrics::counter!("trainer_records_sent_total").increment(used);
}

/// Replayed records put aside.
pub(crate) fn discarded(reason: &str, n: u64) {
    metrics::counter!("trainer_records_discarded_total", "reason" => reason.to_owned()).increment(n);
}

/// A score that can't be read.
pub(crate) fn unreadable_score() {
    metrics::counter!("trainer_scores_unreadable_total").increment(1);
}

/// What was found of drift.
pub(crate) fn drift(drift: &telemetry::event::Drift) {
    for shift in &drift.signals {
        metrics::gauge!("trainer_drift_signal_psi", "signal" => shift.signal.clone()).set(shift.psi);
    }
    if let Some(psi) = drift.scores_psi {
        metrics::gauge!("trainer_drift_scores_psi").set(psi);
    }
    metrics::gauge!("trainer_drift_alarms").set(drift.alarms as f64);
    metrics::gauge!("trainer_drift_promised_alarms").set(drift.promised_alarms);
    metrics::gauge!("trainer_drift_signs").set(drift.signs.len() as f64);
}
