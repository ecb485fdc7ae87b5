//! A member of a consumer group.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use service::Error;

use crate::{InRecord, KafkaConfig, TopicPartition};

/// What a member of a group got: apply `revoked` first, then `assigned`, then `records`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Partitions that are no longer ours; no record of them stands in this batch.
    pub revoked: Vec<TopicPartition>,
    /// Partitions that are now ours, with the first offset that will be delivered.
    pub assigned: Vec<(std::sync::Arc<str>, i32, i64)>,
    /// Records, in order of offset per partition.
    pub records: Vec<InRecord>,
}

/// A member of a consumer group.
pub struct GroupConsumer {}

impl GroupConsumer {
    /// Joins the group.
    pub async fn connect(_kafka: &KafkaConfig, _group: &str, _kafka_topics: &[&str]) -> Result<Self, Error> {
        todo!()
    }
    /// Up to `max` records; waits at most `wait` for the first. Cancel-safe.
    pub async fn next(&mut self, _max: usize, _wait: Duration) -> Result<Batch> {
        todo!()
    }
    /// Commits next offsets (last handled + 1).
    pub fn commit(&self, _next_offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        todo!()
    }
    /// Records of our partitions that were not committed yet.
    pub fn lag(&self) -> u64 {
        todo!()
    }
    /// Leaves the group.
    pub async fn close(self) {
        todo!()
    }
}
