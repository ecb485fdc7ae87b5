//! MQTT 5 without I/O: what a load vehicle writes and reads.
//!
//! rumqttc's codec, which the fleet uses too: it keeps no state and no buffers, it is here anyway, and reading a
//! PUBACK with it costs about 0.1 µs. PUBLISH alone is written by hand, because its payload is rendered in place;
//! a test reads it back with the codec.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{
    Error, QoS,
    v5::{
        Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode, Filter, Login, Packet,
        PingReq, PubAck, PubAckReason, Subscribe, SubscribeReasonCode,
    },
};
use telemetry::{VehicleId, mqtt_topic::Channel};

use super::plan::Judge;

/// The longest packet that is read, bytes.
pub(super) const MAX_PACKET: u32 = 64 * 1024;
/// What the broker may send ahead: acks are QoS 0, commands are rare.
const RECEIVE_MAXIMUM: u16 = 16;
/// Of the one SUBSCRIBE; publishes start behind it.
pub(super) const SUBSCRIBE_ID: u16 = 1;
/// What a PUBLISH takes beside topic, content type and payload, bytes: fixed header 5, length of the topic 2, packet
/// id 2, length of the properties 1, content type 3.
pub(super) const PUBLISH_HEAD: usize = 13;

/// What the broker says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// CONNACK with success.
    Greeted(Greeting),
    /// CONNACK with a refusal.
    Unwelcome(String),
    /// SUBACK; whether all subscriptions were granted.
    Subscribed(bool),
    /// PUBACK.
    Taken { id: u16, reason: u8 },
    /// An ack of the edge.
    Ack(Bytes),
    /// Another message, for example a command; at QoS 1 it has a packet id to acknowledge.
    Message { id: u16 },
    /// PINGRESP.
    Pong,
    /// DISCONNECT.
    Farewell(String),
    /// Nothing that concerns us.
    Other,
}

/// What a CONNACK says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) session_present: bool,
    pub(super) receive_maximum: u16,
    /// Bytes.
    pub(super) max_packet: u32,
    /// The broker's own keep-alive, s, if it insists on one.
    pub(super) keep_alive_s: Option<u16>,
    /// It takes QoS 1.
    pub(super) acknowledges: bool,
}

/// What a CONNECT says.
pub(super) struct Introduction {
    pub(super) user: String,
    /// Empty: none.
    pub(super) password: String,
    pub(super) clean_start: bool,
    pub(super) keep_alive_s: u16,
    pub(super) session_expiry_s: u32,
}

/// Appends a CONNECT: the client id is the vehicle.
pub(super) fn connect(vehicle: &VehicleId, introduction: Introduction, to: &mut BytesMut) -> Result<(), Error> {
    let properties = ConnectProperties {
        session_expiry_interval: Some(introduction.session_expiry_s),
        receive_maximum: Some(RECEIVE_MAXIMUM),
        max_packet_size: Some(MAX_PACKET),
        ..ConnectProperties::new()
    };
    let connect = Connect {
        keep_alive: introduction.keep_alive_s,
        client_id: vehicle.to_string(),
        clean_start: introduction.clean_start,
        properties: Some(properties),
    };
    Packet::Connect(connect, None, Some(Login::new(introduction.user, introduction.password))).write(to, None).map(drop)
}

/// Appends the SUBSCRIBE of a vehicle: commands, and acks where they are listened to.
pub(super) fn subscribe(vehicle: &VehicleId, judge: Judge, to: &mut BytesMut) -> Result<(), Error> {
    let command = Filter::new(Channel::Command.topic(vehicle), QoS::AtLeastOnce);
    let ack = || Filter::new(Channel::Ack.topic(vehicle), QoS::AtMostOnce);
    let filters = match judge {
        Judge::Ack => vec![ack(), command],
        Judge::Puback => vec![command],
    };
    Packet::Subscribe(Subscribe { pkid: SUBSCRIBE_ID, filters, properties: None }).write(to, None).map(drop)
}

