//! A spool reads back as what was spooled, in whatever pieces it was written.

use std::{collections::BTreeMap, path::Path};

use cloud_log::{Headers, InRecord};
use detector::{Detector, History, Kind as Family, Options, control};
use telemetry::{Encoding, Kind, Record, SCHEMA, Signals, UnixMillis, Value, VehicleId, kafka_topic, signal};

use super::*;
use crate::replay::Range;

const START: UnixMillis = 1_763_700_000_000;
const VEHICLES: u64 = 6;

fn reading(vehicle: u64, seq: u64) -> Record {
    let draw = |n: u64| (((vehicle * 7_919 + seq * 31 + n * 101) as f64) * 0.618_033_988_749_895).fract();
    let load = 0.5 + 0.3 * (seq as f64 / 17.0 + vehicle as f64).sin();
    let mut signals = Signals::new();
    for row in signal::CATALOGUE.iter().filter(|row| row.number <= 8) {
        let signal::Domain::Number { min, max } = row.domain else { continue };
        let share = (load + 0.1 * draw(u64::from(row.number))).clamp(0.0, 1.0);
        signals.insert(row.number, Value::Number(min + (max - min) * share)).unwrap();
    }
    // Each vehicle has one of its own, so that the order of their appearance differs with the order of the log.
    signals.insert_path(&format!("rig.{}", 9 - vehicle), Value::Number(load)).unwrap();
    signals.insert_path("rig.name", Value::Text("x".into())).unwrap();
    let vehicle = VehicleId::parse(&format!("veh-{vehicle}")).unwrap();
    let kind = if seq.is_multiple_of(5) { Kind::Change } else { Kind::Full };
    Record { schema: SCHEMA, vehicle, boot: 1, seq, time: START + seq as i64 * 10_000, kind, signals, position: None }
}

fn in_record(partition: i32, offset: i64, record: &Record) -> InRecord {
    InRecord {
        kafka_topic: kafka_topic::TELEMETRY.into(),
        partition,
        offset,
        timestamp: record.time,
        key: None,
        payload: Some(telemetry::encode(record, Encoding::Json).unwrap().into()),
        headers: Headers::new(),
    }
}

/// Two partitions of readings, some late, some twice, one broken.
fn log(readings: u64) -> [Vec<InRecord>; 2] {
    [0, 1].map(|partition: i32| {
        let mut records: Vec<InRecord> = Vec::new();
        let mut push = |record: &Record| {
            let offset = records.len() as i64 + 10;
            records.push(in_record(partition, offset, record));
        };
        for seq in 1..=readings {
            for vehicle in (0..VEHICLES).filter(|vehicle| vehicle % 2 == partition as u64) {
                // Every 40th comes 25 readings late, and then twice.
                if !seq.is_multiple_of(40) {
                    push(&reading(vehicle, seq));
                }
                if seq > 25 && (seq - 25).is_multiple_of(40) {
                    push(&reading(vehicle, seq - 25));
                    push(&reading(vehicle, seq - 25));
                }
            }
        }
        let mut broken = in_record(partition, records.len() as i64 + 10, &reading(0, 1));
        broken.payload = Some(b"{"[..].into());
        records.push(broken);
        records
    })
}

fn source(log: &[Vec<InRecord>; 2]) -> Source {
    let offsets: BTreeMap<i32, _> = (0..).zip(log).map(|(n, records)| (n, 10..10 + records.len() as i64)).collect();
    Source { cluster: "here".into(), asked: Range::Offsets(offsets.clone()), offsets }
}

/// Partitions mixed: `turn` of the one, then as many of the other.
fn mixed(log: &[Vec<InRecord>; 2], turn: usize, first: usize) -> Vec<InRecord> {
    let mut parts = [log[first].chunks(turn), log[1 - first].chunks(turn)];
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(parts.iter_mut().filter_map(Iterator::next).flatten().cloned());
        if all.len() == before {
            return all;
        }
    }
}

fn spooled(records: &[InRecord], source: Source, segment: usize) -> (Spool, Checkpoint) {
    let mut spooler = Spooler::new(Folder::open(None).unwrap(), source).with_segments_of(segment);
    records.iter().for_each(|record| spooler.take(record).unwrap());
    spooler.finish().unwrap()
}

