//! MQTT: the only file with rumqttc's types. One connection of a persistent session, its events as our own.
//!
//! What rumqttc leaves to its user, and where it is done here:
//! - `poll` is never cancelled (a request could get lost between its channel and the socket): the future of
//!   the running turn is kept and polled again;
//! - requests go in by `try_…` only: awaiting its channel in the task that polls would block for ever;
//! - after a failure it would replay what was queued, a millisecond each: that queue is cleared, everything in
//!   it is made anew after the CONNACK;
//! - packet ids mean nothing on the next connection: see [`crate::delivery`];
//! - it does not pause between two tries.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{
    NetworkOptions, Outgoing,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError,
        mqttbytes::{
            QoS,
            v5::{
                ConnectReturnCode, DisconnectReasonCode, Filter, Packet, Publish, RetainForwardRule,
                SubscribeReasonCode,
            },
        },
    },
};
use service::{Backoff, Error};
use telemetry::mqtt_topic::Channel;
use tokio_util::sync::ReusableBoxFuture;

use crate::config::{Config, MAX_PACKET_BYTES};

/// The broker has to hear from us this often; after one and a half it takes us for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// After a connection of this length the pauses between tries start small again.
const LASTING: Duration = Duration::from_secs(10);
/// Requests beside the PUBACKs: acks and a SUBSCRIBE.
const ROOM: usize = 512;

/// A publish that came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival {
    pub(crate) mqtt_topic: Bytes,
    pub(crate) payload: Bytes,
    /// None: QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) content_type: Option<String>,
    pub(crate) traceparent: Option<String>,
}

/// What happened in a turn.
#[derive(Debug)]
pub(crate) enum Happening {
    /// CONNACK; whether the broker still had our session.
    Connected {
        resumed: bool,
    },
    /// SUBACK: everything published from now on comes to us.
    Subscribed,
    Publish(Arrival),
    /// The connection is gone, or could not be made. The next turn tries again.
    Lost(String),
    /// The broker does not want us; the next turn tries again.
    Refused(String),
    /// Another try would only do harm.
    Fatal(String),
}

type Turn = (Box<EventLoop>, Vec<Event>, Option<ConnectionError>);

/// The session at the MQTT broker.
pub(crate) struct Session {
    client: AsyncClient,
    turn: ReusableBoxFuture<'static, Turn>,
    /// Set while no turn runs: the next one begins with this pause.
    resting: Option<(Box<EventLoop>, Duration)>,
    backoff: Backoff,
    /// A CONNACK came, and no failure since.
    connected: bool,
    subscribe_wanted: bool,
    disconnected: bool,
    /// Requests that were put into the channel and have not been written.
    outstanding: usize,
    /// Those of them that are publishes.
    publishes: usize,
    happenings: Vec<Happening>,
    /// The CONNACK of this connection.
    since: Option<Instant>,
    config: Config,
}

