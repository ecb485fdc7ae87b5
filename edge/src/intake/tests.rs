//! Where publishes go, with which headers, and by what an ack will name them.

use telemetry::{Kind, Record, Signals, Value};

use super::*;

const NOW: UnixMillis = 1_700_000_000_500;

fn record() -> Record {
    let mut signals = Signals::default();
    signals.insert(telemetry::signal::SPEED, Value::Number(50.0)).unwrap();
    Record {
        schema: 1,
        vehicle: VehicleId::parse("veh-1").unwrap(),
        boot: 7,
        seq: 42,
        time: 1_700_000_000_000,
        kind: Kind::Full,
        signals,
        position: None,
    }
}

fn arrival(mqtt_topic: &str, payload: &[u8]) -> Entry {
    Entry {
        ingest: NOW,
        qos0: false,
        mqtt_topic: Bytes::copy_from_slice(mqtt_topic.as_bytes()),
        content_type: None,
        traceparent: None,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn sort_one(mqtt_topic: &str, payload: &[u8]) -> Sorted {
    sort(arrival(mqtt_topic, payload))
}

fn header(sorted: &Sorted, name: &str) -> Option<String> {
    let record = sorted.record();
    let mut found = record.headers.iter().filter(|(key, _)| *key == name);
    let value = found.next().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap());
    assert!(found.next().is_none(), "{name} stands twice");
    value
}

#[test]
fn a_record_goes_to_telemetry_as_it_is() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let payload = telemetry::encode(&record(), encoding).unwrap();
        let mut arrival = arrival("v1/veh-1/telemetry", &payload);
        arrival.content_type = Some(content_type(encoding.content_type().to_owned()));
        arrival.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        let sorted = sort(arrival);
        let out = sorted.record();
        assert_eq!(out.kafka_topic, kafka_topic::TELEMETRY);
        assert_eq!(out.key, Some(&b"veh-1"[..]));
        assert_eq!(out.payload, payload);
        assert_eq!(out.timestamp, NOW);
        assert_eq!(header(&sorted, "content-type").as_deref(), Some(encoding.content_type()));
        assert_eq!(header(&sorted, "schema").as_deref(), Some("1"));
        assert_eq!(header(&sorted, "mqtt-topic").as_deref(), Some("v1/veh-1/telemetry"));
        assert!(header(&sorted, "traceparent").is_some());
        assert_eq!(sorted.reading, Some(Reading::Sequence { boot: 7, seq: 42 }));
        assert_eq!((sorted.discarded(), sorted.entry.qos0), (None, false));
    }
}

#[test]
fn json_is_what_no_content_type_means() {
    let sorted = sort_one("v1/veh-1/telemetry", &telemetry::encode(&record(), Encoding::Json).unwrap());
    assert_eq!(header(&sorted, "content-type").as_deref(), Some("application/json"));
}

