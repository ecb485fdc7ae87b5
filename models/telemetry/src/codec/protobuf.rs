//! The Protobuf encoding: signals by catalogue number. The structs mirror `proto/v1/record.proto`.

use prost::Message;

use super::wire::{Once, Reader, Wire, zigzag};
use crate::{Invalid, Kind, Position, Reason, Record, Signals, Value, VehicleId, signal};

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(uint32, tag = "1")]
    schema: u32,
    #[prost(string, tag = "2")]
    vehicle: String,
    #[prost(uint32, tag = "3")]
    boot: u32,
    #[prost(uint64, tag = "4")]
    seq: u64,
    #[prost(sint64, tag = "5")]
    time: i64,
    #[prost(enumeration = "WireKind", tag = "6")]
    kind: i32,
    #[prost(message, repeated, tag = "7")]
    signals: Vec<WireSignal>,
    #[prost(message, optional, tag = "8")]
    position: Option<WirePosition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum WireKind {
    Unspecified = 0,
    Full = 1,
    Change = 2,
}

#[derive(Clone, PartialEq, Message)]
struct WireSignal {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(oneof = "WireValue", tags = "2, 3, 4")]
    value: Option<WireValue>,
    #[prost(string, tag = "5")]
    path: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireValue {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(bool, tag = "3")]
    Boolean(bool),
    #[prost(string, tag = "4")]
    Text(String),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WirePosition {
    #[prost(double, tag = "1")]
    latitude: f64,
    #[prost(double, tag = "2")]
    longitude: f64,
    #[prost(double, optional, tag = "3")]
    heading: Option<f64>,
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let known = record.signals.known().map(|(number, value)| WireSignal {
        number: u32::from(number),
        value: Some(wire_value(value)),
        path: String::new(),
    });
    let unknown = record.signals.unknown().map(|(path, value)| {
        let number = signal::numbered(path).map(u32::from);
        WireSignal {
            number: number.unwrap_or(0),
            value: Some(wire_value(value)),
            path: if number.is_some() { String::new() } else { path.to_owned() },
        }
    });
    WireRecord {
        schema: record.schema,
        vehicle: record.vehicle.as_str().to_owned(),
        boot: record.boot,
        seq: record.seq,
        time: record.time,
        kind: match record.kind {
            Kind::Full => WireKind::Full,
            Kind::Change => WireKind::Change,
        } as i32,
        signals: known.chain(unknown).collect(),
        position: record.position.map(|position| WirePosition {
            latitude: position.latitude,
            longitude: position.longitude,
            heading: position.heading,
        }),
    }
    .encode_to_vec()
}

fn wire_value(value: &Value) -> WireValue {
    match value {
        Value::Number(number) => WireValue::Number(*number),
        Value::Boolean(boolean) => WireValue::Boolean(*boolean),
        Value::Text(text) => WireValue::Text(text.clone()),
    }
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, Invalid> {
    quick(payload).map_or_else(|| thorough(payload), Ok)
}

/// Most records have fewer signals.
const USUAL_SIGNALS: usize = 32;
/// A number and its signal's number take more.
const LEAST_SIGNAL_BYTES: usize = 13;

/// What vehicles usually send, straight from the wire; none where there is a doubt.
pub(crate) fn quick(payload: &[u8]) -> Option<Record> {
    let (mut schema, mut vehicle, mut boot, mut seq, mut time) = (0, "", 0, 0, 0);
    let room = USUAL_SIGNALS.min(payload.len() / LEAST_SIGNAL_BYTES);
    let (mut kind, mut position, mut signals) = (0, None, Signals::with_capacity(room));
    let (mut reader, mut once) = (Reader::new(payload), Once::default());
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Wire::Varint(value)) => schema = value.try_into().ok()?,
            (2, Wire::Bytes(text)) => vehicle = std::str::from_utf8(text).ok()?,
            (3, Wire::Varint(value)) => boot = value.try_into().ok()?,
            (4, Wire::Varint(value)) => seq = value,
            (5, Wire::Varint(value)) => time = zigzag(value),
            (6, Wire::Varint(value)) => kind = value,
            (7, Wire::Bytes(signal)) => {
                match quick_signal(signal)? {
                    (0, "", _) => return None,
                    (0, path, value) => signals.insert_path(path, value).ok()?,
                    (number, _, value) => signals.insert(number, value).ok()?,
                }
                continue;
            }
            (8, Wire::Bytes(bytes)) => position = Some(quick_position(bytes)?),
            (1..=8, _) => return None,
            // Outside the contract.
            _ => continue,
        }
        once.saw(field)?;
    }
    let kind = match kind {
        1 => Kind::Full,
        2 => Kind::Change,
        _ => return None,
    };
    let is_whole = schema != 0 && time != 0;
    let vehicle = VehicleId::parse(vehicle).ok()?;
    is_whole.then_some(Record { schema, vehicle, boot, seq, time, kind, signals, position })
}

