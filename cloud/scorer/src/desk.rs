//! The work of one scoring thread: its partitions' lanes, and the models that judge. Pure: records in, scores out.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use cloud_log::{Headers, InRecord, OutRecord, Pieces};
use detector::{Layout, Question};
use smol_str::SmolStr;
use telemetry::{Invalid, UnixMillis, event::Source};

use crate::{
    judging::{Judge, Judged, MICRO_BATCH, conclude, look},
    lane::{Aside, Forgotten, Job, Lane},
    order::Dropped,
    run::INFERENCE_FAILED,
    shadow::{Seen, Shadow, ShadowCounts},
    state::{self, Turn},
    timeline::Timeline,
    vehicles::Vehicles,
};

/// Why a reading that waited for a missing seq gets no score: its vehicle was forgotten meanwhile.
pub(crate) const FORGOTTEN: &str = "forgotten";

/// A score to publish.
#[derive(Debug)]
pub(crate) struct Scored {
    pub(crate) record: OutRecord,
    pub(crate) source: Source,
    /// When the reading that let it go was taken in, ms.
    pub(crate) ingest: UnixMillis,
}

/// What came of some records.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Per vehicle in order.
    pub(crate) scores: Vec<Scored>,
    /// Records that can't be read, and why.
    pub(crate) unreadable: Vec<(InRecord, Invalid)>,
    /// Readings that break inference, and how.
    pub(crate) failed: Vec<(Source, String)>,
    pub(crate) duplicate: u64,
    pub(crate) late: u64,
    pub(crate) covered: u64,
    pub(crate) warming_up: u64,
    pub(crate) no_model: u64,
    /// Scores and dead letters that are published already.
    pub(crate) muted: u64,
    pub(crate) forgotten: Forgotten,
    pub(crate) shadow: ShadowCounts,
}

impl Output {
    /// How many got no score, by reason.
    pub(crate) fn put_aside(&self) -> [(&'static str, u64); 9] {
        [
            ("unreadable", self.unreadable.len() as u64),
            (INFERENCE_FAILED, self.failed.len() as u64),
            ("duplicate", self.duplicate),
            ("late", self.late),
            ("covered", self.covered),
            ("no_model", self.no_model),
            ("warming_up", self.warming_up),
            ("scored_before", self.muted),
            (FORGOTTEN, self.forgotten.readings),
        ]
    }
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// From here on it has to be read again after a kill.
    pub(crate) needed: i64,
    /// What comes of the records below this offset was answered before.
    pub(crate) scored: i64,
}

/// Of a partition at rest so many bytes of states are written at once by a thread: a transaction has to be through before
/// it times out. Where states go with every commit (`--state-ms 0`), the fleet has to be one whose states fit into one.
const MOST_STATE_BYTES: usize = 16 * 1024 * 1024;

/// States to be written, and by partition how far it is once they and the scores before them are delivered.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) states: Vec<OutRecord>,
    pub(crate) marks: BTreeMap<i32, Mark>,
    pub(crate) forgotten: Forgotten,
    /// Whether nothing is left for the next time, of what was asked for.
    pub(crate) is_all: bool,
}

/// What is left of a partition that ends.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) partition: i32,
    pub(crate) states: Vec<OutRecord>,
    /// Its readings that wait for a missing seq.
    pub(crate) waiting: u64,
    pub(crate) forgotten: Forgotten,
}

/// A partition is at rest once nothing has come for so long, ms.
const AT_REST_MS: u64 = 2_000;

/// The lanes of one thread.
#[derive(Debug)]
pub(crate) struct Desk<J> {
    pub(crate) judge: J,
    lanes: BTreeMap<i32, Lane>,
    lateness_ms: i64,
    /// The topic that scores go to.
    scores: SmolStr,
    /// The bytes of the last score, and those of scores that are on their way.
    text: Vec<u8>,
    pieces: Pieces,
    /// Of windows that no model is there for.
    layout: Arc<Layout>,
    /// A challenger, and who is judged by it.
    shadow: Option<Shadow>,
    /// By partition, the next offset at the last snapshot and since when it is that: who does not move has time.
    at_snapshot: BTreeMap<i32, (i64, u64)>,
}

