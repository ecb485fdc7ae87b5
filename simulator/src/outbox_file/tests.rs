//! Tests of the outbox log: kills, torn ends, compaction.

use telemetry::Reason;

use super::*;
use crate::{poison, vehicle::vehicle_id};

const ANCHOR: Anchor = Anchor { start: 1_000, wall_start: 2_000, speed: 4.0 };

fn reading(key: Key, payload: &'static str) -> Reading {
    let payload = Bytes::from_static(payload.as_bytes());
    let hash = PayloadHash::of(&payload);
    let record = outbox::Record { key, content_type: "application/json", payload };
    Reading { record, hash, time: 77, poison: Some(Reason::Empty) }
}

fn key(seq: u64) -> Key {
    Key::Seq { boot: 5, seq }
}

fn payloads(log: &OutboxFile, vehicle: &VehicleId) -> Vec<Bytes> {
    let stored = log.stored(vehicle).into_iter().flat_map(Stored::readings);
    stored.map(|(_, reading)| reading.record.payload.clone()).collect()
}

fn filled(dir: &Path) -> OutboxFile {
    let mut log = OutboxFile::open(dir).unwrap();
    let vehicle = vehicle_id(1);
    log.begin(ANCHOR, &[(vehicle.clone(), 5), (vehicle_id(2), 6)]).unwrap();
    for (seq, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        log.put(&vehicle, 5, reading(key(seq), payload));
    }
    let bad = Key::Hash(PayloadHash::of(b"bad"));
    log.put(&vehicle, 5, reading(bad, "bad"));
    log.put(&vehicle, 5, reading(bad, "bad"));
    log.write_puts().unwrap();
    log.remove(&vehicle, key(2));
    log.remove(&vehicle, bad);
    log.write_removes().unwrap();
    log
}

fn assert_filled(log: &OutboxFile) {
    let vehicle = vehicle_id(1);
    assert_eq!(payloads(log, &vehicle), ["one", "three", "bad"]);
    let stored = log.stored(&vehicle).unwrap();
    assert_eq!((stored.boot, &stored.last_seqs), (5, &[(5, 3)].into()));
    assert!(
        stored.readings().all(|(boot, reading)| (boot, reading.time, reading.poison) == (5, 77, Some(Reason::Empty)))
    );
    assert_eq!(log.stored(&vehicle_id(2)).map(|stored| stored.boot), Some(6));
    assert_eq!(log.anchor(), Some(ANCHOR));
    assert_eq!(log.in_hand().collect::<Vec<_>>(), [&vehicle]);
}

#[test]
fn what_was_put_in_and_not_removed_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    // Dropped without a close, as a kill does it.
    drop(filled(dir.path()));
    assert_filled(&OutboxFile::open(dir.path()).unwrap());
}

#[test]
fn a_torn_end_is_cut_off_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let path = dir.path().join("outbox.log");
    let whole = std::fs::metadata(&path).unwrap().len();
    File::options().append(true).open(&path).unwrap().write_all(&[9, 0, 0, 0, 1]).unwrap();
    let log = OutboxFile::open(dir.path()).unwrap();
    assert_eq!(log.torn_bytes, 5);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
    assert_filled(&log);
}

#[test]
fn a_log_that_is_spoilt_in_the_middle_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let path = dir.path().join("outbox.log");
    let good = std::fs::read(&path).unwrap();
    let one = good.windows(3).position(|bytes| bytes == b"one").unwrap();
    let mut spoilt = good.clone();
    spoilt[one] ^= 1;
    std::fs::write(&path, &spoilt).unwrap();
    let error = OutboxFile::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("spoilt at byte"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), spoilt);
    std::fs::write(&path, good).unwrap();
    assert_filled(&OutboxFile::open(dir.path()).unwrap());
}

#[test]
fn compaction_keeps_what_is_live_and_the_last_seqs() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    let before = log.size;
    log.remove(&vehicle_id(1), key(3));
    log.write_removes().unwrap();
    log.compact().unwrap();
    assert!(log.size < before);
    log.put(&vehicle_id(1), 5, reading(key(4), "four"));
    log.close().unwrap();
    let log = OutboxFile::open(dir.path()).unwrap();
    assert_eq!(payloads(&log, &vehicle_id(1)), ["one", "bad", "four"]);
    // Not 1, the last that is in hand before the compaction: an ack may rightly name 1 to 3.
    drop(log);
    let mut log = OutboxFile::open(dir.path()).unwrap();
    log.remove(&vehicle_id(1), key(4));
    log.write_removes().unwrap();
    log.compact().unwrap();
    drop(log);
    let log = OutboxFile::open(dir.path()).unwrap();
    assert_eq!(log.stored(&vehicle_id(1)).map(|stored| stored.last_seqs.clone()), Some([(5, 4)].into()));
}

#[test]
fn a_new_boot_does_not_touch_what_the_old_one_left() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let mut log = OutboxFile::open(dir.path()).unwrap();
    log.begin(ANCHOR, &[(vehicle_id(1), 6)]).unwrap();
    drop(log);
    let log = OutboxFile::open(dir.path()).unwrap();
    let stored = log.stored(&vehicle_id(1)).unwrap();
    assert_eq!((stored.boot, stored.last_seqs.get(&5)), (6, Some(&3)));
    assert_eq!(payloads(&log, &vehicle_id(1)).len(), 3);
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _log = filled(dir.path());
    assert_eq!(OutboxFile::open(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn every_content_type_that_is_sent_has_a_number() {
    for poison in poison::ALL {
        assert!(CONTENT_TYPES.contains(&poison.content_type), "{}", poison.name);
    }
}
