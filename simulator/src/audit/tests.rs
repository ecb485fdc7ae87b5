//! Tests of the audit: what is lost, altered, invented or malformed is named.

use telemetry::{Kind, Reason, Record, SCHEMA, Signals, Value, signal};

use super::*;
use crate::{ledger, vehicle::vehicle_id};

fn payload(seq: u64, speed: f64) -> Vec<u8> {
    let mut signals = Signals::new();
    signals.insert(signal::SPEED, Value::Number(speed)).unwrap();
    let (vehicle, time) = (vehicle_id(1), 1_760_000_000_000);
    let record = Record { schema: SCHEMA, vehicle, boot: 7, seq, time, kind: Kind::Full, signals, position: None };
    telemetry::encode(&record, Encoding::Json).unwrap()
}

fn store(stored: &mut Stored, payload: &[u8], dead: bool) {
    let place =
        Place { hash: PayloadHash::of(payload), timestamp: 1, offset: 2, partition: 0, copies: NonZeroU32::MIN };
    let mut headers: Vec<(&str, &[u8])> = vec![(header::MQTT_TOPIC, b"v1/veh-00001/telemetry")];
    if dead {
        headers.extend([(header::REFUSED_BY, &b"edge"[..]), (header::REASON, b"malformed")]);
    }
    let found = Found { key: Some(b"veh-00001"), payload, headers, place, append_stamped: false };
    if dead { stored.add_dead_letter(&found) } else { stored.add_reading(&found) }
}

fn enter(ledger: &mut Ledger, key: Key, payload: &[u8], poison: Option<Reason>, acked: bool) {
    let (vehicle, hash) = (vehicle_id(1), PayloadHash::of(payload));
    let entry = ledger::Entry::Sent {
        vehicle: vehicle.clone(),
        boot: 7,
        key,
        hash,
        scheduled: 0,
        accepted: 0,
        time: 0,
        poison,
    };
    ledger.add(entry);
    if acked {
        ledger.add(ledger::Entry::Acked { vehicle, key, at: 1 });
    }
}

fn seq(seq: u64) -> Key {
    Key::Seq { boot: 7, seq }
}

/// Three readings and one malformed payload; all are sent, acknowledged and stored.
fn both() -> (Stored, Ledger) {
    let (mut stored, mut ledger) = (Stored::default(), Ledger::default());
    for n in 1..=3 {
        enter(&mut ledger, seq(n), &payload(n, 50.0), None, true);
        store(&mut stored, &payload(n, 50.0), false);
    }
    enter(&mut ledger, Key::Hash(PayloadHash::of(b"{")), b"{", Some(Reason::Malformed), true);
    store(&mut stored, b"{", true);
    (stored, ledger)
}

#[test]
fn what_was_sent_and_stored_is_fine() {
    let (mut stored, mut ledger) = both();
    let report = compare(&stored, &ledger);
    assert!(report.ok, "{report:?}");
    assert_eq!((report.checked, report.sent, report.poison, report.stored), (4, 4, 1, 3));
    assert_eq!(report.dead_letters, [("malformed".to_owned(), 1)].into());
    // Duplicates, and readings that are stored but not yet acknowledged, are no fault.
    store(&mut stored, &payload(2, 50.0), false);
    enter(&mut ledger, seq(5), &payload(5, 50.0), None, false);
    enter(&mut ledger, seq(4), &payload(4, 50.0), None, false);
    store(&mut stored, &payload(5, 50.0), false);
    store(&mut stored, &payload(4, 50.0), false);
    enter(&mut ledger, seq(6), &payload(6, 50.0), None, false);
    let report = compare(&stored, &ledger);
    assert!(report.ok, "{report:?}");
    assert_eq!((report.duplicates, report.reorderings), (1, 1));
    assert_eq!((report.unacked_at_end, report.unacked_but_stored, report.given_up), (3, 2, 0));
    // What was never sent is unacknowledged or given up too.
    let unsent = |given_up| ledger::Unsent { vehicle: 0, boot: Some(7), scheduled: None, given_up };
    ledger.unsent = [true, false, false].map(unsent).into();
    let report = compare(&stored, &ledger);
    assert_eq!((report.unacked_at_end, report.given_up), (5, 1));
}

