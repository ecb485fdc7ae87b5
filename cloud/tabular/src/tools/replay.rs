//! Which records of `telemetry` an export takes: one verdict for both of its passes.

use std::{collections::BTreeMap, ops::Range};

use cloud_log::{InRecord, Seen};
use service::Error;
use telemetry::{Encoding, PayloadHash, Record, UnixMillis, kafka_topic::header, time::window_time};

use super::summary::moment;

/// Judges records in the order of the log.
pub(super) struct Judge {
    /// Window time to keep, as every role judges it: event time, unless the clock was not believed.
    pub(super) within: Range<UnixMillis>,
    /// Keep what was there already.
    pub(super) keep_duplicates: bool,
    seen: Seen,
    kept: u64,
    /// First and last window time of all that could be read.
    times: Option<(UnixMillis, UnixMillis)>,
}

impl Judge {
    pub(super) fn new(within: Range<UnixMillis>, keep_duplicates: bool) -> Self {
        Self { within, keep_duplicates, seen: Seen::default(), kept: 0, times: None }
    }

    /// The record, or why it is left out. Of readings with one identity the first in the log is kept.
    pub(super) fn judge(&mut self, record: &InRecord) -> Result<Record, &'static str> {
        let content_type = record.header(header::CONTENT_TYPE).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let payload = record.payload.as_deref().unwrap_or_default();
        let encoding = Encoding::from_content_type(content_type).map_err(|_| "unreadable")?;
        let decoded = telemetry::decode(payload, encoding, None).map_err(|_| "unreadable")?;
        let time = window_time(decoded.time, record.timestamp).time;
        self.times = Some(self.times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
        if !self.within.contains(&time) {
            return Err("out_of_range");
        }
        let new = self.seen.note(&decoded.vehicle, decoded.boot, decoded.seq);
        if !new && !self.keep_duplicates {
            return Err("duplicate");
        }
        self.kept += 1;
        Ok(decoded)
    }

    /// Refuses a range in which nothing was kept: `place` says where was looked.
    pub(super) fn must_have_kept(&self, place: &str) -> Result<(), Error> {
        if self.kept > 0 {
            return Ok(());
        }
        Err(Error::BadInput(match self.times {
            Some((first, last)) => {
                let (first, last) = (moment(first), moment(last));
                format!("no reading in the range; {place} holds event times {first} to {last}")
            }
            None => format!("no reading in the range; {place} holds none at all"),
        }))
    }
}

/// What became of the records of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) received: u64,
    pub(super) written: u64,
    pub(super) discarded: BTreeMap<&'static str, u64>,
    /// A chain of hashes over the payloads that were written, as a model's card has it.
    chain: u64,
}

impl Span {
    pub(super) fn take(&mut self, record: &InRecord, judged: Result<(), &'static str>) {
        self.received += 1;
        match judged {
            Ok(()) => {
                self.written += 1;
                let mut link = self.chain.to_le_bytes().to_vec();
                link.extend(record.payload.as_deref().unwrap_or_default());
                self.chain = PayloadHash::of(&link).0;
            }
            Err(reason) => *self.discarded.entry(reason).or_default() += 1,
        }
    }

    pub(super) fn hash(&self) -> String {
        PayloadHash(self.chain).to_string()
    }

    pub(super) fn balances(&self) -> bool {
        self.received == self.written + self.discarded.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::{START, row};

    pub(crate) fn record(offset: i64, seq: u64, time: UnixMillis) -> InRecord {
        let mut record = row("veh-1", seq, time).record;
        record.seq = seq;
        let payload = Some(telemetry::encode(&record, Encoding::Json).unwrap().into());
        InRecord { timestamp: START, payload, ..InRecord::at("telemetry", 0, offset) }
    }

    #[test]
    fn the_first_of_one_identity_is_kept_and_the_sum_holds() {
        let mut broken = record(4, 9, START);
        broken.payload = None;
        let records =
            [record(0, 1, START), record(1, 2, START + 1), record(2, 1, START), record(3, 3, START - 1), broken];
        let run = |keep: bool| {
            let mut judge = Judge::new(START..START + 9, keep);
            let mut span = Span::default();
            records.iter().for_each(|record| span.take(record, judge.judge(record).map(|_| ())));
            assert!(span.balances(), "{span:?}");
            span
        };
        let span = run(false);
        assert_eq!((span.received, span.written), (5, 2));
        assert_eq!(span.discarded, BTreeMap::from([("duplicate", 1), ("out_of_range", 1), ("unreadable", 1)]));
        assert_eq!(run(true).written, 3);
        assert_eq!(run(false).hash(), span.hash());
        assert_ne!(run(true).hash(), span.hash());
    }

    #[test]
    fn a_clock_that_nobody_believes_is_judged_by_ingest_time() {
        let mut judge = Judge::new(START..START + 9, false);
        assert!(judge.judge(&record(0, 1, START + 86_400_000)).is_ok());
    }

    #[test]
    fn a_range_without_a_reading_is_told_what_there_is() {
        let mut judge = Judge::new(0..9, false);
        let refusal = |judge: &Judge| judge.must_have_kept("telemetry").unwrap_err().to_string();
        assert!(refusal(&judge).ends_with("telemetry holds none at all"));
        for (seq, time) in [(1, START + 5_000), (2, START)] {
            assert_eq!(judge.judge(&record(0, seq, time)).unwrap_err(), "out_of_range");
        }
        let (first, last) = (moment(START), moment(START + 5_000));
        assert!(refusal(&judge).ends_with(&format!("telemetry holds event times {first} to {last}")));
        judge.within = START..START + 1;
        judge.judge(&record(0, 3, START)).unwrap();
        judge.must_have_kept("telemetry").unwrap();
    }
}
