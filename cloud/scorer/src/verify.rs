//! `motorcade scores verify`: scores a range again from telemetry bytes and compares every bit (guarantee G8).
//!
//! Each partition is replayed from its first record that is there, so that every window has its lead-in; the
//! published switch points say which model scores which offset.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    ops::Range,
};

use anyhow::{Context, Result};
use cloud_log::{History, InRecord, KafkaConfig};
use detector::Detector;
use serde::Serialize;
use service::Error;
use telemetry::{
    event::Score,
    kafka_topic::{MODEL_EVENTS, MODELS, SCORES, TELEMETRY},
};

use crate::{
    LATENESS_MS,
    inference::{MICRO_BATCH, load},
    lane::{Job, Lane},
    registry::Registry,
    timeline::Timeline,
};

/// Differences that are named one by one.
const NAMED: usize = 20;

/// Score a range again and compare.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Only this partition of `telemetry`.
    #[arg(long)]
    pub partition: Option<i32>,
    /// First offset; needs --partition.
    #[arg(long, requires = "partition")]
    pub from: Option<i64>,
    /// Offset after the last; needs --partition. Without it, everything that was scored.
    #[arg(long, requires = "partition")]
    pub to: Option<i64>,
    /// The lateness that the scorers ran with, ms.
    #[arg(long, env = "MOTORCADE_SCORER_LATENESS_MS", default_value_t = LATENESS_MS)]
    pub lateness_ms: i64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

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
    /// The first differences, as `partition/offset`.
    pub examples: Vec<String>,
}

/// Everything that a verification compares with.
#[derive(Debug)]
pub struct Verifier {
    lateness_ms: i64,
    timeline: Timeline,
    detectors: HashMap<String, Detector>,
    /// Published payloads by partition and offset of their reading.
    published: BTreeMap<(i32, i64), Vec<Vec<u8>>>,
    /// Offsets that are judged, by partition; scores of records after the end may be missing.
    ranges: BTreeMap<i32, Range<i64>>,
    lanes: BTreeMap<i32, Lane>,
    waiting: Vec<(Job, bool)>,
    report: Report,
}

impl Verifier {
    /// Reads registry, switch points and published scores.
    ///
    /// # Errors
    /// If Kafka can't be reached, or a model can't be loaded here.
    pub async fn open(args: &VerifyArgs) -> Result<Self, Error> {
        let kafka = &args.kafka;
        let (mut registry, mut timeline) = (Registry::default(), Timeline::default());
        let mut versions = std::collections::BTreeSet::new();
        let mut published: BTreeMap<(i32, i64), Vec<Vec<u8>>> = BTreeMap::new();
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for record in all(kafka, MODELS).await? {
            registry.take(record);
        }
        for record in all(kafka, MODEL_EVENTS).await? {
            timeline.take_bytes(record.payload.as_deref());
        }
        let mut log = History::everything(kafka, SCORES).await?;
        while let Some(records) = log.next(4_096).await? {
            for record in records {
                let payload = record.payload.unwrap_or_default();
                let score: Score = serde_json::from_slice(&payload).map_err(anyhow::Error::from)?;
                let place = (score.source.partition, score.source.offset);
                let end = ends.entry(place.0).or_default();
                *end = (*end).max(place.1 + 1);
                versions.insert(score.model);
                published.entry(place).or_default().push(payload);
            }
        }
        let mut ranges: BTreeMap<i32, Range<i64>> =
            ends.into_iter().map(|(partition, end)| (partition, 0..end)).collect();
        if let Some(only) = args.partition {
            let scored = ranges.remove(&only).map_or(0, |range| range.end);
            ranges = [(only, args.from.unwrap_or(0)..args.to.unwrap_or(scored))].into();
        }
        published.retain(|(partition, offset), _| ranges.get(partition).is_some_and(|range| range.contains(offset)));
        let mut detectors = HashMap::new();
        for version in versions {
            let artifact = registry.artifact(&version).with_context(|| format!("{version} is not on models"))?;
            detectors.insert(version.clone(), load(&version, artifact).with_context(|| version.clone())?);
        }
        let lanes = ranges.keys().map(|p| (*p, Lane::new(*p, 0, args.lateness_ms, HashMap::new()))).collect();
        let (lateness_ms, report) = (args.lateness_ms, Report::default());
        Ok(Self { lateness_ms, timeline, detectors, published, ranges, lanes, waiting: Vec::new(), report })
    }

