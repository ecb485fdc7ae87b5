//! JSON that is nearly a record: fields as texts, each sometimes replaced, removed, doubled or moved.

use std::fmt::Write;

use super::*;

pub(super) use super::super::json::read;

/// Values that mean something somewhere: near limits, of every type, well-formed and not.
const VALUES: [&str; 78] = [
    "0",
    "-0",
    "0.0",
    "-0.0",
    "1",
    "-1",
    "2",
    "00",
    "01",
    "1.",
    ".5",
    "1.0",
    "1e0",
    "1E+2",
    "1e",
    "100",
    "100.0",
    "100.1",
    "100.00000000000001",
    "99.999999999999999",
    "99.99999999999999",
    "300",
    "300.00000000000006",
    "301",
    "-50",
    "-50.000000000000007",
    "-50.1",
    "1e2",
    "1e-5",
    "4.9e-324",
    "1e-400",
    "-1e-400",
    "1e308",
    "1e309",
    "-1e309",
    "1e400",
    "0e400",
    "2.5e1",
    "10000000000",
    "1e10",
    "9007199254740992",
    "9007199254740993",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "946684799999",
    "946684800000",
    "4102444800000",
    "4102444800001",
    "123456789012345678901234567890",
    "0.3000000000000000000000000000000000000000000000001",
    "NaN",
    "Infinity",
    "null",
    "true",
    "false",
    "tru",
    "nulll",
    "\"\"",
    "\"ON\"",
    "\"full\"",
    "\"change\"",
    "\"fu\\u006cl\"",
    "\"delta\"",
    "\"veh-00042\"",
    "\"veh-00043\"",
    "\"a/b\"",
    "\"Ö\"",
    "\"\\uD83D\\uDE97\"",
    "\"\\uD83D\"",
    "\"\\x\"",
    "\"a\tb\"",
    "[]",
    "{}",
    "{\"a\":[1,{\"b\":null}]}",
];

/// Names that mean something somewhere.
const NAMES: [&str; 22] = [
    "schema",
    "vehicle",
    "boot",
    "seq",
    "time",
    "kind",
    "signals",
    "position",
    "latitude",
    "longitude",
    "heading",
    "Vehicle.Speed",
    "Vehicle.IsMoving",
    "Vehicle.LowVoltageSystemState",
    "Vehicle.\\u0053peed",
    "Vehicle.New",
    "#1",
    "#24",
    "#024",
    "",
    "Ö",
    "unknown",
];

type Entries = Vec<(String, String)>;

/// A payload, mostly nearly good.
pub(super) fn payload(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut signals: Entries = Vec::new();
    for row in CATALOGUE {
        if rng.random_bool(0.15) {
            signals.push((row.path.to_owned(), value(row.domain, rng)));
        }
    }
    for at in 0..*[0, 0, 1, 2, MAX_UNKNOWN + 1].choose(rng).unwrap() {
        signals.push((format!("X.{at}"), VALUES.choose(rng).unwrap().to_string()));
        if rng.random_bool(0.9) {
            signals.last_mut().unwrap().1 = "12.5".to_owned();
        }
    }
    rare(&mut signals, rng);
    let mut position: Entries = [("latitude", "48.137"), ("longitude", "-11.575"), ("heading", "271.5")]
        .map(|(k, v)| (k.into(), v.into()))
        .to_vec();
    position.truncate(rng.random_range(2..=3));
    change(&mut position, 0.1, rng);
    let mut fields: Entries = vec![
        ("schema".into(), "1".into()),
        ("vehicle".into(), format!("\"{VEHICLE}\"")),
        ("boot".into(), rng.random_range(1..=u32::MAX).to_string()),
        ("seq".into(), (rng.random::<u64>() >> rng.random_range(0..64)).to_string()),
        ("time".into(), rng.random_range(time::EARLIEST..=time::LATEST).to_string()),
        ("kind".into(), "\"change\"".into()),
        ("signals".into(), object(&signals, rng)),
    ];
    if rng.random_bool(0.3) {
        fields.push(("position".into(), object(&position, rng)));
    }
    change(&mut fields, 0.3, rng);
    let mut text = object(&fields, rng);
    match rng.random_range(0..2_000) {
        0 => text.clear(),
        1 => text = " ".repeat(MAX_PAYLOAD_BYTES + 1),
        2 => text = format!("{}{}", "[".repeat(300), "]".repeat(300)),
        3..10 => text.push('}'),
        _ => {}
    }
    text.into_bytes()
}

fn value(domain: Domain, rng: &mut ChaCha8Rng) -> String {
    if rng.random_bool(0.02) {
        return VALUES.choose(rng).unwrap().to_string();
    }
    match domain {
        Domain::Number { min, max } if rng.random_bool(0.1) => {
            let limit = *[min, max].choose(rng).unwrap();
            [limit, limit.next_up(), limit.next_down()].choose(rng).unwrap().to_string()
        }
        Domain::Number { min, max } if rng.random_bool(0.2) => format!("{:e}", rng.random_range(min..=max)),
        Domain::Number { min, max } => {
            let decimals = rng.random_range(0..30);
            format!("{:.decimals$}", rng.random_range(min..=max))
        }
        Domain::Boolean => rng.random::<bool>().to_string(),
        Domain::Text => {
            let length = *[0, 3, 10, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1].choose(rng).unwrap();
            let mut text = "x".repeat(length);
            if rng.random_bool(0.2) {
                text.push_str(["\\n", "\\u00e4", "ä", "\\/", "\\"].choose(rng).unwrap());
            }
            format!("\"{text}\"")
        }
    }
}

/// What is seldom: very many signals, very long paths.
fn rare(signals: &mut Entries, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..500) {
        0 => signals.extend((0..=crate::validation::MAX_SIGNALS).map(|at| (format!("Y.{at}"), "1".to_owned()))),
        1 => signals.push(("x".repeat(MAX_PATH_BYTES), "1".to_owned())),
        2 => signals.push(("x".repeat(MAX_PATH_BYTES + 1), "1".to_owned())),
        3 => signals.clear(),
        _ => {}
    }
    change(signals, 0.15, rng);
}

fn change(entries: &mut Entries, share: f64, rng: &mut ChaCha8Rng) {
    if entries.is_empty() || !rng.random_bool(share) {
        return;
    }
    let at = rng.random_range(0..entries.len());
    let other = rng.random_range(0..entries.len());
    match rng.random_range(0..8) {
        0 => drop(entries.remove(at)),
        1 => entries.push(entries[at].clone()),
        2 => entries.swap(at, other),
        3 => entries[at].0 = NAMES.choose(rng).unwrap().to_string(),
        4 => entries.insert(at, (NAMES.choose(rng).unwrap().to_string(), VALUES.choose(rng).unwrap().to_string())),
        // Of another field.
        5 => entries[at].1 = entries[other].1.clone(),
        _ => entries[at].1 = VALUES.choose(rng).unwrap().to_string(),
    }
}

fn object(entries: &Entries, rng: &mut ChaCha8Rng) -> String {
    let spaced = rng.random_bool(0.2);
    let mut space = || if spaced { *["", " ", "\n\t", "\r", "\u{c}", "\u{a0}"][..4].choose(rng).unwrap() } else { "" };
    let mut text = format!("{}{{", space());
    for (at, (name, value)) in entries.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(text, "{}{comma}{}\"{name}\"{}:{}{value}", space(), space(), space(), space()).unwrap();
    }
    write!(text, "{}}}{}", space(), space()).unwrap();
    text
}