/// Appends a PINGREQ.
pub(super) fn ping(to: &mut BytesMut) -> Result<(), Error> {
    Packet::PingReq(PingReq).write(to, None).map(drop)
}

/// Appends a PUBACK.
pub(super) fn puback(id: u16, to: &mut BytesMut) -> Result<(), Error> {
    Packet::PubAck(PubAck::new(id, None)).write(to, None).map(drop)
}

/// Appends a DISCONNECT that ends the session too: this fleet does not come back.
pub(super) fn disconnect(to: &mut BytesMut) -> Result<(), Error> {
    let properties = DisconnectProperties {
        session_expiry_interval: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    };
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    Packet::Disconnect(Disconnect { reason_code, properties: Some(properties) }).write(to, None).map(drop)
}

/// Appends a PUBLISH at QoS 1 of a rendered payload.
pub(super) fn publish(vehicle: &VehicleId, id: u16, content_type: &str, payload: &[u8], to: &mut BytesMut) {
    let (vehicle, suffix) = (vehicle.as_str().as_bytes(), Channel::Telemetry.suffix().as_bytes());
    let topic = 4 + vehicle.len() + suffix.len();
    let properties = 3 + content_type.len();
    let remaining = 2 + topic + 2 + 1 + properties + payload.len();
    to.extend_from_slice(&[0b0011_0010]);
    let mut left = remaining;
    loop {
        let seven = left.to_le_bytes()[0] & 0x7F;
        left >>= 7;
        to.extend_from_slice(&[if left > 0 { seven | 0x80 } else { seven }]);
        if left == 0 {
            break;
        }
    }
    to.extend_from_slice(&length(topic));
    to.extend_from_slice(b"v1/");
    to.extend_from_slice(vehicle);
    to.extend_from_slice(b"/");
    to.extend_from_slice(suffix);
    to.extend_from_slice(&id.to_be_bytes());
    // Content types are far shorter than 125 bytes: the length of the properties takes one byte.
    to.extend_from_slice(&[properties.to_le_bytes()[0], 0x03]);
    to.extend_from_slice(&length(content_type.len()));
    to.extend_from_slice(content_type.as_bytes());
    to.extend_from_slice(payload);
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// Takes the next whole packet off the buffer; none if there is none yet.
///
/// # Errors
/// Bytes that are no MQTT 5.
pub(super) fn read(from: &mut BytesMut) -> Result<Option<Incoming>, Error> {
    lengthen(from);
    let packet = match Packet::read(from, Some(MAX_PACKET)) {
        Ok(packet) => packet,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match packet {
        Packet::ConnAck(connack) => {
            use rumqttc::v5::mqttbytes::v5::ConnectReturnCode::Success;
            if connack.code == Success {
                let properties = connack.properties;
                let properties = properties.as_ref();
                Incoming::Greeted(Greeting {
                    session_present: connack.session_present,
                    receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
                    max_packet: properties.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX),
                    keep_alive_s: properties.and_then(|p| p.server_keep_alive),
                    acknowledges: properties.and_then(|p| p.max_qos) != Some(0),
                })
            } else {
                let why = connack.properties.and_then(|properties| properties.reason_string);
                Incoming::Unwelcome(said(format!("{:?}", connack.code), why))
            }
        }
        Packet::SubAck(suback) => {
            Incoming::Subscribed(suback.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))))
        }
        Packet::PubAck(puback) => Incoming::Taken { id: puback.pkid, reason: reason(puback.reason) },
        Packet::Publish(publish) if publish.topic.ends_with(b"/ack") => Incoming::Ack(publish.payload),
        Packet::Publish(publish) => Incoming::Message { id: publish.pkid },
        Packet::PingResp(_) => Incoming::Pong,
        Packet::Disconnect(disconnect) => {
            let why = disconnect.properties.and_then(|properties| properties.reason_string);
            Incoming::Farewell(said(format!("{:?}", disconnect.reason_code), why))
        }
        _ => Incoming::Other,
    }))
}

