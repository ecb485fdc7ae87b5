//! Encodings of a record, told apart by MQTT 5 content type and Kafka header.
//!
//! JSON is the default, readable one; Protobuf the compact one. Both ignore unknown fields, keep unknown
//! signals, and give back exactly the record that was encoded.
//!
//! Each is read in one quick pass over the bytes that gives the record that serde_json or prost gives, or nothing; then they
//! do it, and say what is wrong.

pub(crate) mod json;
pub(crate) mod lent;
pub(crate) mod number;
pub(crate) mod object;
pub(crate) mod protobuf;
pub(crate) mod scan;
pub(crate) mod wire;

use crate::{
    Invalid, Reason, Record, VehicleId,
    validation::{MAX_PAYLOAD_BYTES, validate_from},
};

/// An encoding of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// UTF-8 JSON, the default where no content type is given.
    #[default]
    Json,
    /// Protobuf, `proto/v1/record.proto`.
    Protobuf,
}

impl Encoding {
    /// The MQTT content type and Kafka header value.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// The encoding of a content type; none means JSON.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, Invalid> {
        match content_type {
            None | Some("application/json") => Ok(Self::Json),
            Some("application/x-protobuf") => Ok(Self::Protobuf),
            Some(other) => Err(Invalid::unparsed(Reason::UnknownEncoding, format!("content type {other:?}"))),
        }
    }
}

impl std::str::FromStr for Encoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            other => Err(format!("{other:?} is neither json nor protobuf")),
        }
    }
}

/// Encodes a record. Fails with [`Reason::NotFinite`] if a number is, because JSON can't carry it.
pub fn encode(record: &Record, encoding: Encoding) -> Result<Vec<u8>, Invalid> {
    match encoding {
        Encoding::Json => json::encode(record),
        Encoding::Protobuf => Ok(protobuf::encode(record)),
    }
}

/// Decodes a payload and checks it against the contract; `vehicle` is the one of the MQTT topic.
///
/// # Errors
/// The first violation found. Its identity is present only if the whole payload parsed.
pub fn decode(payload: &[u8], encoding: Encoding, vehicle: Option<&VehicleId>) -> Result<Record, Invalid> {
    decode_from(payload, encoding, vehicle.map(VehicleId::as_str))
}

/// What [`decode`] is held against: the same by serde_json and prost alone, without a quick pass before.
///
/// # Errors
/// As [`decode`].
pub fn decode_thoroughly(payload: &[u8], encoding: Encoding, vehicle: Option<&VehicleId>) -> Result<Record, Invalid> {
    let read = match encoding {
        Encoding::Json => json::thorough,
        Encoding::Protobuf => protobuf::thorough,
    };
    decode_by(read, payload, vehicle.map(VehicleId::as_str))
}

/// [`decode`] for a vehicle that is still a part of its topic.
pub(crate) fn decode_from(payload: &[u8], encoding: Encoding, vehicle: Option<&str>) -> Result<Record, Invalid> {
    let read = match encoding {
        Encoding::Json => json::decode,
        Encoding::Protobuf => protobuf::decode,
    };
    decode_by(read, payload, vehicle)
}

fn decode_by(
    read: fn(&[u8]) -> Result<Record, Invalid>,
    payload: &[u8],
    vehicle: Option<&str>,
) -> Result<Record, Invalid> {
    if payload.is_empty() {
        return Err(Invalid::unparsed(Reason::Empty, "no bytes"));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Invalid::unparsed(
            Reason::Oversize,
            format!("{} of at most {MAX_PAYLOAD_BYTES} bytes", payload.len()),
        ));
    }
    let record = read(payload)?;
    validate_from(&record, vehicle)?;
    Ok(record)
}
