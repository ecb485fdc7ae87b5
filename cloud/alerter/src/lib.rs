//! The alerter: scores and commands in, alert lifecycle out.
pub mod lifecycle;
pub mod shard;
