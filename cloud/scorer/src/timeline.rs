//! Which model scores which offset: a fold of the switch points on `model-events`. Pure.

use std::collections::BTreeMap;

use telemetry::event::ModelEvent;

/// The switch points that count: of several for one partition and version, the first in the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    points: BTreeMap<i32, Vec<(i64, String)>>,
}

impl Timeline {
    /// Takes the log's next event.
    pub(crate) fn take(&mut self, event: ModelEvent) {
        let ModelEvent::SwitchPoint { partition, offset, version } = event else { return };
        let points = self.points.entry(partition).or_default();
        if points.iter().all(|(_, known)| *known != version) {
            points.push((offset, version));
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
        let points = self.points.get(&partition)?.iter().filter(|(from, _)| *from <= offset);
        points.max_by_key(|(from, _)| *from).map(|(_, version)| version.as_str())
    }

    /// The switch point of a version on a partition.
    pub(crate) fn point(&self, partition: i32, version: &str) -> Option<i64> {
        let points = self.points.get(&partition)?;
        points.iter().find(|(_, known)| known == version).map(|(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_point_of_a_version_wins_and_the_last_before_an_offset_counts() {
        let mut timeline = Timeline::default();
        for (partition, offset, version) in [(0, 100, "a"), (0, 50, "a"), (0, 200, "b"), (1, 0, "b"), (0, 200, "c")] {
            timeline.take(ModelEvent::SwitchPoint { partition, offset, version: version.into() });
        }
        assert_eq!(timeline.at(0, 99), None);
        assert_eq!(timeline.at(0, 100), Some("a"));
        assert_eq!(timeline.at(0, 199), Some("a"));
        assert_eq!(timeline.at(0, 200), Some("c"));
        assert_eq!(timeline.at(1, 0), Some("b"));
        assert_eq!(timeline.point(0, "a"), Some(100));
    }
}
