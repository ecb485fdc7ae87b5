//! What waits for its transaction, by partition of `telemetry`. Pure.
//!
//! A transaction holds, of each partition, what came of the records up to the thread's answer to the question for states;
//! the states as of then; and how far that is. All of it or nothing: a state whose scores are missing would hide them
//! for ever. Of a partition that was given up nothing is written; its next owner begins at what stands there.

use std::collections::{BTreeMap, BTreeSet};

use cloud_log::{OutRecord, Part, TopicPartition};
use telemetry::{UnixMillis, kafka_topic::TELEMETRY};

use crate::desk::Mark;

/// So many records may wait, or so many bytes of them; then nothing more is read until a transaction is through.
const MOST: usize = 32_768;
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// What stands beside a committed offset: how far scores are published.
const SCORED: &str = "scored=";

/// How far scores are published of a partition that begins at this offset, by the note beside it.
pub(super) fn scored(note: &str, next: i64) -> i64 {
    note.strip_prefix(SCORED).and_then(|text| text.parse().ok()).unwrap_or(next).max(next)
}

/// What came of one partition's records.
#[derive(Debug, Default)]
struct Share {
    records: Vec<OutRecord>,
    bytes: usize,
    /// How many of them are scores, and when the reading of the last one was taken in.
    scores: u64,
    ingest: Option<UnixMillis>,
}

impl Share {
    fn push(&mut self, record: OutRecord, ingest: Option<UnixMillis>) {
        self.bytes += record.key.len() + record.payload.as_ref().map_or(0, |payload| payload.len());
        self.records.push(record);
        self.scores += u64::from(ingest.is_some());
        self.ingest = ingest.or(self.ingest);
    }

    fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.bytes += other.bytes;
        self.scores += other.scores;
        self.ingest = other.ingest.or(self.ingest);
    }
}

/// A part that is being written.
#[derive(Debug)]
struct Written {
    tenure: u64,
    mark: Mark,
    scores: u64,
    ingest: Option<UnixMillis>,
}

/// What came of a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Of each part that stands there, when the reading of its last score was taken in.
    pub(super) ingests: Vec<UnixMillis>,
    /// Scores that were left to the next owner of their partition.
    pub(super) left: u64,
}

/// What waits, and what is being written.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tenures: BTreeMap<i32, u64>,
    /// Before the states that are asked for, or will be.
    now: BTreeMap<i32, Share>,
    /// Behind them: the next transaction's.
    later: BTreeMap<i32, Share>,
    under_way: BTreeMap<i32, Written>,
    /// How far each partition is by what stands there.
    stands: BTreeMap<i32, Mark>,
}

impl Ledger {
    /// The partition is ours, in this tenure.
    pub(super) fn own(&mut self, partition: i32, tenure: u64) {
        self.tenures.insert(partition, tenure);
    }

    /// The partition is ours no more; how many scores are left to its next owner. One more word on what is being written
    /// comes with [`Ledger::settle`].
    pub(super) fn give_up(&mut self, partition: i32) -> u64 {
        self.tenures.remove(&partition);
        self.stands.remove(&partition);
        let waiting = [self.now.remove(&partition), self.later.remove(&partition)];
        waiting.into_iter().flatten().map(|share| share.scores).sum()
    }

    /// Takes a record that came of this partition; a score has the time at which its reading was taken in. `is_behind`:
    /// the partition's thread has answered already. Whether the partition is ours.
    pub(super) fn enter(
        &mut self,
        partition: i32,
        record: OutRecord,
        ingest: Option<UnixMillis>,
        is_behind: bool,
    ) -> bool {
        if !self.tenures.contains_key(&partition) {
            return false;
        }
        let shares = if is_behind { &mut self.later } else { &mut self.now };
        shares.entry(partition).or_default().push(record, ingest);
        true
    }

    pub(super) fn has_room(&self) -> bool {
        let waiting = || self.now.values().chain(self.later.values());
        waiting().map(|share| share.records.len()).sum::<usize>() < MOST
            && waiting().map(|share| share.bytes).sum::<usize>() < MOST_BYTES
    }

    /// Scores that do not stand there yet.
    pub(super) fn scores(&self) -> u64 {
        let waiting = self.now.values().chain(self.later.values()).map(|share| share.scores);
        waiting.sum::<u64>() + self.under_way.values().map(|part| part.scores).sum::<u64>()
    }

    /// The transaction of these answers; empty where nothing has changed. [`Ledger::settle`] has to follow.
    pub(super) fn close(&mut self, states: Vec<OutRecord>, marks: BTreeMap<i32, Mark>) -> Vec<Part> {
        let mut by_partition: BTreeMap<i32, Vec<OutRecord>> = BTreeMap::new();
        for state in states {
            by_partition.entry(state.partition.unwrap_or_default()).or_default().push(state);
        }
        let mut parts = Vec::new();
        for (partition, mark) in marks {
            let Some(tenure) = self.tenures.get(&partition).copied() else { continue };
            let Share { mut records, scores, ingest, .. } = self.now.remove(&partition).unwrap_or_default();
            records.append(&mut by_partition.remove(&partition).unwrap_or_default());
            if records.is_empty() && self.stands.get(&partition) == Some(&mark) {
                continue;
            }
            self.under_way.insert(partition, Written { tenure, mark, scores, ingest });
            let (source, note) = ((TELEMETRY.into(), partition), format!("{SCORED}{}", mark.scored));
            parts.push(Part { source, tenure, records, next: mark.needed, note });
        }
        for (partition, share) in std::mem::take(&mut self.later) {
            self.now.entry(partition).or_default().append(share);
        }
        parts
    }

