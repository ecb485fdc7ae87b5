//! One MQTT 5 connection of a vehicle: the only place that knows rumqttc.
//!
//! rumqttc keeps a list of its own of what the broker has not answered. It is thrown away with the event loop
//! at the end of each connection: the outbox holds the only copy. `publish` gives no token, so packet ids are
//! matched to readings in the order in which `Outgoing::Publish` events come.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{
    NetworkOptions, Outgoing, TlsConfiguration, Transport,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{ConnAck, ConnectReturnCode, Filter, LastWill, PubAckReason, PublishProperties, SubscribeReasonCode},
        },
    },
};
use service::Address;
use telemetry::{
    UnixMillis, VehicleId,
    event::{CommandReply, Status, StatusState},
    mqtt_topic::Channel,
};

use crate::{account::Credentials, load::Judge, tls::Tls};

/// Publishes on their way to the broker in one connection. The event loop allocates a slot for each, 216 bytes.
const IN_FLIGHT: u16 = 100;
/// Requests that wait for the event loop: publishes and, beside them, subscribe and disconnect.
const REQUESTS: usize = 32;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longest packet in either direction, bytes; as the shipped broker announces it.
const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// What the broker may send ahead: acks are QoS 0, commands are rare.
const RECEIVE_MAXIMUM: u16 = 16;
const CONNECT_TIMEOUT_S: u64 = 5;
/// What a reading's packet holds beside topic and payload, bytes: fixed header 5, length of the topic 2, packet id
/// 2, length of the properties 2, content type 3 + 22; rounded up.
const PACKET_HEAD: usize = 40;
/// How long the goodbye of a greeting may take.
const GREETING_GOODBYE: Duration = Duration::from_secs(1);

/// What a connection is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) broker: Address,
    /// None: the socket is plain.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) vehicle: VehicleId,
    pub(crate) boot: u32,
    /// How long the broker keeps the session, s.
    pub(crate) session_expiry_s: u32,
    /// Acks of the edge are subscribed to where its word counts: another broker may not even grant that.
    pub(crate) judge: Judge,
}

/// What has come of a connection.
#[derive(Debug)]
pub(crate) enum Happening {
    /// CONNACK; whether the broker knew a session, and the largest payload of a reading that it takes, bytes.
    Connected { session_present: bool, payload_room: usize },
    /// SUBACK: sending may begin.
    Subscribed,
    /// The broker took a reading.
    Taken { ordinal: u64 },
    /// The broker took a reading, but nobody subscribes to it.
    Unheard { ordinal: u64 },
    /// The broker refused a reading.
    Refused { ordinal: u64 },
    /// An ack of the edge.
    Ack(Bytes),
    /// A command.
    Command(Bytes),
    /// The broker took a status message.
    StatusTaken,
    /// Our DISCONNECT has left.
    Left,
    /// Nothing of interest.
    Other,
}

enum Item {
    Reading(u64),
    Status,
    Reply,
}

type Poll = Pin<Box<dyn Future<Output = (Box<EventLoop>, Result<Event, ConnectionError>)> + Send>>;

/// One connection, from the attempt to its end.
pub(crate) struct Connection {
    client: AsyncClient,
    /// Kept over calls of [`Self::next`]: a poll that is dropped half way may lose a packet.
    poll: Poll,
    target: Target,
    telemetry_topic: String,
    /// Handed over, not yet seen to leave.
    handed: VecDeque<Item>,
    /// Seen to leave, by packet id.
    outstanding: HashMap<u16, Item>,
    /// The largest payload of a reading that the broker takes, bytes; from the CONNACK on.
    payload_room: usize,
}

/// Why there was no greeting.
#[derive(Debug)]
pub(crate) enum Unwelcome {
    /// Nobody there, or no MQTT broker: another try may find one.
    Away(String),
    /// The broker does not want us.
    Refused(String),
}

