//! Tests of the judge of any bridge: it needs neither keys nor headers, and names what is wrong.

mod times;

use std::{collections::BTreeSet, num::NonZeroU32};

use telemetry::{PayloadHash, Reason, UnixMillis};

use super::*;
use crate::{
    audit::{Place, figures},
    load::payload::{Form, Payloads},
    vehicle::vehicle_id,
};

const TIME: UnixMillis = 1_760_000_000_000;
const BOOT: u32 = 1_760_000_000;

fn payload(form: Form, index: u32, seq: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    Payloads::new(form, 1, BOOT).render(&vehicle_id(index), index, seq, TIME + i64::from(seq), &mut payload);
    payload
}

fn key(seq: u32) -> Key {
    Key::Seq { boot: BOOT, seq: seq.into() }
}

/// Two vehicles with five readings each, all acknowledged.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for index in [1, 2] {
        for seq in 1..=5 {
            let (vehicle, at) = (vehicle_id(index), TIME + i64::from(seq));
            let hash = PayloadHash::of(&payload(form(index), index, seq));
            let (boot, poison) = (BOOT, None);
            let entry = ledger::Entry::Sent {
                vehicle: vehicle.clone(),
                boot,
                key: key(seq),
                hash,
                scheduled: at,
                accepted: at,
                time: at,
                poison,
            };
            ledger.add(entry);
            ledger.add(ledger::Entry::Acked { vehicle, key: key(seq), at });
        }
    }
    ledger
}

fn form(index: u32) -> Form {
    if index == 1 { Form::Change200 } else { Form::RecordProtobuf }
}

fn refuse(comparison: &mut Comparison<'_>, payload: &[u8], headers: Vec<(&str, &[u8])>) {
    let hash = PayloadHash::of(payload);
    let place = Place { hash, timestamp: TIME, offset: 7, partition: 0, copies: NonZeroU32::MIN };
    comparison.add(&Found { key: None, payload, headers, place, append_stamped: false }, true);
}

/// A record of a bridge that keeps the topic on which it came, if it does.
fn bridged(comparison: &mut Comparison<'_>, payload: &[u8], mqtt_topic: Option<&str>) {
    let place =
        Place { hash: PayloadHash::of(payload), timestamp: TIME, offset: 7, partition: 0, copies: NonZeroU32::MIN };
    let headers = mqtt_topic.map(|mqtt_topic| (header::MQTT_TOPIC, mqtt_topic.as_bytes())).into_iter().collect();
    comparison.add(&Found { key: None, payload, headers, place, append_stamped: false }, false);
}

/// The vehicle with this index has sent these bytes under this key, and they were acknowledged.
fn acknowledged(ledger: &mut Ledger, index: u32, key: Key, payload: &[u8], poison: Option<Reason>) {
    let (vehicle, hash) = (vehicle_id(index), PayloadHash::of(payload));
    let (scheduled, accepted, time) = (TIME, TIME, TIME);
    let boot = BOOT;
    ledger.add(ledger::Entry::Sent { vehicle: vehicle.clone(), boot, key, hash, scheduled, accepted, time, poison });
    ledger.add(ledger::Entry::Acked { vehicle, key, at: TIME });
}

fn store(comparison: &mut Comparison<'_>, payload: &[u8], partition: i32, timestamp: UnixMillis) {
    stamped(comparison, payload, partition, timestamp, true);
}

fn stamped(comparison: &mut Comparison<'_>, payload: &[u8], partition: i32, timestamp: UnixMillis, by_append: bool) {
    let place = Place { hash: PayloadHash::of(payload), timestamp, offset: 7, partition, copies: NonZeroU32::MIN };
    // A foreign bridge: its own key, no headers.
    let found = Found { key: Some(b"bridge/7"), payload, headers: Vec::new(), place, append_stamped: by_append };
    comparison.add(&found, false);
}

fn stored<'a>(ledger: &'a Ledger, but: &[(u32, u32)]) -> Comparison<'a> {
    let mut comparison = Comparison::new(ledger, 100).unwrap();
    store_all(&mut comparison, but);
    comparison
}

fn store_all(comparison: &mut Comparison<'_>, but: &[(u32, u32)]) {
    for index in [1, 2] {
        for seq in (1..=5).filter(|seq| !but.contains(&(index, *seq))) {
            store(comparison, &payload(form(index), index, seq), 0, TIME + i64::from(seq) + 20);
        }
    }
}

fn report(ledger: &Ledger, facts: &Facts, fail_if: &[&str]) -> Report {
    let config = Config {
        ledger: "ledger".into(),
        kafka: "127.0.0.1:9092".into(),
        kafka_topic: "any".into(),
        dead_letter_topic: None,
        late_ms: 100,
        fail_if: fail_if.iter().map(|condition| condition.parse().unwrap()).collect(),
        json: None,
        html: None,
    };
    let mut report = Report::new("audit");
    fill(&mut report, &config, ledger, facts, 0);
    report
}

fn verdict(ledger: &Ledger, facts: &Facts) -> (bool, u64) {
    let report = report(ledger, facts, &[]);
    (report.is_ok(), report.verdicts["G1"].checked)
}

