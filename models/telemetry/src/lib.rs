//! The wire contract of Motorcade: everything that two processes must agree on, and nothing else.
//!
//! It holds the [`Record`] that a vehicle sends, the [`signal`] catalogue, the [`codec`]s, the events that
//! travel between the roles ([`event`]) and the addresses that they travel on ([`mqtt_topic`], [`kafka_topic`]).
//! It never opens a socket, reads a clock or spawns a task.
//!
//! Start reading at [`record`], then [`codec::decode`]; [`check()`] gives the same verdict for less.

mod check;
pub mod codec;
pub mod event;
pub mod identity;
pub mod kafka_topic;
pub mod mqtt_topic;
pub mod position;
pub mod record;
pub mod signal;
pub mod time;
pub mod validation;

pub use check::{Checked, check};
pub use codec::{Encoding, decode, encode};
pub use identity::{Identity, PayloadHash, VehicleId};
pub use position::Position;
pub use record::{Kind, Record, SCHEMA};
pub use signal::{Signals, Value};
pub use time::UnixMillis;
pub use validation::{Invalid, Reason};
