//! The comparison itself: telemetry in, published scores beside it, differences out. No Kafka in here.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use anyhow::Result;
use cloud_log::InRecord;
use detector::{Detector, Judgement, Query, features::MEMORY};
use serde::Serialize;
use telemetry::{VehicleId, event::Source};

use crate::{
    inference::MICRO_BATCH,
    lane::{Job, Lane},
    timeline::Timeline,
};

/// Differences that are named one by one.
const NAMED: usize = 20;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing differs, nothing is missing, nothing is there that should not be, and something was checked.
    pub ok: bool,
    /// Published scores compared, repeated ones included.
    pub checked: u64,
    /// Of these, scores with other bits.
    pub differing: u64,
    /// Scores that should be there and are not.
    pub missing: u64,
    /// Scores that are there and should not be.
    pub extra: u64,
    /// Repeated scores among the checked.
    pub repeated: u64,
    /// Scores that can't be judged, because readings that had a part in them, or may have had one, are no longer in
    /// `telemetry`.
    pub unjudged: u64,
    /// Full windows in the range before the first switch point of their partition. Right while there was no model;
    /// wrong where one was published before the fleet drove.
    pub no_model: u64,
    /// The first differences, as `partition/offset`.
    pub examples: Vec<String>,
}

/// Judges windows with the version that is asked for; none where that version is not at hand.
pub(crate) trait Judge {
    fn judge(&self, version: &str, queries: &[Query]) -> Result<Option<Vec<Option<Judgement>>>>;
}

impl Judge for HashMap<String, Detector> {
    fn judge(&self, version: &str, queries: &[Query]) -> Result<Option<Vec<Option<Judgement>>>> {
        Ok(self.get(version).map(|detector| detector.score(queries)).transpose()?)
    }
}

/// Which part of a partition is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The first offset that is still there.
    pub(crate) low: i64,
    /// The offsets that are judged.
    pub(crate) range: Range<i64>,
}

/// From where on each vehicle of a partition is judged, whose first records retention has removed.
///
/// The replay begins in the middle of every vehicle, so its first windows lack what the live ones had. A score is a
/// function of the vehicle's last L readings; a vehicle is therefore judged from its first record behind the one with
/// which L of its readings were released.
#[derive(Debug, Default)]
struct LeadIn {
    released: HashMap<VehicleId, usize>,
    judged_from: HashMap<VehicleId, i64>,
}

impl LeadIn {
    /// A reading was released by the record at this offset.
    fn released(&mut self, vehicle: &VehicleId, by: i64) {
        if self.judged_from.contains_key(vehicle) {
            return;
        }
        let released = self.released.entry(vehicle.clone()).or_default();
        *released += 1;
        if *released >= MEMORY {
            self.judged_from.insert(vehicle.clone(), by + 1);
        }
    }

    fn is_over(&self, vehicle: &VehicleId, offset: i64) -> bool {
        self.judged_from.get(vehicle).is_some_and(|from| offset >= *from)
    }
}

#[derive(Debug)]
struct Partition {
    lane: Lane,
    range: Range<i64>,
    /// None where the log is there from its beginning.
    lead_in: Option<LeadIn>,
}

impl Partition {
    fn is_judged(&self, vehicle: &VehicleId, offset: i64) -> bool {
        self.lead_in.as_ref().is_none_or(|lead_in| lead_in.is_over(vehicle, offset))
    }
}

/// Published payloads of one reading.
#[derive(Debug)]
struct Published {
    vehicle: VehicleId,
    payloads: Vec<Vec<u8>>,
}

/// Everything that a verification compares with.
#[derive(Debug)]
pub(crate) struct Verifier<J> {
    timeline: Timeline,
    judge: J,
    /// By partition and offset of the reading.
    published: BTreeMap<(i32, i64), Published>,
    partitions: BTreeMap<i32, Partition>,
    /// Windows to compare, and whether their scores have to be there.
    waiting: Vec<(Job, bool)>,
    report: Report,
}