#[test]
fn what_was_acknowledged_and_stored_is_fine_without_keys_and_headers() {
    let ledger = ledger();
    let facts = stored(&ledger, &[]).finish();
    assert_eq!(verdict(&ledger, &facts), (true, 10));
    assert_eq!((facts.found, facts.records, facts.append_stamped), (10, 10, 10));
    let times = &facts.times;
    assert_eq!((times.to_kafka.min(), times.to_kafka.max(), times.late()), (20, 20, Some(0)));
}

#[test]
fn an_acknowledged_reading_that_kafka_lacks_fails() {
    let ledger = ledger();
    let facts = stored(&ledger, &[(2, 3)]).finish();
    assert_eq!(verdict(&ledger, &facts), (false, 10));
    assert_eq!(facts.lost.first, [format!("veh-00002/{BOOT}/3")]);
}

#[test]
fn altered_and_invented_readings_fail() {
    let ledger = ledger();
    for (bytes, names) in [
        // Another form: same identity, other bytes.
        (payload(Form::Sized(300), 1, 3), "altered"),
        (payload(Form::Change200, 1, 6), "invented"),
        (b"no reading".to_vec(), "invented"),
    ] {
        let mut comparison = stored(&ledger, &[]);
        store(&mut comparison, &bytes, 0, TIME);
        let facts = comparison.finish();
        assert!(!verdict(&ledger, &facts).0);
        let cases = if names == "altered" { &facts.altered } else { &facts.invented };
        assert_eq!(cases.count, 1, "{names}");
    }
}

#[test]
fn records_of_another_run_are_counted_and_break_nothing_unless_asked() {
    let ledger = ledger();
    let mut comparison = stored(&ledger, &[]);
    // A vehicle that this ledger does not know, and an earlier boot of one that it does.
    store(&mut comparison, &payload(Form::Change200, 3, 1), 0, TIME);
    let mut earlier = Vec::new();
    Payloads::new(Form::Change200, 1, BOOT - 60).render(&vehicle_id(1), 1, 6, TIME, &mut earlier);
    store(&mut comparison, &earlier, 0, TIME);
    // Dead letters: of nobody, and a role's.
    for (payload, by) in [(b"no reading".to_vec(), "edge"), (payload(form(1), 1, 3), "twin")] {
        refuse(&mut comparison, &payload, vec![(header::REFUSED_BY, by.as_bytes())]);
    }
    let facts = comparison.finish();
    assert_eq!((facts.foreign, facts.invented.count, facts.duplicates, facts.found), (4, 0, 0, 10));
    assert_eq!(verdict(&ledger, &facts), (true, 10));
    assert_eq!(report(&ledger, &facts, &["foreign>0"]).failed(), ["fail-if foreign>0"]);
    // They do not stand for readings of this run.
    let mut comparison = stored(&ledger, &[(1, 3)]);
    store(&mut comparison, &earlier, 0, TIME);
    assert!(!verdict(&ledger, &comparison.finish()).0);
}

#[test]
fn an_acknowledged_reading_that_is_a_dead_letter_only_was_refused_and_is_not_found() {
    let ledger = ledger();
    let mut comparison = stored(&ledger, &[(1, 3)]);
    refuse(&mut comparison, &payload(form(1), 1, 3), Vec::new());
    let facts = comparison.finish();
    assert_eq!((facts.found, facts.refused, facts.dead_letters, facts.lost.count), (9, 1, 1, 0));
    assert_eq!(facts.refused_acknowledged.first, [format!("veh-00001/{BOOT}/3")]);
    assert_eq!(verdict(&ledger, &facts), (false, 10));
    let report = report(&ledger, &facts, &["refused>0"]);
    assert_eq!(report.failed(), ["G1", "fail-if refused>0"]);
    assert!(text(&ledger, &facts, &report, 0).contains("9 readings found, 1 refused, 0 duplicates"));
    // One that stands there besides is there, and one copy too many; whichever topic is read first.
    for first in [true, false] {
        let mut comparison = Comparison::new(&ledger, 100).unwrap();
        if first {
            refuse(&mut comparison, &payload(form(1), 1, 3), Vec::new());
        }
        store_all(&mut comparison, &[]);
        if !first {
            refuse(&mut comparison, &payload(form(1), 1, 3), Vec::new());
        }
        let facts = comparison.finish();
        assert_eq!((facts.found, facts.refused, facts.dead_letters, facts.duplicates), (10, 0, 0, 1));
        assert_eq!(verdict(&ledger, &facts), (true, 10));
    }
}

#[test]
fn nothing_acknowledged_is_no_check() {
    let ledger = Ledger::default();
    let facts = stored(&ledger, &[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]);
    assert_eq!(verdict(&ledger, &facts.finish()), (false, 0));
}

