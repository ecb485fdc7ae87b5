//! A store on real files: what it keeps, what it gives back, and what it says of damage.

mod damage;
mod faults;
mod faulty_disk;
mod model;
mod speed;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::spool::{Cause, Error, frame::HEAD};

/// Small segments, a checkpoint whenever it is asked for.
fn settings() -> Settings {
    Settings { limit_bytes: 64 << 10, segment_bytes: 512, checkpoint_every: Duration::ZERO }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, settings()).unwrap()
}

/// 40 bytes that say which record it is.
fn body(number: u64) -> Vec<u8> {
    format!("{number:040}").into_bytes()
}

/// Appends records one by one, each a batch; their bodies are those of their positions.
fn append(store: &mut Store, count: u64) {
    for _ in 0..count {
        let position = store.next();
        assert_eq!(store.append([&body(position)[..]]).unwrap(), position..position + 1);
    }
}

fn read_all(store: &mut Store) -> Reading {
    store.read(store.delivered_below(), usize::MAX).unwrap()
}

fn positions(reading: &Reading) -> Vec<u64> {
    for (position, found) in &reading.records {
        assert_eq!(found, &body(*position));
    }
    reading.records.iter().map(|(position, _)| *position).collect()
}

/// Name and size of each file but the lock.
fn files(dir: &Path) -> BTreeMap<String, u64> {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()));
    files.filter(|(name, _)| name != "lock").collect()
}

/// By position.
fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir).keys().filter(|name| name.ends_with(".segment")).map(|name| dir.join(name)).collect()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[byte] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Of the nth frame of a segment of [`body`]s, the offset.
fn frame_at(nth: usize) -> usize {
    HEADER + nth * (HEAD + 40)
}

#[test]
fn records_come_back_in_order_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 25);
    // Ten fit into 512 bytes.
    assert_eq!(segments(dir.path()).len(), 3);
    let expected: Vec<_> = (1..26).collect();
    assert_eq!(positions(&read_all(&mut store)), expected);
    drop(store);
    let mut store = open(dir.path());
    append(&mut store, 5);
    let reading = read_all(&mut store);
    assert_eq!(positions(&reading), (1..31).collect::<Vec<_>>());
    assert_eq!((reading.next, reading.spoilt.len()), (31, 0));
    assert_eq!(store.losses(), Losses::default());
}

#[test]
fn a_reading_has_at_most_the_bytes_that_were_asked_for_and_at_least_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 30);
    let large = vec![b'x'; 3 << 17];
    let mut store = Store { settings: Settings { limit_bytes: 1 << 20, ..settings() }, ..store };
    store.append([&large[..], &[]]).unwrap();
    assert_eq!(positions(&store.read(1, 0).unwrap()), [1]);
    assert_eq!(positions(&store.read(2, 3 * 48).unwrap()), [2, 3, 4]);
    assert_eq!(positions(&store.read(5, 3 * 48 - 1).unwrap()), [5, 6]);
    // From a place where no reading ended.
    assert_eq!(positions(&store.read(28, 2 * 48).unwrap()), [28, 29]);
    // Larger than a block.
    assert_eq!(store.read(31, 1).unwrap().records, [(31, Bytes::from(large))]);
    assert_eq!(store.read(32, 1).unwrap().records, [(32, Bytes::new())]);
    assert_eq!(store.read(33, 1).unwrap(), Reading { next: 33, ..Reading::default() });
    assert_eq!(store.read(99, 1).unwrap().next, 99);
}

#[test]
fn a_second_owner_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = Store::open(dir.path(), settings()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }));
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(store);
    open(dir.path());
}