/// Number or 0, path, and value of a signal.
fn quick_signal(bytes: &[u8]) -> Option<(signal::Number, &str, Value)> {
    let (mut number, mut path, mut value) = (0, "", None);
    let (mut reader, mut once) = (Reader::new(bytes), Once::default());
    while let Some((field, found)) = reader.next()? {
        let field = match (field, found) {
            (1, Wire::Varint(found)) => {
                number = found.try_into().ok()?;
                1
            }
            // One value, of whatever type.
            (2, Wire::Fixed64(bytes)) => {
                value = Some(Value::Number(f64::from_le_bytes(bytes)));
                2
            }
            (3, Wire::Varint(found)) => {
                value = Some(Value::Boolean(found != 0));
                2
            }
            (4, Wire::Bytes(text)) => {
                value = Some(Value::Text(std::str::from_utf8(text).ok()?.to_owned()));
                2
            }
            (5, Wire::Bytes(text)) => {
                path = std::str::from_utf8(text).ok()?;
                5
            }
            (1..=5, _) => return None,
            _ => continue,
        };
        once.saw(field)?;
    }
    Some((number, path, value?))
}

fn quick_position(bytes: &[u8]) -> Option<Position> {
    // An absent coordinate is 0.
    let mut position = Position { latitude: 0.0, longitude: 0.0, heading: None };
    let (mut reader, mut once) = (Reader::new(bytes), Once::default());
    while let Some((field, found)) = reader.next()? {
        match (field, found) {
            (1, Wire::Fixed64(bytes)) => position.latitude = f64::from_le_bytes(bytes),
            (2, Wire::Fixed64(bytes)) => position.longitude = f64::from_le_bytes(bytes),
            (3, Wire::Fixed64(bytes)) => position.heading = Some(f64::from_le_bytes(bytes)),
            (1..=3, _) => return None,
            _ => continue,
        }
        once.saw(field)?;
    }
    Some(position)
}

/// Every payload, or why it is none.
pub(crate) fn thorough(payload: &[u8]) -> Result<Record, Invalid> {
    let wire = WireRecord::decode(payload).map_err(|error| {
        let detail = error.to_string();
        // prost has no error kinds; this is its text for a string field that is not UTF-8.
        let reason = if detail.contains("UTF-8") {
            Reason::NotUtf8
        } else if detail.contains("invalid wire type") {
            Reason::WrongType
        } else {
            Reason::Malformed
        };
        Invalid::unparsed(reason, detail)
    })?;
    // Proto3 can't tell an absent scalar from its default; none of these defaults is legal.
    for (absent, field) in [
        (wire.schema == 0, "schema"),
        (wire.vehicle.is_empty(), "vehicle"),
        (wire.time == 0, "time"),
        (wire.kind == 0, "kind"),
    ] {
        if absent {
            return Err(Invalid::unparsed(Reason::MissingField, format!("missing field {field}")));
        }
    }
    let kind = match WireKind::try_from(wire.kind) {
        Ok(WireKind::Full) => Kind::Full,
        Ok(WireKind::Change) => Kind::Change,
        _ => return Err(Invalid::unparsed(Reason::WrongType, format!("kind {}", wire.kind))),
    };
    let vehicle =
        VehicleId::parse(&wire.vehicle).map_err(|error| Invalid::unparsed(Reason::BadVehicle, error.to_string()))?;
    Ok(Record {
        schema: wire.schema,
        vehicle,
        boot: wire.boot,
        seq: wire.seq,
        time: wire.time,
        kind,
        signals: signals(wire.signals)?,
        position: wire.position.map(|position| Position {
            latitude: position.latitude,
            longitude: position.longitude,
            heading: position.heading,
        }),
    })
}

fn signals(wire: Vec<WireSignal>) -> Result<Signals, Invalid> {
    let mut signals = Signals::with_capacity(wire.len());
    for wire in wire {
        let value = match wire.value {
            Some(WireValue::Number(number)) => Value::Number(number),
            Some(WireValue::Boolean(boolean)) => Value::Boolean(boolean),
            Some(WireValue::Text(text)) => Value::Text(text),
            None => return Err(Invalid::unparsed(Reason::MissingField, "a signal without a value")),
        };
        let inserted = match u16::try_from(wire.number) {
            Ok(0) if wire.path.is_empty() => {
                return Err(Invalid::unparsed(Reason::MissingField, "a signal with neither number nor path"));
            }
            Ok(0) => signals.insert_path(&wire.path, value),
            Ok(number) => signals.insert(number, value),
            Err(_) => {
                let detail = format!("signal number {} is above {}", wire.number, u16::MAX);
                return Err(Invalid::unparsed(Reason::WrongType, detail));
            }
        };
        inserted.map_err(|duplicate| {
            let detail = format!("signal {} {}: {duplicate}", wire.number, wire.path);
            Invalid::unparsed(Reason::DuplicateSignal, detail)
        })?;
    }
    Ok(signals)
}
