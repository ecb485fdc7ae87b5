//! Bounded replay: exact ranges of offsets, from the first record that is still there to an end that is known
//! beforehand.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use service::Error;

use crate::{
    InRecord, KafkaConfig, Marks, Watermarks,
    replay::{self, Replay, Span, Step},
};

/// Bounded replay of a topic without a group: exactly the records of the ranges, in order of offset per
/// partition, partitions mixed.
///
/// A range is through when its end is reached, not when a record of its last offset was seen: compaction and
/// transactions leave offsets without a record.
pub struct History {
    replay: Replay,
    held: Vec<InRecord>,
    through: bool,
}

impl History {
    /// Of every partition the first offset that is there and the offset after the last readable record. Whoever
    /// asks again and again takes [`crate::Watermarks`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka can't be reached within the connect timeout or lacks the topic.
    pub async fn watermarks(kafka: &KafkaConfig, kafka_topic: &str) -> Result<Marks, Error> {
        Watermarks::new(kafka)?.of(kafka_topic).await
    }

    /// Opens `[from, to)` of each partition named; others are not read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka can't be reached, [`Error::BadInput`] if a range does not lie within the
    /// log as it is now: what retention has removed is told, not skipped.
    pub async fn open(
        kafka: &KafkaConfig,
        kafka_topic: &str,
        ranges: BTreeMap<i32, Range<i64>>,
    ) -> Result<Self, Error> {
        let (reader, _) = replay::connect(kafka, kafka_topic, false).await?;
        let marks = replay::watermarks(&reader, kafka, kafka_topic, ranges.keys().copied().collect()).await?;
        let mut spans = BTreeMap::new();
        for (partition, Range { start, end }) in ranges {
            let (low, high) = marks.get(&partition).copied().unwrap_or_default();
            if start < end && (start < low || end > high) {
                let range = format!("{kafka_topic}/{partition} holds the offsets {low}..{high}");
                return Err(Error::BadInput(format!("{range}, not all of {start}..{end}")));
            }
            spans.insert(partition, Span { from: start, to: end });
        }
        let replay = Replay::start(reader, kafka_topic, &spans, false)?;
        Ok(Self { replay, held: Vec::new(), through: false })
    }

    /// Opens everything that is there now.
    ///
    /// # Errors
    /// As [`History::open`].
    pub async fn everything(kafka: &KafkaConfig, kafka_topic: &str) -> Result<Self, Error> {
        let marks = Self::watermarks(kafka, kafka_topic).await?;
        let ranges = marks.into_iter().map(|(partition, (low, high))| (partition, low..high)).collect();
        Self::open(kafka, kafka_topic, ranges).await
    }

    /// The newest payload under a key, or none: all of the topic is read for it.
    ///
    /// # Errors
    /// As [`History::everything`].
    pub async fn newest(kafka: &KafkaConfig, kafka_topic: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let (mut log, mut found) = (Self::everything(kafka, kafka_topic).await?, None);
        while let Some(records) = log.next(64).await? {
            for record in records.into_iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())) {
                found = record.payload;
            }
        }
        Ok(found)
    }

    /// Up to `max` records, at least one; none when every range is through. Cancel-safe.
    ///
    /// # Errors
    /// If records of the ranges are gone (retention) or Kafka refuses; it waits while Kafka is away.
    pub async fn next(&mut self, max: usize) -> Result<Option<Vec<InRecord>>> {
        while self.held.is_empty() {
            if self.through {
                return Ok(None);
            }
            match self.replay.next().await.context("the replay ended early")? {
                Step::Records(records) => self.held = records,
                Step::Reached => self.through = true,
                Step::Failed(reason) => bail!("replay: {reason}"),
            }
        }
        let rest = self.held.split_off(max.clamp(1, self.held.len()));
        Ok(Some(std::mem::replace(&mut self.held, rest)))
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("through", &self.through).finish_non_exhaustive()
    }
}
