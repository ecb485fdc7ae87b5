//! `motorcade scores verify`: scores a range again from telemetry bytes and compares every bit (guarantee G8).
//!
//! Each partition is replayed from its first record that is there; the published switch points say which model scores
//! which offset. Where retention has removed the beginning of `telemetry` (scores live longer), a vehicle is judged
//! only behind its first L readings that are left, L being the detector's memory: before them its windows lack what
//! the live ones had. These scores are counted as `unjudged`.

mod range;
mod replay;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use anyhow::{Context, Result};
use cloud_log::{History, InRecord, KafkaConfig};
use detector::Detector;
use service::Error;
use telemetry::{
    event::{Score, Source},
    kafka_topic::{DEAD_LETTER, MODEL_EVENTS, MODELS, SCORES, TELEMETRY, header},
};

use self::replay::Verifier;
pub use self::{range::Ends, replay::Report};
use crate::{
    LATENESS_MS, Named, judging::load, named::refused_by, registry::Registry, run::INFERENCE_FAILED, timeline::Timeline,
};

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
    /// Offset after the last (needs --partition), or PARTITION=OFFSET,… for several, or `latest`: all that stands in
    /// telemetry, so that a scorer that stopped is found. Without it, everything up to each partition's last score.
    #[arg(long)]
    pub to: Option<Ends>,
    /// Verify the scores that `view rebuild scores --as NAME` wrote, instead of the live ones.
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<Named>,
    /// The lateness that the scorers ran with, ms.
    #[arg(long, env = "MOTORCADE_SCORER_LATENESS_MS", default_value_t = LATENESS_MS)]
    pub lateness_ms: i64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// First and next offset by partition.
type Marks = BTreeMap<i32, (i64, i64)>;

impl VerifyArgs {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        match (&self.to, self.partition) {
            (Some(Ends::At(_)), None) => {
                Err(Error::Usage { flag: "to", detail: "one offset needs --partition".into() })
            }
            (Some(Ends::Each(_)), Some(_)) => {
                Err(Error::Usage { flag: "to", detail: "names the partitions itself: leave --partition out".into() })
            }
            _ => Ok(()),
        }
    }
}

pub(crate) async fn all(kafka: &KafkaConfig, kafka_topic: &str) -> Result<Vec<InRecord>, Error> {
    let (mut log, mut all) = (History::everything(kafka, kafka_topic).await?, Vec::new());
    while let Some(records) = log.next(1_024).await? {
        all.extend(records);
    }
    Ok(all)
}

/// Registry, switch points and published scores, as far as they are judged.
async fn open(args: &VerifyArgs) -> Result<(Verifier<BTreeMap<String, Detector>>, Marks), Error> {
    let kafka = &args.kafka;
    let scores = args.name.as_ref().map_or_else(|| SCORES.to_owned(), Named::kafka_topic);
    let (mut registry, mut timeline) = (Registry::default(), Timeline::default());
    for record in all(kafka, MODELS).await? {
        registry.take(record);
    }
    for record in all(kafka, MODEL_EVENTS).await? {
        timeline.take_bytes(record.payload.as_deref());
    }
    let (mut published, mut scored, mut versions) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    let mut log = History::everything(kafka, &scores).await?;
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            let payload = record.payload.unwrap_or_default();
            let score: Score = serde_json::from_slice(&payload).map_err(anyhow::Error::from)?;
            let end: &mut i64 = scored.entry(score.source.partition).or_default();
            *end = (*end).max(score.source.offset + 1);
            versions.insert(score.model.clone());
            published.push((score.source, score.vehicle, payload));
        }
    }
    if args.name.is_some() {
        let mut one = versions.iter();
        let version = match (one.next(), one.next()) {
            (Some(version), None) => version,
            (None, _) => return Err(Error::VerdictFailed(empty(args.name.as_ref()))),
            _ => {
                let text = format!("{scores} holds scores of {} models, not of one", versions.len());
                return Err(Error::BadInput(text));
            }
        };
        timeline = Timeline::of_one(version, History::watermarks(kafka, TELEMETRY).await?.into_keys());
    }
    // After the scores, so that each of them has its reading below these marks.
    let marks = History::watermarks(kafka, TELEMETRY).await?;
    let mut detectors = BTreeMap::new();
    for version in versions {
        let artifact = registry.find_artifact(kafka, &version).await?;
        let artifact = artifact.with_context(|| format!("{version} is not on models"))?;
        detectors.insert(version.to_string(), load(&version, &artifact).with_context(|| version.clone())?);
    }
    let parts = range::parts(&marks, &scored, args.partition, args.from, args.to.as_ref())?;
    let marks = marks.into_iter().filter(|(partition, _)| parts.contains_key(partition)).collect();
    let mut verifier = Verifier::new(parts, args.lateness_ms, timeline, detectors);
    for (source, vehicle, payload) in published {
        verifier.published(source, vehicle, payload.into());
    }
    for record in all(kafka, DEAD_LETTER).await? {
        if let Some(source) = refused(&record, &refused_by(&scores)) {
            verifier.refused(source);
        }
    }
    Ok((verifier, marks))
}

