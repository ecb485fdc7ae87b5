//! `motorcade view rebuild scores --as NAME`: scores all of `telemetry` by one model, at full speed, into
//! `scores.NAME` beside the live scores.
//!
//! Where `telemetry` ended at the start is where it ends. Run again, it goes on: everything is computed anew, because
//! windows need their past, but what stands in the topic already is not written a second time. The same threads score
//! here as live.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cloud_log::{History, InRecord, KafkaConfig, Producer, dead_letter, topics};
use serde::{Deserialize, Serialize};
use service::{Error, Tally};
use telemetry::{
    event::Source,
    kafka_topic::{MODELS, SCORES, TELEMETRY},
};
use tokio_util::sync::CancellationToken;

use crate::{
    LATENESS_MS,
    crew::{Beginning, Crew, Made},
    desk::Output,
    named::{Named, refused_by},
    registry::Registry,
    run::INFERENCE_FAILED,
    state::Found,
    timeline::Timeline,
    verify::all,
    workers,
};

/// So often it tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Records taken from the log at once.
const TAKE: usize = 2_048;

/// Score all of `telemetry` by one model, into `scores.NAME`.
#[derive(Debug, Clone, clap::Args)]
pub struct RebuildArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The name of the new scores: they go to the topic `scores.NAME`, which is created where it is missing.
    #[arg(long = "as", value_name = "NAME")]
    pub name: Named,
    /// The version that scores. Without it, the one that the alias points to.
    #[arg(long, value_name = "VERSION")]
    pub model: Option<String>,
    /// The alias that is looked up where no version is named.
    #[arg(long, env = "MOTORCADE_SCORER_ALIAS", default_value = "champion")]
    pub alias: String,
    /// How long scoring waits for a missing reading, ms of the vehicle's event time.
    #[arg(long, env = "MOTORCADE_SCORER_LATENESS_MS", default_value_t = LATENESS_MS)]
    pub lateness_ms: i64,
    /// Scoring threads; without it, one for each processor, and never more than `telemetry` has partitions.
    #[arg(long, env = "MOTORCADE_SCORER_WORKERS")]
    pub workers: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Where the scores are.
    pub kafka_topic: String,
    /// What scored.
    pub model: String,
    /// Whether the end was reached.
    pub complete: bool,
    /// Received are readings; in hand, those that wait for a missing seq at the end of the log.
    pub tally: Tally,
    /// How long it took.
    pub duration_s: f64,
}

impl RebuildArgs {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        if self.lateness_ms <= 0 {
            return Err(Error::Usage { flag: "lateness-ms", detail: "must be above 0".into() });
        }
        if self.workers == Some(0) {
            return Err(Error::Usage { flag: "workers", detail: "must be above 0".into() });
        }
        Ok(())
    }
}

/// Of each partition, the readings whose scores stand in the topic already: a bit each.
#[derive(Debug, Default)]
struct Written(HashMap<i32, Vec<u64>>);

