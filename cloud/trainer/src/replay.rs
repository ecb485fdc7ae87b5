//! Bounded replay of `telemetry` into a [`Spool`]: all partitions, by exact offsets or by event time, resumable.
//!
//! Readings are put in order of (boot, seq) per vehicle and duplicates dropped, whatever the log's order.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_log::{History, InRecord, KafkaConfig, Watermarks};
use serde::{Deserialize, Serialize};
use service::{Error, Tally};
use telemetry::{
    Encoding, Invalid, Record, UnixMillis, kafka_topic, kafka_topic::header, time::MAX_AHEAD_MS, time::window_time,
};
use tokio::sync::mpsc;

use crate::spool::{Checkpoint, Folder, Source, Spool, Spooler};

/// What to replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Everything that is there now and whose window time lies within, ms.
    Time {
        /// From, inclusive.
        from: UnixMillis,
        /// To, exclusive.
        to: UnixMillis,
    },
    /// Exact offsets per partition.
    Offsets(BTreeMap<i32, std::ops::Range<i64>>),
}

impl Range {
    /// Everything that is there now.
    pub const ALL: Self = Self::Time { from: UnixMillis::MIN, to: UnixMillis::MAX };
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { from: UnixMillis::MIN, to: UnixMillis::MAX } => f.write_str("everything"),
            Self::Time { from, to: UnixMillis::MAX } => write!(f, "times from {from} on"),
            Self::Time { from: UnixMillis::MIN, to } => write!(f, "times before {to}"),
            Self::Time { from, to } => write!(f, "times {from} to {to}"),
            Self::Offsets(offsets) => {
                let ranges = offsets.iter().map(|(partition, r)| format!("{partition}:{}-{}", r.start, r.end));
                write!(f, "offsets {}", ranges.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// A reading and its window time, ms.
#[derive(Debug)]
pub struct Reading {
    /// The record.
    pub record: Record,
    /// Window time.
    pub time: UnixMillis,
}

/// Decodes a record of `telemetry`.
///
/// # Errors
/// If the payload breaks the contract.
pub fn read(record: &InRecord) -> Result<Reading, Invalid> {
    let content_type = record.header(header::CONTENT_TYPE).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let encoding = Encoding::from_content_type(content_type)?;
    let decoded = telemetry::decode(record.payload.as_deref().unwrap_or_default(), encoding, None)?;
    let time = window_time(decoded.time, record.timestamp).time;
    Ok(Reading { record: decoded, time })
}

/// History and what became of the records.
#[derive(Debug)]
pub struct Replayed {
    /// To learn from.
    pub history: Spool,
    /// Records read from Kafka.
    pub received: u64,
    /// Records put aside, by reason.
    pub discarded: BTreeMap<String, u64>,
}

impl Replayed {
    fn of(history: Spool, checkpoint: Checkpoint) -> Self {
        Self { history, received: checkpoint.received, discarded: checkpoint.discarded }
    }

    /// Adds to a tally; what was learnt from counts as sent.
    pub fn count_into(&self, tally: &mut Tally) {
        tally.received += self.received;
        tally.sent += self.history.records();
        for (reason, n) in &self.discarded {
            tally.discard(reason, *n);
        }
    }
}

/// Where to spool, and how much.
#[derive(Debug, Clone, Default)]
pub struct Spooling {
    /// A folder that stays, so that an interrupted replay can go on; none: a temporary one.
    pub folder: Option<PathBuf>,
    /// Of more records the newest of each partition.
    pub most: Option<u64>,
}

/// Records wait in so many pieces between Kafka and the disk.
const WAITING: usize = 8;
const PIECE: usize = 4_096;
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Replays.
///
/// # Errors
/// If Kafka can't be reached, offsets are named that are not there, or the folder is of another replay.
pub async fn replay(kafka: &KafkaConfig, range: &Range, spooling: &Spooling) -> Result<Replayed, Error> {
    // Refused before any socket opens.
    let folder = Folder::open(spooling.folder.as_deref())?;
    let found = folder.checkpoint(range)?;
    let marks = Watermarks::new(kafka)?;
    let cluster = marks.cluster().await?;
    let mut spooler = match found {
        Some(checkpoint) if checkpoint.source.cluster != cluster => {
            return Err(folder.of_another_cluster(&checkpoint.source.cluster, &cluster));
        }
        Some(checkpoint) => {
            tracing::info!(received = checkpoint.received, "going on with an interrupted replay");
            blocking(move || Spooler::resume(folder, checkpoint)).await?
        }
        None => {
            let offsets = resolve(&marks, range, spooling.most).await?;
            Spooler::new(folder, Source { cluster, asked: range.clone(), offsets })
        }
    };
    let left = spooler.checkpoint().left();
    let mut progress = Progress::new(&left);
    if !left.is_empty() {
        let mut log = History::open(kafka, kafka_topic::TELEMETRY, left).await?;
        // The disk and the decoding have a thread of their own.
        let (pieces, mut taken) = mpsc::channel::<Vec<InRecord>>(WAITING);
        let spooled = tokio::task::spawn_blocking(move || {
            while let Some(records) = taken.blocking_recv() {
                records.iter().try_for_each(|record| spooler.take(record))?;
                progress.tell(records.len());
            }
            Ok::<_, Error>(spooler)
        });
        while let Some(records) = log.next(PIECE).await? {
            if pieces.send(records).await.is_err() {
                // It has ended early; it says why.
                break;
            }
        }
        drop(pieces);
        spooler = spooled.await.map_err(anyhow::Error::from)??;
    }
    let (history, checkpoint) = blocking(move || spooler.finish()).await?;
    let replayed = Replayed::of(history, checkpoint);
    crate::metrics::replayed(replayed.received, replayed.history.records());
    for (reason, n) in &replayed.discarded {
        crate::metrics::discarded(reason, *n);
    }
    Ok(replayed)
}

/// The first and the last event time of everything that is there now; none where nothing can be read.
///
/// # Errors
/// If Kafka can't be reached.
pub(crate) async fn times(kafka: &KafkaConfig) -> Result<Option<(UnixMillis, UnixMillis)>, Error> {
    let (mut log, mut times) = (History::everything(kafka, kafka_topic::TELEMETRY).await?, None);
    while let Some(records) = log.next(PIECE).await? {
        for Reading { time, .. } in records.iter().filter_map(|record| read(record).ok()) {
            let (from, to) = times.unwrap_or((time, time));
            times = Some((from.min(time), to.max(time)));
        }
    }
    Ok(times)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?
}

/// The offsets that a range means now.
async fn resolve(
    marks: &Watermarks,
    range: &Range,
    most: Option<u64>,
) -> Result<BTreeMap<i32, std::ops::Range<i64>>, Error> {
    let mut offsets = match range {
        Range::Offsets(offsets) => offsets.clone(),
        Range::Time { from, .. } => {
            let now = marks.of(kafka_topic::TELEMETRY).await?;
            let mut offsets: BTreeMap<_, _> = now.into_iter().map(|(p, (low, high))| (p, low..high)).collect();
            // A window time is at most so much later than its ingest time: what was ingested before that is not in the
            // range. Where the range ends, nothing follows: a record may come days after its event.
            if let Some(since) = from.checked_sub(MAX_AHEAD_MS).filter(|since| *since > 0) {
                skip_to(&mut offsets, &marks.since(kafka_topic::TELEMETRY, since).await?);
            }
            offsets
        }
    };
    if let Some(most) = most {
        bound(&mut offsets, most);
    }
    Ok(offsets)
}

/// Begins each range at its first record of a time; partitions without such a record have nothing.
fn skip_to(offsets: &mut BTreeMap<i32, std::ops::Range<i64>>, firsts: &BTreeMap<i32, i64>) {
    for (partition, range) in offsets {
        let first = firsts.get(partition).copied().unwrap_or(range.end);
        range.start = first.clamp(range.start, range.end);
    }
}

/// Cuts each range to its newest part, in proportion.
fn bound(offsets: &mut BTreeMap<i32, std::ops::Range<i64>>, most: u64) {
    let total: i64 = offsets.values().map(|range| (range.end - range.start).max(0)).sum();
    if u64::try_from(total).unwrap_or_default() <= most {
        return;
    }
    let share = most as f64 / total as f64;
    for range in offsets.values_mut() {
        range.start = range.end - ((range.end - range.start) as f64 * share) as i64;
    }
    tracing::warn!(total, most, "more records than --max-records: only the newest are learnt from");
}

/// Tells now and then how far a replay is.
struct Progress {
    total: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(left: &BTreeMap<i32, std::ops::Range<i64>>) -> Self {
        let total = left.values().map(|range| u64::try_from(range.end - range.start).unwrap_or_default()).sum();
        let now = Instant::now();
        Self { total, done: 0, started: now, told: now }
    }

    fn tell(&mut self, records: usize) {
        self.done += records as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let per_s = (self.done as f64 / self.started.elapsed().as_secs_f64()).round();
            tracing::info!(records = self.done, of = self.total, per_s, "replaying");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_part_is_kept() {
        let mut offsets = BTreeMap::from([(0, 0..100), (1, 50..350)]);
        bound(&mut offsets, 40);
        assert_eq!(offsets, BTreeMap::from([(0, 90..100), (1, 320..350)]));
    }

    #[test]
    fn a_time_narrows_a_range_and_never_widens_it() {
        let mut offsets = BTreeMap::from([(0, 10..100), (1, 50..350), (2, 5..9)]);
        skip_to(&mut offsets, &BTreeMap::from([(0, 3), (1, 200)]));
        assert_eq!(offsets, BTreeMap::from([(0, 10..100), (1, 200..350), (2, 9..9)]));
    }

    #[test]
    fn a_range_says_what_it_is() {
        assert_eq!(Range::ALL.to_string(), "everything");
        assert_eq!(Range::Time { from: 5, to: 9 }.to_string(), "times 5 to 9");
        assert_eq!(Range::Offsets(BTreeMap::from([(0, 1..2), (3, 0..7)])).to_string(), "offsets 0:1-2,3:0-7");
        for range in [Range::ALL, Range::Offsets(BTreeMap::from([(0, 1..2)]))] {
            let text = serde_json::to_string(&range).unwrap();
            assert_eq!(serde_json::from_str::<Range>(&text).unwrap(), range);
        }
    }
}
