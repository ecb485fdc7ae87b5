//! The comparison itself: telemetry in, published scores beside it, differences out. No Kafka in here.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use anyhow::Result;
use cloud_log::InRecord;
use detector::{Detector, Layout};
use serde::Serialize;
use telemetry::{UnixMillis, VehicleId, event::Source};

use crate::{
    judging::{Judged, MICRO_BATCH, Tracks, Work, judge},
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

/// How far back a score reaches: L.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In event time, ms.
    pub(crate) ms: i64,
    /// In records before that.
    pub(crate) records: u64,
}

/// Judges readings as the live scorer does.
pub(crate) trait Judge {
    fn judge(&self, work: &[Work], tracks: &mut Tracks) -> Result<Vec<Judged>>;

    /// The layout of a version; none where that version is not at hand.
    fn layout(&self, version: &str) -> Option<Arc<Layout>>;

    /// L of the model that reaches back furthest.
    fn memory(&self) -> Memory;
}

impl Judge for HashMap<String, Detector> {
    fn judge(&self, work: &[Work], tracks: &mut Tracks) -> Result<Vec<Judged>> {
        judge(self, work, tracks)
    }

    fn layout(&self, version: &str) -> Option<Arc<Layout>> {
        self.get(version).map(|detector| Arc::clone(detector.layout()))
    }

    fn memory(&self) -> Memory {
        let cards = || self.values().map(Detector::card);
        let ms = cards().map(|card| card.memory_ms).max().unwrap_or_default();
        Memory { ms, records: cards().map(|card| card.memory_records).max().unwrap_or_default() }
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
/// function of the vehicle's readings over L; a vehicle is therefore judged from its first record behind the one with
/// which readings over so long, and so many before them, were released.
#[derive(Debug)]
struct LeadIn {
    memory: Memory,
    released: HashMap<VehicleId, (u64, UnixMillis)>,
    judged_from: HashMap<VehicleId, i64>,
}

impl LeadIn {
    /// A reading of this window time was released by the record at this offset.
    fn released(&mut self, vehicle: &VehicleId, time: UnixMillis, by: i64) {
        if self.judged_from.contains_key(vehicle) {
            return;
        }
        let (count, since) = self.released.entry(vehicle.clone()).or_insert((0, time));
        *count += 1;
        if *count <= self.memory.records {
            *since = time;
        } else if time - *since > self.memory.ms {
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

/// What is to be done with a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It has to be there.
    Yes,
    /// It may be there.
    Perhaps,
    /// It lies outside of what is judged, but has a part in what follows.
    No,
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
    /// Of windows that no model is there for.
    layout: Arc<Layout>,
    /// By partition and offset of the reading.
    published: BTreeMap<(i32, i64), Published>,
    partitions: BTreeMap<i32, Partition>,
    /// Readings to judge, and what is to be done with their scores.
    waiting: Vec<(Job, Due)>,
    report: Report,
}

impl<J: Judge> Verifier<J> {
    pub(crate) fn new(parts: BTreeMap<i32, Part>, lateness_ms: i64, timeline: Timeline, judge: J) -> Self {
        let memory = judge.memory();
        let partitions = parts.into_iter().map(|(partition, Part { low, range })| {
            let lane = Lane::new(partition, low, lateness_ms, HashMap::new());
            let lead_in = || LeadIn { memory, released: HashMap::new(), judged_from: HashMap::new() };
            (partition, Partition { lane, range, lead_in: (low > 0).then(lead_in) })
        });
        let partitions = partitions.collect();
        let (published, waiting, report) = (BTreeMap::new(), Vec::new(), Report::default());
        Self { timeline, judge, layout: Arc::new(Layout::default()), published, partitions, waiting, report }
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
        let layout_at = |offset: i64| {
            let version = self.timeline.at(record.partition, offset);
            version.and_then(|version| self.judge.layout(version)).unwrap_or_else(|| Arc::clone(&self.layout))
        };
        // What live scoring puts aside is put aside here too.
        partition.lane.take(record, &layout_at, &mut jobs).ok();
        if let Some(lead_in) = &mut partition.lead_in {
            for job in &jobs {
                lead_in.released(&job.vehicle, job.time, record.offset);
            }
        }
        // A reading that a record behind the range let go may not have been scored yet.
        let due = if record.offset < partition.range.end { Due::Yes } else { Due::Perhaps };
        let partition = &*partition;
        for job in jobs.into_iter().filter(|job| job.query.is_some()) {
            let offset = job.source.offset;
            let judged = partition.range.contains(&offset) && partition.is_judged(&job.vehicle, offset);
            self.waiting.push((job, if judged { due } else { Due::No }));
        }
        if self.waiting.len() >= MICRO_BATCH { self.compare() } else { Ok(()) }
    }

    fn compare(&mut self) -> Result<()> {
        let (mut asked, mut work, mut tracks) = (Vec::new(), Vec::new(), Tracks::new());
        for (mut job, due) in std::mem::take(&mut self.waiting) {
            match (self.timeline.at(job.source.partition, job.source.offset), job.query.take()) {
                (Some(version), Some(query)) => {
                    work.push(Work { version: version.to_owned(), vehicle: job.vehicle.clone(), query });
                    asked.push((job, due));
                }
                _ => self.report.no_model += u64::from(due == Due::Yes),
            }
        }
        for partition in self.partitions.values_mut() {
            partition.lane.lend(work.iter().map(|work| &work.vehicle), &mut tracks);
        }
        let judged = self.judge.judge(&work, &mut tracks)?;
        for partition in self.partitions.values_mut() {
            partition.lane.take_back(&mut tracks);
        }
        for (((job, due), Work { version, .. }), judged) in asked.into_iter().zip(work).zip(judged) {
            let place = (job.source.partition, job.source.offset);
            let judgement = match (due, judged) {
                (Due::No, _) | (_, Judged::WarmingUp) => continue,
                (_, Judged::Judgement(judgement)) => judgement,
                (due, Judged::NoModel) => {
                    // No score was published with this version.
                    if due == Due::Yes {
                        self.report.missing += 1;
                        self.name(place);
                    }
                    continue;
                }
            };
            let expected = serde_json::to_vec(&job.score(&version, judgement))?;
            let Some(Published { payloads, .. }) = self.published.remove(&place) else {
                if due == Due::Yes {
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
