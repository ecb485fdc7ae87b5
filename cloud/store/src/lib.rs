//! MongoDB for all roles: the only place in the cloud that knows its types.
//!
//! Three collections, each written by idempotent, order-independent `$max` and read through views of their
//! own: [`twin`] (the current state of a vehicle), [`history`] (its recent readings, in minute buckets) and
//! [`alerts`] (the current state of each alert).

pub mod alerts;
mod config;
mod connection;
pub mod history;
pub mod twin;
mod value;
mod write;

pub use config::MongoConfig;
pub use connection::Store;
pub use twin::{Twin, TwinUpdate};
pub use value::{SignalKey, SignalValue, Stamp};
pub use write::{Refused, WriteFailure, Written};
