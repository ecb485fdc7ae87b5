//! Following a whole topic: first what is there, then what comes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use service::Error;

use crate::{
    InRecord, KafkaConfig, metrics,
    replay::{self, Replay, Span, Step},
};

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailFrom {
    /// At the first record of every partition.
    Beginning,
    /// At these offsets; partitions that are not named begin at their first record. An offset that retention
    /// has passed is told by a warning and a counter, and the first record that is left is taken.
    Offsets(BTreeMap<i32, i64>),
}

/// Follows a whole topic without a group. Meant for the small topics that every process reads whole
/// (`models`, `model-events`, `alerts`); partitions added later are not seen.
pub struct Tail {
    replay: Replay,
    held: VecDeque<Step>,
    caught_up: bool,
}

impl Tail {
    /// Opens the topic.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka can't be reached within the connect timeout or lacks the topic.
    pub async fn open(kafka: &KafkaConfig, kafka_topic: &str, from: TailFrom) -> Result<Self, Error> {
        let (reader, partitions) = replay::connect(kafka, kafka_topic, true).await?;
        let marks = replay::watermarks(&reader, kafka, kafka_topic, partitions).await?;
        let spans: BTreeMap<_, _> = marks
            .into_iter()
            .map(|(partition, (low, high))| {
                let wanted = match &from {
                    TailFrom::Beginning => low,
                    TailFrom::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(low),
                };
                if wanted < low {
                    let missing = low.abs_diff(wanted);
                    tracing::warn!(kafka_topic, partition, missing, "records were removed before they were read");
                    metrics::missing(kafka_topic, missing);
                }
                // Beyond the end there is nothing to wait for: a topic that was made anew begins again.
                let begin = if wanted > high { low } else { wanted.max(low) };
                (partition, Span { from: begin, to: high })
            })
            .collect();
        let replay = Replay::start(reader, kafka_topic, &spans, true)?;
        Ok(Self { replay, held: VecDeque::new(), caught_up: false })
    }

    /// Up to `max` records: what is there, else what comes first within `wait`. Cancel-safe.
    ///
    /// # Errors
    /// If Kafka refuses for good; it waits while Kafka is away.
    pub async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<InRecord>> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut records = Vec::new();
        while records.len() < max.max(1) {
            let step = match self.held.pop_front().or_else(|| self.replay.try_next()) {
                Some(step) => step,
                None if !records.is_empty() => break,
                // Nothing was taken yet, so that dropping this future here loses nothing.
                None => match tokio::time::timeout_at(deadline, self.replay.next()).await {
                    Err(_) => break,
                    Ok(step) => step.context("the tail ended early")?,
                },
            };
            match step {
                Step::Records(mut chunk) => {
                    let rest = chunk.split_off(chunk.len().min(max.max(1) - records.len()));
                    records.append(&mut chunk);
                    if !rest.is_empty() {
                        self.held.push_front(Step::Records(rest));
                    }
                }
                // It stands behind every record that was there at open: those are in `records` or were returned.
                Step::Reached => {
                    self.caught_up = true;
                    break;
                }
                Step::Failed(reason) => bail!("tail: {reason}"),
            }
        }
        Ok(records)
    }

    /// Whether everything that was there at [`Tail::open`] has been returned by [`Tail::next`].
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("caught_up", &self.caught_up).finish_non_exhaustive()
    }
}
