//! Kafka for all roles: the only place in the cloud that knows rdkafka's types.
//!
//! [`GroupConsumer`] shares a topic's partitions with its group, [`History`] replays a bounded range of
//! offsets, [`Tail`] follows a whole topic from its beginning, [`Producer`] writes, [`Transactions`] does so together with
//! the offsets of a group. [`parse_moment`] and [`parse_offsets`] read how people name a part of a topic. [`topics`] holds the cluster to the topic table of the contract.

mod client;
mod config;
pub mod dead_letter;
mod group;
mod headers;
mod history;
mod lag;
mod metrics;
mod pieces;
mod producer;
mod range;
mod record;
mod replay;
mod seen;
mod tail;
pub mod topics;
mod transaction;
mod watermarks;

pub use config::KafkaConfig;
pub use group::{Assigned, Batch, GroupConsumer, Standing};
pub use headers::Headers;
pub use history::History;
pub use lag::group_lag;
pub use pieces::Pieces;
pub use producer::{Barrier, Producer};
pub use range::{Offsets, check_partitions, parse_moment, parse_offsets};
pub use record::{InRecord, OutRecord, TopicPartition};
pub use replay::Marks;
pub use seen::Seen;
pub use tail::{Tail, TailFrom};
pub use transaction::{Part, Transactions};
pub use watermarks::Watermarks;