impl<J: Judge> Desk<J> {
    pub(crate) fn new(judge: J, lateness_ms: i64, scores: &str) -> Self {
        let (layout, scores) = (Arc::new(Layout::default()), SmolStr::from(scores));
        Self {
            judge,
            lanes: BTreeMap::new(),
            lateness_ms,
            scores,
            text: Vec::new(),
            pieces: Pieces::default(),
            layout,
            shadow: None,
            at_snapshot: BTreeMap::new(),
        }
    }

    /// A partition begins, at an offset, with the vehicles that were found; how many of its readings wait.
    pub(crate) fn begin(&mut self, partition: i32, next: i64, vehicles: Vehicles) -> u64 {
        let lane = Lane::new(partition, next, self.lateness_ms, vehicles);
        let waiting = lane.waiting;
        self.lanes.insert(partition, lane);
        waiting
    }

    /// What comes of a partition's records below this offset is published already.
    pub(crate) fn mute(&mut self, partition: i32, scored: i64) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.scored = scored;
        }
    }

    /// A partition ends: its states, all of them, if they are wanted.
    pub(crate) fn end(&mut self, partition: i32, states: bool) -> Result<Ended> {
        let Some(mut lane) = self.lanes.remove(&partition) else {
            return Ok(Ended { partition, ..Ended::default() });
        };
        self.at_snapshot.remove(&partition);
        if let Some(shadow) = &mut self.shadow {
            shadow.forget(partition);
        }
        let states = if states { state::changed(&mut lane, Turn::Everybody, usize::MAX)?.records } else { Vec::new() };
        Ok(Ended { partition, states, waiting: lane.waiting, forgotten: lane.forgotten })
    }

    /// From now on this challenger judges in the shadow, or none.
    pub(crate) fn shadow(&mut self, shadow: Option<Shadow>) {
        self.shadow = shadow;
    }

    /// Readings that wait for a missing seq.
    pub(crate) fn waiting(&self) -> u64 {
        self.lanes.values().map(|lane| lane.waiting).sum()
    }

    /// Vehicles that are kept in mind.
    pub(crate) fn vehicles(&self) -> u64 {
        self.lanes.values().map(|lane| lane.vehicles.len() as u64).sum()
    }

    /// States of those whose turn it is; in a partition at rest, of everybody, as many as may be written at once.
    pub(crate) fn snapshot(&mut self, turn: Turn) -> Result<Snapshot> {
        let mut snapshot = Snapshot { is_all: true, ..Snapshot::default() };
        let mut room = MOST_STATE_BYTES;
        for (partition, lane) in &mut self.lanes {
            let now = turn.at();
            let (next, since) = self.at_snapshot.entry(*partition).or_insert((lane.next, now));
            if *next != lane.next {
                (*next, *since) = (lane.next, now);
            }
            let at_rest = now >= *since + AT_REST_MS;
            let turn = if at_rest { Turn::Everybody } else { turn };
            let most = if turn == Turn::Everybody { room } else { usize::MAX };
            let mut changed = state::changed(lane, turn, most)?;
            room = room.saturating_sub(changed.bytes);
            snapshot.is_all &= changed.is_all;
            snapshot.states.append(&mut changed.records);
            snapshot.forgotten.add(std::mem::take(&mut lane.forgotten));
            if let Some(shadow) = &mut self.shadow {
                changed.evicted.iter().for_each(|place| shadow.drop_row((*partition, *place)));
            }
            let mark = Mark { needed: lane.least_needed(), scored: lane.next.max(lane.scored) };
            snapshot.marks.insert(*partition, mark);
        }
        Ok(snapshot)
    }

    /// Takes records, each partition's in order of offset.
    ///
    /// # Errors
    /// If a model fails at everything.
    pub(crate) fn take(&mut self, records: Vec<InRecord>, timeline: &Timeline) -> Result<Output> {
        let (mut output, mut jobs) = (Output::default(), Vec::with_capacity(MICRO_BATCH));
        output.scores.reserve(records.len());
        for record in records {
            // As many as a network takes at once: what they need stays in a processor's cache until they are judged.
            if jobs.len() >= MICRO_BATCH {
                self.score(&jobs, timeline, &mut output)?;
                jobs.clear();
            }
            // Of a partition that has ended meanwhile: its next owner takes it.
            let Some(lane) = self.lanes.get_mut(&record.partition) else { continue };
            let layout_at = |offset: i64| {
                let version = timeline.at(record.partition, offset);
                version.and_then(|version| self.judge.layout(version)).unwrap_or(&self.layout)
            };
            match lane.take(&record, &layout_at, &mut jobs) {
                Ok(()) => {}
                Err(Aside::Dropped(Dropped::Duplicate)) => output.duplicate += 1,
                Err(Aside::Dropped(Dropped::Late)) => output.late += 1,
                Err(Aside::Covered) => output.covered += 1,
                Err(Aside::Unreadable(_)) if record.offset < lane.scored => output.muted += 1,
                Err(Aside::Unreadable(invalid)) => output.unreadable.push((record, invalid)),
            }
        }
        for lane in self.lanes.values_mut() {
            output.forgotten.add(std::mem::take(&mut lane.forgotten));
        }
        self.score(&jobs, timeline, &mut output)?;
        Ok(output)
    }

    fn score(&mut self, jobs: &[Job], timeline: &Timeline, output: &mut Output) -> Result<()> {
        let mut asked = Vec::with_capacity(jobs.len());
        for job in jobs {
            match (timeline.at(job.source.partition, job.source.offset), &job.query) {
                (None, _) => output.no_model += 1,
                (Some(_), None) => output.warming_up += 1,
                (Some(version), Some(query)) => asked.push((job, version, query)),
            }
        }
        let queries: Vec<_> = asked.iter().map(|(_, version, query)| (*version, *query)).collect();
        let looked = look(&self.judge, &queries)?;
        let (mut seen, mut model) = (Vec::new(), SmolStr::default());
        for ((job, version, query), looked) in asked.into_iter().zip(looked) {
            let lane = self.lanes.get_mut(&job.source.partition).context("a reading of no lane")?;
            let (id, vehicle) = lane.vehicles.at(job.place).context("a reading of no vehicle")?;
            let question = Question { vehicle: id, track: vehicle.track(job.life), query };
            let judged = conclude(&self.judge, version, question, &looked);
            if let Some(shadow) = self.shadow.as_ref().filter(|shadow| shadow.includes(id)) {
                // A query is of the champion's layout: a challenger of another one can't read it.
                let layout = |version: &str| self.judge.layout(version).map(|layout| layout.id());
                if layout(&shadow.version) == layout(version) {
                    let champion = match &judged {
                        Judged::Judgement(judgement) => Some(judgement.verdict),
                        _ => None,
                    };
                    let place = (job.source.partition, job.place);
                    seen.push(Seen { place, life: job.life, vehicle: id.clone(), query, champion });
                }
            }
            match judged {
                Judged::Judgement(_) | Judged::Failed(_) if job.muted => output.muted += 1,
                Judged::Judgement(judgement) => {
                    if model != version {
                        model = version.into();
                    }
                    job.score(id, model.clone(), judgement, &mut self.text)?;
                    let record = OutRecord {
                        kafka_topic: self.scores.clone(),
                        partition: None,
                        key: self.pieces.put(id.as_str().as_bytes()),
                        payload: Some(self.pieces.put(&self.text)),
                        headers: Headers::new(),
                        timestamp: None,
                    };
                    output.scores.push(Scored { record, source: job.source, ingest: job.ingest });
                }
                Judged::WarmingUp => output.warming_up += 1,
                Judged::NoModel => output.no_model += 1,
                Judged::Failed(error) => output.failed.push((job.source, error)),
            }
        }
        if !seen.is_empty() {
            match self.shadow.as_mut().and_then(|shadow| shadow.judge(&self.judge, &seen)) {
                Some(counts) => output.shadow.add(counts),
                // It is no longer asked: the champion must not wait for it.
                None => self.shadow = None,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod forgetting;
#[cfg(test)]
mod tests;