/// Asks the broker whether it takes this vehicle, by a CONNACK, and leaves again. Nothing is published, no will is
/// left, and what waits in the vehicle's session is neither taken nor acknowledged.
///
/// Returns the largest payload of a reading that the broker takes, bytes.
pub(crate) async fn greet(target: &Target, clean_start: bool) -> Result<usize, Unwelcome> {
    let mut options = options(target, clean_start);
    secure(target, &mut options).map_err(Unwelcome::Refused)?;
    options.set_manual_acks(true);
    let (client, mut event_loop) = AsyncClient::new(options, 1);
    let payload_room = loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(connack))) => break payload_room(&connack, target),
            Ok(_) => {}
            Err(error) => return Err(unwelcome(&error)),
        }
    };
    let goodbye = async {
        if client.try_disconnect().is_ok() {
            while !matches!(event_loop.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {}
        }
    };
    // A broker that does not read any more has greeted all the same.
    tokio::time::timeout(GREETING_GOODBYE, goodbye).await.ok();
    Ok(payload_room)
}

fn unwelcome(error: &ConnectionError) -> Unwelcome {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::Banned
            | ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion),
        ) => Unwelcome::Refused(format!("the broker refused the connection: {code:?}")),
        ConnectionError::Timeout(_) => Unwelcome::Away(format!("no CONNACK within {CONNECT_TIMEOUT_S} s")),
        error => Unwelcome::Away(error.to_string()),
    }
}

fn payload_room(connack: &ConnAck, target: &Target) -> usize {
    let packet = connack.properties.as_ref().and_then(|properties| properties.max_packet_size);
    let packet = packet.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    packet.saturating_sub(PACKET_HEAD + Channel::Telemetry.topic(&target.vehicle).len())
}

fn options(target: &Target, clean_start: bool) -> MqttOptions {
    let mut options = MqttOptions::new(target.vehicle.as_str(), target.broker.host(), target.broker.port());
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(clean_start)
        .set_session_expiry_interval(Some(target.session_expiry_s))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(MAX_PACKET_BYTES))
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_network_options(network);
    options
}

/// Reads the vehicle's password, if it has one of its own, and its certificate, if it speaks TLS.
fn secure(target: &Target, options: &mut MqttOptions) -> Result<(), String> {
    let (user, password) = target.credentials.of(&target.vehicle)?;
    options.set_credentials(user, password);
    if let Some(tls) = &target.tls {
        let connector = tls.connector(&target.vehicle).map_err(|error| error.to_string())?;
        options.set_transport(Transport::Tls(TlsConfiguration::NativeConnector(connector)));
    }
    Ok(())
}

fn poll(mut event_loop: Box<EventLoop>) -> Poll {
    Box::pin(async move {
        let event = event_loop.poll().await;
        (event_loop, event)
    })
}

fn status(target: &Target, state: StatusState, time: UnixMillis) -> Vec<u8> {
    let software = Some(concat!("motorcade-simulator ", env!("CARGO_PKG_VERSION")).to_owned());
    let status = Status { vehicle: target.vehicle.clone(), boot: target.boot, state, time, software };
    serde_json::to_vec(&status).unwrap_or_default()
}

impl Connection {
    /// Begins an attempt; `time` is the vehicle's clock, for the will.
    pub(crate) fn open(target: Target, clean_start: bool, time: UnixMillis) -> Self {
        let mut options = options(&target, clean_start);
        let secured = secure(&target, &mut options);
        let status_topic = Channel::Status.topic(&target.vehicle);
        let will = status(&target, StatusState::Offline, time);
        options.set_last_will(LastWill::new(status_topic, will, QoS::AtLeastOnce, false, None));
        let (client, event_loop) = AsyncClient::new(options, REQUESTS + 4);
        let event_loop = Box::new(event_loop);
        let poll = match secured {
            Ok(()) => poll(event_loop),
            // As if the broker were away: the files may be mended by the next attempt.
            Err(error) => Box::pin(async { (event_loop, Err(ConnectionError::Io(io::Error::other(error)))) }),
        };
        Self {
            client,
            poll,
            telemetry_topic: Channel::Telemetry.topic(&target.vehicle),
            target,
            handed: VecDeque::new(),
            outstanding: HashMap::new(),
            payload_room: usize::MAX,
        }
    }

