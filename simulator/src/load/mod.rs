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
//! Seams for what is to come: arrival profiles are variants of [`Arrivals`]; vehicles that go away and come back
//! (storms, tunnels, blackouts) are a further deadline in `engine::Engine::deadline` that calls `link`'s `lost`;
//! clock drift, duplicates and reorderings change what `engine` publishes; a further condition of every run
//! is a verdict of `summary::judge`.

mod answers;
mod config;
mod control;
mod counts;
mod crew;
mod deadlines;
mod engine;
mod figures;
mod link;
mod machine;
mod outbox;
mod parent;
pub mod payload;
pub mod plan;
mod schedule;
mod search;
mod summary;
mod timeline;
mod vehicle;
mod watch;
mod wire;
mod worker;

pub use config::Config;
pub use crew::WORKER;
#[cfg(feature = "audit")]
pub(crate) use figures::check;
pub(crate) use figures::{known as known_figures, short_names};
pub use parent::run;
pub use plan::{Arrivals, Judge, Plan};
pub use worker::work;
