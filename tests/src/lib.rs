//! The whole system, as a newcomer, an operator and a judge see it.
//!
//! Each role runs as its own process from the shipped executables ([`stack`]); the judge ([`judge`]) reads Kafka
//! with a consumer of its own and trusts no counter. `demo` and `chaos` are the main programs of this crate; the
//! scenarios stand in `e2e/`.

pub mod bench;
pub mod browser;
pub mod chaos;
pub mod control;
pub mod demo;
pub mod evidence;
pub mod judge;
pub mod kafka_reader;
pub mod network;
pub mod poll;
pub mod process;
pub mod proxy;
pub mod report;
pub mod scenario;
pub mod stack;
