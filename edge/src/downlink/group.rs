//! What librdkafka's callbacks tell of the group that reads commands: which partitions came and went, and whether a
//! commit failed. They run within a poll of the reader's thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};

/// Since the thread has looked last.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) assigned: Vec<i32>,
    pub(super) revoked: Vec<i32>,
    pub(super) commit_failed: bool,
}

/// librdkafka's callbacks.
pub(super) struct Context(pub(super) Arc<Mutex<Group>>);

/// The group, locked.
pub(super) fn locked(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    // No code panics while it holds the lock.
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // That Kafka is away the producer says.
        tracing::debug!(?level, facility, message, "librdkafka, commands");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka, commands");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let result = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::debug!(?partitions, "commands of these partitions are ours");
                locked(&self.0).assigned.extend(&partitions);
                consumer.incremental_assign(list)
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                tracing::debug!(?partitions, "commands of these partitions are no longer ours");
                let mut group = locked(&self.0);
                group.assigned.retain(|partition| !partitions.contains(partition));
                group.revoked.extend(&partitions);
                drop(group);
                consumer.incremental_unassign(list)
            }
            other => return tracing::warn!(?other, "the group of commands"),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the group of commands");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "a commit of commands failed and is repeated");
            locked(&self.0).commit_failed = true;
        }
    }
}
