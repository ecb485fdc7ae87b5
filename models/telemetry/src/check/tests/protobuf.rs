//! Protobuf that is nearly a record: fields as bytes, each sometimes replaced, removed, doubled or moved.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;

pub(super) use super::super::protobuf::read;

/// Numbers that mean something somewhere.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    24,
    127,
    128,
    65_535,
    65_536,
    65_537,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];
const DOUBLES: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    90.0,
    90.1,
    100.0,
    300.0,
    301.0,
    -51.0,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];
const TEXTS: [&[u8]; 11] = [
    b"",
    b"ON",
    b"veh-00042",
    b"veh-00043",
    b"a/b",
    b"Vehicle.Speed",
    b"Vehicle.New",
    b"#1",
    b"#30",
    "Ö".as_bytes(),
    b"\xFF",
];

/// Fields, each with its key.
type Fields = Vec<Vec<u8>>;

fn varint(field: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::Varint, &mut bytes);
    encode_varint(number, &mut bytes);
    bytes
}

fn double(field: u32, number: f64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::SixtyFourBit, &mut bytes);
    bytes.extend(number.to_le_bytes());
    bytes
}

fn bytes(field: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// A payload, mostly nearly good.
pub(super) fn payload(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let time = rng.random_range(time::EARLIEST..=time::LATEST).unsigned_abs();
    let time = if rng.random_bool(0.02) { *NUMBERS.choose(rng).unwrap() } else { 2 * time };
    let mut fields: Fields = vec![
        varint(1, 1),
        bytes(2, VEHICLE.as_bytes()),
        varint(3, rng.random_range(1..=u32::MAX).into()),
        varint(4, rng.random::<u64>() >> rng.random_range(0..64)),
        varint(5, time),
        varint(6, rng.random_range(1..=2)),
    ];
    for row in CATALOGUE {
        if rng.random_bool(0.15) {
            fields.push(signal(row.number.into(), "", &value(row.domain, rng), rng));
        }
    }
    for at in 0..*[0, 0, 1, 2, MAX_UNKNOWN + 1].choose(rng).unwrap() {
        let value = double(2, 12.5);
        let (number, path) =
            if rng.random_bool(0.5) { (100 + at as u64, String::new()) } else { (0, format!("X.{at}")) };
        fields.push(signal(number, &path, &value, rng));
    }
    match rng.random_range(0..500) {
        0 => fields.extend((0..=300).map(|at| signal(1_000 + at, "", &varint(3, 1), rng))),
        1 => fields.push(signal(0, &"x".repeat(MAX_PATH_BYTES), &varint(3, 1), rng)),
        2 => fields.push(signal(0, &"x".repeat(MAX_PATH_BYTES + 1), &varint(3, 1), rng)),
        3 => fields.truncate(6),
        _ => {}
    }
    if rng.random_bool(0.3) {
        let mut position = vec![double(1, 48.137), double(2, -11.575), double(3, 271.5)];
        change(&mut position, 0.15, rng);
        fields.push(bytes(8, &position.concat()));
    }
    change(&mut fields, 0.3, rng);
    let payload = fields.concat();
    match rng.random_range(0..2_000) {
        0 => vec![],
        1 => vec![0; MAX_PAYLOAD_BYTES + 1],
        _ => payload,
    }
}

fn signal(number: u64, path: &str, value: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut fields = vec![varint(1, number), value.to_vec(), bytes(5, path.as_bytes())];
    if path.is_empty() && rng.random_bool(0.9) {
        fields.pop();
    }
    if number == 0 && rng.random() {
        fields.remove(0);
    }
    change(&mut fields, 0.02, rng);
    bytes(7, &fields.concat())
}

fn value(domain: Domain, rng: &mut ChaCha8Rng) -> Vec<u8> {
    if rng.random_bool(0.02) {
        return double(2, *DOUBLES.choose(rng).unwrap());
    }
    match domain {
        Domain::Number { min, max } if rng.random_bool(0.1) => {
            let limit = *[min, max].choose(rng).unwrap();
            let beside = [limit, limit, limit.next_up(), limit.next_down()];
            double(2, *beside.choose(rng).unwrap())
        }
        Domain::Number { min, max } => double(2, rng.random_range(min..=max)),
        Domain::Boolean => varint(3, rng.random_range(0..=1)),
        Domain::Text => bytes(4, &b"x".repeat(*[0, 3, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1].choose(rng).unwrap())),
    }
}

fn change(fields: &mut Fields, share: f64, rng: &mut ChaCha8Rng) {
    if fields.is_empty() || !rng.random_bool(share) {
        return;
    }
    let at = rng.random_range(0..fields.len());
    let other = rng.random_range(0..fields.len());
    match rng.random_range(0..7) {
        0 => drop(fields.remove(at)),
        1 => fields.push(fields[at].clone()),
        2 => fields.swap(at, other),
        3 => fields[at] = any_field(rng),
        4 => fields[at].pop().map_or((), drop),
        // An over-long varint, as a last byte, or a group.
        5 => fields[at].extend([0x80; 3]),
        _ => fields.insert(at, any_field(rng)),
    }
}

fn any_field(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let field = *[1, 2, 3, 4, 5, 6, 7, 8, 9, 100, (1 << 29) - 1].choose(rng).unwrap();
    match rng.random_range(0..6) {
        0 | 1 => varint(field, *NUMBERS.choose(rng).unwrap()),
        2 => double(field, *DOUBLES.choose(rng).unwrap()),
        3 => bytes(field, TEXTS.choose(rng).unwrap()),
        4 => {
            let mut bytes = Vec::new();
            encode_key(field, WireType::ThirtyTwoBit, &mut bytes);
            bytes.extend([1, 2, 3, 4]);
            bytes
        }
        _ => {
            let mut bytes = Vec::new();
            encode_key(field, WireType::StartGroup, &mut bytes);
            encode_key(field, WireType::EndGroup, &mut bytes);
            bytes
        }
    }
}
