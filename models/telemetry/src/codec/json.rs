//! The JSON encoding: one object, signals by VSS path.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::{self, SerializeMap},
};

use super::{
    lent::Lent,
    object::{Fields, Object},
    scan::Scan,
};
use crate::{
    Invalid, Kind, Position, Reason, Record, SCHEMA, Signals, UnixMillis, Value, VehicleId,
    signal::{Duplicate, by_path_bytes, lookup},
};

#[derive(Serialize)]
struct Outgoing<'a> {
    schema: u32,
    vehicle: &'a VehicleId,
    boot: u32,
    seq: u64,
    time: UnixMillis,
    kind: &'static str,
    signals: &'a Signals,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    schema: u32,
    #[serde(borrow)]
    vehicle: Lent<'a>,
    boot: u32,
    seq: u64,
    time: UnixMillis,
    #[serde(borrow)]
    kind: Lent<'a>,
    signals: Signals,
    #[serde(default)]
    position: Option<Position>,
}

impl<'de> Fields<'de> for Incoming<'de> {
    fn read_fields<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// The fields that a record can't do without, in the order in which they are reported.
const REQUIRED: [&str; 7] = ["schema", "vehicle", "boot", "seq", "time", "kind", "signals"];

pub(super) fn encode(record: &Record) -> Result<Vec<u8>, Invalid> {
    let outgoing = Outgoing {
        schema: record.schema,
        vehicle: &record.vehicle,
        boot: record.boot,
        seq: record.seq,
        time: record.time,
        kind: record.kind.as_str(),
        signals: &record.signals,
        position: record.position,
    };
    // 1 KiB holds a record of the whole catalogue without growing.
    let mut payload = Vec::with_capacity(1024);
    serde_json::to_writer(&mut payload, &outgoing)
        .map_err(|error| Invalid::unparsed(Reason::NotFinite, error.to_string()))?;
    Ok(payload)
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, Invalid> {
    quick(payload).map_or_else(|| thorough(payload), Ok)
}

/// What vehicles usually send, in one pass; none where there is a doubt.
pub(crate) fn quick(payload: &[u8]) -> Option<Record> {
    let (mut schema, mut vehicle, mut boot, mut seq, mut time) = (None, None, None, None, None);
    let (mut kind, mut signals, mut position) = (None, None, None);
    let mut scan = Scan::of(payload)?;
    scan.object(|scan, name| {
        // No field twice.
        match name {
            b"schema" => once(&mut schema, scan.whole()?.try_into().ok()?),
            b"vehicle" => once(&mut vehicle, scan.text()?),
            b"boot" => once(&mut boot, scan.whole()?.try_into().ok()?),
            b"seq" => once(&mut seq, scan.whole()?),
            b"time" => once(&mut time, scan.whole()?.try_into().ok()?),
            b"kind" => match scan.text()? {
                b"full" => once(&mut kind, Kind::Full),
                b"change" => once(&mut kind, Kind::Change),
                _ => None,
            },
            b"signals" => {
                let mut found = Signals::with_capacity(USUAL_SIGNALS.min(payload.len() / LEAST_SIGNAL_BYTES));
                scan.object(|scan, path| match by_path_bytes(path) {
                    Some(signal) => found.insert(signal.number, quick_value(scan)?).ok(),
                    None => found.insert_path(std::str::from_utf8(path).ok()?, quick_value(scan)?).ok(),
                })?;
                once(&mut signals, found)
            }
            b"position" => once(&mut position, quick_position(scan)?),
            _ => None,
        }
    })?;
    let vehicle = VehicleId::parse(std::str::from_utf8(vehicle?).ok()?).ok()?;
    let (schema, boot, seq, time, kind, signals) = (schema?, boot?, seq?, time?, kind?, signals?);
    scan.is_through().then_some(Record { schema, vehicle, boot, seq, time, kind, signals, position })
}

fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

fn quick_value(scan: &mut Scan<'_>) -> Option<Value> {
    Some(match scan.peek()? {
        b'"' => Value::Text(std::str::from_utf8(scan.text()?).ok()?.to_owned()),
        b't' => scan.word(b"true").map(|()| Value::Boolean(true))?,
        b'f' => scan.word(b"false").map(|()| Value::Boolean(false))?,
        _ => Value::Number(quick_number(scan)?),
    })
}

fn quick_number(scan: &mut Scan<'_>) -> Option<f64> {
    let (number, text) = scan.number()?;
    let nearest = || std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite());
    number.exact().or_else(nearest)
}

