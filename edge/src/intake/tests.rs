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

fn arrival(mqtt_topic: &str, payload: &[u8]) -> Arrival {
    Arrival {
        mqtt_topic: Bytes::copy_from_slice(mqtt_topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload),
        packet_id: Some(1),
        content_type: None,
        traceparent: None,
    }
}

fn sort_one(mqtt_topic: &str, payload: &[u8]) -> (OutRecord, Subject) {
    sort(arrival(mqtt_topic, payload), NOW)
}

fn header<'a>(record: &'a OutRecord, name: &str) -> Option<&'a str> {
    let mut found = record.headers.iter().filter(|(key, _)| *key == name);
    let value = found.next().map(|(_, value)| std::str::from_utf8(value).unwrap());
    assert!(found.next().is_none(), "{name} stands twice");
    value
}

#[test]
fn a_record_goes_to_telemetry_as_it_is() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let payload = telemetry::encode(&record(), encoding).unwrap();
        let mut arrival = arrival("v1/veh-1/telemetry", &payload);
        arrival.content_type = Some(encoding.content_type().to_owned());
        arrival.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        let (out, subject) = sort(arrival, NOW);
        assert_eq!(out.kafka_topic, kafka_topic::TELEMETRY);
        assert_eq!(out.key.as_deref(), Some(&b"veh-1"[..]));
        assert_eq!(out.payload, payload);
        assert_eq!(out.timestamp, NOW);
        assert_eq!(header(&out, "content-type"), Some(encoding.content_type()));
        assert_eq!(header(&out, "schema"), Some("1"));
        assert_eq!(header(&out, "mqtt-topic"), Some("v1/veh-1/telemetry"));
        assert!(header(&out, "traceparent").is_some());
        assert_eq!(subject.reading, Some(Reading::Sequence { boot: 7, seq: 42 }));
        assert_eq!((subject.end, subject.qos0), (End::Sent, false));
    }
}

#[test]
fn json_is_what_no_content_type_means() {
    let (out, _) = sort_one("v1/veh-1/telemetry", &telemetry::encode(&record(), Encoding::Json).unwrap());
    assert_eq!(header(&out, "content-type"), Some("application/json"));
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
        let (out, subject) = sort_one("v1/veh-1/telemetry", &payload);
        assert_eq!(header(&out, "reason"), Some(reason.as_str()));
        assert_eq!(out.kafka_topic, kafka_topic::DEAD_LETTER);
        assert_eq!(out.payload, payload, "{reason}: original bytes");
        assert_eq!(out.key.as_deref(), Some(&b"veh-1"[..]), "{reason}");
        assert!(!header(&out, "error").unwrap().is_empty());
        assert_eq!(header(&out, "refused-by"), Some("edge"));
        assert_eq!(header(&out, "mqtt-topic"), Some("v1/veh-1/telemetry"));
        let named = named.unwrap_or(Reading::Hash(PayloadHash::of(&payload)));
        assert_eq!(subject.reading, Some(named), "{reason}");
        assert_eq!(subject.vehicle.as_ref().map(VehicleId::as_str), Some("veh-1"), "the vehicle of the MQTT topic");
        assert_eq!(subject.end, End::Discarded(reason.as_str()));
    }
}

#[test]
fn a_foreign_topic_has_no_vehicle_to_tell() {
    for mqtt_topic in ["v1/veh 1/telemetry", "v2/veh-1/telemetry", "x", ""] {
        let (out, subject) = sort_one(mqtt_topic, b"{}");
        assert_eq!((out.kafka_topic, &out.key), (kafka_topic::DEAD_LETTER, &None));
        assert_eq!(subject.end, End::Discarded("bad_topic"));
        assert_eq!((subject.vehicle, subject.reading), (None, None));
    }
    let (_, subject) = sort_one("v1/veh-1/ack", b"{}");
    assert_eq!((subject.end, subject.reading), (End::Discarded("bad_topic"), None));
}

#[test]
fn a_status_is_checked_and_not_acknowledged_by_an_ack() {
    let good = br#"{"vehicle":"veh-1","boot":7,"state":"online","time":1700000000000}"#;
    let (out, subject) = sort_one("v1/veh-1/status", good);
    assert_eq!((out.kafka_topic, subject.end, subject.reading), (kafka_topic::VEHICLE_STATUS, End::Sent, None));
    assert_eq!(header(&out, "schema"), None);
    for (reason, payload) in [
        ("empty", &b""[..]),
        ("malformed", b"{"),
        ("not_utf8", b"\"\xff\""),
        ("wrong_type", br#"{"vehicle":"veh-1"}"#),
        ("wrong_type", br#"["veh-1",7,"online",1700000000000,null]"#),
        ("vehicle_mismatch", br#"{"vehicle":"veh-2","boot":7,"state":"online","time":1700000000000}"#),
    ] {
        let (out, subject) = sort_one("v1/veh-1/status", payload);
        assert_eq!((out.kafka_topic, subject.end), (kafka_topic::DEAD_LETTER, End::Discarded(reason)));
    }
}

#[test]
fn what_kafka_refuses_keeps_its_bytes_and_gains_a_reason() {
    let (out, _) = sort_one("v1/veh-1/telemetry", &telemetry::encode(&record(), Encoding::Json).unwrap());
    let dead = refused_by_kafka(out.clone(), crate::metrics::KAFKA_REFUSED, "too large");
    assert_eq!((dead.kafka_topic, &dead.payload, &dead.key), (kafka_topic::DEAD_LETTER, &out.payload, &out.key));
    assert_eq!((header(&dead, "reason"), header(&dead, "error")), (Some("kafka_refused"), Some("too large")));
}