/// Where a reading stood that a scorer has refused because it breaks inference.
fn refused(letter: &InRecord, by: &str) -> Option<Source> {
    let text = |name| std::str::from_utf8(letter.header(name)?).ok();
    if (text(header::REFUSED_BY)?, text(header::REASON)?) != (by, INFERENCE_FAILED) {
        return None;
    }
    let (partition, offset) = text(header::SOURCE)?.strip_prefix(TELEMETRY)?.strip_prefix('/')?.split_once('/')?;
    Some(Source { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
}

/// Verifies; `tap` sees every record of `telemetry` before it is scored and may alter it, so that a test can show
/// that one flipped bit is found.
///
/// # Errors
/// If Kafka can't be reached or a model can't be loaded here.
pub async fn verify(args: &VerifyArgs, mut tap: impl FnMut(&mut InRecord)) -> Result<Report, Error> {
    let (mut verifier, marks) = open(args).await?;
    let ranges = marks.into_iter().map(|(partition, (low, high))| (partition, low..high)).collect();
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
    args.validate()?;
    let report = verify(&args, |_| {}).await?;
    let line = if args.json {
        serde_json::to_string(&report).map_err(anyhow::Error::from)?
    } else {
        let Report { checked, differing, missing, extra, repeated, refused, unjudged, no_model, .. } = &report;
        format!(
            "{checked} scores checked ({repeated} repeated): {differing} differ, {missing} missing, {extra} extra; \
             {refused} readings refused for breaking inference, {unjudged} not judged for want of older telemetry, {no_model} windows before the first model"
        )
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(anyhow::Error::from)?;
    if report.ok {
        return Ok(());
    }
    Err(Error::VerdictFailed(failure(&args, &report)))
}

/// Why a report is not in order.
fn failure(args: &VerifyArgs, report: &Report) -> String {
    let Report { checked, differing, missing, extra, unjudged, examples, .. } = report;
    if differing + missing + extra > 0 {
        let at = examples.join(" ");
        return format!("{checked} checked, {differing} differ, {missing} missing, {extra} extra: {at}");
    }
    if *unjudged > 0 {
        return format!("nothing was checked: {unjudged} scores can't be judged for want of older telemetry");
    }
    if args.partition.is_some() || args.to.is_some() {
        return "nothing was checked: there is no score in the range".to_owned();
    }
    empty(args.name.as_ref())
}

fn empty(name: Option<&Named>) -> String {
    match name {
        None => format!(
            "`{SCORES}` is empty: no scorer has scored anything (`motorcade run scorer`; it needs a champion, and windows \
             that are full), or name a view with --as (`motorcade view rebuild scores` makes one)"
        ),
        Some(name) => {
            let (scores, name) = (name.kafka_topic(), name.as_str());
            format!("`{scores}` is empty: `motorcade view rebuild scores --as {name}` fills it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_fails_says_why() {
        let args = |partition| VerifyArgs {
            kafka: KafkaConfig::new("127.0.0.1:9"),
            partition,
            from: None,
            to: None,
            name: None,
            lateness_ms: LATENESS_MS,
            json: false,
        };
        let nothing = Report::default();
        assert!(failure(&args(None), &nothing).contains("`scores` is empty: no scorer has scored anything"));
        assert!(failure(&args(Some(1)), &nothing).contains("in the range"));
        assert!(empty("v2".parse().ok().as_ref()).contains("view rebuild scores --as v2"));
        let old = Report { unjudged: 5, ..Report::default() };
        assert!(failure(&args(None), &old).contains("5 scores can't be judged"));
        let wrong = Report { checked: 3, missing: 1, examples: vec!["0/7".into()], ..Report::default() };
        assert_eq!(failure(&args(None), &wrong), "3 checked, 0 differ, 1 missing, 0 extra: 0/7");
    }
}
