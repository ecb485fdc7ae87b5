//! What stands on `scores`: how many readings were scored, and how much driving that was.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use telemetry::event::Score;

use crate::kafka_reader::Seen;

/// A view of `scores`.
#[derive(Debug, Default)]
pub struct Scores {
    /// Distinct readings that were scored.
    pub readings: u64,
    /// Records beyond the first of a reading and model: repeats after a kill.
    pub repeats: u64,
    /// From each vehicle's first to its last score, in vehicle-hours.
    pub vehicle_hours: f64,
}

impl Scores {
    /// Counts them.
    pub fn of(records: &[Seen]) -> Result<Self> {
        let mut readings = BTreeSet::new();
        let mut spans: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let mut repeats = 0;
        for record in records {
            let score: Score = serde_json::from_slice(&record.payload)?;
            let span = spans.entry(score.vehicle.to_string()).or_insert((score.time, score.time));
            *span = (span.0.min(score.time), span.1.max(score.time));
            repeats += u64::from(!readings.insert(score.identity()));
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run fit 53 bits")]
        let vehicle_hours = spans.values().map(|(first, last)| (last - first) as f64 / 3_600_000.0).sum();
        Ok(Self { readings: readings.len() as u64, repeats, vehicle_hours })
    }
}
