//! The edge bridge: MQTT to Kafka, acknowledging only what Kafka has.
//!
//! ```text
//! broker ──▶ session ──▶ intake ──▶ producer ──▶ Kafka
//!               ▲                      │ delivery reports
//!               └── PUBACKs, acks ◀── release (delivery, ack)
//! ```
//!
//! [`delivery`] and [`ack`] are pure: what is in flight, and what may be said of it. [`connect`] reaches the
//! broker and Kafka, [`Edge::run`] is the loop, and [`release`] is the one decision that everything hangs on.

pub mod ack;
mod bridge;
pub mod config;
pub mod delivery;
mod intake;
pub mod limit;
mod metrics;
mod producer;
pub mod release;
mod session;

use std::time::Duration;

use service::Error;
use tokio::time::{Instant, timeout_at};

pub use bridge::Edge;
pub use config::Config;
pub use release::{AfterDelivery, Release};

use crate::{
    producer::Producer,
    session::{Happening, Session},
};

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
    let mut session = Session::new(&config)?;
    // Kafka first: what the broker sends is not asked for before it can go on.
    let producer = Producer::connect(&config).await?;
    let backlog = subscribe(&mut session, &config).await?;
    Ok(Edge::new(config, session, producer, release, backlog))
}

/// Turns the session until the SUBACK. A resumed session brings publishes before it; they are kept, with every
/// CONNACK and failure between them, for the loop.
async fn subscribe(session: &mut Session, config: &Config) -> Result<Vec<Happening>, Error> {
    let unavailable = |detail: String| Error::Unavailable { flag: "mqtt", address: config.mqtt.clone(), detail };
    let timeout: Duration = config.connect_timeout();
    let deadline = Instant::now() + timeout;
    let (mut backlog, mut last) = (Vec::new(), "no answer".to_owned());
    loop {
        let Ok(happenings) = timeout_at(deadline, session.turn()).await else {
            return Err(unavailable(format!("no session within {} ms ({last})", timeout.as_millis())));
        };
        let mut subscribed = false;
        for happening in happenings {
            match &happening {
                Happening::Refused(why) | Happening::Fatal(why) => return Err(unavailable(why.clone())),
                Happening::Lost(why) => last.clone_from(why),
                Happening::Subscribed => subscribed = true,
                Happening::Connected { .. } | Happening::Publish(_) => {}
            }
            backlog.push(happening);
        }
        // A session that brings so much was subscribed before; the loop must get on with it.
        if subscribed || backlog.len() > 2 * usize::from(config.receive_maximum) {
            return Ok(backlog);
        }
    }
}
