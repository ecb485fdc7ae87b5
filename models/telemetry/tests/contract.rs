//! The contract as the outside sees it: round trips, truncation, unknown fields, every reason, frozen files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use telemetry::{
    Encoding, Kind, Position, Reason, Record, SCHEMA, Signals, Value, VehicleId, decode, encode,
    signal::{self, CATALOGUE, Domain, Signal},
    time,
    validation::{MAX_PAYLOAD_BYTES, MAX_SIGNALS, MAX_TEXT_BYTES},
};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

fn vehicle(text: &str) -> VehicleId {
    VehicleId::parse(text).expect("a well-formed pseudonym")
}

fn sample() -> Record {
    sample_of(CATALOGUE)
}

fn sample_of(rows: &[Signal]) -> Record {
    let mut signals = Signals::new();
    for row in rows {
        let value = match row.domain {
            Domain::Number { min, max } => Value::Number(min + (max - min) / 3.0),
            Domain::Boolean => Value::Boolean(true),
            Domain::Text => Value::Text("ON".into()),
        };
        signals.insert(row.number, value).unwrap();
    }
    signals.insert_path("Vehicle.Cabin.Sunroof.Position", Value::Number(-12.5)).unwrap();
    Record {
        schema: SCHEMA,
        vehicle: vehicle("veh-00042"),
        boot: 1_763_712_000,
        seq: 17,
        time: 1_763_712_345_678,
        kind: Kind::Full,
        signals,
        position: Some(Position { latitude: 48.137, longitude: 11.575, heading: Some(271.5) }),
    }
}

fn value_of(domain: Domain) -> BoxedStrategy<Value> {
    match domain {
        Domain::Number { min, max } => (min..=max).prop_map(Value::Number).boxed(),
        Domain::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Domain::Text => "\\PC{0,20}".prop_map(Value::Text).boxed(),
    }
}

prop_compose! {
    fn known()(rows in proptest::sample::subsequence(CATALOGUE.to_vec(), 1..CATALOGUE.len()))
        (values in rows.iter().map(|row| value_of(row.domain)).collect::<Vec<_>>(), rows in Just(rows))
        -> Vec<(u16, Value)> {
        rows.iter().map(|row| row.number).zip(values).collect()
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("JSON has no NaN or infinity", |n| n.is_finite()).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        "\\PC{0,20}".prop_map(Value::Text),
    ]
}

prop_compose! {
    fn any_position()(latitude in -90.0..=90.0, longitude in -180.0..=180.0, heading in proptest::option::of(0.0..=360.0))
        -> Position {
        Position { latitude, longitude, heading }
    }
}

