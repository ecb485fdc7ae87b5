//! MQTT 5 packets: the only file with rumqttc's types. Its codec is used without its event loop, which takes a
//! channel, an event and a write to the socket for every acknowledgement.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{
    Error, QoS,
    v5::{
        ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, LastWill,
        Login, Packet, PingReq, PubAck, PubAckReason, Publish, PublishProperties, RetainForwardRule, Subscribe,
        SubscribeReasonCode,
    },
};
use telemetry::{Encoding, UnixMillis};

use super::{Happening, Identity};
use crate::{
    config::{Config, MAX_PACKET_BYTES},
    intake::content_type,
    spool::Entry,
};

/// Of the one SUBSCRIBE of a connection.
const SUBSCRIBE_ID: u16 = 1;

/// What a packet from the broker means to the session.
pub(super) enum Came {
    Happening(Happening),
    /// Nothing that we asked for.
    Nothing,
}

/// Takes the next packet out of the buffer; none if it is not complete.
pub(super) fn next(inbox: &mut BytesMut, now: UnixMillis) -> Result<Option<Came>, String> {
    lengthen(inbox);
    match Packet::read(inbox, Some(MAX_PACKET_BYTES)) {
        Ok(packet) => came(packet, now).map(Some),
        Err(Error::InsufficientBytes(_)) => Ok(None),
        Err(error) => Err(format!("what the broker sent is no MQTT packet: {error}")),
    }
}

/// Gives the short forms of DISCONNECT, which the codec does not know, the long one.
fn lengthen(inbox: &mut BytesMut) {
    let (taken, reason) = match inbox[..] {
        [0xE0, 0, ..] => (2, 0),
        [0xE0, 1, reason, ..] => (3, reason),
        _ => return,
    };
    let rest = inbox.split_off(taken);
    *inbox = BytesMut::from(&[0xE0, 2, reason, 0][..]);
    inbox.extend_from_slice(&rest);
}

fn came(packet: Packet, now: UnixMillis) -> Result<Came, String> {
    Ok(Came::Happening(match packet {
        Packet::Publish(publish) => {
            let packet_id = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
            Happening::Publish { packet_id, entry: entry(publish, now) }
        }
        Packet::PubAck(puback) => {
            let taken = matches!(puback.reason, PubAckReason::Success);
            Happening::Puback { packet_id: puback.pkid, taken, reason: format!("{:?}", puback.reason) }
        }
        Packet::ConnAck(connack) => match refusal(connack.code) {
            None => connected(&connack),
            Some(happening) => happening,
        },
        Packet::SubAck(suback) => {
            let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce));
            match suback.return_codes.iter().find(|code| !granted(code)) {
                None => Happening::Subscribed,
                Some(code) => Happening::Fatal(format!("the subscription was refused: {code:?}")),
            }
        }
        Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. }) => {
            Happening::TakenOver
        }
        Packet::Disconnect(disconnect) => {
            return Err(format!("the broker ends the connection: {:?}", disconnect.reason_code));
        }
        Packet::PingResp(_) => Happening::Pong,
        _ => return Ok(Came::Nothing),
    }))
}

/// What the broker does not say it has no limit for.
fn connected(connack: &ConnAck) -> Happening {
    let properties = connack.properties.as_ref();
    Happening::Connected {
        resumed: connack.session_present,
        receive_maximum: properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX),
        max_packet_size: properties.and_then(|properties| properties.max_packet_size).unwrap_or(u32::MAX),
    }
}

fn refusal(code: ConnectReturnCode) -> Option<Happening> {
    match code {
        ConnectReturnCode::Success => None,
        ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::NotAuthorized
        | ConnectReturnCode::ClientIdentifierNotValid
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::Banned
        | ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => {
            Some(Happening::Refused(format!("the broker refused the connection: {code:?}")))
        }
        code => Some(Happening::Lost(format!("the broker refused the connection: {code:?}"))),
    }
}

/// A publish as it is kept: in memory of its own. Slices of what was read would keep all of it for the sake of one small
/// reading, and what is in hand could not be bounded.
fn entry(publish: Publish, ingest: UnixMillis) -> Entry {
    let mut kept = BytesMut::with_capacity(publish.topic.len() + publish.payload.len());
    kept.extend_from_slice(&publish.topic);
    kept.extend_from_slice(&publish.payload);
    let mut payload = kept.freeze();
    let mqtt_topic = payload.split_to(publish.topic.len());
    let properties = publish.properties.unwrap_or_default();
    let traceparent = properties.user_properties.into_iter().find(|(name, _)| name == "traceparent");
    Entry {
        ingest,
        qos0: publish.qos == QoS::AtMostOnce,
        mqtt_topic,
        content_type: properties.content_type.map(content_type),
        traceparent: traceparent.map(|(_, value)| value.into()),
        payload,
    }
}

/// Appends a packet. The packets below are small and well-formed, so the codec has nothing to refuse.
fn write(packet: &Packet, outbox: &mut BytesMut) {
    let written = packet.write(outbox, None);
    debug_assert!(written.is_ok(), "{written:?}");
}

pub(super) fn connect(
    config: &Config,
    password: Option<String>,
    identity: &Identity,
    keep_alive_s: u16,
    outbox: &mut BytesMut,
) {
    let properties = ConnectProperties {
        session_expiry_interval: Some(if identity.persistent { u32::MAX } else { 0 }),
        receive_maximum: Some(config.receive_maximum),
        max_packet_size: Some(MAX_PACKET_BYTES),
        topic_alias_max: None,
        request_response_info: None,
        request_problem_info: None,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    };
    let connect = Connect {
        keep_alive: keep_alive_s,
        client_id: identity.client_id.clone(),
        clean_start: !identity.persistent,
        properties: Some(properties),
    };
    let login = config.mqtt_user.as_deref().zip(password).map(|(user, password)| Login::new(user, password));
    let will = identity
        .will
        .as_ref()
        .map(|will| LastWill::new(&will.mqtt_topic, will.payload.clone(), QoS::AtLeastOnce, will.retain, None));
    write(&Packet::Connect(connect, will, login), outbox);
}