impl Written {
    /// Notes a reading; whether it is new.
    fn add(&mut self, Source { partition, offset }: Source) -> bool {
        let Ok(at) = usize::try_from(offset) else { return false };
        let words = self.0.entry(partition).or_default();
        if words.len() <= at / 64 {
            words.resize(at / 64 + 1, 0);
        }
        let (word, bit) = (&mut words[at / 64], 1 << (at % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// What [`Written`] needs of a score.
#[derive(Deserialize)]
struct Head {
    source: Source,
    model: String,
}

struct Rebuild {
    producer: Producer,
    crew: Crew,
    written: Written,
    refused_by: String,
    tally: Tally,
    queued: u64,
}

/// Runs `view rebuild scores`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such model or the topic holds scores of another one, [`Error::VerdictFailed`] if it
/// was stopped before its end, [`Error::Unavailable`] if Kafka can't be reached.
pub async fn run_rebuild(args: RebuildArgs, stop: CancellationToken) -> Result<(), Error> {
    let summary = rebuild(&args, &stop).await?;
    let Summary { kafka_topic, model, complete, tally, duration_s } = &summary;
    let line = if args.json {
        serde_json::to_string(&summary).map_err(anyhow::Error::from)?
    } else {
        let put_aside: Vec<_> = tally.discarded.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        format!(
            "{} readings in {duration_s:.1} s: {} scores of {model} written to {kafka_topic}; {}; {} wait at the end of \
             the log",
            tally.received,
            tally.sent,
            if put_aside.is_empty() { "nothing put aside".to_owned() } else { put_aside.join(", ") },
            tally.in_hand,
        )
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(anyhow::Error::from)?;
    if !tally.balances() {
        return Err(Error::Internal(anyhow::anyhow!("the tally does not balance: {tally:?}")));
    }
    if *complete { Ok(()) } else { Err(Error::VerdictFailed("stopped before the end; run it again to go on".into())) }
}

/// Scores everything that stands in `telemetry` now.
///
/// # Errors
/// As [`run_rebuild`], less the stop.
pub async fn rebuild(args: &RebuildArgs, stop: &CancellationToken) -> Result<Summary, Error> {
    args.validate()?;
    let began = Instant::now();
    let kafka = &args.kafka;
    let mut registry = Registry::default();
    for record in all(kafka, MODELS).await? {
        registry.take(record);
    }
    let version = match &args.model {
        Some(version) => version.clone(),
        None => registry
            .alias(&args.alias)
            .map(|wanted| wanted.version)
            .ok_or_else(|| Error::BadInput(format!("there is no alias {}: name a version with --model", args.alias)))?,
    };
    let artifact = registry
        .find_artifact(kafka, &version)
        .await?
        .ok_or_else(|| Error::BadInput(format!("there is no model {version}: see `motorcade models list`")))?;
    let kafka_topic = args.name.kafka_topic();
    topics::create_beside(kafka, &kafka_topic, SCORES).await?;
    let written = written(kafka, &kafka_topic, &version).await?;
    let producer = Producer::connect(kafka).await?;
    let marks = History::watermarks(kafka, TELEMETRY).await?;
    let crew = Crew::start(workers(args.workers, marks.len()), args.lateness_ms, &kafka_topic)?;
    crew.load(&version, &artifact).await.with_context(|| version.clone())?;
    let refused_by = refused_by(&kafka_topic);
    let mut rebuild = Rebuild { producer, crew, written, refused_by, tally: Tally::default(), queued: 0 };
    let timeline = Timeline::of_one(&version, marks.keys().copied());
    let complete = rebuild.all(kafka, &marks, timeline, stop).await?;
    let Rebuild { tally, .. } = rebuild;
    Ok(Summary { kafka_topic, model: version, complete, tally, duration_s: began.elapsed().as_secs_f64() })
}

/// What an earlier run has written.
async fn written(kafka: &KafkaConfig, kafka_topic: &str, version: &str) -> Result<Written, Error> {
    let mut written = Written::default();
    let mut log = History::everything(kafka, kafka_topic).await?;
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            let head: Head = serde_json::from_slice(record.payload.as_deref().unwrap_or_default())
                .with_context(|| format!("{kafka_topic}/{}/{}", record.partition, record.offset))?;
            if head.model != version {
                let text =
                    format!("{kafka_topic} holds scores of {}: choose another name for those of {version}", head.model);
                return Err(Error::BadInput(text));
            }
            written.add(head.source);
        }
    }
    Ok(written)
}

impl Rebuild {
    /// Whether the end was reached.
    async fn all(
        &mut self,
        kafka: &KafkaConfig,
        marks: &BTreeMap<i32, (i64, i64)>,
        timeline: Timeline,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        let timeline = std::sync::Arc::new(timeline);
        for (partition, (low, _)) in marks {
            let (partition, next) = (*partition, *low);
            let lane = Beginning { partition, next, scored: next, layouts: Vec::new(), states: Found::default() };
            self.crew.begin(lane).await?;
        }
        let ranges = marks.iter().map(|(partition, (low, high))| (*partition, *low..*high)).collect();
        let expected: i64 = marks.values().map(|(low, high)| high - low).sum();
        let mut log = History::open(kafka, TELEMETRY, ranges).await?;
        let (mut through, mut told) = (false, Instant::now());
        while !(through || stop.is_cancelled()) || self.crew.records() > 0 {
            tokio::select! {
                biased;
                made = self.crew.next() => if let Made::Output(_, output) = made? {
                    self.publish(output).await?;
                },
                records = log.next(TAKE), if !through && !stop.is_cancelled() && self.crew.has_room() => {
                    match records? {
                        Some(records) => self.hand_out(records, &timeline)?,
                        None => through = true,
                    }
                }
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tracing::info!(readings = self.tally.received, of = expected, "rebuilding scores");
            }
        }
        self.producer.flush().await.context("scores were not delivered")?;
        self.tally.sent = self.queued;
        self.tally.in_hand = self.crew.waiting();
        Ok(through)
    }

    fn hand_out(&mut self, records: Vec<InRecord>, timeline: &std::sync::Arc<Timeline>) -> Result<()> {
        self.tally.received += records.len() as u64;
        let strange = self.crew.take(records, timeline)?;
        anyhow::ensure!(strange == 0, "{strange} records of unknown partitions");
        Ok(())
    }

    async fn publish(&mut self, output: Output) -> Result<()> {
        let put_aside = output.put_aside();
        for scored in output.scores {
            if self.written.add(scored.source) {
                self.producer.send(scored.record).await?;
                self.queued += 1;
            } else {
                self.tally.discard("already_there", 1);
            }
        }
        for (source, error) in &output.failed {
            // Its bytes are in the log; what has to be known is where.
            let place = InRecord::at(TELEMETRY, source.partition, source.offset);
            self.producer.send(dead_letter::refuse(&place, &self.refused_by, INFERENCE_FAILED, error)).await?;
        }
        for (reason, n) in put_aside {
            if n > 0 {
                self.tally.discard(reason, n);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_score_is_written_once() {
        let mut written = Written::default();
        let place = |partition, offset| Source { partition, offset };
        for offset in [0, 63, 64, 1_000, 5] {
            assert!(written.add(place(1, offset)) && !written.add(place(1, offset)), "{offset}");
        }
        assert!(written.add(place(2, 63)) && written.add(place(1, 62)));
    }
}