    /// The next happening. After an error the connection is at its end. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Happening, String> {
        let (event_loop, event) = self.poll.as_mut().await;
        self.poll = poll(event_loop);
        match event.map_err(|error| error.to_string())? {
            Event::Incoming(packet) => self.incoming(packet),
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                if let Some(item) = self.handed.pop_front() {
                    self.outstanding.insert(packet_id, item);
                }
                Ok(Happening::Other)
            }
            Event::Outgoing(Outgoing::Disconnect) => Ok(Happening::Left),
            Event::Outgoing(_) => Ok(Happening::Other),
        }
    }

    fn incoming(&mut self, packet: Incoming) -> Result<Happening, String> {
        match packet {
            Incoming::ConnAck(connack) => {
                let acks = (self.target.judge == Judge::Ack).then_some((Channel::Ack, QoS::AtMostOnce));
                let filters = acks.into_iter().chain([(Channel::Command, QoS::AtLeastOnce)]);
                let filters = filters.map(|(channel, qos)| Filter::new(channel.topic(&self.target.vehicle), qos));
                self.client.try_subscribe_many(filters).map_err(|error| error.to_string())?;
                self.payload_room = payload_room(&connack, &self.target);
                let payload_room = self.payload_room;
                Ok(Happening::Connected { session_present: connack.session_present, payload_room })
            }
            Incoming::SubAck(suback) => {
                let refused = suback.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                match refused {
                    Some(code) => Err(format!("subscription refused: {code:?}")),
                    None => Ok(Happening::Subscribed),
                }
            }
            Incoming::PubAck(puback) => Ok(match self.outstanding.remove(&puback.pkid) {
                Some(Item::Reading(ordinal)) => match puback.reason {
                    PubAckReason::Success => Happening::Taken { ordinal },
                    PubAckReason::NoMatchingSubscribers => Happening::Unheard { ordinal },
                    // Every other reason is 0x80 or above.
                    _ => Happening::Refused { ordinal },
                },
                Some(Item::Status) => Happening::StatusTaken,
                // What the broker does not hand on is asked for again.
                Some(Item::Reply) | None => Happening::Other,
            }),
            Incoming::Publish(publish) => {
                let is = |channel: Channel| publish.topic == channel.topic(&self.target.vehicle).as_bytes();
                Ok(match () {
                    () if is(Channel::Ack) => Happening::Ack(publish.payload),
                    () if is(Channel::Command) => Happening::Command(publish.payload),
                    () => Happening::Other,
                })
            }
            _ => Ok(Happening::Other),
        }
    }

    /// How many readings and replies may be handed over now without waiting.
    pub(crate) fn room(&self) -> usize {
        REQUESTS.saturating_sub(self.handed.len())
    }

    /// Hands over a reading; [`Self::room`] must be above 0. False if it is larger than the broker takes: sent all
    /// the same, it would end the connection.
    #[must_use]
    pub(crate) fn publish(&mut self, ordinal: u64, content_type: &str, payload: Bytes) -> bool {
        if payload.len() > self.payload_room {
            return false;
        }
        let properties =
            PublishProperties { content_type: Some(content_type.to_owned()), ..PublishProperties::default() };
        let topic = self.telemetry_topic.as_str();
        let handed = self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties);
        // Otherwise the event loop has ended, which `next` will tell.
        if handed.is_ok() {
            self.handed.push_back(Item::Reading(ordinal));
        }
        true
    }

    /// Says that the vehicle is online, or goes.
    pub(crate) fn publish_status(&mut self, state: StatusState, time: UnixMillis) {
        let payload = status(&self.target, state, time);
        let topic = Channel::Status.topic(&self.target.vehicle);
        if self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_ok() {
            self.handed.push_back(Item::Status);
        }
    }

    /// Answers a command; [`Self::room`] must be above 0.
    pub(crate) fn publish_reply(&mut self, reply: &CommandReply) {
        let payload = serde_json::to_vec(reply).unwrap_or_default();
        let topic = Channel::CommandReply.topic(&self.target.vehicle);
        if self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_ok() {
            self.handed.push_back(Item::Reply);
        }
    }

    /// Says goodbye and disconnects, within `limit`.
    pub(crate) async fn close(mut self, time: UnixMillis, limit: Duration) {
        self.publish_status(StatusState::Offline, time);
        let goodbye = async {
            let mut said = false;
            loop {
                match self.next().await {
                    Ok(Happening::StatusTaken) if !said && self.nothing_outstanding() => {
                        said = true;
                        if self.client.try_disconnect().is_err() {
                            break;
                        }
                    }
                    Ok(Happening::Left) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        // The broker publishes the will of whoever does not take leave in time.
        tokio::time::timeout(limit, goodbye).await.ok();
    }

    fn nothing_outstanding(&self) -> bool {
        let status = |item: &Item| matches!(item, Item::Status);
        !self.handed.iter().any(status) && !self.outstanding.values().any(status)
    }
}
