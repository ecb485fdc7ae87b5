//! How far each partition was delivered, and which offsets were passed over without a record. Pure.

use std::collections::BTreeMap;

use crate::{InRecord, TopicPartition};

/// Next offsets of the partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct Positions {
    next: BTreeMap<TopicPartition, i64>,
    /// The partition of the last record and the next offset in it, which is not in the map yet: records of a partition come
    /// one behind the other.
    place: Option<(TopicPartition, i64)>,
    /// Offsets that were passed over: `[from, to)`, the first ones of each partition, to be judged.
    gaps: BTreeMap<TopicPartition, (i64, i64)>,
}

impl Positions {
    /// A partition begins here.
    pub(super) fn begin(&mut self, partition: TopicPartition, next: i64) {
        self.keep_place();
        self.next.insert(partition, next);
    }

    /// A partition is ours no more.
    pub(super) fn end(&mut self, partition: &TopicPartition) {
        self.keep_place();
        self.next.remove(partition);
        self.gaps.remove(partition);
    }

    /// A record is delivered.
    pub(super) fn note(&mut self, record: &InRecord) {
        let next = record.offset + 1;
        if let Some(((name, partition), position)) = &mut self.place
            && (*partition, *position) == (record.partition, record.offset)
            && *name == record.kafka_topic
        {
            *position = next;
            return;
        }
        self.keep_place();
        let partition = record.topic_partition();
        let position = self.next.get(&partition).copied().unwrap_or(record.offset);
        if record.offset > position {
            self.passed_over(partition.clone(), (position, record.offset));
        }
        self.place = Some((partition, next));
    }

    fn keep_place(&mut self) {
        self.next.extend(self.place.take());
    }

    pub(super) fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// What was passed over, to be judged now.
    pub(super) fn take_gaps(&mut self) -> BTreeMap<TopicPartition, (i64, i64)> {
        std::mem::take(&mut self.gaps)
    }

    /// Notes a gap; the first one of a partition counts.
    pub(super) fn passed_over(&mut self, partition: TopicPartition, gap: (i64, i64)) {
        self.gaps.entry(partition).or_insert(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        ("telemetry".into(), partition)
    }

    fn note(positions: &mut Positions, partition: i32, offsets: impl IntoIterator<Item = i64>) {
        offsets.into_iter().for_each(|offset| positions.note(&InRecord::at("telemetry", partition, offset)));
    }

    #[test]
    fn offsets_without_a_record_are_noted_and_those_of_other_partitions_are_not_mixed_up() {
        let mut positions = Positions::default();
        positions.begin(at(0), 5);
        positions.begin(at(1), 0);
        note(&mut positions, 0, [5, 6]);
        note(&mut positions, 1, [0, 1]);
        note(&mut positions, 0, [7]);
        positions.note(&InRecord::at("scores", 0, 40));
        assert!(!positions.has_gaps(), "one behind the other; of a partition without a beginning nothing is missing");
        note(&mut positions, 0, [10, 11, 20]);
        note(&mut positions, 1, [4]);
        assert_eq!(positions.take_gaps(), [(at(0), (8, 10)), (at(1), (2, 4))].into());
        assert!(!positions.has_gaps());
        note(&mut positions, 0, [15, 16, 18]);
        assert_eq!(positions.take_gaps(), [(at(0), (17, 18))].into(), "a step back is no gap");
    }

    #[test]
    fn a_partition_that_comes_back_begins_where_it_is_told_and_leaves_nothing_behind() {
        let mut positions = Positions::default();
        positions.begin(at(0), 0);
        note(&mut positions, 0, [0, 3]);
        positions.end(&at(0));
        assert!(!positions.has_gaps() && positions.next.is_empty() && positions.place.is_none());
        note(&mut positions, 0, [1]);
        positions.begin(at(0), 100);
        note(&mut positions, 0, [100, 102]);
        assert_eq!(positions.take_gaps(), [(at(0), (101, 102))].into());
    }
}
