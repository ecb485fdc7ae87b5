//! Who connects to the broker, and what it takes there.

use telemetry::mqtt_topic::Channel;

/// What the broker publishes if we go without a word.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) mqtt_topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
}

/// Who connects, and how.
pub(crate) struct Identity {
    pub(super) client_id: String,
    pub(super) will: Option<Will>,
    /// What it takes, at QoS 1.
    pub(super) filters: Vec<String>,
    /// The broker keeps the session, and what waits in it.
    pub(super) persistent: bool,
}

impl Identity {
    /// Takes everything that vehicles send.
    pub(crate) fn bridge(client_id: String, will: Option<Will>) -> Self {
        let filters = [Channel::Telemetry, Channel::Status, Channel::CommandReply].map(Channel::filter).into();
        Self { client_id, will, filters, persistent: true }
    }

    /// Takes one topic, while it is there.
    pub(crate) fn observer(client_id: String, mqtt_topic: String) -> Self {
        Self { client_id, will: None, filters: vec![mqtt_topic], persistent: false }
    }
}
