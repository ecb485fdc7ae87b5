//! The edge bridge: MQTT to Kafka, acknowledging only what Kafka has.
//!
//! ```text
//! broker ──▶ session ──▶ intake ──▶ producer ──▶ Kafka
//!               ▲                      │ delivery reports
//!               └── PUBACKs, acks ◀── release (delivery, ack)
//! ```
//! and down again, for commands: Kafka ──▶ downlink ──▶ session ──▶ broker.
//!
//! [`delivery`] and [`ack`] are pure: what is in flight, and what may be said of it. [`connect`] reaches the
//! broker and Kafka, [`Edge::run`] is the loop, and [`release`] is the one decision that everything hangs on.

pub mod ack;
mod bridge;
mod catch_up;
pub mod config;
pub mod delivery;
mod downlink;
mod intake;
pub mod limit;
mod metrics;
mod producer;
pub mod release;
mod session;
pub mod spool;
mod standby;

use service::Error;

pub use bridge::Edge;
pub use config::Config;
pub use downlink::Commands;
pub use release::{AfterDelivery, Release};

use crate::session::Session;

/// Reaches Kafka and the MQTT broker; returns when the subscription is confirmed.
///
/// # Errors
/// [`Error::Usage`] for a flag that can't be used, [`Error::Unavailable`] if one of the two can't be reached in
/// time, refuses us, or lacks a topic.
pub async fn connect(config: Config) -> Result<Edge, Error> {
    connect_with(config, AfterDelivery).await
}

/// [`connect`] with another decision of when to acknowledge; see [`Release`].
///
/// # Errors
/// As [`connect`].
pub async fn connect_with<R: Release>(config: Config, release: R) -> Result<Edge<R>, Error> {
    config.validate()?;
    let connected = tokio::task::spawn_blocking(move || {
        let session = Session::new(&config, bridge::identity(&config))?;
        Edge::connect(config, session, release)
    });
    connected.await.map_err(|error| Error::Internal(error.into()))?
}
