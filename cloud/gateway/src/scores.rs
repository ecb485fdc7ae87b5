//! Recent scores per vehicle, for the plot. Bounded: the last scores of the vehicles that were scored last.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use telemetry::{
    UnixMillis, VehicleId,
    event::{Episode, Score, Verdict},
};

const SCORES_PER_VEHICLE: usize = 720;
const VEHICLES: usize = 5_000;

/// One point of the score curve: window time (ms), score, whether it was anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point(pub(crate) UnixMillis, pub(crate) f64, pub(crate) bool);

#[derive(Debug, Default)]
struct Curve {
    last: Option<Episode>,
    points: VecDeque<Point>,
    touched: u64,
}

/// The curves.
#[derive(Debug, Default)]
pub(crate) struct RecentScores {
    curves: HashMap<VehicleId, Curve>,
    taken: u64,
    /// Per partition of `telemetry`, the offset after the last scored reading.
    scored: BTreeMap<i32, i64>,
}

impl RecentScores {
    pub(crate) fn take(&mut self, score: &Score) {
        self.taken += 1;
        let scored = self.scored.entry(score.source.partition).or_default();
        *scored = (*scored).max(score.source.offset + 1);
        if !self.curves.contains_key(&score.vehicle) && self.curves.len() >= VEHICLES {
            let stale = self.curves.iter().min_by_key(|(_, curve)| curve.touched).map(|(vehicle, _)| vehicle.clone());
            stale.and_then(|vehicle| self.curves.remove(&vehicle));
        }
        let curve = self.curves.entry(score.vehicle.clone()).or_default();
        curve.touched = self.taken;
        let reading = Episode { boot: score.boot, seq: score.seq };
        if curve.last.is_some_and(|last| reading <= last) {
            return;
        }
        curve.last = Some(reading);
        curve.points.push_back(Point(score.time, score.score, score.verdict == Verdict::Anomalous));
        if curve.points.len() > SCORES_PER_VEHICLE {
            curve.points.pop_front();
        }
    }

    /// The curve of a vehicle in a span of time.
    pub(crate) fn of(&self, vehicle: &VehicleId, from: UnixMillis, to: UnixMillis) -> Vec<Point> {
        let points = self.curves.get(vehicle).into_iter().flat_map(|curve| &curve.points);
        let mut points: Vec<_> = points.filter(|point| (from..=to).contains(&point.0)).copied().collect();
        // They came in order of (boot, seq); a clock that was set back would draw a line backwards.
        points.sort_by_key(|point| point.0);
        points
    }

    /// Per partition of `telemetry`, the offset after the last scored reading.
    pub(crate) fn scored(&self) -> &BTreeMap<i32, i64> {
        &self.scored
    }
}

#[cfg(test)]
mod tests {
    use telemetry::event::Source;

    use super::*;

    fn score(vehicle: &str, seq: u64) -> Score {
        Score {
            vehicle: VehicleId::parse(vehicle).unwrap(),
            boot: 1,
            seq,
            time: i64::try_from(seq).unwrap(),
            source: Source { partition: 0, offset: i64::try_from(seq).unwrap() },
            model: "autoencoder-1-a".into(),
            score: 0.5,
            verdict: Verdict::Normal,
            contributions: vec![],
            family: None,
            statistic: None,
            payload: None,
        }
    }

    #[test]
    fn memory_is_bounded_and_repeats_are_dropped() {
        let mut scores = RecentScores::default();
        for seq in (1..=800).chain(700..=800) {
            scores.take(&score("veh-1", seq));
        }
        let vehicle = VehicleId::parse("veh-1").unwrap();
        let points = scores.of(&vehicle, 0, i64::MAX);
        assert_eq!((points.len(), points[0].0), (SCORES_PER_VEHICLE, 81));
        assert_eq!(scores.of(&vehicle, 790, 792).len(), 3);
        for n in 0..VEHICLES + 10 {
            scores.take(&score(&format!("other-{n}"), 1));
        }
        assert_eq!(scores.curves.len(), VEHICLES);
        assert!(scores.of(&vehicle, 0, i64::MAX).is_empty(), "the one scored longest ago left");
        assert_eq!(scores.scored()[&0], 801);
    }
}