/// Gives the short forms of DISCONNECT, which the codec does not know, the long one.
fn lengthen(from: &mut BytesMut) {
    let (taken, reason) = match from[..] {
        [0xE0, 0, ..] => (2, 0),
        [0xE0, 1, reason, ..] => (3, reason),
        _ => return,
    };
    let rest = from.split_off(taken);
    *from = BytesMut::from(&[0xE0, 2, reason, 0][..]);
    from.extend_from_slice(&rest);
}

/// A reason code, and what the broker adds to it for people: as much of that as a line holds.
fn said(code: String, why: Option<String>) -> String {
    match why {
        Some(why) if !why.is_empty() => format!("{code} ({})", why.chars().take(80).collect::<String>()),
        _ => code,
    }
}

/// The byte on the wire.
fn reason(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vehicle::vehicle_id;

    #[test]
    fn a_publish_by_hand_is_what_the_codec_reads() {
        for bytes in [0, 1, 60, 200, 1_024, 16_000, 20_000] {
            let (vehicle, payload) = (vehicle_id(100_000), vec![b'x'; bytes]);
            let mut packet = BytesMut::new();
            publish(&vehicle, 258, "application/x-protobuf", &payload, &mut packet);
            let Packet::Publish(read) = Packet::read(&mut packet, None).unwrap() else { panic!("no publish") };
            assert!(packet.is_empty());
            assert_eq!((read.pkid, read.qos, read.dup, read.retain), (258, QoS::AtLeastOnce, false, false));
            assert_eq!(read.topic, Channel::Telemetry.topic(&vehicle).as_bytes());
            assert_eq!(read.payload, payload);
            let content_type = read.properties.unwrap().content_type;
            assert_eq!(content_type.as_deref(), Some("application/x-protobuf"));
            assert!(bytes + PUBLISH_HEAD + 22 + read.topic.len() <= 65_536);
        }
    }

    #[test]
    fn packets_are_read_one_by_one_and_a_torn_one_waits() {
        let mut stream = BytesMut::from(&[0x40, 2, 0, 7, 0x40, 3, 0, 8, 0x10, 0x40, 4, 0, 9, 0x97, 0, 0xD0, 0][..]);
        stream.extend_from_slice(&[0x40, 2, 0]);
        let taken = |id, reason| Some(Incoming::Taken { id, reason });
        assert_eq!(read(&mut stream).unwrap(), taken(7, 0));
        assert_eq!(read(&mut stream).unwrap(), taken(8, 0x10));
        assert_eq!(read(&mut stream).unwrap(), taken(9, 0x97));
        assert_eq!(read(&mut stream).unwrap(), Some(Incoming::Pong));
        assert_eq!(read(&mut stream).unwrap(), None);
        stream.extend_from_slice(&[10]);
        assert_eq!(read(&mut stream).unwrap(), taken(10, 0));
        assert!(read(&mut BytesMut::from(&[0, 0][..])).is_err());
    }

    #[test]
    fn whatever_a_broker_tells_in_its_greeting_is_heard() {
        let greeted = |properties: &[u8]| {
            let remaining = u8::try_from(3 + properties.len()).unwrap();
            let mut packet = BytesMut::from(&[0x20, remaining, 0, 0, remaining - 3][..]);
            packet.extend_from_slice(properties);
            let Ok(Some(Incoming::Greeted(greeting))) = read(&mut packet) else { panic!("{properties:?}") };
            assert!(packet.is_empty());
            greeting
        };
        // Nothing said: what the protocol presumes.
        let presumed = Greeting {
            session_present: false,
            receive_maximum: u16::MAX,
            max_packet: u32::MAX,
            keep_alive_s: None,
            acknowledges: true,
        };
        assert_eq!(greeted(&[]), presumed);
        // Receive Maximum, Maximum Packet Size, Server Keep Alive; and the most that others say: session expiry, topic
        // aliases, no retained messages, no wildcards, an id, a reason, a property of its own.
        let all = [
            &[0x21, 0, 10, 0x27, 0, 0, 8, 0, 0x13, 0, 30][..],
            &[0x11, 0, 0, 0, 60, 0x22, 0, 5, 0x25, 0, 0x28, 0, 0x29, 1, 0x2A, 0],
            &[0x12, 0, 1, b'a', 0x1F, 0, 2, b'h', b'i', 0x26, 0, 1, b'k', 0, 1, b'v'],
        ];
        let keep_alive_s = Some(30);
        assert_eq!(
            greeted(&all.concat()),
            Greeting { receive_maximum: 10, max_packet: 2_048, keep_alive_s, ..presumed }
        );
        assert!(!greeted(&[0x24, 0]).acknowledges, "Maximum QoS 0");
    }

    #[test]
    fn a_broker_that_refuses_or_ends_is_quoted() {
        let heard = |bytes: &[u8]| read(&mut BytesMut::from(bytes)).unwrap().unwrap();
        let reason = [0x1F, 0, 4, b'f', b'u', b'l', b'l'];
        let refusal = [&[0x20, 10, 0, 0x97, 7][..], &reason].concat();
        assert_eq!(heard(&refusal), Incoming::Unwelcome("QuotaExceeded (full)".to_owned()));
        assert_eq!(heard(&[0x20, 3, 0, 0x87, 0]), Incoming::Unwelcome("NotAuthorized".to_owned()));
        let farewell = [&[0xE0, 9, 0x8B, 7][..], &reason].concat();
        assert_eq!(heard(&farewell), Incoming::Farewell("ServerShuttingDown (full)".to_owned()));
        // Without properties, and without a reason: the shortest forms that the protocol knows.
        assert_eq!(heard(&[0xE0, 2, 0x8E, 0]), Incoming::Farewell("SessionTakenOver".to_owned()));
        assert_eq!(heard(&[0xE0, 0]), Incoming::Farewell("NormalDisconnection".to_owned()));
        assert_eq!(heard(&[0xE0, 1, 0x8E]), Incoming::Farewell("SessionTakenOver".to_owned()));
        assert!(said("code".to_owned(), Some("x".repeat(500))).len() < 100);
    }

    #[test]
    fn what_is_said_is_what_the_protocol_asks_for() {
        let vehicle = vehicle_id(3);
        let mut packets = BytesMut::new();
        let (user, password) = ("car:veh-00003".to_owned(), "secret".to_owned());
        let introduction = Introduction { user, password, clean_start: true, keep_alive_s: 60, session_expiry_s: 600 };
        connect(&vehicle, introduction, &mut packets).unwrap();
        subscribe(&vehicle, Judge::Ack, &mut packets).unwrap();
        subscribe(&vehicle, Judge::Puback, &mut packets).unwrap();
        disconnect(&mut packets).unwrap();
        let Packet::Connect(connect, None, Some(login)) = Packet::read(&mut packets, None).unwrap() else { panic!() };
        assert_eq!(connect.client_id, "veh-00003");
        assert_eq!((login.username.as_str(), login.password.as_str()), ("car:veh-00003", "secret"));
        assert_eq!((connect.clean_start, connect.keep_alive), (true, 60));
        assert_eq!(connect.properties.unwrap().session_expiry_interval, Some(600));
        let mut topics = || {
            let Packet::Subscribe(subscribe) = Packet::read(&mut packets, None).unwrap() else { panic!() };
            subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos)).collect::<Vec<_>>()
        };
        let command = ("v1/veh-00003/command".to_owned(), QoS::AtLeastOnce);
        assert_eq!(topics(), [("v1/veh-00003/ack".to_owned(), QoS::AtMostOnce), command.clone()]);
        assert_eq!(topics(), [command]);
        let Packet::Disconnect(disconnect) = Packet::read(&mut packets, None).unwrap() else { panic!() };
        assert_eq!(disconnect.properties.unwrap().session_expiry_interval, Some(0));
    }
}
