//! Tests of the schedule: the same seed and start give the same bytes.

use std::collections::BTreeSet;

use telemetry::{decode, signal};

use super::*;

const START: UnixMillis = 1_760_000_000_000;

fn fleet() -> Fleet {
    Fleet {
        seed: FleetSeed { seed: 5, start: START },
        world: World::default(),
        interval_ms: 500,
        end: Some(START + 60_000),
        encoding: Encoding::Json,
        changes: 0,
        poison: 0,
        faults: Arc::new(FaultPlan::none()),
    }
}

fn all(mut readings: Readings) -> Vec<Reading> {
    let mut all = Vec::new();
    while readings.next_time().is_some() {
        let made = readings.make();
        assert!(made.oversize.is_empty());
        all.extend(made.readings);
    }
    all
}

#[test]
fn the_same_seed_start_and_boot_give_the_same_bytes() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let fleet = Fleet { encoding, changes: 10, poison: 7, ..fleet() };
        let run = || (1..=5).map(|index| all(Readings::new(fleet.clone(), index, 9, START))).collect::<Vec<_>>();
        let first = run();
        assert_eq!(first, run());
        assert_eq!(first.iter().flatten().map(|reading| &reading.record.payload).collect::<BTreeSet<_>>().len(), {
            // Only the empty payload can't be told from its like.
            let empty = first.iter().flatten().filter(|reading| reading.record.payload.is_empty()).count();
            first.iter().map(Vec::len).sum::<usize>() - empty.saturating_sub(1)
        });
    }
}

#[test]
fn readings_come_at_start_plus_phase_plus_n_intervals_and_every_one_is_valid() {
    let mut phases = BTreeSet::new();
    for index in 1..=8 {
        let readings = all(Readings::new(fleet(), index, 9, START));
        assert_eq!(readings.len(), 120);
        let phase = readings[0].time - START;
        assert!((0..500).contains(&phase));
        phases.insert(phase);
        for (n, reading) in (0..).zip(&readings) {
            assert_eq!(reading.time, START + phase + n * 500);
            let record = decode(&reading.record.payload, Encoding::Json, Some(&vehicle_id(index))).unwrap();
            assert_eq!(reading.record.key, Key::Seq { boot: record.boot, seq: record.seq });
            assert_eq!((record.boot, record.time, record.kind), (9, reading.time, Kind::Full));
        }
    }
    assert_eq!(phases.len(), 8);
}

#[test]
fn a_later_start_goes_on_in_the_same_rhythm_with_seq_1() {
    let whole = all(Readings::new(fleet(), 3, 9, START));
    let rest = all(Readings::new(fleet(), 3, 10, START + 30_001));
    assert_eq!(
        rest.first().map(|reading| reading.time),
        whole.iter().map(|reading| reading.time).find(|time| *time > START + 30_000)
    );
    assert_eq!(rest[0].record.key, Key::Seq { boot: 10, seq: 1 });
}

#[test]
fn changes_merge_to_what_full_records_would_have_said() {
    let full = all(Readings::new(fleet(), 2, 9, START));
    let changes = all(Readings::new(Fleet { changes: 10, ..fleet() }, 2, 9, START));
    let record = |reading: &Reading| decode(&reading.record.payload, Encoding::Json, None).unwrap();
    let mut state = Signals::new();
    let mut shorter = 0;
    for (n, (full, change)) in full.iter().zip(&changes).enumerate() {
        let (full, change) = (record(full), record(change));
        assert_eq!(change.kind, if n % 10 == 0 { Kind::Full } else { Kind::Change });
        shorter += usize::from(change.signals.len() < full.signals.len());
        state.merge(&change.signals);
        assert_eq!(state, full.signals);
    }
    assert!(shorter > 50, "{shorter}");
    assert!(state.number(signal::SPEED).is_some());
}