/// Asks for everything that matches one of the filters.
pub(super) fn subscribe(filters: &[String], outbox: &mut BytesMut) {
    let filters = filters.iter().map(|filter| {
        let mut filter = Filter::new(filter, QoS::AtLeastOnce);
        // What is retained comes with a new subscription; sessions that are kept have no use for it again.
        filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
        filter
    });
    let mut subscribe = Subscribe::new_many(filters, None);
    subscribe.pkid = SUBSCRIBE_ID;
    write(&Packet::Subscribe(subscribe), outbox);
}

pub(super) fn puback(packet_id: u16, outbox: &mut BytesMut) {
    write(&Packet::PubAck(PubAck::new(packet_id, None)), outbox);
}

/// QoS 1 with a packet id, QoS 0 without.
pub(super) fn publish(mqtt_topic: &str, payload: Vec<u8>, packet_id: Option<u16>, retain: bool, outbox: &mut BytesMut) {
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let mut publish = Publish::new(mqtt_topic, qos, payload, None);
    publish.pkid = packet_id.unwrap_or(0);
    publish.retain = retain;
    write(&Packet::Publish(publish), outbox);
}

/// QoS 1, JSON; the broker drops it after `expiry_s` if it still has it. A packet above `max_packet_size` is not
/// appended; its size then.
pub(super) fn publish_expiring(
    mqtt_topic: &str,
    payload: Bytes,
    packet_id: u16,
    expiry_s: u32,
    max_packet_size: u32,
    outbox: &mut BytesMut,
) -> Result<(), usize> {
    let properties = PublishProperties {
        message_expiry_interval: Some(expiry_s),
        content_type: Some(Encoding::Json.content_type().to_owned()),
        ..PublishProperties::default()
    };
    let mut publish = Publish::new(mqtt_topic, QoS::AtLeastOnce, payload, Some(properties));
    publish.pkid = packet_id;
    let before = outbox.len();
    write(&Packet::Publish(publish), outbox);
    let size = outbox.len() - before;
    if u32::try_from(size).is_ok_and(|size| size <= max_packet_size) {
        return Ok(());
    }
    outbox.truncate(before);
    Err(size)
}

pub(super) fn ping(outbox: &mut BytesMut) {
    write(&Packet::PingReq(PingReq), outbox);
}

pub(super) fn disconnect(outbox: &mut BytesMut) {
    write(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)), outbox);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_leaves_with_its_expiry_and_packet_id() {
        let mut outbox = BytesMut::new();
        publish_expiring("v1/veh-1/command", Bytes::from_static(b"{}"), 77, 42, u32::MAX, &mut outbox).unwrap();
        let Ok(Packet::Publish(publish)) = Packet::read(&mut outbox, None) else { panic!("no publish") };
        assert_eq!((publish.qos, publish.pkid, &publish.payload[..]), (QoS::AtLeastOnce, 77, &b"{}"[..]));
        let properties = publish.properties.unwrap();
        assert_eq!(properties.message_expiry_interval, Some(42));
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_command_above_the_brokers_limit_leaves_nothing_behind() {
        let mut outbox = BytesMut::new();
        let publish = |max, outbox: &mut BytesMut| {
            publish_expiring("v1/veh-1/command", Bytes::from_static(b"{}"), 77, 42, max, outbox)
        };
        puback(1, &mut outbox);
        let before = outbox.clone();
        let size = publish(20, &mut outbox).unwrap_err();
        assert_eq!(outbox, before);
        let size = u32::try_from(size).unwrap();
        assert!(publish(size - 1, &mut outbox).is_err() && publish(size, &mut outbox).is_ok());
        assert_eq!(outbox.len(), before.len() + size as usize);
    }

    #[test]
    fn what_is_kept_of_a_publish_keeps_nothing_of_what_was_read_with_it() {
        let mut inbox = BytesMut::new();
        let mut publish = Publish::new("v1/veh-1/telemetry", QoS::AtLeastOnce, "{}", None);
        publish.pkid = 1;
        write(&Packet::Publish(publish), &mut inbox);
        inbox.extend_from_slice(&[0; 60_000]);
        let read = inbox.as_ptr_range();
        let Ok(Some(Came::Happening(Happening::Publish { entry, .. }))) = next(&mut inbox, 0) else { panic!() };
        assert_eq!((&entry.mqtt_topic[..], &entry.payload[..]), (&b"v1/veh-1/telemetry"[..], &b"{}"[..]));
        assert!(![entry.payload.as_ptr(), entry.mqtt_topic.as_ptr()].iter().any(|at| read.contains(at)));
    }

    #[test]
    fn the_connack_says_how_much_the_broker_takes() {
        let limits = |bytes: &[u8]| match next(&mut BytesMut::from(bytes), 0) {
            Ok(Some(Came::Happening(Happening::Connected { receive_maximum, max_packet_size, .. }))) => {
                (receive_maximum, max_packet_size)
            }
            _ => panic!("no CONNACK: {bytes:x?}"),
        };
        assert_eq!(limits(&[0x20, 3, 0, 0, 0]), (u16::MAX, u32::MAX));
        assert_eq!(limits(&[0x20, 11, 0, 0, 8, 0x21, 0, 20, 0x27, 0, 1, 0, 0]), (20, 65_536));
    }
}
