//! Which model scores which offset: a fold of the switch points on `model-events`. Pure.

use std::collections::BTreeMap;

use telemetry::{UnixMillis, event::ModelEvent};

use crate::registry::Wanted;

/// Where a version begins, and the move of the alias that asked for it.
#[derive(Debug, Clone)]
struct Point {
    from: i64,
    version: String,
    since: Option<UnixMillis>,
}

/// The switch points that count: of several for one partition, version and move of the alias, the first in the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    points: BTreeMap<i32, Vec<Point>>,
}

impl Timeline {
    /// One version for everything.
    pub(crate) fn of_one(version: &str, partitions: impl Iterator<Item = i32>) -> Self {
        let all = |partition| (partition, vec![Point { from: 0, version: version.to_owned(), since: None }]);
        Self { points: partitions.map(all).collect() }
    }

    /// Takes the log's next event.
    pub(crate) fn take(&mut self, event: ModelEvent) {
        let ModelEvent::SwitchPoint { partition, offset, version, since } = event else { return };
        let points = self.points.entry(partition).or_default();
        if points.iter().all(|known| known.version != version || known.since != since) {
            points.push(Point { from: offset, version, since });
        }
    }

    /// Reads an event; what is none is passed over.
    pub(crate) fn take_bytes(&mut self, payload: Option<&[u8]>) {
        match payload.map(serde_json::from_slice) {
            Some(Ok(event)) => self.take(event),
            Some(Err(error)) => tracing::warn!(%error, "an unreadable record on model-events"),
            None => {}
        }
    }

    /// The version that scores this offset: the one with the last switch point at or before it; of two at the
    /// same offset the later one in the log.
    pub(crate) fn at(&self, partition: i32, offset: i64) -> Option<&str> {
        let points = self.points.get(&partition)?.iter().filter(|point| point.from <= offset);
        points.max_by_key(|point| point.from).map(|point| point.version.as_str())
    }

    /// The versions that score from this offset on.
    pub(crate) fn from(&self, partition: i32, offset: i64) -> Vec<String> {
        let now = self.at(partition, offset).map(str::to_owned);
        let points = self.points.get(&partition).map_or(&[][..], Vec::as_slice);
        let later = points.iter().filter(|point| point.from > offset).map(|point| point.version.clone());
        now.into_iter().chain(later).collect()
    }

    /// The first offset at which an owner of the partition may let a new version begin. `next` is the first offset
    /// that it has not read, `end` the end of the partition as it was when the owner took it over.
    ///
    /// Scores are published before the offsets that they cover are committed. So the owner before may have published
    /// scores, by its model, for readings from `next` on; a point among them would say of these scores that another
    /// model made them. It can't have scored beyond `end`, because it can't have read beyond. On a partition without
    /// any point nothing was scored yet, and the version may begin at once.
    pub(crate) fn may_switch_at(&self, partition: i32, next: i64, end: i64) -> i64 {
        if self.points.contains_key(&partition) { next.max(end) } else { next }
    }

    /// Where the partition begins to be scored as the alias wants it.
    pub(crate) fn point(&self, partition: i32, wanted: &Wanted) -> Option<i64> {
        let is_meant = |point: &&Point| point.version == wanted.version && point.since == Some(wanted.since);
        self.points.get(&partition)?.iter().find(is_meant).map(|point| point.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(partition: i32, offset: i64, version: &str, since: UnixMillis) -> ModelEvent {
        ModelEvent::SwitchPoint { partition, offset, version: version.into(), since: Some(since) }
    }

    #[test]
    fn the_first_point_of_a_version_wins_and_the_last_before_an_offset_counts() {
        let mut timeline = Timeline::default();
        for (partition, offset, version) in [(0, 100, "a"), (0, 50, "a"), (0, 200, "b"), (1, 0, "b"), (0, 200, "c")] {
            timeline.take(point(partition, offset, version, 7));
        }
        assert_eq!(timeline.at(0, 99), None);
        assert_eq!(timeline.at(0, 100), Some("a"));
        assert_eq!(timeline.at(0, 199), Some("a"));
        assert_eq!(timeline.at(0, 200), Some("c"));
        assert_eq!(timeline.at(1, 0), Some("b"));
        assert_eq!(timeline.point(0, &Wanted { version: "a".into(), since: 7 }), Some(100));
    }

    #[test]
    fn after_a_rollback_the_version_of_before_scores_again() {
        let mut timeline = Timeline::default();
        timeline.take(point(0, 100, "a", 1));
        timeline.take(point(0, 200, "b", 2));
        let back = Wanted { version: "a".into(), since: 3 };
        assert_eq!(timeline.point(0, &back), None, "the move back is another than the first one");
        timeline.take(point(0, 300, "a", 3));
        timeline.take(point(0, 250, "a", 3));
        assert_eq!(timeline.point(0, &back), Some(300));
        assert_eq!([100, 200, 299, 300].map(|offset| timeline.at(0, offset).unwrap()), ["a", "b", "b", "a"]);
        assert_eq!(timeline.from(0, 150), ["a", "b", "a"]);
    }

    #[test]
    fn a_switch_after_a_takeover_leaves_the_scores_of_the_owner_before_alone() {
        let mut timeline = Timeline::default();
        // No model yet: what is recorded is scored from the first reading on.
        assert_eq!(timeline.may_switch_at(0, 40, 100), 40);
        timeline.take(point(0, 10, "a", 1));
        // Committed up to 40; the owner before may have scored up to 99, by model a.
        let point = timeline.may_switch_at(0, 40, 100);
        timeline.take(self::point(0, point, "b", 2));
        assert!((40..100).all(|offset| timeline.at(0, offset) == Some("a")));
        assert_eq!(timeline.at(0, 100), Some("b"));
        // Once the owner has read beyond that end itself, it switches where it stands.
        assert_eq!(timeline.may_switch_at(0, 130, 100), 130);
        assert_eq!(timeline.may_switch_at(1, 40, 100), 40);
    }
}