impl Session {
    /// Prepares the connection; the first turn makes it.
    ///
    /// # Errors
    /// [`Error::Usage`] for an address or a password file that can't be used.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let broker = config.broker()?;
        let mut options = MqttOptions::new(&config.id, broker.host(), broker.port());
        options
            .set_manual_acks(true)
            .set_clean_start(false)
            .set_keep_alive(KEEP_ALIVE)
            .set_session_expiry_interval(Some(u32::MAX))
            .set_receive_maximum(Some(config.receive_maximum))
            .set_max_packet_size(Some(MAX_PACKET_BYTES))
            // The default allocates 14 MB; we publish at QoS 0 only.
            .set_outgoing_inflight_upper_limit(16);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let (Some(user), Some(password)) = (&config.mqtt_user, config.password()?) {
            options.set_credentials(user, password);
        }
        let (client, event_loop) = AsyncClient::new(options, usize::from(config.receive_maximum) + ROOM);
        Ok(Self {
            client,
            turn: ReusableBoxFuture::new(turn(Box::new(event_loop), Duration::ZERO)),
            resting: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            connected: false,
            subscribe_wanted: false,
            disconnected: false,
            outstanding: 0,
            publishes: 0,
            happenings: Vec::new(),
            since: None,
            config: config.clone(),
        })
    }

    pub(crate) fn connected(&self) -> bool {
        self.connected
    }

    /// Whether there is room for another ack. The rest of the channel is the PUBACKs': a flood of acks must
    /// not hold them up.
    pub(crate) fn has_room(&self) -> bool {
        self.connected && self.publishes < ROOM / 2
    }

    /// Whether everything that was asked for has been written to the socket.
    pub(crate) fn written(&self) -> bool {
        self.outstanding == 0
    }

    /// Waits for the broker, or writes what was asked for. Cancel-safe; pings only while it is awaited.
    pub(crate) async fn turn(&mut self) -> Vec<Happening> {
        if let Some((event_loop, pause)) = self.resting.take() {
            self.turn.set(turn(event_loop, pause));
        }
        let (mut event_loop, events, failure) = self.turn.get_pin().await;
        for event in events {
            self.digest(event);
        }
        let mut pause = Duration::ZERO;
        if let Some(failure) = failure {
            event_loop.pending.clear();
            // It may have been changed, and the broker asks for the new one. What can't be read stays as it was.
            if let (Some(user), Ok(Some(password))) = (&self.config.mqtt_user, self.config.password()) {
                event_loop.options.set_credentials(user, password);
            }
            self.connected = false;
            self.outstanding = 0;
            self.publishes = 0;
            // Only a connection that lasted counts as a success: two edges with one id would otherwise throw each
            // other out as fast as they can.
            if self.since.take().is_some_and(|since| since.elapsed() >= LASTING) {
                self.backoff.reset();
            }
            pause = self.backoff.next();
            self.happenings.push(refusal(&failure).unwrap_or_else(|| Happening::Lost(failure.to_string())));
        }
        self.resting = Some((event_loop, pause));
        self.subscribe();
        std::mem::take(&mut self.happenings)
    }

    fn digest(&mut self, event: Event) {
        let happening = match event {
            Event::Incoming(Packet::Publish(publish)) => Happening::Publish(arrival(publish)),
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.connected = true;
                self.subscribe_wanted = true;
                self.since = Some(Instant::now());
                Happening::Connected { resumed: connack.session_present }
            }
            Event::Incoming(Packet::SubAck(suback)) => {
                let granted =
                    |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce));
                match suback.return_codes.iter().find(|code| !granted(code)) {
                    None => Happening::Subscribed,
                    Some(code) => Happening::Fatal(format!("the subscription was refused: {code:?}")),
                }
            }
            Event::Outgoing(Outgoing::Publish(_)) => {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.publishes = self.publishes.saturating_sub(1);
                return;
            }
            Event::Outgoing(Outgoing::PubAck(_) | Outgoing::Subscribe(_)) => {
                self.outstanding = self.outstanding.saturating_sub(1);
                return;
            }
            Event::Outgoing(Outgoing::Disconnect) => {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.disconnected = true;
                return;
            }
            _ => return,
        };
        self.happenings.push(happening);
    }

    /// After every CONNACK, whatever it says of the session: a broker that lost it says so, one that was
    /// upgraded or whose access list was mended may not.
    fn subscribe(&mut self) {
        if !(self.subscribe_wanted && self.connected) {
            return;
        }
        let filters = [Channel::Telemetry, Channel::Status].map(|channel| {
            let mut filter = Filter::new(channel.filter(), QoS::AtLeastOnce);
            filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
            filter
        });
        // A full channel: the next turn makes room and tries again.
        if self.client.try_subscribe_many(filters).is_ok() {
            self.subscribe_wanted = false;
            self.outstanding += 1;
        }
    }

    /// Asks for a PUBACK to be sent; false if there is no room before the next turn.
    #[must_use]
    pub(crate) fn puback(&mut self, packet_id: u16) -> bool {
        let publish = Publish { pkid: packet_id, qos: QoS::AtLeastOnce, ..Publish::default() };
        let taken = self.connected && self.client.try_ack(&publish).is_ok();
        self.outstanding += usize::from(taken);
        taken
    }

    /// Asks for a QoS 0 publish; false if there is no room before the next turn.
    #[must_use]
    pub(crate) fn publish(&mut self, mqtt_topic: String, payload: Vec<u8>) -> bool {
        let taken = self.has_room() && self.client.try_publish(mqtt_topic, QoS::AtMostOnce, false, payload).is_ok();
        self.outstanding += usize::from(taken);
        self.publishes += usize::from(taken);
        taken
    }

    /// Says goodbye; the session stays at the broker. Ends early if the connection breaks.
    pub(crate) async fn disconnect(&mut self) {
        if !self.connected || self.client.try_disconnect().is_err() {
            return;
        }
        self.outstanding += 1;
        while self.connected && !self.disconnected {
            // Publishes that still come were never taken in: the broker keeps them.
            self.turn().await;
        }
    }
}

/// One wake-up of the event loop and everything that it brought.
async fn turn(mut event_loop: Box<EventLoop>, pause: Duration) -> Turn {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let (mut events, failure) = match event_loop.poll().await {
        Ok(event) => (vec![event], None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    // Of a connection that failed too: what it had read belongs to it, and must not be taken for the next one's.
    events.extend(event_loop.state.events.drain(..));
    (event_loop, events, failure)
}

fn arrival(publish: Publish) -> Arrival {
    let properties = publish.properties.unwrap_or_default();
    let traceparent = properties.user_properties.into_iter().find(|(name, _)| name == "traceparent");
    Arrival {
        mqtt_topic: publish.topic,
        payload: publish.payload,
        packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
        content_type: properties.content_type,
        traceparent: traceparent.map(|(_, value)| value),
    }
}

/// What is more than a failure.
fn refusal(failure: &ConnectionError) -> Option<Happening> {
    match failure {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::Banned
            | ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion),
        ) => Some(Happening::Refused(format!("the broker refused the connection: {code:?}"))),
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => Some(Happening::Fatal("another edge connected with this --id".to_owned())),
        _ => None,
    }
}
