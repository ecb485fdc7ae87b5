//! The health of the pipeline, as the log shows it: how many records each topic takes per second, and how far
//! behind the scorer is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cloud_log::{Marks, Watermarks};
use serde::Serialize;
use service::Error;
use telemetry::kafka_topic::{ALERTS, DEAD_LETTER, SCORES, TELEMETRY};

use crate::state::{Shared, State, now};

const EVERY: Duration = Duration::from_secs(2);
const KAFKA_TOPICS: [&str; 4] = [TELEMETRY, SCORES, ALERTS, DEAD_LETTER];

/// One topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Flow {
    /// Records that it holds.
    pub(crate) records: i64,
    /// Sum of the next offsets of its partitions.
    pub(crate) end: i64,
    /// Records per second, over the last interval.
    pub(crate) per_second: f64,
}

/// What is known now.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Pipeline {
    /// When Kafka was last asked with success, ms; 0: never.
    pub(crate) measured_at: i64,
    /// Why it could not be asked the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// By Kafka topic.
    pub(crate) flows: BTreeMap<&'static str, Flow>,
    /// Readings in `telemetry` behind the last scored one; none before the first score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scorer_lag: Option<i64>,
    #[serde(skip)]
    asked: Option<Instant>,
}

impl Pipeline {
    fn take(&mut self, marks: &BTreeMap<&'static str, Marks>, scored: &BTreeMap<i32, i64>, asked: Instant) {
        let elapsed = self.asked.map(|before| asked.saturating_duration_since(before).as_secs_f64());
        for (name, marks) in marks {
            let flow = self.flows.entry(name).or_default();
            let end: i64 = marks.values().map(|(_, high)| high).sum();
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let added = (end - flow.end).max(0) as f64;
            flow.per_second = elapsed.filter(|elapsed| *elapsed > 0.0).map_or(0.0, |elapsed| added / elapsed);
            flow.records = marks.values().map(|(low, high)| high - low).sum();
            flow.end = end;
        }
        self.scorer_lag = marks.get(TELEMETRY).filter(|_| !scored.is_empty()).map(|marks| {
            scored
                .iter()
                .filter_map(|(partition, next)| marks.get(partition).map(|(_, high)| (high - next).max(0)))
                .sum()
        });
        self.asked = Some(asked);
        self.measured_at = now();
        self.error = None;
    }
}

/// Asks Kafka until the stop; does not wait for an answer then.
pub(crate) async fn watch(state: Shared) -> Result<(), Error> {
    // One client for all questions: each start of one costs threads and connections.
    let watermarks = Watermarks::new(&state.config.kafka)?;
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return Ok(()),
            () = async {
                measure(&state, &watermarks).await;
                tokio::time::sleep(EVERY).await;
            } => {}
        }
    }
}

async fn measure(state: &State, watermarks: &Watermarks) {
    let asked = Instant::now();
    let mut marks = BTreeMap::new();
    let mut failure = None;
    for name in KAFKA_TOPICS {
        match watermarks.of(name).await {
            Ok(found) => {
                marks.insert(name, found);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let scored = state.scores().scored().clone();
    let mut pipeline = state.pipeline();
    match failure {
        None => pipeline.take(&marks, &scored, asked),
        Some(error) => {
            tracing::debug!(%error, "the pipeline's health is unknown");
            pipeline.error = Some("Kafka does not answer".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_two_measurements() {
        let mut pipeline = Pipeline::default();
        let start = Instant::now();
        let marks = |end| BTreeMap::from([(TELEMETRY, BTreeMap::from([(0, (10, end)), (1, (0, 50))]))]);
        pipeline.take(&marks(100), &BTreeMap::new(), start);
        assert_eq!((pipeline.flows[TELEMETRY].per_second, pipeline.scorer_lag), (0.0, None));
        pipeline.take(&marks(300), &BTreeMap::from([(0, 290), (1, 60)]), start + Duration::from_secs(2));
        assert_eq!(pipeline.flows[TELEMETRY], Flow { records: 340, end: 350, per_second: 100.0 });
        assert_eq!(pipeline.scorer_lag, Some(10));
    }
}
