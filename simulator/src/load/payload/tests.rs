//! Tests of the payloads: the contract takes them, and their sizes are exact.

use telemetry::{PayloadHash, decode};

use super::*;
use crate::vehicle::vehicle_id;

const TIME: UnixMillis = 1_760_000_000_000;
const BOOT: u32 = 1_760_000_000;

fn forms() -> [(Form, Option<usize>); 7] {
    [
        (Form::Change200, Some(200)),
        (Form::Sized(1024), Some(1024)),
        (Form::Sized(200), Some(200)),
        (Form::Sized(8_000), Some(8_000)),
        (Form::RecordJson, None),
        (Form::RecordProtobuf, None),
        (Form::OnChange, None),
    ]
}

fn render(payloads: &Payloads, index: u32, seq: u32, time: UnixMillis) -> Vec<u8> {
    let mut payload = b"what stands there already".to_vec();
    let before = payload.len();
    payloads.render(&vehicle_id(index), index, seq, time, &mut payload);
    payload.split_off(before)
}

#[test]
fn every_payload_is_a_valid_reading_of_its_size() {
    for (form, bytes) in forms() {
        for boot in [BOOT, u32::MAX] {
            let payloads = Payloads::new(form, 1, boot);
            let encoding = Encoding::from_content_type(Some(payloads.content_type())).unwrap();
            for index in [1, 2, 777, 16_000, 99_999, 100_000, 999_999] {
                // Up to the longest seq that a run reaches.
                for seq in (1..900).chain([65_535, 9_999_999, u32::MAX]) {
                    let payload = render(&payloads, index, seq, TIME + i64::from(seq));
                    let record = decode(&payload, encoding, Some(&vehicle_id(index)))
                        .unwrap_or_else(|error| panic!("{form} {index} {seq}: {error}"));
                    assert_eq!((record.boot, record.seq, record.time), (boot, seq.into(), TIME + i64::from(seq)));
                    assert!(payload.len() <= payloads.longest());
                    assert!(
                        bytes.is_none_or(|bytes| bytes == payload.len()),
                        "{form} {index} {seq}: {}",
                        payload.len()
                    );
                    let change = matches!(form, Form::Change200 | Form::OnChange) && seq > 1;
                    assert_eq!(record.kind, if change { Kind::Change } else { Kind::Full });
                    assert_eq!(record.signals.unknown().count(), 0);
                }
            }
        }
    }
}

#[test]
fn records_have_20_signals_and_say_the_same_in_both_encodings() {
    let (json, protobuf) = (Payloads::new(Form::RecordJson, 1, BOOT), Payloads::new(Form::RecordProtobuf, 1, BOOT));
    for seq in 1..200 {
        let json = decode(&render(&json, 9, seq, TIME), Encoding::Json, None).unwrap();
        let protobuf = render(&protobuf, 9, seq, TIME);
        let decoded = decode(&protobuf, Encoding::Protobuf, None).unwrap();
        assert_eq!(json, decoded);
        assert_eq!(json.signals.len(), 20);
        assert_eq!(telemetry::encode(&decoded, Encoding::Protobuf).unwrap(), protobuf);
    }
}

#[test]
fn the_same_reading_has_the_same_bytes_and_another_one_has_others() {
    for (form, _) in forms() {
        let payloads = Payloads::new(form, 1, BOOT);
        let hash = |payloads: &Payloads, index, seq| PayloadHash::of(&render(payloads, index, seq, TIME));
        let again = Payloads::new(form, 1, BOOT);
        assert_eq!(hash(&payloads, 7, 50), hash(&again, 7, 50), "{form}");
        let others = [hash(&payloads, 7, 51), hash(&payloads, 8, 50), hash(&Payloads::new(form, 1, BOOT + 1), 7, 50)];
        assert!(others.iter().all(|other| *other != hash(&payloads, 7, 50)), "{form}");
    }
    let values = |seq| decode(&render(&Payloads::new(Form::RecordJson, 1, BOOT), 7, seq, TIME), Encoding::Json, None);
    assert_ne!(values(1).unwrap().signals, values(2).unwrap().signals, "values move");
}

#[test]
fn changes_since_a_snapshot_add_up_to_the_next_one() {
    let payloads = Payloads::new(Form::OnChange, 1, BOOT);
    let read = |seq, snapshot| {
        let mut payload = Vec::new();
        payloads.render_as(&vehicle_id(3), 3, Of { seq, time: TIME, snapshot }, &mut payload);
        decode(&payload, Encoding::Json, None).unwrap()
    };
    let (mut state, mut told) = (read(1, false).signals, 0);
    assert_eq!(state.len(), RECORD_SIGNALS);
    for seq in 2..500 {
        let (change, snapshot) = (read(seq, false), read(seq, true));
        assert_eq!((change.kind, snapshot.kind), (Kind::Change, Kind::Full));
        assert!((1..RECORD_SIGNALS).contains(&change.signals.len()));
        told += change.signals.len();
        state.merge(&change.signals);
        assert_eq!(state, snapshot.signals, "{seq}");
    }
    assert!((2_500..4_500).contains(&told), "{told} of 9,960");
}

#[test]
fn forms_are_read_as_they_are_written() {
    for (form, _) in forms() {
        assert_eq!(form.to_string().parse(), Ok(form));
    }
    assert_eq!("1024".parse(), Ok(Form::Sized(1024)));
    for bad in ["199", "61441", "-1", "json", ""] {
        assert!(bad.parse::<Form>().is_err(), "{bad}");
    }
}