fn quick_position(scan: &mut Scan<'_>) -> Option<Position> {
    let (mut latitude, mut longitude, mut heading) = (None, None, None);
    scan.object(|scan, name| match name {
        b"latitude" => once(&mut latitude, quick_number(scan)?),
        b"longitude" => once(&mut longitude, quick_number(scan)?),
        b"heading" => once(&mut heading, quick_number(scan)?),
        _ => None,
    })?;
    Some(Position { latitude: latitude?, longitude: longitude?, heading })
}

/// Every payload, or why it is none.
pub(crate) fn thorough(payload: &[u8]) -> Result<Record, Invalid> {
    let Object::<Incoming<'_>>(incoming) = serde_json::from_slice(payload).map_err(|error| explain(payload, &error))?;
    let kind = match &*incoming.kind {
        "full" => Kind::Full,
        "change" => Kind::Change,
        other => {
            return Err(Invalid::unparsed(Reason::WrongType, format!("kind {other:?} is neither full nor change")));
        }
    };
    Ok(Record {
        schema: incoming.schema,
        vehicle: VehicleId::parse(&incoming.vehicle)
            .map_err(|error| Invalid::unparsed(Reason::BadVehicle, error.to_string()))?,
        boot: incoming.boot,
        seq: incoming.seq,
        time: incoming.time,
        kind,
        signals: incoming.signals,
        position: incoming.position,
    })
}

/// Finds the reason for a payload that did not parse: the slow path, only for bad input.
fn explain(payload: &[u8], error: &serde_json::Error) -> Invalid {
    let detail = error.to_string();
    if let Err(error) = std::str::from_utf8(payload) {
        return Invalid::unparsed(Reason::NotUtf8, error.to_string());
    }
    let value: serde_json::Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        // serde_json refuses a number beyond f64 with this text; it has no kind for it.
        Err(error) if error.to_string().starts_with("number out of range") => {
            return Invalid::unparsed(Reason::NotFinite, error.to_string());
        }
        Err(error) => return Invalid::unparsed(Reason::Malformed, error.to_string()),
    };
    let Some(object) = value.as_object() else {
        return Invalid::unparsed(Reason::WrongType, "not a JSON object");
    };
    let newer_or_older =
        object.get("schema").and_then(serde_json::Value::as_u64).is_some_and(|v| v != u64::from(SCHEMA));
    let reason = if newer_or_older {
        Reason::UnsupportedSchema
    } else if REQUIRED.iter().any(|field| !object.contains_key(*field)) {
        Reason::MissingField
    } else if detail.starts_with(DUPLICATE_SIGNAL) {
        Reason::DuplicateSignal
    } else if detail.starts_with("duplicate field") {
        Reason::Malformed
    } else {
        Reason::WrongType
    };
    Invalid::unparsed(reason, detail)
}

/// A vehicle sends about so many.
const USUAL_SIGNALS: usize = 24;
/// A catalogued signal takes more: path, value and what stands between.
const LEAST_SIGNAL_BYTES: usize = 16;

const DUPLICATE_SIGNAL: &str = "duplicate signal";

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Number(number) => Err(ser::Error::custom(format_args!("{number} has no JSON form"))),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl Visitor<'_> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a boolean or a text")
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            // Numbers are f64 throughout: beyond 2^53 the nearest one is meant.
            #[expect(clippy::cast_precision_loss, reason = "every number on the wire is an f64")]
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "every number on the wire is an f64")]
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_bool<E>(self, boolean: bool) -> Result<Value, E> {
                Ok(Value::Boolean(boolean))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl Serialize for Signals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (number, value) in self.known() {
            let signal = lookup(number).ok_or_else(|| ser::Error::custom("a number outside the catalogue"))?;
            map.serialize_entry(signal.path, value)?;
        }
        for (path, value) in self.unknown() {
            map.serialize_entry(path, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Signals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SignalsVisitor;

        impl<'de> Visitor<'de> for SignalsVisitor {
            type Value = Signals;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of signal values by path")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Signals, A::Error> {
                let mut signals = Signals::with_capacity(USUAL_SIGNALS);
                while let Some(path) = map.next_key::<Lent<'de>>()? {
                    let value = map.next_value()?;
                    signals
                        .insert_path(&path, value)
                        .map_err(|Duplicate| de::Error::custom(format_args!("{DUPLICATE_SIGNAL} {}", &*path)))?;
                }
                Ok(signals)
            }
        }

        deserializer.deserialize_map(SignalsVisitor)
    }
}
