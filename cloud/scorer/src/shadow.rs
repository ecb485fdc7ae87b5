//! A challenger in the shadow: it judges a sample of the vehicles beside the champion, with tracks of its own, and what it
//! would have raised is counted. Nothing of it is published as a score, and nothing of it reaches the champion's. Pure.

use std::collections::HashMap;

use detector::{Query, Question, Track};
use telemetry::{PayloadHash, VehicleId, event::Verdict};

use crate::judging::{Judge, Judged, conclude, look};

/// Parts that a fleet is divided into for the sample.
const PARTS: u64 = 10_000;

/// What a challenger made of readings, and the champion of the same ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShadowCounts {
    /// Readings that the challenger judged.
    pub(crate) scored: u64,
    /// Times that a vehicle became anomalous by the challenger.
    pub(crate) alerts: u64,
    /// The same by the champion.
    pub(crate) champion_alerts: u64,
    /// Readings that broke the challenger.
    pub(crate) failed: u64,
}

impl ShadowCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.scored += other.scored;
        self.alerts += other.alerts;
        self.champion_alerts += other.champion_alerts;
        self.failed += other.failed;
    }
}

/// A reading that the champion was asked about.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Partition and place of the vehicle.
    pub(crate) place: (i32, usize),
    /// The vehicle's life that the reading belongs to.
    pub(crate) life: u32,
    pub(crate) vehicle: VehicleId,
    pub(crate) query: &'a Query,
    /// The champion's verdict; none where it gave none.
    pub(crate) champion: Option<Verdict>,
}

/// A vehicle of the sample.
#[derive(Debug, Default)]
struct Row {
    life: u32,
    track: Track,
    anomalous: bool,
    champion_anomalous: bool,
}

/// The challenger of one thread.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) version: String,
    /// Vehicles whose part lies below are in the sample.
    below: u64,
    rows: HashMap<(i32, usize), Row>,
}

impl Shadow {
    /// A share of 1 is everybody.
    pub(crate) fn new(version: String, share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of ten thousand parts")]
        let below = (share.clamp(0.0, 1.0) * PARTS as f64).round() as u64;
        Self { version, below, rows: HashMap::new() }
    }

    /// Whether a vehicle is in the sample: a function of its name alone, the same in every process.
    pub(crate) fn includes(&self, vehicle: &VehicleId) -> bool {
        PayloadHash::of(vehicle.as_str().as_bytes()).0 % PARTS < self.below
    }

    /// A partition has ended.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.rows.retain(|(of, _), _| *of != partition);
    }

    /// The vehicle at this place was removed.
    pub(crate) fn drop_row(&mut self, place: (i32, usize)) {
        self.rows.remove(&place);
    }

    /// Judges readings, each vehicle's in their order; none if the challenger fails at everything.
    pub(crate) fn judge<J: Judge>(&mut self, judge: &J, seen: &[Seen<'_>]) -> Option<ShadowCounts> {
        let queries: Vec<_> = seen.iter().map(|seen| (self.version.as_str(), seen.query)).collect();
        let looked = match look(judge, &queries) {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(version = self.version, error = format!("{error:#}"), "the challenger is broken");
                return None;
            }
        };
        let mut counts = ShadowCounts::default();
        for (Seen { place, life, vehicle, query, champion }, looked) in seen.iter().zip(looked) {
            let row = self.rows.entry(*place).or_default();
            if row.life != *life {
                *row = Row { life: *life, ..Row::default() };
            }
            let question = Question { vehicle, track: &mut row.track, query };
            match conclude(judge, &self.version, question, &looked) {
                Judged::Judgement(judgement) => {
                    let anomalous = judgement.verdict == Verdict::Anomalous;
                    counts.scored += 1;
                    counts.alerts += u64::from(anomalous && !row.anomalous);
                    row.anomalous = anomalous;
                }
                Judged::Failed(_) => counts.failed += 1,
                Judged::WarmingUp | Judged::NoModel => {}
            }
            if let Some(champion) = champion {
                let anomalous = *champion == Verdict::Anomalous;
                counts.champion_alerts += u64::from(anomalous && !row.champion_anomalous);
                row.champion_anomalous = anomalous;
            }
        }
        Some(counts)
    }
}
