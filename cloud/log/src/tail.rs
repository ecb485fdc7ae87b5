//! Following a topic.
use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use service::Error;

use crate::{InRecord, KafkaConfig};

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailFrom {
    /// At the first record of every partition.
    Beginning,
    /// At these offsets; partitions that are not named begin at their first record.
    Offsets(BTreeMap<i32, i64>),
}

/// Follows a whole topic without a group.
pub struct Tail {}

impl Tail {
    /// Opens.
    pub async fn open(_kafka: &KafkaConfig, _kafka_topic: &str, _from: TailFrom) -> Result<Self, Error> {
        todo!()
    }
    /// Up to `max` records; waits at most `wait` for the first. Cancel-safe.
    pub async fn next(&mut self, _max: usize, _wait: Duration) -> Result<Vec<InRecord>> {
        todo!()
    }
    /// Whether everything that was there at open was returned by `next`.
    pub fn caught_up(&self) -> bool {
        todo!()
    }
}
