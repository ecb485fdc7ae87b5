//! Bounded replay of `telemetry` into history: all partitions, by exact offsets or by event time.
//!
//! Readings are put in order of (boot, seq) per vehicle and duplicates dropped, whatever the log's order.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use cloud_log::{InRecord, KafkaConfig};
use detector::{Layout, Recorded, Span, layout::STEP_MS};
use service::{Error, Tally};
use telemetry::{
    Encoding, Invalid, PayloadHash, Record, UnixMillis, Value, VehicleId, kafka_topic, kafka_topic::header,
    time::window_time,
};

/// What to replay.
#[derive(Debug, Clone, PartialEq)]
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
    pub history: Recorded,
    /// Records read from Kafka.
    pub received: u64,
    /// Records put aside, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
}

impl Replayed {
    /// Adds to a tally; what was learnt from counts as sent.
    pub fn count_into(&self, tally: &mut Tally) {
        tally.received += self.received;
        tally.sent += self.history.records();
        for (reason, n) in &self.discarded {
            tally.discard(reason, *n);
        }
    }
}

/// Collects records, in any order, into [`Replayed`].
#[derive(Debug, Default)]
pub struct Collector {
    readings: BTreeMap<VehicleId, BTreeMap<(u32, u64), Reading>>,
    spans: BTreeMap<i32, Chain>,
    received: u64,
    discarded: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Chain {
    from: i64,
    to: i64,
    count: u64,
    hash: u64,
}

impl Collector {
    /// Takes a record; `within` is the window time to keep.
    pub fn take(&mut self, record: &InRecord, within: &std::ops::Range<UnixMillis>) {
        self.received += 1;
        let chain = self.spans.entry(record.partition).or_insert(Chain { from: record.offset, ..Chain::default() });
        chain.to = record.offset + 1;
        let Ok(mut reading) = read(record) else {
            return self.discard("unreadable");
        };
        if !within.contains(&reading.time) {
            return self.discard("out_of_range");
        }
        reading.record.position = None;
        let own = self.readings.entry(reading.record.vehicle.clone()).or_default();
        match own.entry((reading.record.boot, reading.record.seq)) {
            Entry::Occupied(_) => self.discard("duplicate"),
            Entry::Vacant(entry) => {
                entry.insert(reading);
                chain.count += 1;
                let mut link = chain.hash.to_le_bytes().to_vec();
                link.extend(record.payload.as_deref().unwrap_or_default());
                chain.hash = PayloadHash::of(&link).0;
            }
        }
    }

    fn discard(&mut self, reason: &'static str) {
        *self.discarded.entry(reason).or_default() += 1;
    }

    /// The history.
    ///
    /// # Errors
    /// If the readings name too many signals that the catalogue lacks.
    pub fn finish(self) -> Result<Replayed, detector::Error> {
        let mut foreign = BTreeSet::new();
        let readings = || self.readings.values().flat_map(BTreeMap::values);
        for (path, value) in readings().flat_map(|reading| reading.record.signals.unknown()) {
            if matches!(value, Value::Number(_)) && !foreign.contains(path) {
                foreign.insert(path.to_owned());
            }
        }
        let layout = Layout::new(foreign, step_ms(self.readings.values()))?;
        let mut history = Recorded::new(Arc::new(layout));
        for reading in self.readings.into_values().flat_map(BTreeMap::into_values) {
            history.push(&reading.record, reading.time);
        }
        for (partition, chain) in self.spans {
            let hash = PayloadHash(chain.hash).to_string();
            history.note_span(Span { partition, from: chain.from, to: chain.to, count: chain.count, hash });
        }
        Ok(Replayed { history, received: self.received, discarded: self.discarded })
    }
}

/// How far apart the readings of a vehicle usually are, in two digits, ms: a little more or less must not make another
/// layout.
fn step_ms<'a>(vehicles: impl Iterator<Item = &'a BTreeMap<(u32, u64), Reading>>) -> i64 {
    let mut gaps: Vec<i64> = Vec::new();
    for readings in vehicles {
        let times = readings.values().map(|reading| reading.time);
        gaps.extend(times.clone().zip(times.skip(1)).map(|(a, b)| b - a).filter(|gap| *gap > 0));
    }
    let middle = gaps.len() / 2;
    if gaps.is_empty() {
        return STEP_MS;
    }
    let (_, median, _) = gaps.select_nth_unstable(middle);
    let unit = 10_i64.pow(median.ilog10().saturating_sub(1));
    (*median + unit / 2) / unit * unit
}

