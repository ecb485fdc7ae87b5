//! `check` against `decode`: the same verdict on a great many payloads, most of them nearly good.

mod json;
mod protobuf;

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{Kind, Position, Reason, Record, Signals, Value, codec, decode, encode};

const VEHICLE: &str = "veh-00042";
const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];
/// Per encoding and round of the corpus.
const CASES: u32 = 75_000;

/// A verdict as [`surely_good`] gives it.
type Quick = fn(&[u8], Encoding, Option<&str>) -> Option<Checked>;

/// Payloads of every sort, from sound to shredded.
fn corpus(encoding: Encoding, seed: u64, mut judge: impl FnMut(&[u8], Option<&str>)) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..CASES {
        let mut payload = match encoding {
            Encoding::Json => json::payload(&mut rng),
            Encoding::Protobuf => protobuf::payload(&mut rng),
        };
        if rng.random_bool(0.3) {
            damage(&mut payload, &mut rng);
        }
        judge(&payload, if rng.random_bool(0.5) { Some(VEHICLE) } else { None });
    }
}

/// Changes bytes without knowing what they mean.
fn damage(payload: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=2) {
        if payload.is_empty() {
            return;
        }
        let at = rng.random_range(0..payload.len());
        let to = rng.random_range(at..=payload.len().min(at + 40));
        match rng.random_range(0..7) {
            0 => payload[at] ^= 1 << rng.random_range(0..8),
            1 => payload[at] = rng.random(),
            2 => payload.truncate(at),
            3 => drop(payload.drain(at..to)),
            4 => payload.insert(at, *b"\"\\,:{}[]0e-.\x00\x1F \xFFn".choose(rng).unwrap()),
            5 => {
                let twice = payload[at..to].to_vec();
                payload.splice(at..at, twice);
            }
            _ => {
                let other = rng.random_range(0..payload.len());
                payload.swap(at, other);
            }
        }
    }
}

/// The payload, for a failed test to print.
fn shown(payload: &[u8]) -> String {
    payload.escape_ascii().to_string()
}

/// How often the quick verdict is good where the full one is not the same.
fn lenient(quick: Quick, encoding: Encoding, seed: u64) -> u32 {
    let mut lenient = 0;
    corpus(encoding, seed, |payload, vehicle| {
        if let Some(checked) = quick(payload, encoding, vehicle) {
            let good = decode_from(payload, encoding, vehicle).is_ok_and(|record| Checked::from(&record) == checked);
            lenient += u32::from(!good);
        }
    });
    lenient
}

#[test]
fn check_says_what_decode_says() {
    let topic_vehicle = VehicleId::parse(VEHICLE).unwrap();
    for (encoding, seed) in ENCODINGS.into_iter().zip([1, 2]) {
        let (mut good, mut quick) = (0, 0);
        let mut reasons = BTreeMap::new();
        corpus(encoding, seed, |payload, vehicle| {
            let expected = codec::decode_thoroughly(payload, encoding, vehicle.map(|_| &topic_vehicle));
            let checked = check(payload, encoding, vehicle);
            let sure = surely_good(payload, encoding, vehicle);
            let place = || format!("{encoding:?}, seed {seed}, {vehicle:?}: {}", shown(payload));
            assert_eq!(checked, expected.as_ref().map(Checked::from).map_err(Clone::clone), "{}", place());
            assert!(sure.is_none_or(|sure| checked == Ok(sure)), "{}", place());
            assert_eq!(decode(payload, encoding, vehicle.map(|_| &topic_vehicle)), expected, "{}", place());
            good += u32::from(expected.is_ok());
            quick += u32::from(sure.is_some());
            if let Err(invalid) = expected {
                *reasons.entry(invalid.reason.as_str()).or_insert(0_u32) += 1;
            }
        });
        // What the corpus is worth: both verdicts often, and every reason that a payload can meet.
        println!("{encoding:?}: {CASES} payloads, {good} good, {quick} at once; refused: {reasons:?}");
        assert!(good > CASES / 5 && good < CASES * 4 / 5, "{good} good");
        assert!(quick > good / 4 && quick < good, "{quick} of {good} at once");
        let met: BTreeSet<_> = reasons.keys().copied().collect();
        let elsewhere = [Reason::UnknownEncoding, Reason::BadTopic];
        let missing: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| !elsewhere.contains(reason) && !met.contains(reason.as_str()))
            .collect();
        assert!(missing.is_empty(), "never met with {encoding:?}: {missing:?}");
    }
}

type Decode = fn(&[u8]) -> Option<Record>;

/// How often a quick decoder gave a record, and how often not the one that the thorough decoder gives.
fn decoded_quickly(quick: Decode, thorough: Decode, encoding: Encoding, seed: u64) -> (u32, u32) {
    // As text: what is not a number is not equal to itself.
    let told = |record: Record| format!("{record:?}");
    let (mut decoded, mut wrong) = (0, 0);
    corpus(encoding, seed, |payload, _| {
        if let Some(record) = quick(payload) {
            decoded += 1;
            wrong += u32::from(thorough(payload).map(told) != Some(told(record)));
        }
    });
    (decoded, wrong)
}