#[test]
fn a_valid_reading_among_the_dead_letters_is_not_lost() {
    let (mut stored, mut ledger) = both();
    enter(&mut ledger, seq(4), &payload(4, 50.0), None, true);
    store(&mut stored, &payload(4, 50.0), true);
    let report = compare(&stored, &ledger);
    assert!(report.ok, "{report:?}");
    assert_eq!(report.valid_dead_letters.first, ["veh-00001/7/4"]);
}

#[test]
fn an_acknowledged_reading_that_is_nowhere_is_lost() {
    let (stored, mut ledger) = both();
    enter(&mut ledger, seq(4), &payload(4, 50.0), None, true);
    enter(&mut ledger, Key::Hash(PayloadHash(5)), b"?", Some(Reason::Malformed), true);
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    assert_eq!(report.lost.count, 2);
    assert!(report.lost.first.contains(&"veh-00001/7/4".to_owned()));
}

#[test]
fn other_bytes_than_were_sent_are_a_mismatch() {
    let (mut stored, mut ledger) = both();
    enter(&mut ledger, seq(4), &payload(4, 50.0), None, true);
    store(&mut stored, &payload(4, 51.0), false);
    // And a second copy that differs from the first.
    store(&mut stored, &payload(3, 51.0), false);
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    assert_eq!((report.mismatched.count, report.lost.count), (2, 0));
}

#[test]
fn what_nobody_sent_is_invented() {
    let (mut stored, ledger) = both();
    store(&mut stored, &payload(9, 50.0), false);
    store(&mut stored, b"}", true);
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    assert_eq!(report.invented.count, 2);
}

#[test]
fn malformed_payloads_do_not_belong_into_telemetry() {
    let (mut stored, mut ledger) = both();
    store(&mut stored, b"{", false);
    enter(&mut ledger, seq(4), &payload(4, 50.0), Some(Reason::OutOfRange), true);
    store(&mut stored, &payload(4, 50.0), false);
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    assert_eq!((report.unreadable.count, report.poison_accepted.count), (1, 1));
}

#[test]
fn a_dead_letter_is_refused_for_its_own_reason() {
    let (mut stored, mut ledger) = both();
    enter(&mut ledger, Key::Hash(PayloadHash::of(b"[]")), b"[]", Some(Reason::WrongType), true);
    store(&mut stored, b"[]", true);
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    let name = Key::Hash(PayloadHash::of(b"[]")).of(&vehicle_id(1));
    assert_eq!(report.wrong_reason.first, [format!("{name}: malformed, not wrong_type")]);
    assert_eq!((report.wrong_reason.count, report.lost.count, report.invented.count), (1, 0, 0));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_a_fault() {
    let (stored, mut ledger) = both();
    ledger.add(ledger::Entry::Acked { vehicle: vehicle_id(1), key: seq(77), at: 1 });
    let report = compare(&stored, &ledger);
    assert!(!report.ok);
    assert_eq!(report.acked_unsent.first, ["veh-00001/7/77"]);
}

#[test]
fn dead_letters_of_roles_are_no_readings() {
    let (mut stored, ledger) = both();
    let place = Place { hash: PayloadHash(1), timestamp: 1, offset: 2, partition: 0, copies: NonZeroU32::MIN };
    let headers: Vec<(&str, &[u8])> = vec![(header::REFUSED_BY, b"twin")];
    stored.add_dead_letter(&Found { key: Some(b"veh-00001"), payload: b"x", headers, place, append_stamped: false });
    assert!(compare(&stored, &ledger).ok);
    assert_eq!(stored.other_dead_letters, 1);
}