#[test]
fn bad_input_goes_to_the_dead_letters_with_its_reason() {
    let json = telemetry::encode(&record(), Encoding::Json).unwrap();
    let altered = |from: &str, to: &str| {
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    let by_seq = Some(Reading::Sequence { boot: 7, seq: 42 });
    for (reason, payload, named) in [
        (Reason::Empty, vec![], None),
        (Reason::Oversize, vec![b' '; 61 * 1024], None),
        (Reason::NotUtf8, b"{\"schema\":\"\xff\"}".to_vec(), None),
        (Reason::Malformed, json[..json.len() / 2].to_vec(), None),
        (Reason::UnsupportedSchema, altered("\"schema\":1", "\"schema\":2"), by_seq),
        (Reason::WrongType, altered("\"seq\":42", "\"seq\":\"42\""), None),
        (Reason::VehicleMismatch, altered("veh-1", "veh-2"), by_seq),
        (Reason::OutOfRange, altered("50.0", "5e9"), by_seq),
        (Reason::NotFinite, altered("50.0", "1e999"), None),
        (Reason::Malformed, altered("50.0", "NaN"), None),
        (Reason::BadTime, altered("1700000000000", "17"), by_seq),
        (Reason::BadSequence, altered("\"seq\":42", "\"seq\":0"), None),
    ] {
        let sorted = sort_one("v1/veh-1/telemetry", &payload);
        let out = sorted.record();
        assert_eq!(header(&sorted, "reason").as_deref(), Some(reason.as_str()));
        assert_eq!(out.kafka_topic, kafka_topic::DEAD_LETTER);
        assert_eq!(out.payload, payload, "{reason}: original bytes");
        assert_eq!(out.key, Some(&b"veh-1"[..]), "{reason}");
        assert!(!header(&sorted, "error").unwrap().is_empty());
        assert_eq!(header(&sorted, "refused-by").as_deref(), Some("edge"));
        assert_eq!(header(&sorted, "mqtt-topic").as_deref(), Some("v1/veh-1/telemetry"));
        let named = named.unwrap_or(Reading::Hash(PayloadHash::of(&payload)));
        assert_eq!(sorted.reading, Some(named), "{reason}");
        assert_eq!(sorted.vehicle(), Some("veh-1"), "the vehicle of the MQTT topic");
        assert_eq!(sorted.discarded(), Some(reason.as_str()));
    }
}

#[test]
fn a_foreign_topic_has_no_vehicle_to_tell() {
    for mqtt_topic in ["v1/veh 1/telemetry", "v2/veh-1/telemetry", "x", ""] {
        let sorted = sort_one(mqtt_topic, b"{}");
        assert_eq!((sorted.record().kafka_topic, sorted.record().key), (kafka_topic::DEAD_LETTER, None));
        assert_eq!(sorted.discarded(), Some("bad_topic"));
        assert_eq!((sorted.vehicle(), sorted.reading), (None, None));
    }
    let sorted = sort_one("v1/veh-1/ack", b"{}");
    assert_eq!((sorted.discarded(), sorted.reading), (Some("bad_topic"), None));
}

#[test]
fn a_status_is_checked_and_not_acknowledged_by_an_ack() {
    let good = br#"{"vehicle":"veh-1","boot":7,"state":"online","time":1700000000000}"#;
    let sorted = sort_one("v1/veh-1/status", good);
    assert_eq!((sorted.kafka_topic, sorted.discarded(), sorted.reading), (kafka_topic::VEHICLE_STATUS, None, None));
    assert_eq!(header(&sorted, "content-type").as_deref(), Some("application/json"));
    assert_eq!(header(&sorted, "schema"), None);
    for (reason, payload) in [
        ("empty", &b""[..]),
        ("malformed", b"{"),
        ("not_utf8", b"\"\xff\""),
        ("wrong_type", br#"{"vehicle":"veh-1"}"#),
        ("wrong_type", br#"["veh-1",7,"online",1700000000000,null]"#),
        ("vehicle_mismatch", br#"{"vehicle":"veh-2","boot":7,"state":"online","time":1700000000000}"#),
    ] {
        let sorted = sort_one("v1/veh-1/status", payload);
        assert_eq!((sorted.kafka_topic, sorted.discarded()), (kafka_topic::DEAD_LETTER, Some(reason)));
    }
}

#[test]
fn what_kafka_refuses_keeps_its_bytes_and_gains_a_reason() {
    let sorted = sort_one("v1/veh-1/telemetry", &telemetry::encode(&record(), Encoding::Json).unwrap());
    let mut dead = sorted.clone();
    dead.refused_by_kafka(crate::metrics::KAFKA_REFUSED, "too large".to_owned());
    let (was, is) = (sorted.record(), dead.record());
    assert_eq!((is.kafka_topic, is.payload, is.key), (kafka_topic::DEAD_LETTER, was.payload, was.key));
    assert_eq!(header(&dead, "reason").as_deref(), Some("kafka_refused"));
    assert_eq!(header(&dead, "error").as_deref(), Some("too large"));
    assert_eq!(dead.reading, sorted.reading, "it is acknowledged by the same name");
}

#[test]
fn a_reply_to_a_command_goes_up() {
    let id = uuid::Uuid::from_u128(7);
    let good = format!(r#"{{"id":"{id}","vehicle":"veh-1","done":true}}"#);
    let sorted = sort_one("v1/veh-1/command/reply", good.as_bytes());
    assert_eq!((sorted.kafka_topic, sorted.discarded()), (kafka_topic::COMMAND_REPLIES, None));
    let sorted = sort_one("v1/veh-2/command/reply", good.as_bytes());
    assert_eq!((sorted.kafka_topic, sorted.discarded()), (kafka_topic::DEAD_LETTER, Some("vehicle_mismatch")));
}