    /// Takes the next record of `telemetry`, each partition in order of offset.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn feed(&mut self, record: &InRecord) -> Result<()> {
        let Some(range) = self.ranges.get(&record.partition) else { return Ok(()) };
        let lateness_ms = self.lateness_ms;
        let lane = self
            .lanes
            .entry(record.partition)
            .or_insert_with(|| Lane::new(record.partition, record.offset, lateness_ms, HashMap::new()));
        let mut jobs = Vec::new();
        // What live scoring puts aside is put aside here too.
        lane.take(record, &mut jobs).ok();
        // A reading that a later record let go may not have been scored yet.
        let due = record.offset < range.end;
        let wanted = jobs.into_iter().filter(|job| range.contains(&job.source.offset) && job.query.is_some());
        self.waiting.extend(wanted.map(|job| (job, due)));
        if self.waiting.len() >= MICRO_BATCH { self.compare() } else { Ok(()) }
    }

    fn compare(&mut self) -> Result<()> {
        let mut by_model: BTreeMap<String, Vec<(Job, bool)>> = BTreeMap::new();
        for (job, due) in self.waiting.drain(..) {
            if let Some(version) = self.timeline.at(job.source.partition, job.source.offset) {
                by_model.entry(version.to_owned()).or_default().push((job, due));
            }
        }
        for (version, jobs) in by_model {
            let Some(detector) = self.detectors.get(&version) else {
                // No score was published with this version: all of these are missing.
                self.report.missing += jobs.iter().filter(|(_, due)| *due).count() as u64;
                continue;
            };
            let queries: Vec<_> = jobs.iter().filter_map(|(job, _)| job.query.clone()).collect();
            let judgements = detector.score(&queries)?;
            for ((job, due), judgement) in jobs.into_iter().zip(judgements) {
                let Some(judgement) = judgement else { continue };
                let place = (job.source.partition, job.source.offset);
                let expected = serde_json::to_vec(&job.score(&version, judgement))?;
                let Some(found) = self.published.remove(&place) else {
                    if due {
                        self.report.missing += 1;
                        self.name(place);
                    }
                    continue;
                };
                self.report.checked += found.len() as u64;
                self.report.repeated += found.len() as u64 - 1;
                let differing = found.iter().filter(|payload| **payload != expected).count() as u64;
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
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn finish(mut self) -> Result<Report> {
        self.compare()?;
        let left: Vec<_> = self.published.iter().map(|(place, found)| (*place, found.len() as u64)).collect();
        for (place, found) in left {
            self.report.extra += found;
            self.name(place);
        }
        let report = &mut self.report;
        report.ok = report.checked > 0 && report.differing + report.missing + report.extra == 0;
        Ok(self.report)
    }
}

async fn all(kafka: &KafkaConfig, kafka_topic: &str) -> Result<Vec<InRecord>, Error> {
    let (mut log, mut all) = (History::everything(kafka, kafka_topic).await?, Vec::new());
    while let Some(records) = log.next(1_024).await? {
        all.extend(records);
    }
    Ok(all)
}

/// Verifies; `tap` sees every record of `telemetry` before it is scored and may alter it, so that a test can show
/// that one flipped bit is found.
///
/// # Errors
/// If Kafka can't be reached or a model can't be loaded here.
pub async fn verify(args: &VerifyArgs, mut tap: impl FnMut(&mut InRecord)) -> Result<Report, Error> {
    let mut verifier = Verifier::open(args).await?;
    let marks = History::watermarks(&args.kafka, TELEMETRY).await?;
    let ranges = marks.into_iter().filter(|(partition, _)| verifier.ranges.contains_key(partition));
    let ranges = ranges.map(|(partition, (low, high))| (partition, low..high)).collect();
    let mut log = History::open(&args.kafka, TELEMETRY, ranges).await?;
    while let Some(records) = log.next(1_024).await? {
        for mut record in records {
            tap(&mut record);
            verifier.feed(&record)?;
        }
    }
    Ok(verifier.finish()?)
}

/// Runs `scores verify`.
///
/// # Errors
/// [`Error::VerdictFailed`] if anything differs.
pub async fn run_verify(args: VerifyArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let report = verify(&args, |_| {}).await?;
    let line = if args.json {
        serde_json::to_string(&report).map_err(anyhow::Error::from)?
    } else {
        let Report { checked, differing, missing, extra, repeated, .. } = &report;
        format!("{checked} scores checked ({repeated} repeated): {differing} differ, {missing} missing, {extra} extra")
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(anyhow::Error::from)?;
    if report.ok {
        return Ok(());
    }
    let Report { checked, differing, missing, extra, examples, .. } = report;
    let at = examples.join(" ");
    Err(Error::VerdictFailed(format!("{checked} checked, {differing} differ, {missing} missing, {extra} extra: {at}")))
}
