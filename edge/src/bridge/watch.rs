//! The second connection of an edge that shares its client id: it reads who is active, and carries the last acks
//! of one that is not any more.

use std::time::{Duration, Instant};

use service::Error;

use crate::{
    config::Config,
    session::{Happening, Identity, Session, Will},
    standby::Standby,
};

/// The state of being one of two.
pub(super) struct Watch {
    session: Session,
    pub(super) standby: Standby,
    mqtt_topic: String,
    /// The log knows that another is active.
    standing_by: bool,
}

/// The retained message that names the active edge.
fn mqtt_topic(id: &str) -> String {
    format!("edge/{id}/active")
}

/// What the connection that bridges is opened with.
pub(crate) fn identity(config: &Config) -> Identity {
    let will = Will { mqtt_topic: mqtt_topic(&config.id), payload: Vec::new(), retain: true };
    Identity::bridge(config.id.clone(), config.hot_standby.then_some(will))
}

impl Watch {
    /// None without `--hot-standby`.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        if !config.hot_standby {
            return Ok(None);
        }
        let instance = uuid::Uuid::now_v7().to_string();
        let mqtt_topic = mqtt_topic(&config.id);
        let identity = Identity::observer(format!("{}.{instance}", config.id), mqtt_topic.clone());
        let session = Session::new(config, identity)?;
        Ok(Some(Self { session, standby: Standby::new(instance), mqtt_topic, standing_by: false }))
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, now: Instant) {
        self.session.advance(now, true, true);
        while let Some(happening) = self.session.next(now, 0, true) {
            match happening {
                Happening::Publish { packet_id, entry } => {
                    if entry.mqtt_topic == self.mqtt_topic.as_bytes() {
                        self.standby.reads(&entry.payload, now);
                    }
                    if let Some(packet_id) = packet_id
                        && !self.session.puback(packet_id)
                    {
                        tracing::debug!("the observing connection ended before a PUBACK");
                    }
                }
                // The broker answers in order: what is retained came before this.
                Happening::Pong => self.standby.has_heard(now),
                Happening::Subscribed => self.session.ping(),
                Happening::Lost(why) | Happening::Refused(why) | Happening::Fatal(why) => {
                    tracing::debug!(why, "the observing connection is away");
                    self.standby.deaf();
                }
                Happening::Connected { .. } | Happening::Puback { .. } | Happening::TakenOver => {}
            }
        }
        let other = self.standby.other().map(str::to_owned);
        if let Some(active) = &other
            && !self.standing_by
        {
            tracing::info!(active, "standing by: another edge is active");
        }
        self.standing_by = other.is_some();
        self.session.flush();
    }

    /// Another is active, and we know.
    pub(super) fn is_standing_by(&self) -> bool {
        self.standing_by
    }

    /// Says our name where it has to stand, on the connection that bridges.
    pub(super) fn say(&mut self, session: &mut Session, now: Instant) {
        if self.standby.must_say(now) {
            let name = self.standby.instance().as_bytes().to_vec();
            if session.retain(&self.mqtt_topic, name) {
                self.standby.said(now);
            }
        }
    }

    /// The connection for acks while the other one is not ours.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(super) fn wanted_at(&self, now: Instant) -> Instant {
        // Its socket wakes nobody: half the shortest pause of [`Standby`] is soon enough.
        let soon = now + Duration::from_millis(250);
        self.session.wanted_at(now, true).map_or(soon, |at| at.min(soon))
    }

    /// Takes our name back, so that the other need not wait for the will.
    pub(super) fn leave(&mut self, session: &mut Session) {
        if session.connected() && !session.retain(&self.mqtt_topic, Vec::new()) {
            tracing::debug!("no room for a farewell: the other edge waits for the will");
        }
    }
}