/// Goes on, or begins, in a folder; takes so many of the records that are left.
fn go_on(path: &Path, records: &[InRecord], source: &Source, most: usize) -> Spooler {
    let folder = Folder::open(Some(path)).unwrap();
    let checkpoint = folder.checkpoint(&source.asked).unwrap();
    let spooler = match checkpoint {
        Some(checkpoint) => Spooler::resume(folder, checkpoint).unwrap(),
        None => Spooler::new(folder, source.clone()),
    };
    let mut spooler = spooler.with_segments_of(10_000);
    let left = spooler.checkpoint().left();
    let is_left = |record: &&InRecord| left.get(&record.partition).is_some_and(|range| range.contains(&record.offset));
    records.iter().filter(is_left).take(most).for_each(|record| spooler.take(record).unwrap());
    spooler
}

type Row = (u32, u64, UnixMillis, Kind, Vec<u16>, Vec<u32>);

fn rows(history: &dyn History, vehicle: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |reading: &Reading<'_>| {
        let bits = reading.numbers.iter().map(|number| number.to_bits()).collect();
        rows.push((reading.boot, reading.seq, reading.time, reading.kind, reading.at.to_vec(), bits));
        Ok(())
    };
    history.read(vehicle, &mut visit).unwrap();
    rows
}

fn all(history: &dyn History) -> Vec<Vec<Row>> {
    (0..history.vehicles().len()).map(|vehicle| rows(history, vehicle)).collect()
}

fn options(threads: usize) -> Options {
    Options { kind: Family::Pca, sample: 2_000, threads, ..Options::default() }
}

fn model(history: &dyn History, threads: usize) -> Vec<u8> {
    Detector::save(&control::ungated(history, &options(threads)).unwrap())
}

#[test]
fn what_is_spooled_reads_back_in_order_without_duplicates_and_the_sum_holds() {
    let log = log(200);
    let (spool, checkpoint) = spooled(&mixed(&log, 7, 0), source(&log), 10_000);
    assert!(checkpoint.segments.len() > 3, "{} segments", checkpoint.segments.len());
    assert_eq!(spool.vehicles().iter().map(VehicleId::as_str).next(), Some("veh-0"));
    assert_eq!(spool.layout().step_ms(), 10_000);
    let mut values = detector::Values::default();
    for vehicle in 0..VEHICLES {
        let expected = (1..=200_u64).filter(|seq| !seq.is_multiple_of(40) || seq + 25 <= 200).map(|seq| {
            let record = reading(vehicle, seq);
            spool.layout().extract(&record.signals, &mut values);
            let bits = values.numbers.iter().map(|number| number.to_bits()).collect();
            (1, seq, record.time, record.kind, values.at.clone(), bits)
        });
        let expected: Vec<Row> = expected.collect();
        assert_eq!(rows(&spool, vehicle as usize), expected, "{vehicle}");
    }
    let discarded = &checkpoint.discarded;
    assert_eq!((discarded["duplicate"], discarded["unreadable"]), (4 * VEHICLES, 2));
    assert_eq!(checkpoint.received, spool.records() + discarded.values().sum::<u64>());
    assert_eq!(checkpoint.received, log.iter().map(|records| records.len() as u64).sum::<u64>());
}