#[test]
fn malformed_payloads_follow_and_seqs_have_no_holes() {
    let readings = all(Readings::new(Fleet { poison: 3, ..fleet() }, 1, 9, START));
    assert_eq!(readings.len(), 120 + 40);
    let mut next = 1;
    for reading in &readings {
        if let Key::Seq { seq, .. } = reading.record.key {
            assert_eq!(seq, next);
            next += 1;
        }
    }
    let reasons: BTreeSet<_> = readings.iter().filter_map(|reading| reading.poison).map(Reason::as_str).collect();
    let possible: BTreeSet<_> = poison::ALL.iter().map(|poison| poison.reason.as_str()).collect();
    assert_eq!(reasons, possible);
}

#[test]
fn a_malformed_payload_that_the_broker_would_not_take_is_not_sent() {
    let readings = |room: Option<usize>| {
        let mut readings = Readings::new(Fleet { poison: 1, ..fleet() }, 1, 9, START);
        room.into_iter().for_each(|room| readings.bound(room));
        (0..poison::ALL.len()).map(|_| readings.make()).collect::<Vec<_>>()
    };
    let reasons = |made: &[Made]| made.iter().flat_map(|made| &made.readings).filter_map(|r| r.poison).count();
    let (unbound, bound) = (readings(None), readings(Some(8_000)));
    assert_eq!((reasons(&unbound), reasons(&bound)), (poison::ALL.len(), poison::ALL.len() - 1));
    assert_eq!(bound.iter().map(|made| made.oversize.len()).sum::<usize>(), 1);
    assert!(bound.iter().flat_map(|made| &made.readings).all(|reading| reading.record.payload.len() <= 8_000));
}

#[test]
fn a_reading_too_large_gets_no_seq_and_is_counted() {
    let mut readings = Readings::new(Fleet { changes: 5, ..fleet() }, 1, 9, START);
    readings.bound(10);
    let made = readings.make();
    assert_eq!((made.readings.len(), made.oversize.len()), (0, 1));
    readings.bound(usize::MAX);
    let made = readings.make();
    assert_eq!(made.readings[0].record.key, Key::Seq { boot: 9, seq: 1 });
    let record = decode(&made.readings[0].record.payload, Encoding::Json, None).unwrap();
    assert_eq!(record.kind, Kind::Full, "a boot starts with a full record");
}

#[test]
fn another_interval_holds_from_the_next_reading_on() {
    let mut readings = Readings::new(fleet(), 1, 9, START);
    let mut unchanged = Readings::new(fleet(), 1, 9, START);
    assert_eq!([readings.make(), readings.make()], [unchanged.make(), unchanged.make()]);
    let last = readings.next_time().unwrap() - 500;
    readings.set_interval(2_000, last + 100);
    assert_eq!(readings.next_time(), Some(last + 2_000));
    readings.make();
    assert_eq!(readings.next_time(), Some(last + 4_000));
    // Long ago by the new one: now, and what would have been due in between is not made up.
    readings.set_interval(100, last + 3_500);
    assert_eq!(readings.next_time(), Some(last + 3_500));
    let made = readings.make();
    assert_eq!((made.readings.len(), readings.next_time()), (1, Some(last + 3_600)));
}

#[test]
fn after_a_reboot_a_vehicle_begins_with_a_full_reading_of_the_new_boot() {
    let mut readings = Readings::new(Fleet { changes: 10, ..fleet() }, 1, 9, START);
    let decoded = |reading: &Reading| decode(&reading.record.payload, Encoding::Json, None).unwrap();
    let [first, second] = [readings.make(), readings.make()].map(|made| decoded(&made.readings[0]));
    assert_eq!((first.kind, second.kind, second.seq), (Kind::Full, Kind::Change, 2));
    readings.reboot(10);
    let third = decoded(&readings.make().readings[0]);
    assert_eq!((third.kind, third.boot, third.seq, third.time), (Kind::Full, 10, 1, second.time + 500));
}
