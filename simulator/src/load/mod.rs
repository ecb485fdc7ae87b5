//! The load engine: up to 100,000 vehicles with real MQTT 5 sessions on two cores, whose readings are ledgered.
//!
//! The fleet of [`crate::connect`] has physics, faults and a client library for each vehicle; this one has bytes.
//! A parent ([`run`]) starts workers of the same executable ([`work`]), because a process may hold 20,000 files; a
//! worker is one thread around one epoll. Readings are due at times that stand beforehand ([`Arrivals`]), so that a
//! slow broker shows in the latencies instead of slowing the load.
//!
//! Read [`plan`] for what a worker is told, `worker` for its loop, `engine`, `answers` and `link` for what a vehicle does,
//! `outbox` for what it remembers, `parent` for the run as a whole: `timeline` for what a report holds of each second,
//! `figures` for what conditions may name, `search` and `schedule` for the steps to the highest rate that holds.
//!
//! When readings are due stands in `arrivals`, the shapes of a load in `profile`, what goes wrong on purpose in
//! `trouble`: all pure; loads with a name in `scenario`. A further condition of every run is a verdict of
//! `summary::judge`.

mod answers;
mod arrivals;
mod config;
mod control;
mod counts;
mod crew;
mod deadlines;
mod engine;
mod entries;
mod figures;
mod link;
mod machine;
mod memory;
mod outbox;
mod parent;
pub mod payload;
pub mod plan;
pub mod profile;
mod publish;
pub mod scenario;
mod schedule;
mod search;
mod stream;
mod summary;
mod timeline;
pub mod trouble;
mod vehicle;
mod watch;
mod wire;
mod worker;

pub use arrivals::{Arrivals, Curve, Stretch};
pub use config::Config;
pub use crew::WORKER;
#[cfg(feature = "audit")]
pub(crate) use figures::check;
pub(crate) use figures::{known as known_figures, short_names};
pub use parent::run;
pub use plan::{Judge, Plan};
pub use worker::work;