impl<J: Judge> Verifier<J> {
    pub(crate) fn new(parts: BTreeMap<i32, Part>, lateness_ms: i64, timeline: Timeline, judge: J) -> Self {
        let partitions = parts.into_iter().map(|(partition, Part { low, range })| {
            let lane = Lane::new(partition, low, lateness_ms, HashMap::new());
            (partition, Partition { lane, range, lead_in: (low > 0).then(LeadIn::default) })
        });
        let partitions = partitions.collect();
        let (published, waiting, report) = (BTreeMap::new(), Vec::new(), Report::default());
        Self { timeline, judge, published, partitions, waiting, report }
    }

    /// Takes a published score; all of them come before the first record of `telemetry`.
    pub(crate) fn published(&mut self, Source { partition, offset }: Source, vehicle: VehicleId, payload: Vec<u8>) {
        let place = (partition, offset);
        if self.partitions.get(&place.0).is_some_and(|partition| partition.range.contains(&place.1)) {
            let published = self.published.entry(place);
            let published = published.or_insert_with(|| Published { vehicle, payloads: Vec::new() });
            published.payloads.push(payload);
        }
    }

    /// Takes the next record of `telemetry`, each partition in order of offset.
    pub(crate) fn feed(&mut self, record: &InRecord) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return Ok(()) };
        let mut jobs = Vec::new();
        // What live scoring puts aside is put aside here too.
        partition.lane.take(record, &mut jobs).ok();
        if let Some(lead_in) = &mut partition.lead_in {
            for job in &jobs {
                lead_in.released(&job.vehicle, record.offset);
            }
        }
        // A reading that a record behind the range let go may not have been scored yet.
        let due = record.offset < partition.range.end;
        let partition = &*partition;
        let wanted = jobs.into_iter().filter(|job| {
            let offset = job.source.offset;
            job.query.is_some() && partition.range.contains(&offset) && partition.is_judged(&job.vehicle, offset)
        });
        self.waiting.extend(wanted.map(|job| (job, due)));
        if self.waiting.len() >= MICRO_BATCH { self.compare() } else { Ok(()) }
    }

    fn compare(&mut self) -> Result<()> {
        let mut by_model: BTreeMap<String, Vec<(Job, bool)>> = BTreeMap::new();
        for (job, due) in self.waiting.drain(..) {
            match self.timeline.at(job.source.partition, job.source.offset) {
                Some(version) => by_model.entry(version.to_owned()).or_default().push((job, due)),
                None => self.report.no_model += u64::from(due),
            }
        }
        for (version, jobs) in by_model {
            let queries: Vec<_> = jobs.iter().filter_map(|(job, _)| job.query.clone()).collect();
            let Some(judgements) = self.judge.judge(&version, &queries)? else {
                // No score was published with this version: all of these are missing.
                for (job, _) in jobs.iter().filter(|(_, due)| *due) {
                    self.report.missing += 1;
                    self.name((job.source.partition, job.source.offset));
                }
                continue;
            };
            for ((job, due), judgement) in jobs.into_iter().zip(judgements) {
                let Some(judgement) = judgement else { continue };
                let place = (job.source.partition, job.source.offset);
                let expected = serde_json::to_vec(&job.score(&version, judgement))?;
                let Some(Published { payloads, .. }) = self.published.remove(&place) else {
                    if due {
                        self.report.missing += 1;
                        self.name(place);
                    }
                    continue;
                };
                self.report.checked += payloads.len() as u64;
                self.report.repeated += payloads.len() as u64 - 1;
                let differing = payloads.iter().filter(|payload| **payload != expected).count() as u64;
                self.report.differing += differing;
                if differing > 0 {
                    self.name(place);
                }
            }
        }
        Ok(())
    }

    fn name(&mut self, (partition, offset): (i32, i64)) {
        if self.report.examples.len() < NAMED {
            self.report.examples.push(format!("{partition}/{offset}"));
        }
    }

    /// The verdict.
    pub(crate) fn finish(mut self) -> Result<Report> {
        self.compare()?;
        for (place, Published { vehicle, payloads }) in std::mem::take(&mut self.published) {
            let judged = self.partitions.get(&place.0).is_some_and(|p| p.is_judged(&vehicle, place.1));
            if judged {
                self.report.extra += payloads.len() as u64;
                self.name(place);
            } else {
                self.report.unjudged += payloads.len() as u64;
            }
        }
        let report = &mut self.report;
        report.ok = report.checked > 0 && report.differing + report.missing + report.extra == 0;
        Ok(self.report)
    }
}

#[cfg(test)]
mod tests;