/// Replays. Of more than `max_records` records the newest of each partition count.
///
/// # Errors
/// If Kafka can't be reached or offsets are named that are not there.
pub async fn replay(kafka: &KafkaConfig, range: &Range, max_records: u64) -> Result<Replayed, Error> {
    let (mut offsets, within) = match range {
        Range::Offsets(offsets) => (offsets.clone(), UnixMillis::MIN..UnixMillis::MAX),
        Range::Time { from, to } => {
            let marks = cloud_log::History::watermarks(kafka, kafka_topic::TELEMETRY).await?;
            (marks.into_iter().map(|(partition, (low, high))| (partition, low..high)).collect(), *from..*to)
        }
    };
    bound(&mut offsets, max_records);
    let mut collector = Collector::default();
    let mut log = cloud_log::History::open(kafka, kafka_topic::TELEMETRY, offsets).await?;
    while let Some(records) = log.next(4_096).await? {
        records.iter().for_each(|record| collector.take(record, &within));
        tokio::task::yield_now().await;
    }
    let replayed = tokio::task::spawn_blocking(|| collector.finish()).await.map_err(anyhow::Error::from)?;
    let replayed = replayed.map_err(|error| Error::VerdictFailed(error.to_string()))?;
    crate::metrics::replayed(replayed.received, replayed.history.records());
    for (reason, n) in &replayed.discarded {
        crate::metrics::discarded(reason, *n);
    }
    Ok(replayed)
}

/// Cuts each range to its newest part, in proportion.
fn bound(offsets: &mut BTreeMap<i32, std::ops::Range<i64>>, max_records: u64) {
    let total: i64 = offsets.values().map(|range| (range.end - range.start).max(0)).sum();
    if u64::try_from(total).unwrap_or_default() <= max_records {
        return;
    }
    let share = max_records as f64 / total as f64;
    for range in offsets.values_mut() {
        range.start = range.end - ((range.end - range.start) as f64 * share) as i64;
    }
    tracing::warn!(total, max_records, "more records than --max-records: only the newest are learnt from");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use telemetry::{Kind, Signals, signal};

    use super::*;

    fn record(offset: i64, seq: u64, time: UnixMillis) -> InRecord {
        let mut signals = Signals::new();
        signals.insert(signal::SPEED, Value::Number(50.0)).unwrap();
        let record = Record {
            schema: telemetry::SCHEMA,
            vehicle: VehicleId::parse("veh-1").unwrap(),
            boot: 1,
            seq,
            time,
            kind: Kind::Full,
            signals,
            position: None,
        };
        InRecord {
            kafka_topic: Arc::from(kafka_topic::TELEMETRY),
            partition: 0,
            offset,
            timestamp: time,
            key: None,
            payload: Some(telemetry::encode(&record, Encoding::Json).unwrap()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn order_and_duplicates_do_not_matter_and_the_sum_holds() {
        let start = 1_763_700_000_000;
        let mut collector = Collector::default();
        for (offset, seq) in [(0, 2), (1, 1), (2, 2), (3, 3), (4, 4)] {
            collector.take(&record(offset, seq, start + seq as i64), &(start..start + 4));
        }
        let mut broken = record(5, 9, start);
        broken.payload = Some(b"{".to_vec());
        collector.take(&broken, &(start..start + 4));
        let replayed = collector.finish().unwrap();
        let mut tally = Tally::default();
        replayed.count_into(&mut tally);
        assert!(tally.balances(), "{tally:?}");
        assert_eq!((tally.received, tally.sent), (6, 3));
        assert_eq!(replayed.discarded, BTreeMap::from([("duplicate", 1), ("out_of_range", 1), ("unreadable", 1)]));
    }

    #[test]
    fn the_newest_part_is_kept() {
        let mut offsets = BTreeMap::from([(0, 0..100), (1, 50..350)]);
        bound(&mut offsets, 40);
        assert_eq!(offsets, BTreeMap::from([(0, 90..100), (1, 320..350)]));
    }
}