prop_compose! {
    fn any_record()(
        id in "[A-Za-z0-9_-]{1,64}",
        boot in 1_u32..,
        seq in 1_u64..,
        time in time::EARLIEST..=time::LATEST,
        full in any::<bool>(),
        known in known(),
        unknown in proptest::collection::btree_map("(X\\.[A-Za-z.]{1,30}|#[1-9][0-9]{2,6}|#0[0-9]{1,3})", any_value(), 0..5),
        position in proptest::option::of(any_position()),
    ) -> Record {
        let mut signals = Signals::new();
        for (number, value) in known {
            signals.insert(number, value).unwrap();
        }
        for (path, value) in unknown {
            signals.insert_path(&path, value).unwrap();
        }
        let kind = if full { Kind::Full } else { Kind::Change };
        Record { schema: SCHEMA, vehicle: vehicle(&id), boot, seq, time, kind, signals, position }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_record_survives_both_encodings(record in any_record()) {
        for encoding in ENCODINGS {
            let payload = encode(&record, encoding).unwrap();
            prop_assert_eq!(&decode(&payload, encoding, Some(&record.vehicle)).unwrap(), &record);
        }
    }

    #[test]
    fn a_truncated_payload_is_refused_or_a_shorter_record_but_never_panics(record in any_record(), cut in 0.0..1.0) {
        for encoding in ENCODINGS {
            let payload = encode(&record, encoding).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the payload")]
            let kept = (payload.len() as f64 * cut) as usize;
            let result = decode(&payload[..kept], encoding, None);
            // A Protobuf message may end at any field's border; JSON never ends early.
            if encoding == Encoding::Json {
                prop_assert!(result.is_err());
            }
            if let Err(invalid) = result {
                prop_assert!(encoding == Encoding::Protobuf || invalid.identity.is_none());
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_with_a_reason_and_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        for encoding in ENCODINGS {
            if let Err(invalid) = decode(&payload, encoding, None) {
                prop_assert!(Reason::ALL.contains(&invalid.reason));
                prop_assert!(invalid.detail.len() <= 300);
            }
        }
    }

    #[test]
    fn unknown_fields_are_ignored(record in any_record(), name in "[a-z]{8,12}", n in any::<i32>()) {
        let mut json: serde_json::Value = serde_json::from_slice(&encode(&record, Encoding::Json).unwrap()).unwrap();
        json[name] = n.into();
        prop_assert_eq!(&decode(json.to_string().as_bytes(), Encoding::Json, None).unwrap().signals, &record.signals);

        let mut payload = encode(&record, Encoding::Protobuf).unwrap();
        // Field 100, varint: tag 0xA0 0x06.
        payload.extend([0xA0, 0x06, 0x07]);
        prop_assert_eq!(decode(&payload, Encoding::Protobuf, None).unwrap(), record);
    }
}

/// The JSON of the sample with one field replaced, or removed where the value is null.
fn altered(pointer: &str, value: serde_json::Value) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(&encode(&sample(), Encoding::Json).unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let object = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        serde_json::Value::Null => object.remove(key),
        value => object.insert(key.into(), value),
    };
    json.to_string().into_bytes()
}

/// The JSON of the sample with the object at `path` turned into the array of these fields.
fn in_order(path: &[&str], fields: &[&str]) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(&encode(&sample(), Encoding::Json).unwrap()).unwrap();
    let object = path.iter().fold(&mut json, |json, name| &mut json[*name]);
    *object = fields.iter().map(|field| object[*field].clone()).collect();
    json.to_string().into_bytes()
}

#[test]
fn what_a_vehicle_says_beside_readings_is_an_object_too() {
    use telemetry::event::{Ack, CommandReply, Status};

    let status = r#"{"vehicle":"veh-1","boot":7,"state":"online","time":1}"#;
    assert!(serde_json::from_str::<Status>(status).is_ok());
    let error = serde_json::from_str::<Status>(r#"["veh-1",7,"online",1,null]"#).unwrap_err();
    assert_eq!(error.classify(), serde_json::error::Category::Data, "{error}");
    assert!(Ack::decode(br#"{"ranges":[[7,1,2]]}"#).is_some());
    assert!(Ack::decode(b"[[[7,1,2]],[],null]").is_none());
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert!(serde_json::from_str::<CommandReply>(&format!(r#"{{"id":"{id}","vehicle":"veh-1","done":true}}"#)).is_ok());
    assert!(serde_json::from_str::<CommandReply>(&format!(r#"["{id}","veh-1",true,null]"#)).is_err());
}

/// Cases that random records once found: numbers near zero, and paths that look like numbers of the catalogue.
#[test]
fn paths_and_numbers_that_once_failed_survive_both_encodings() {
    let change = |id: &str, known: (u16, Value), unknown: (&str, f64)| {
        let mut signals = Signals::new();
        signals.insert(known.0, known.1).unwrap();
        signals.insert_path(unknown.0, Value::Number(unknown.1)).unwrap();
        let (kind, time) = (Kind::Change, time::EARLIEST);
        Record { schema: SCHEMA, vehicle: vehicle(id), boot: 1, seq: 1, time, kind, signals, position: None }
    };
    for record in [
        change("_", (21, Value::Number(0.0)), ("X..", -1.226_520_560_740_129_2e-286)),
        change("a", (22, Value::Boolean(false)), ("#1", -0.0)),
        change("-", (22, Value::Boolean(false)), ("#1", 0.0)),
    ] {
        for encoding in ENCODINGS {
            let payload = encode(&record, encoding).unwrap();
            assert_eq!(decode(&payload, encoding, Some(&record.vehicle)).unwrap(), record, "{encoding:?}");
        }
        let mut json: serde_json::Value = serde_json::from_slice(&encode(&record, Encoding::Json).unwrap()).unwrap();
        json["aaaaaaaa"] = 0.into();
        assert_eq!(decode(json.to_string().as_bytes(), Encoding::Json, None).unwrap(), record);
    }
}

fn text_with(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(encode(&sample(), Encoding::Json).unwrap()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn every_reason_has_a_payload_that_meets_it() {
    use serde_json::json;

    let too_many: serde_json::Map<_, _> = (0..=MAX_SIGNALS).map(|n| (format!("X.S{n}"), json!(n))).collect();
    let not_utf8 = {
        let mut payload = encode(&sample(), Encoding::Json).unwrap();
        let at = payload.windows(2).position(|w| w == b"ON").unwrap();
        payload[at] = 0xFF;
        payload
    };
    // Each row: payload, expected reason, and whether its identity is readable (acknowledged by range).
    let cases: Vec<(Vec<u8>, Reason, bool)> = vec![
        (vec![], Reason::Empty, false),
        (vec![b' '; MAX_PAYLOAD_BYTES + 1], Reason::Oversize, false),
        (not_utf8, Reason::NotUtf8, false),
        (text_with("{", ""), Reason::Malformed, false),
        (text_with("\"boot\"", "\"seq\":1,\"boot\""), Reason::Malformed, false),
        (format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes(), Reason::Malformed, false),
        (altered("/time", json!(null)), Reason::MissingField, false),
        (altered("/signals", json!(null)), Reason::MissingField, false),
        (altered("/seq", json!("17")), Reason::WrongType, false),
        (altered("/seq", json!(-1)), Reason::WrongType, false),
        (altered("/kind", json!("delta")), Reason::WrongType, false),
        (altered("/signals/Vehicle.Speed", json!([1])), Reason::WrongType, false),
        (altered("/signals/Vehicle.Speed", json!("fast")), Reason::WrongType, true),
        (b"[]".to_vec(), Reason::WrongType, false),
        // An array of all fields in order is no object, at any depth.
        (in_order(&[], &["schema", "vehicle", "boot", "seq", "time", "kind", "signals"]), Reason::WrongType, false),
        (
            in_order(&[], &["schema", "vehicle", "boot", "seq", "time", "kind", "signals", "position"]),
            Reason::WrongType,
            false,
        ),
        (in_order(&["position"], &["latitude", "longitude"]), Reason::WrongType, false),
        (in_order(&["position"], &["latitude", "longitude", "heading"]), Reason::WrongType, false),
        (altered("/signals", json!([["Vehicle.Speed", 50]])), Reason::WrongType, false),
        (altered("/schema", json!(2)), Reason::UnsupportedSchema, true),
        (altered("/schema", json!(0)), Reason::UnsupportedSchema, true),
        (altered("/vehicle", json!("a/b")), Reason::BadVehicle, false),
        (altered("/vehicle", json!("veh-00043")), Reason::VehicleMismatch, true),
        (altered("/seq", json!(0)), Reason::BadSequence, false),
        (altered("/boot", json!(0)), Reason::BadSequence, true),
        (altered("/time", json!(0)), Reason::BadTime, true),
        (altered("/time", json!(i64::MAX)), Reason::BadTime, true),
        (text_with("100.0", "1e400"), Reason::NotFinite, false),
        (text_with("100.0", "NaN"), Reason::Malformed, false),
        (altered("/signals/Vehicle.Speed", json!(301)), Reason::OutOfRange, true),
        (altered("/position/latitude", json!(90.1)), Reason::BadPosition, true),
        (text_with("\"Vehicle.Speed\"", "\"Vehicle.Speed\":1,\"Vehicle.Speed\""), Reason::DuplicateSignal, false),
        (altered("/signals", too_many.into()), Reason::LimitExceeded, true),
        (altered("/signals/X", json!("x".repeat(MAX_TEXT_BYTES + 1))), Reason::LimitExceeded, true),
        (
            String::from_utf8(altered("/position", json!(null)))
                .map(|mut text| {
                    let at = text.find("\"signals\":{").unwrap() + 11;
                    let end = at + text[at..].find('}').unwrap();
                    text.replace_range(at..end, "");
                    text.into_bytes()
                })
                .unwrap(),
            Reason::NoSignals,
            true,
        ),
    ];
    let topic_vehicle = vehicle("veh-00042");
    for (payload, reason, readable) in &cases {
        let invalid = decode(payload, Encoding::Json, Some(&topic_vehicle)).unwrap_err();
        let text = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
        assert_eq!(invalid.reason, *reason, "{invalid} for {text}");
        assert_eq!(invalid.identity.is_some(), *readable, "{invalid} for {text}");
    }
    let unknown_encoding = Encoding::from_content_type(Some("text/csv")).unwrap_err();
    let met: std::collections::HashSet<_> =
        cases.iter().map(|case| case.1).chain([unknown_encoding.reason, Reason::BadTopic]).collect();
    // BadTopic is met where topics are parsed: `mqtt_topic::parse` has its own test.
    assert!(Reason::ALL.iter().all(|reason| met.contains(reason)), "{met:?}");
}

#[test]
fn protobuf_meets_the_reasons_that_only_it_can() {
    let mut not_finite = sample();
    let mut signals = Signals::new();
    signals.insert(signal::SPEED, Value::Number(f64::NAN)).unwrap();
    not_finite.signals = signals;
    let payload = encode(&not_finite, Encoding::Protobuf).unwrap();
    let invalid = decode(&payload, Encoding::Protobuf, None).unwrap_err();
    assert_eq!((invalid.reason, invalid.identity.is_some()), (Reason::NotFinite, true));
    assert_eq!(encode(&not_finite, Encoding::Json).unwrap_err().reason, Reason::NotFinite);

    let doubled = {
        let once = encode(&sample(), Encoding::Protobuf).unwrap();
        [once.clone(), once].concat()
    };
    assert_eq!(decode(&doubled, Encoding::Protobuf, None).unwrap_err().reason, Reason::DuplicateSignal);

    for (payload, reason) in [
        (&b"\x08\x01\x12\x03\xFF\xFEa"[..], Reason::NotUtf8),
        (&b"\x0A\x01\x01"[..], Reason::WrongType),
        (&b"\x08"[..], Reason::Malformed),
        (&b"\x08\x01"[..], Reason::MissingField),
    ] {
        assert_eq!(decode(payload, Encoding::Protobuf, None).unwrap_err().reason, reason, "{payload:?}");
    }
}

/// `testdata/v1` is frozen: a change of these files is a new wire version, in a folder of its own. New signals are no
/// such change; they get a file of their own.
#[test]
fn frozen_v1_files_are_still_read_and_still_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    let (first, drivetrains) = CATALOGUE[..44].split_at(23);
    let full = sample_of(first);
    let mut change = full.clone();
    change.kind = Kind::Change;
    change.seq = 18;
    change.position = None;
    let mut signals = Signals::new();
    signals.insert(signal::SPEED, Value::Number(0.1)).unwrap();
    signals.insert(signal::IS_MOVING, Value::Boolean(false)).unwrap();
    change.signals = signals;
    for (name, record) in [("full", full), ("change", change), ("drivetrains", sample_of(drivetrains))] {
        for (encoding, extension) in [(Encoding::Json, "json"), (Encoding::Protobuf, "pb")] {
            let file = folder.join(format!("{name}.{extension}"));
            let frozen = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(decode(&frozen, encoding, None).unwrap(), record, "{}", file.display());
            assert_eq!(encode(&record, encoding).unwrap(), frozen, "{}", file.display());
        }
    }
    // Every version folder is covered by a test.
    let versions = std::fs::read_dir(folder.parent().unwrap()).unwrap().count();
    assert_eq!(versions, 1, "a new testdata folder needs a test that reads it");
}
