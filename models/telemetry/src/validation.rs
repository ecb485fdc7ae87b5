//! Why a payload is refused. Every reason is a label of metrics and a header of the dead letter.

use std::fmt;

use crate::{Identity, Record, Value, VehicleId, record::SCHEMA, signal, time};

/// The most signals that one record may carry, unknown ones included.
pub const MAX_SIGNALS: usize = 256;
/// The longest signal path, in bytes.
pub const MAX_PATH_BYTES: usize = 160;
/// The longest text value, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// The largest payload that a vehicle may send, in bytes. Above it the vehicle does not send; it counts.
/// The broker's packet limit is 64 KiB with the topic and properties in it.
pub const MAX_PAYLOAD_BYTES: usize = 60 * 1024;

/// Why a payload was refused: a closed set, so that it can label a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No bytes at all.
    Empty,
    /// More than [`MAX_PAYLOAD_BYTES`].
    Oversize,
    /// The content type is neither JSON nor Protobuf.
    UnknownEncoding,
    /// JSON that is not UTF-8, or a Protobuf text that is not.
    NotUtf8,
    /// Not parseable: syntax, truncation, nesting too deep.
    Malformed,
    /// A required field is absent.
    MissingField,
    /// A field or a signal's value has the wrong type.
    WrongType,
    /// Neither this schema version nor the one before it.
    UnsupportedSchema,
    /// The payload's vehicle is not a well-formed pseudonym.
    BadVehicle,
    /// The payload's vehicle is not the one of the MQTT topic.
    VehicleMismatch,
    /// Boot or sequence is 0.
    BadSequence,
    /// The event time lies before 2000 or after 2100.
    BadTime,
    /// A number is NaN or infinite.
    NotFinite,
    /// A catalogued signal lies outside its physical range.
    OutOfRange,
    /// The position is outside its ranges.
    BadPosition,
    /// The same signal stands twice.
    DuplicateSignal,
    /// More than [`MAX_SIGNALS`] signals, or a path or text beyond its limit.
    LimitExceeded,
    /// Not one signal and no position.
    NoSignals,
    /// The MQTT topic is not one of the contract.
    BadTopic,
}

impl Reason {
    /// Every reason, for metrics and for the test that triggers each.
    pub const ALL: [Self; 19] = [
        Self::Empty,
        Self::Oversize,
        Self::UnknownEncoding,
        Self::NotUtf8,
        Self::Malformed,
        Self::MissingField,
        Self::WrongType,
        Self::UnsupportedSchema,
        Self::BadVehicle,
        Self::VehicleMismatch,
        Self::BadSequence,
        Self::BadTime,
        Self::NotFinite,
        Self::OutOfRange,
        Self::BadPosition,
        Self::DuplicateSignal,
        Self::LimitExceeded,
        Self::NoSignals,
        Self::BadTopic,
    ];

    /// The stable name: a metric's label and the dead letter's `reason` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Oversize => "oversize",
            Self::UnknownEncoding => "unknown_encoding",
            Self::NotUtf8 => "not_utf8",
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnsupportedSchema => "unsupported_schema",
            Self::BadVehicle => "bad_vehicle",
            Self::VehicleMismatch => "vehicle_mismatch",
            Self::BadSequence => "bad_sequence",
            Self::BadTime => "bad_time",
            Self::NotFinite => "not_finite",
            Self::OutOfRange => "out_of_range",
            Self::BadPosition => "bad_position",
            Self::DuplicateSignal => "duplicate_signal",
            Self::LimitExceeded => "limit_exceeded",
            Self::NoSignals => "no_signals",
            Self::BadTopic => "bad_topic",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refused payload: the reason, a sentence for people, and the identity where the whole payload parsed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Invalid {
    /// Why.
    pub reason: Reason,
    /// What exactly, at most a few hundred bytes.
    pub detail: String,
    /// Whose reading it would have been. Only present if the whole payload parsed: only then may an
    /// acknowledgement name it by range.
    pub identity: Option<Identity>,
}

impl Invalid {
    /// A refusal of a payload that could not be read as a whole.
    pub fn unparsed(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(300));
        Self { reason, detail, identity: None }
    }
}

/// Checks a parsed record against the contract; `vehicle` is the one of the MQTT topic, where there is one.
///
/// The first violation found is reported, always with the record's identity if its sequence is usable.
pub fn validate(record: &Record, vehicle: Option<&VehicleId>) -> Result<(), Invalid> {
    validate_from(record, vehicle.map(VehicleId::as_str))
}

/// [`validate`] for a vehicle that is still a part of its topic.
pub(crate) fn validate_from(record: &Record, vehicle: Option<&str>) -> Result<(), Invalid> {
    check(record, vehicle).map_err(|(reason, detail)| Invalid {
        // Range 0..0 can't be acknowledged: sequences start at 1.
        identity: (record.seq > 0).then(|| record.identity()),
        ..Invalid::unparsed(reason, detail)
    })
}

fn check(record: &Record, vehicle: Option<&str>) -> Result<(), (Reason, String)> {
    // Version 1 is the first: there is no version 0 that could be accepted beside it.
    if record.schema != SCHEMA {
        return Err((Reason::UnsupportedSchema, format!("schema {} is not {SCHEMA}", record.schema)));
    }
    if record.boot == 0 || record.seq == 0 {
        return Err((Reason::BadSequence, format!("boot {} seq {}", record.boot, record.seq)));
    }
    if let Some(expected) = vehicle.filter(|v| *v != record.vehicle.as_str()) {
        return Err((Reason::VehicleMismatch, format!("payload says {}, topic says {expected}", record.vehicle)));
    }
    if !(time::EARLIEST..=time::LATEST).contains(&record.time) {
        return Err((Reason::BadTime, format!("time {} ms is outside 2000 to 2100", record.time)));
    }
    if record.signals.is_empty() && record.position.is_none() {
        return Err((Reason::NoSignals, "neither a signal nor a position".into()));
    }
    if record.signals.len() > MAX_SIGNALS {
        return Err((Reason::LimitExceeded, format!("{} signals", record.signals.len())));
    }
    if let Some(position) = record.position.filter(|position| !position.is_valid()) {
        return Err((Reason::BadPosition, format!("{position:?}")));
    }
    for (number, value) in record.signals.known() {
        signal::lookup(number).map_or(Ok(()), |signal| signal.check(value))?;
    }
    for (path, value) in record.signals.unknown() {
        check_unknown(path, value)?;
    }
    Ok(())
}

fn check_unknown(path: &str, value: &Value) -> Result<(), (Reason, String)> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return Err((Reason::LimitExceeded, format!("a path of {} bytes", path.len())));
    }
    match value {
        Value::Number(number) if !number.is_finite() => Err((Reason::NotFinite, format!("{path} is {number}"))),
        Value::Text(text) if text.len() > MAX_TEXT_BYTES => {
            Err((Reason::LimitExceeded, format!("{path} holds a text of {} bytes", text.len())))
        }
        _ => Ok(()),
    }
}