#[test]
fn a_batch_above_the_limit_is_refused_whole_and_delivery_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let limit_bytes = 2_048;
    let mut store = Store::open(dir.path(), Settings { limit_bytes, ..settings() }).unwrap();
    let full = loop {
        let next = store.next();
        match store.append([&body(next)[..]]) {
            Ok(_) => assert!(store.level().bytes <= limit_bytes),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(full, Refusal::Full);
    let (level, next) = (store.level(), store.next());
    assert!(level.bytes + 48 + 24 > limit_bytes, "refused too early: {level:?}");
    assert_eq!(level.bytes, files(dir.path()).values().sum::<u64>());
    assert_eq!((level.limit_bytes, level.records), (limit_bytes, next - 1));
    assert_eq!(store.append([&body(next)[..]]), Err(Refusal::Full));
    assert_eq!(store.append([]), Ok(next..next), "nothing always fits");
    store.delivered(11).unwrap();
    append(&mut store, 5);
    assert_eq!(positions(&read_all(&mut store)), (11..next + 5).collect::<Vec<_>>());
}

#[test]
fn a_body_that_is_too_long_leaves_nothing_of_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Settings::new(8 << 20)).unwrap();
    let (longest, longer) = (vec![0; MAX_BODY], vec![0; MAX_BODY + 1]);
    assert_eq!(store.append([b"a", &longer[..], b"b"]), Err(Refusal::TooLong(MAX_BODY + 1)));
    assert_eq!(store.append([b"a", &longest[..]]), Ok(1..3));
    let lengths: Vec<_> = read_all(&mut store).records.iter().map(|(_, body)| body.len()).collect();
    assert_eq!(lengths, [1, MAX_BODY]);
}

#[test]
fn disk_use_falls_after_delivery_and_positions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 100);
    let full = store.level().bytes;
    assert_eq!(positions(&read_all(&mut store)).len(), 100);
    store.delivered(91).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    assert!(store.level().bytes < full / 8);
    store.delivered(101).unwrap();
    store.tend(Instant::now()).unwrap();
    assert_eq!(store.level(), Level { bytes: 24, records: 0, ..store.level() });
    assert!(store.cursor.is_none(), "a removed file that is open keeps its place on the disk");
    assert_eq!(files(dir.path()).values().sum::<u64>(), 24 + 28, "a header and a checkpoint");
    assert_eq!(store.next_tending(), None);
    for checkpoint in [true, false] {
        drop(store);
        if !checkpoint {
            std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
        }
        store = open(dir.path());
        assert_eq!((store.delivered_below(), store.next()), (101, 101), "checkpoint: {checkpoint}");
    }
    append(&mut store, 1);
    assert_eq!(positions(&read_all(&mut store)), [101]);
}

#[test]
fn a_restart_begins_at_the_checkpoint_and_without_it_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 30);
    store.delivered(15).unwrap();
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(store.delivered_below(), 15);
    drop(store);
    flip(&dir.path().join("checkpoint"), 9);
    let mut store = open(dir.path());
    assert_eq!(store.delivered_below(), 11, "the first record of the first segment that is there");
    // A mark is never taken back, and never above what there is.
    store.delivered(20).unwrap();
    store.delivered(3).unwrap();
    assert_eq!(store.delivered_below(), 20);
    store.delivered(u64::MAX).unwrap();
    assert_eq!(store.delivered_below(), 31);
}

#[test]
fn a_checkpoint_is_written_when_it_is_time() {
    let dir = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    let mut store = Store::open(dir.path(), Settings { checkpoint_every: minute, ..settings() }).unwrap();
    append(&mut store, 2);
    store.delivered(2).unwrap();
    let due = store.next_tending().unwrap();
    store.tend(due.checked_sub(Duration::from_millis(1)).unwrap()).unwrap();
    assert!(!dir.path().join("checkpoint").exists());
    store.tend(due).unwrap();
    assert!(dir.path().join("checkpoint").exists());
    store.delivered(3).unwrap();
    assert_eq!(store.next_tending(), Some(due + minute));
}

#[test]
fn a_log_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, &bytes).unwrap();
    let refused = Store::open(dir.path(), settings()).unwrap_err();
    assert!(matches!(refused, Error::Version { version: 2, .. }), "{refused}");
    assert_eq!(std::fs::read(path).unwrap(), bytes, "and left as it is");
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["notes.txt", "1.segment", "00000000000000000000.segment", "18446744073709551615.segment", "x.spoilt"] {
        std::fs::write(dir.path().join(name), "mine").unwrap();
    }
    let mut store = open(dir.path());
    append(&mut store, 1);
    store.delivered(2).unwrap();
    store.close().unwrap();
    assert_eq!(files(dir.path()).values().filter(|bytes| **bytes == 4).count(), 5);
}