#[test]
fn duplicates_reorderings_and_late_readings_are_counted() {
    let ledger = ledger();
    let mut comparison = stored(&ledger, &[(1, 2), (1, 3)]);
    store(&mut comparison, &payload(Form::Change200, 1, 4), 0, TIME + 30);
    // Behind the fifth, and late.
    store(&mut comparison, &payload(Form::Change200, 1, 2), 0, TIME + 2 + 101);
    // In another partition: the vehicle is scattered, and nobody's order is broken.
    store(&mut comparison, &payload(Form::Change200, 1, 3), 1, TIME + 2);
    assert_eq!(comparison.scattered(), 1);
    let facts = comparison.finish();
    assert_eq!((facts.duplicates, facts.reordered), (1, 1));
    assert_eq!(verdict(&ledger, &facts), (true, 10));
    let figures = report(&ledger, &facts, &[]).figures;
    assert_eq!(["late_readings", "early_readings"].map(|name| figures[name]), [1.0, 1.0]);
}

#[test]
fn conditions_judge_the_figures_that_there_are() {
    let ledger = ledger();
    let mut comparison = stored(&ledger, &[]);
    store(&mut comparison, &payload(Form::Change200, 1, 4), 0, TIME + 30);
    let facts = comparison.finish();
    let all = report(&ledger, &facts, &["duplicated>1", "p99_ms>20", "late>0", "duplicated>0"]);
    assert_eq!(all.failed(), ["fail-if duplicated>0"]);
    assert_eq!(all.series[0].panels().len(), 2, "rates and latencies are plotted");
    let measured: BTreeSet<_> = all.figures.into_keys().collect();
    let known = figures::known().into_iter().filter(|name| !name.starts_with("schedule_to_stamp_"));
    assert_eq!(measured, known.collect(), "every figure that there is can be named");
    let nothing = stored(&ledger, &[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]);
    let nothing = report(&ledger, &nothing.finish(), &["p99_ms>20"]);
    assert_eq!(nothing.failed(), ["G1", "fail-if p99_ms>20"]);
}

#[test]
fn short_names_stand_for_figures_that_exist() {
    let known = figures::known();
    for (short, full) in figures::names(&known).short {
        assert!(known.iter().any(|figure| figure == full), "{short} stands for {full}");
    }
}

#[test]
fn the_same_bytes_of_several_vehicles_are_there_for_those_from_whom_they_came() {
    let mut ledger = ledger();
    let nothing = PayloadHash::of(b"");
    for index in [1, 2] {
        acknowledged(&mut ledger, index, Key::Hash(nothing), b"", Some(Reason::Empty));
    }
    let found = |topics: &[Option<&str>]| {
        let mut comparison = stored(&ledger, &[]);
        topics.iter().for_each(|mqtt_topic| bridged(&mut comparison, b"", *mqtt_topic));
        comparison.finish()
    };
    let (one, other) = (Some("v1/veh-00001/telemetry"), Some("v1/veh-00002/telemetry"));
    let facts = found(&[one]);
    assert_eq!((facts.found, facts.lost.first.clone()), (11, vec![Key::Hash(nothing).of(&vehicle_id(2))]));
    assert!(!verdict(&ledger, &facts).0);
    for topics in [[one, other], [None, None]] {
        let facts = found(&topics);
        assert_eq!((facts.found, facts.duplicates, verdict(&ledger, &facts)), (12, 0, (true, 12)));
    }
    assert_eq!(found(&[None]).lost.count, 2, "nobody knows whose it is");
    assert_eq!((found(&[one, one, other]).duplicates, found(&[None; 3]).duplicates), (1, 1));
    let stranger = found(&[one, other, Some("v1/veh-00009/telemetry")]);
    assert_eq!((stranger.foreign, stranger.duplicates, stranger.invented.count), (1, 0, 0));
}

#[test]
fn a_well_formed_payload_tells_itself_whose_it_is() {
    let ledger = ledger();
    let mut comparison = stored(&ledger, &[(1, 3)]);
    bridged(&mut comparison, &payload(form(1), 1, 3), Some("v1/veh-00002/telemetry"));
    let facts = comparison.finish();
    assert_eq!((facts.found, facts.altered.count, verdict(&ledger, &facts)), (10, 0, (true, 10)));
}

#[test]
fn a_payload_that_names_another_vehicle_is_found_under_the_one_that_sent_it() {
    let mut ledger = ledger();
    let (bytes, key) = (payload(form(1), 7, 6), key(6));
    acknowledged(&mut ledger, 1, key, &bytes, Some(Reason::VehicleMismatch));
    let mut comparison = stored(&ledger, &[]);
    refuse(&mut comparison, &bytes, vec![(header::MQTT_TOPIC, b"v1/veh-00001/telemetry")]);
    let facts = comparison.finish();
    assert_eq!((facts.found, facts.refused, verdict(&ledger, &facts)), (11, 0, (true, 11)));
}

#[test]
fn a_torn_ledger_is_told() {
    let mut ledger = ledger();
    let told = |ledger: &Ledger| {
        let facts = stored(ledger, &[]).finish();
        text(ledger, &facts, &report(ledger, &facts, &[]), 0)
    };
    assert!(!told(&ledger).contains("torn"));
    ledger.torn_bytes = 17;
    assert!(told(&ledger).contains("torn ends of 17 bytes"));
}
