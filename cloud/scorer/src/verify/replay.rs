//! The comparison itself: telemetry in, published scores beside it, differences out. No Kafka in here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use anyhow::{Context, Result};
use cloud_log::InRecord;
use detector::{Layout, Question};
use serde::Serialize;
use telemetry::{UnixMillis, VehicleId, event::Source};

use crate::{
    judging::{Judge, Judged, MICRO_BATCH, Memory, conclude, look},
    lane::{Job, Lane},
    timeline::Timeline,
    vehicles::Vehicles,
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
    /// Readings that break inference, here as there: each has its dead letter and no score.
    pub refused: u64,
    /// Scores that can't be judged, because readings that had a part in them, or may have had one, are no longer in
    /// `telemetry`.
    pub unjudged: u64,
    /// Full windows in the range before the first switch point of their partition. Right while there was no model;
    /// wrong where one was published before the fleet drove.
    pub no_model: u64,
    /// The first differences, as `partition/offset`.
    pub examples: Vec<String>,
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
/// which readings over so long, and so many before them, were released. Where it begins anew meanwhile, that begins anew
/// too: an ingest time that is gone may have spared the live one.
#[derive(Debug)]
struct LeadIn {
    memory: Memory,
    /// Of each vehicle's life how many readings, and the window time to count from.
    released: HashMap<VehicleId, (u32, u64, UnixMillis)>,
    judged_from: HashMap<VehicleId, i64>,
}

impl LeadIn {
    /// A reading was released by the record at this offset.
    fn released(&mut self, vehicle: &VehicleId, Job { life, time, .. }: &Job, by: i64) {
        if self.judged_from.contains_key(vehicle) {
            return;
        }
        let (time, fresh) = (*time, (*life, 0, *time));
        let counted = self.released.entry(vehicle.clone()).or_insert(fresh);
        if counted.0 != *life {
            *counted = fresh;
        }
        let (_, count, since) = counted;
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
    /// Partition and offset of readings that were refused because they break inference.
    refused: BTreeSet<(i32, i64)>,
    partitions: BTreeMap<i32, Partition>,
    /// Readings to judge, and what is to be done with their scores.
    waiting: Vec<(Job, Due)>,
    report: Report,
}

impl<J: Judge> Verifier<J> {
    pub(crate) fn new(parts: BTreeMap<i32, Part>, lateness_ms: i64, timeline: Timeline, judge: J) -> Self {
        let memory = judge.memory();
        let partitions = parts.into_iter().map(|(partition, Part { low, range })| {
            let lane = Lane::new(partition, low, lateness_ms, Vehicles::default());
            let lead_in = || LeadIn { memory, released: HashMap::new(), judged_from: HashMap::new() };
            (partition, Partition { lane, range, lead_in: (low > 0).then(lead_in) })
        });
        let partitions = partitions.collect();
        let (published, refused) = (BTreeMap::new(), BTreeSet::new());
        let (layout, waiting, report) = (Arc::new(Layout::default()), Vec::new(), Report::default());
        Self { timeline, judge, layout, published, refused, partitions, waiting, report }
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

    /// Takes the place of a reading that was refused because it breaks inference; before the first record, too.
    pub(crate) fn refused(&mut self, Source { partition, offset }: Source) {
        self.refused.insert((partition, offset));
    }

    /// Takes the next record of `telemetry`, each partition in order of offset.
    pub(crate) fn feed(&mut self, record: &InRecord) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return Ok(()) };
        let mut jobs = Vec::new();
        let layout_at = |offset: i64| {
            let version = self.timeline.at(record.partition, offset);
            version.and_then(|version| self.judge.layout(version)).unwrap_or(&self.layout)
        };
        // What live scoring puts aside is put aside here too.
        partition.lane.take(record, &layout_at, &mut jobs).ok();
        if let Some(lead_in) = &mut partition.lead_in {
            for job in &jobs {
                let (vehicle, _) = partition.lane.vehicles.at(job.place).context("a reading of no vehicle")?;
                lead_in.released(vehicle, job, record.offset);
            }
        }
        // A reading that a record behind the range let go may not have been scored yet.
        let due = if record.offset < partition.range.end { Due::Yes } else { Due::Perhaps };
        for job in jobs.into_iter().filter(|job| job.query.is_some()) {
            let offset = job.source.offset;
            let (vehicle, _) = partition.lane.vehicles.at(job.place).context("a reading of no vehicle")?;
            let is_judged = partition.lead_in.as_ref().is_none_or(|lead_in| lead_in.is_over(vehicle, offset));
            let judged = is_judged && partition.range.contains(&offset);
            self.waiting.push((job, if judged { due } else { Due::No }));
        }
        if self.waiting.len() >= MICRO_BATCH { self.compare() } else { Ok(()) }
    }

    fn compare(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut asked = Vec::with_capacity(waiting.len());
        for (job, due) in &waiting {
            match (self.timeline.at(job.source.partition, job.source.offset), &job.query) {
                (Some(version), Some(query)) => asked.push((job, *due, version.to_owned(), query)),
                _ => self.report.no_model += u64::from(*due == Due::Yes),
            }
        }
        let queries: Vec<_> = asked.iter().map(|(_, _, version, query)| (version.as_str(), *query)).collect();
        let looked = look(&self.judge, &queries)?;
        for ((job, due, version, query), looked) in asked.into_iter().zip(looked) {
            let place = (job.source.partition, job.source.offset);
            let lane = &mut self.partitions.get_mut(&place.0).context("a reading of no partition")?.lane;
            let (vehicle, state) = lane.vehicles.at(job.place).context("a reading of no vehicle")?;
            let refused = self.refused.contains(&place);
            // What was refused has no part in what follows, and the replay goes on as the log says, right or wrong.
            let track = state.track(job.life);
            let before = refused.then(|| track.clone());
            let judged = conclude(&self.judge, &version, Question { vehicle, track: &mut *track, query }, &looked);
            if let (Some(before), false) = (before, matches!(judged, Judged::Failed(_))) {
                *track = before;
            }
            let expected = match judged {
                Judged::Judgement(judgement) => {
                    let mut bytes = Vec::new();
                    job.score(vehicle, version.into(), judgement, &mut bytes)?;
                    Some(bytes)
                }
                Judged::WarmingUp => continue,
                Judged::NoModel => None,
                Judged::Failed(_) if refused => {
                    self.report.refused += u64::from(due == Due::Yes);
                    continue;
                }
                Judged::Failed(_) => None,
            };
            if due != Due::No {
                // No score was published with this version, or no dead letter for what breaks inference; or the other
                // way round: a dead letter for what can be judged.
                let expected = expected.filter(|_| !refused);
                self.hold_against(place, due, expected.as_deref());
            }
        }
        Ok(())
    }

    /// Holds what was published of a reading against what should have been; none where it should not be so.
    fn hold_against(&mut self, place: (i32, i64), due: Due, expected: Option<&[u8]>) {
        let published = expected.and_then(|expected| Some((expected, self.published.remove(&place)?)));
        let Some((expected, Published { payloads, .. })) = published else {
            if due == Due::Yes {
                self.report.missing += 1;
                self.name(place);
            }
            return;
        };
        self.report.checked += payloads.len() as u64;
        self.report.repeated += payloads.len() as u64 - 1;
        let differing = payloads.iter().filter(|payload| payload.as_slice() != expected).count() as u64;
        self.report.differing += differing;
        if differing > 0 {
            self.name(place);
        }
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
