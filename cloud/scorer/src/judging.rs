//! Judging readings: the same for live scoring and for verification. Pure.

use std::collections::HashMap;

use anyhow::Result;
use detector::{Detector, Judgement, Query, Question, Track};
use telemetry::VehicleId;

/// Readings that go through a network at once.
pub(crate) const MICRO_BATCH: usize = 256;

/// A reading to judge.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) version: String,
    pub(crate) vehicle: VehicleId,
    pub(crate) query: Query,
}

/// Tracks of the vehicles whose readings are judged.
pub(crate) type Tracks = HashMap<VehicleId, Track>;

/// What came of a reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judged {
    Judgement(Judgement),
    /// Too little is known yet.
    WarmingUp,
    /// The version is not at hand.
    NoModel,
}

/// Judges readings, each vehicle's in their order; the tracks go on.
pub(crate) fn judge(detectors: &HashMap<String, Detector>, work: &[Work], tracks: &mut Tracks) -> Result<Vec<Judged>> {
    // Residuals by version first, for networks want large batches; then vehicle by vehicle in order.
    let mut residuals: Vec<Option<detector::Residual>> = vec![None; work.len()];
    for (version, detector) in detectors {
        let places: Vec<usize> = (0..work.len()).filter(|at| work[*at].version == *version).collect();
        for batch in places.chunks(MICRO_BATCH) {
            let queries: Vec<&Query> = batch.iter().map(|at| &work[*at].query).collect();
            for (at, residual) in batch.iter().zip(detector.look(&queries)?) {
                residuals[*at] = Some(residual);
            }
        }
    }
    let judged = work.iter().zip(residuals).map(|(Work { version, vehicle, query }, residual)| {
        let (Some(detector), Some(residual)) = (detectors.get(version), residual) else { return Judged::NoModel };
        let track = tracks.entry(vehicle.clone()).or_default();
        let judgement = detector.judge(Question { vehicle, track, query }, &residual);
        judgement.map_or(Judged::WarmingUp, Judged::Judgement)
    });
    Ok(judged.collect())
}