#[test]
fn the_quick_decoders_give_what_the_thorough_ones_give_or_nothing() {
    let ways: [(Encoding, Decode, Decode, Decode); 2] = [
        (
            Encoding::Json,
            codec::json::quick,
            |payload| codec::json::thorough(payload).ok(),
            |payload| codec::json::quick(payload).map(|record| Record { seq: record.seq ^ 1, ..record }),
        ),
        (
            Encoding::Protobuf,
            codec::protobuf::quick,
            |payload| codec::protobuf::thorough(payload).ok(),
            |payload| codec::protobuf::quick(payload.split_last()?.1),
        ),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (encoding, quick, thorough, careless) in ways {
        let (decoded, wrong) = decoded_quickly(quick, thorough, encoding, 3);
        assert!(wrong == 0 && decoded > CASES / 10, "{wrong} of {decoded} of {CASES} are wrong, {encoding:?}");
        assert!(decoded_quickly(careless, thorough, encoding, 3).1 > 0, "a careless decoder is not noticed");
        for record in std::iter::repeat_with(|| usual(&mut rng)).take(500) {
            assert_eq!(quick(&encode(&record, encoding).unwrap()), Some(record), "{encoding:?}");
        }
    }
}

#[test]
fn a_lenient_pass_is_noticed() {
    let passes: [(&str, Quick); 4] = [
        ("forgets the vehicle of the topic", |payload, encoding, _| surely_good(payload, encoding, None)),
        ("forgets the last byte", |payload, encoding, vehicle| surely_good(payload.split_last()?.1, encoding, vehicle)),
        ("reads the boot wrong", |payload, encoding, vehicle| {
            surely_good(payload, encoding, vehicle).map(|checked| Checked { boot: checked.boot ^ 1, ..checked })
        }),
        ("takes any time", |payload, encoding, vehicle| {
            let fields = match encoding {
                Encoding::Json => json::read(payload),
                Encoding::Protobuf => protobuf::read(payload),
            }?;
            Fields { time: time::EARLIEST, ..fields }
                .judge(vehicle)
                .map(|checked| Checked { time: fields.time, ..checked })
        }),
    ];
    for encoding in ENCODINGS {
        for (name, pass) in passes {
            assert!(lenient(pass, encoding, 3) > 10, "nobody noticed a pass that {name} of {encoding:?}");
        }
    }
}

/// A record such as vehicles send: nothing for `decode` to do.
fn usual(rng: &mut ChaCha8Rng) -> Record {
    let mut signals = Signals::new();
    for row in CATALOGUE {
        if rng.random_bool(0.3) || row.number == 1 {
            let value = match row.domain {
                Domain::Number { min, max } => {
                    let decimals = 10_f64.powi(rng.random_range(0..17));
                    let within = min + rng.random::<f64>() * (max - min) * 0.999_999;
                    let value = *[min, max, min + (max - min) / 3.0, (within * decimals).round() / decimals]
                        .choose(rng)
                        .unwrap();
                    Value::Number(value.clamp(min, max))
                }
                Domain::Boolean => Value::Boolean(rng.random()),
                Domain::Text => Value::Text("ÖN".repeat(rng.random_range(0..=MAX_TEXT_BYTES / 3))),
            };
            signals.insert(row.number, value).unwrap();
        }
    }
    for at in 0..rng.random_range(0..=MAX_UNKNOWN) {
        signals.insert_path(&format!("Vehicle.New{at}"), Value::Number(rng.random_range(-1.0..1.0))).unwrap();
    }
    let position = Position { latitude: 48.137, longitude: -11.5, heading: rng.random_bool(0.5).then_some(271.5) };
    Record {
        schema: SCHEMA,
        vehicle: VehicleId::parse(VEHICLE).unwrap(),
        boot: rng.random_range(1..=u32::MAX),
        seq: rng.random_range(1..=u64::MAX >> 1),
        time: rng.random_range(time::EARLIEST..=time::LATEST),
        kind: if rng.random() { Kind::Full } else { Kind::Change },
        signals,
        position: rng.random_bool(0.5).then_some(position),
    }
}

#[test]
fn usual_records_are_taken_at_once_and_without_an_allocation() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..5_000 {
        let record = usual(&mut rng);
        for encoding in ENCODINGS {
            let payload = encode(&record, encoding).unwrap();
            assert_eq!(decode(&payload, encoding, None).as_ref(), Ok(&record));
            let mut checked = None;
            let allocations = allocation_counter::measure(|| checked = surely_good(&payload, encoding, Some(VEHICLE)));
            assert_eq!(checked, Some(Checked::from(&record)), "{encoding:?}: {}", shown(&payload));
            assert_eq!(allocations.count_total, 0);
        }
    }
    // The measure counts at all.
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1]))).count_total, 1);
}

#[test]
fn frozen_files_are_taken_at_once() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    for name in ["full", "change"] {
        for (encoding, extension) in [(Encoding::Json, "json"), (Encoding::Protobuf, "pb")] {
            let payload = std::fs::read(folder.join(format!("{name}.{extension}"))).unwrap();
            let record = decode(&payload, encoding, None).unwrap();
            assert_eq!(surely_good(&payload, encoding, Some(VEHICLE)), Some(Checked::from(&record)));
        }
    }
}

#[test]
fn sizes_at_the_limit_are_told_apart() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let usual = encode(&usual(&mut rng), Encoding::Json).unwrap();
    for length in [0, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1] {
        let mut payload = if length == 0 { vec![] } else { usual.clone() };
        payload.resize(length, b' ');
        for encoding in ENCODINGS {
            let expected = decode(&payload, encoding, None);
            assert_eq!(check(&payload, encoding, None), expected.as_ref().map(Checked::from).map_err(Clone::clone));
            assert_eq!(expected.is_ok(), encoding == Encoding::Json && length == MAX_PAYLOAD_BYTES);
        }
    }
}
