//! The producer.
use anyhow::Result;
use service::Error;

use crate::{KafkaConfig, OutRecord};

/// Idempotent producer.
pub struct Producer {}

impl Producer {
    /// Reaches Kafka.
    pub async fn connect(_kafka: &KafkaConfig) -> Result<Self, Error> {
        todo!()
    }
    /// Queues.
    pub async fn send(&self, _out: OutRecord) -> Result<()> {
        todo!()
    }
    /// Waits for every delivery report.
    pub async fn flush(&self) -> Result<()> {
        todo!()
    }
}
