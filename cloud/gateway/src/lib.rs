//! The gateway: REST, WebSocket and the page.
//!
//! One task follows `alerts` into [`ring`], where every event is encoded once; a WebSocket connection ([`stream`])
//! is a cursor into that ring. Older events are read back from Kafka, so a client that resumes by offset misses
//! nothing while the log holds it. [`rest`] answers from MongoDB and from what the tasks hold in memory;
//! [`commands`] is the one way in: it writes to `alert-commands` and leaves the decision to the alerter.

mod api;
mod auth;
mod commands;
mod config;
mod metrics;
mod page;
mod pipeline;
mod problem;
mod rest;
pub mod ring;
mod scores;
mod server;
mod state;
mod stream;

pub use config::Config;
pub use server::{Gateway, READS, RenderMetrics, WRITES, connect};