#[test]
fn neither_interleaving_nor_threads_nor_interruptions_change_a_bit_of_the_model() {
    let log = log(700);
    let source = source(&log);
    let (whole, told) = spooled(&mixed(&log, 500, 0), source.clone(), 1 << 20);
    let expected = model(&whole, 1);
    let (other, told_otherwise) = spooled(&mixed(&log, 3, 1), source.clone(), 9_000);
    assert_ne!(told.foreign, told_otherwise.foreign, "the test mixes too little");
    assert_eq!(all(&whole), all(&other));
    assert_eq!(model(&other, 3), expected);

    let (dir, records) = (tempfile::tempdir().unwrap(), mixed(&log, 11, 0));
    let path = dir.path().join("spool");
    let mut last = 0;
    for part in [400, 1_000, 0, 900] {
        // What was not saved is lost, as with a killed process.
        let spooler = go_on(&path, &records, &source, part);
        let segments = spooler.checkpoint().segments.len();
        assert!(segments >= last, "it began anew");
        last = segments;
    }
    assert!(last > 3);
    let (resumed, told_at_last) = go_on(&path, &records, &source, usize::MAX).finish().unwrap();
    assert_eq!(all(&resumed), all(&whole));
    assert_eq!(told_at_last.discarded, told.discarded);
    assert_eq!((told_at_last.received, told_at_last.spans()), (told.received, told.spans()));
    assert_eq!(model(&resumed, 2), expected);
    drop(resumed);
    // Complete: nothing is left to read, and it is there again.
    let again = go_on(&path, &[], &source, 0);
    assert!(again.checkpoint().left().is_empty());
    assert_eq!(model(&again.finish().unwrap().0, 2), expected);

    // Negative control: one reading less is another model.
    let (less, _) = spooled(&records[..records.len() - 3], source, 9_000);
    assert_ne!(model(&less, 1), expected);
}

#[test]
fn a_spool_of_something_else_is_refused_and_says_what_to_do() {
    let log = log(60);
    let source = source(&log);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    drop(go_on(&path, &mixed(&log, 5, 0), &source, usize::MAX).finish().unwrap());
    let refusal = |error: Error| {
        let text = error.to_string();
        assert!(text.starts_with("--spool: ") && text.lines().count() == 1, "{text}");
        (error.exit_code(), text)
    };
    let folder = Folder::open(Some(&path)).unwrap();
    let (code, text) = refusal(folder.checkpoint(&Range::Time { from: 0, to: 5 }).unwrap_err());
    assert!(code == 64 && text.contains("another folder") && text.contains("0:10-"), "{text}");
    assert!(refusal(folder.of_another_cluster("there", "here")).1.contains("cluster there"));
    let (code, text) = refusal(Folder::open(Some(&path)).unwrap_err());
    assert!(code == 64 && text.contains("another process"), "{text}");
    drop(folder);
    let (_, text) = refusal(Folder::open(Some(dir.path())).unwrap_err());
    assert!(text.contains("something else"), "{text}");

    // A flipped bit.
    let mut bytes = std::fs::read(path.join("rows")).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path.join("rows"), bytes).unwrap();
    let folder = Folder::open(Some(&path)).unwrap();
    let checkpoint = folder.checkpoint(&source.asked).unwrap().unwrap();
    let error = Spooler::resume(folder, checkpoint).unwrap_err();
    assert!(error.exit_code() == 65 && error.to_string().contains("remove it"), "{error}");
    std::fs::write(path.join("checkpoint.json"), "{}").unwrap();
    let folder = Folder::open(Some(&path)).unwrap();
    assert!(refusal(folder.checkpoint(&source.asked).unwrap_err()).1.contains("remove"));
}

#[test]
fn a_temporary_folder_is_gone_when_it_is_done_with() {
    let log = log(30);
    let mut spooler = Spooler::new(Folder::open(None).unwrap(), source(&log));
    log[0].iter().for_each(|record| spooler.take(record).unwrap());
    let (spool, _) = spooler.finish().unwrap();
    let path = spool.folder.path().to_owned();
    assert!(path.exists());
    drop(spool);
    assert!(!path.exists());
}

#[test]
fn too_many_foreign_signals_are_refused_as_soon_as_they_are_seen() {
    let log = log(5);
    let mut spooler = Spooler::new(Folder::open(None).unwrap(), source(&log));
    let mut record = reading(0, 1);
    for n in 0..detector::layout::MAX_FOREIGN {
        record.signals.insert_path(&format!("x.{n}"), Value::Number(1.0)).unwrap();
    }
    let error = spooler.take(&in_record(0, 10, &record)).unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
}

#[test]
fn gaps_are_told_in_two_digits() {
    assert_eq!((digits(12_345, 3), digits(7, 3), digits(999, 3)), (12_300, 7, 999));
    assert_eq!((digits_unit(12_345, 2), digits_unit(7, 2)), (1_000, 1));
}
