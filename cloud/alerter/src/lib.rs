//! The alerter: scores and commands in, alert lifecycle out.
//!
//! [`lifecycle`] decides (pure), [`shard`] holds the tracks of a partition and says what has to be durable before
//! what (pure), [`role`] connects both to Kafka, and [`projection`] copies `alerts` into MongoDB for readers.
//! Nothing else writes alert state.

mod config;
pub mod lifecycle;
mod metrics;
mod projection;
mod role;
pub mod shard;

pub use config::Config;
pub use role::{Alerter, READS, WRITES, connect};
