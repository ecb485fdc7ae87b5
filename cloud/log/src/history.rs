//! Bounded replay.
use std::{collections::BTreeMap, ops::Range};

use anyhow::Result;
use service::Error;

use crate::{InRecord, KafkaConfig};

/// Bounded replay without a group.
pub struct History {}

impl History {
    /// First offset and next offset to be written of every partition.
    pub async fn watermarks(_kafka: &KafkaConfig, _kafka_topic: &str) -> Result<BTreeMap<i32, (i64, i64)>> {
        todo!()
    }
    /// Opens `[from, to)` per partition.
    pub async fn open(
        _kafka: &KafkaConfig,
        _kafka_topic: &str,
        _ranges: BTreeMap<i32, Range<i64>>,
    ) -> Result<Self, Error> {
        todo!()
    }
    /// Up to `max` records; none at the end.
    pub async fn next(&mut self, _max: usize) -> Result<Option<Vec<InRecord>>> {
        todo!()
    }
}