    /// The transaction stands, without what was left out.
    pub(super) fn settle(&mut self, left_out: &BTreeSet<TopicPartition>) -> Settled {
        let mut settled = Settled::default();
        let left_out: BTreeSet<i32> = left_out.iter().map(|(_, partition)| *partition).collect();
        for (partition, Written { tenure, mark, scores, ingest }) in std::mem::take(&mut self.under_way) {
            if left_out.contains(&partition) {
                settled.left += scores;
                continue;
            }
            settled.ingests.extend(ingest);
            if self.tenures.get(&partition) == Some(&tenure) {
                self.stands.insert(partition, mark);
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> OutRecord {
        OutRecord::new("scores", "veh", text)
    }

    fn state(partition: i32, text: &str) -> OutRecord {
        OutRecord { partition: Some(partition), ..record(text) }
    }

    fn mark(needed: i64, scored: i64) -> Mark {
        Mark { needed, scored }
    }

    fn shape(parts: &[Part]) -> Vec<(i32, u64, String, i64, String)> {
        let text = |record: &OutRecord| String::from_utf8(record.payload.clone().unwrap().into()).unwrap();
        let shape = |part: &Part| {
            let records: Vec<_> = part.records.iter().map(text).collect();
            (part.source.1, part.tenure, records.join(" "), part.next, part.note.clone())
        };
        parts.iter().map(shape).collect()
    }

    fn left_out(partition: i32) -> BTreeSet<TopicPartition> {
        [(TELEMETRY.into(), partition)].into()
    }

    #[test]
    fn a_note_says_how_far_scores_are_published() {
        assert_eq!([scored("scored=70", 40), scored("", 40), scored("scored=30", 40), scored("x", 4)], [70, 40, 40, 4]);
    }

    #[test]
    fn a_transaction_holds_what_came_before_its_states_and_the_next_one_the_rest() {
        let mut ledger = Ledger::default();
        ledger.own(1, 7);
        ledger.own(2, 8);
        assert!(ledger.enter(1, record("a"), Some(5), false) && ledger.enter(2, record("b"), None, false));
        // The first partition's thread has answered; the second one's has not.
        assert!(ledger.enter(1, record("c"), Some(6), true) && ledger.enter(2, record("d"), Some(9), false));
        assert!(!ledger.enter(3, record("e"), Some(6), false));
        let states = vec![state(2, "s2"), state(1, "s1")];
        let parts = ledger.close(states, [(1, mark(10, 20)), (2, mark(30, 40)), (3, mark(0, 0))].into());
        let expected = [
            (1, 7, "a s1".to_owned(), 10, "scored=20".to_owned()),
            (2, 8, "b d s2".to_owned(), 30, "scored=40".to_owned()),
        ];
        assert_eq!(shape(&parts), expected);
        assert_eq!(ledger.scores(), 3);
        ledger.enter(2, record("f"), Some(11), false);
        assert_eq!(ledger.settle(&BTreeSet::new()), Settled { ingests: vec![5, 9], left: 0 });
        assert_eq!(ledger.scores(), 2);
        let parts = ledger.close(Vec::new(), [(1, mark(10, 21)), (2, mark(30, 41))].into());
        let records: Vec<_> =
            shape(&parts).into_iter().map(|(partition, _, records, ..)| (partition, records)).collect();
        assert_eq!(records, [(1, "c".to_owned()), (2, "f".to_owned())]);
        ledger.settle(&BTreeSet::new());
        // Nothing new: no transaction. An offset alone is one.
        assert!(ledger.close(Vec::new(), [(1, mark(10, 21)), (2, mark(30, 41))].into()).is_empty());
        assert_eq!(ledger.close(Vec::new(), [(1, mark(11, 21)), (2, mark(30, 41))].into()).len(), 1);
    }

    #[test]
    fn records_and_their_bytes_are_bounded_until_a_transaction_takes_them() {
        for (count, payload) in [(MOST, 1), (4, MOST_BYTES / 4)] {
            let mut ledger = Ledger::default();
            ledger.own(1, 7);
            for at in 0..count {
                assert!(ledger.has_room(), "{at} of {count}");
                ledger.enter(1, OutRecord::new("scores", "veh", vec![0; payload]), None, at % 2 == 0);
            }
            assert!(!ledger.has_room());
            ledger.close(Vec::new(), [(1, mark(10, 20))].into());
            assert!(ledger.has_room(), "half of it is the next one's");
        }
    }

    #[test]
    fn of_a_partition_that_was_given_up_nothing_is_written_and_its_scores_are_the_next_owners() {
        let mut ledger = Ledger::default();
        ledger.own(1, 7);
        ledger.own(2, 8);
        for partition in [1, 2] {
            ledger.enter(partition, record("a"), Some(5), false);
            ledger.enter(partition, record("b"), Some(5), true);
        }
        let marks = || [(1, mark(10, 20)), (2, mark(30, 40))].into();
        assert_eq!(ledger.close(Vec::new(), marks()).len(), 2);
        assert_eq!(ledger.give_up(1), 1, "what waits");
        assert!(!ledger.enter(1, record("c"), Some(6), false));
        assert_eq!(ledger.settle(&left_out(1)), Settled { ingests: vec![5], left: 1 });
        // Ours again: it begins anew.
        ledger.own(1, 9);
        ledger.enter(1, record("d"), Some(6), false);
        let parts = ledger.close(vec![state(1, "s")], marks());
        assert_eq!(shape(&parts)[0], (1, 9, "d s".to_owned(), 10, "scored=20".to_owned()));
    }
}
