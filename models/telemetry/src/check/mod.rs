//! The verdict of [`crate::decode`] without the record: for those who pass a payload on as it is.
//!
//! A quick pass over the bytes takes what is certainly good, without building or allocating anything. It knows
//! neither errors nor wordings: whatever it doubts (an escape, a number near a limit, a repeated field) it leaves
//! to `decode`, good or bad, and that what its own quick pass doubts to serde_json and prost. So there is one owner of every reason, and the pass may be strict but never lenient.

mod json;
mod protobuf;

use crate::{
    Encoding, Invalid, Record, UnixMillis, VehicleId,
    codec::{decode_from, number::Approximate},
    record::SCHEMA,
    signal::{CATALOGUE, Domain, Number, Signal, by_path_bytes, lookup},
    time,
    validation::{MAX_PATH_BYTES, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES},
};

/// What is said of a good payload to those who only pass it on. Its vehicle is the one of the MQTT topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checked {
    /// See [`Record::schema`].
    pub schema: u32,
    /// See [`crate::Identity::boot`].
    pub boot: u32,
    /// See [`crate::Identity::seq`].
    pub seq: u64,
    /// See [`Record::time`]; ms since the epoch.
    pub time: UnixMillis,
}

impl From<&Record> for Checked {
    fn from(record: &Record) -> Self {
        Self { schema: record.schema, boot: record.boot, seq: record.seq, time: record.time }
    }
}

/// Checks a payload against the contract; `vehicle` is the one of the MQTT topic.
///
/// The verdict is that of [`crate::decode`] for every input, down to the wording. A usual good record costs no
/// allocation; a bad or unusual one costs what `decode` costs.
///
/// # Errors
/// As [`crate::decode`].
pub fn check(payload: &[u8], encoding: Encoding, vehicle: Option<&str>) -> Result<Checked, Invalid> {
    match surely_good(payload, encoding, vehicle) {
        Some(checked) => Ok(checked),
        None => decode_from(payload, encoding, vehicle).map(|record| Checked::from(&record)),
    }
}

/// The quick pass; none where it has a doubt.
fn surely_good(payload: &[u8], encoding: Encoding, vehicle: Option<&str>) -> Option<Checked> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    match encoding {
        Encoding::Json => json::read(payload),
        Encoding::Protobuf => protobuf::read(payload),
    }?
    .judge(vehicle)
}

/// The fields of a record, as far as they decide about it. Absent ones are 0 or empty, which none may be.
#[derive(Default)]
struct Fields<'a> {
    schema: u32,
    vehicle: &'a [u8],
    boot: u32,
    seq: u64,
    time: UnixMillis,
    /// Of a good signal or position.
    measured: bool,
}

impl Fields<'_> {
    fn judge(&self, vehicle: Option<&str>) -> Option<Checked> {
        let good = self.schema == SCHEMA
            && self.boot > 0
            && self.seq > 0
            && (time::EARLIEST..=time::LATEST).contains(&self.time)
            && self.measured
            && vehicle.is_none_or(|vehicle| vehicle.as_bytes() == self.vehicle)
            && VehicleId::is_well_formed(self.vehicle);
        let Self { schema, boot, seq, time, .. } = *self;
        good.then_some(Checked { schema, boot, seq, time })
    }
}

/// As much of a signal's value as decides about it.
#[derive(Clone, Copy)]
enum Glimpse {
    Number(Approximate),
    Boolean,
    /// At most so many bytes.
    Text(usize),
}

/// Signals that the catalogue lacks are followed up to here; more are left to `decode`.
const MAX_UNKNOWN: usize = 16;

// The known ones are bits of a word, and there can't be more than a record may carry.
const _: () = assert!(CATALOGUE.len() < 64 && CATALOGUE.len() + MAX_UNKNOWN <= crate::validation::MAX_SIGNALS);

/// Which signals of a record came by: none may stand twice.
#[derive(Default)]
struct Seen<'a> {
    known: u64,
    unknown: usize,
    /// Of an unknown signal the path or, where it has none, the number.
    paths: [&'a [u8]; MAX_UNKNOWN],
    numbers: [Number; MAX_UNKNOWN],
}

impl<'a> Seen<'a> {
    fn any(&self) -> bool {
        self.known != 0 || self.unknown != 0
    }

    /// A signal by path, of which it is known that it is UTF-8.
    fn path(&mut self, path: &'a [u8], value: Glimpse) -> Option<()> {
        match by_path_bytes(path) {
            Some(signal) => self.known(signal, value),
            // It may stand for a number.
            None if path.first() == Some(&b'#') => None,
            None => self.unknown(path, 0, value),
        }
    }

    /// A signal by number, which is not 0.
    fn number(&mut self, number: Number, value: Glimpse) -> Option<()> {
        match lookup(number) {
            Some(signal) => self.known(signal, value),
            None => self.unknown(b"#", number, value),
        }
    }

    fn known(&mut self, signal: &Signal, value: Glimpse) -> Option<()> {
        let good = match (signal.domain, value) {
            (Domain::Number { min, max }, Glimpse::Number(number)) => number.is_surely_within(min, max),
            (Domain::Boolean, Glimpse::Boolean) => true,
            (Domain::Text, Glimpse::Text(bytes)) => bytes <= MAX_TEXT_BYTES,
            _ => false,
        };
        let bit = 1 << signal.number;
        let new = self.known & bit == 0;
        self.known |= bit;
        (good && new).then_some(())
    }

    fn unknown(&mut self, path: &'a [u8], number: Number, value: Glimpse) -> Option<()> {
        let good = match value {
            Glimpse::Number(number) => number.is_surely_finite(),
            Glimpse::Boolean => true,
            Glimpse::Text(bytes) => bytes <= MAX_TEXT_BYTES,
        };
        let before = self.paths.iter().zip(&self.numbers).take(self.unknown);
        let new = before.into_iter().all(|before| before != (&path, &number));
        if !good || !new || path.is_empty() || path.len() > MAX_PATH_BYTES {
            return None;
        }
        *self.paths.get_mut(self.unknown)? = path;
        self.numbers[self.unknown] = number;
        self.unknown += 1;
        Some(())
    }
}

/// Whether a position is surely good.
fn is_good_position(latitude: Approximate, longitude: Approximate, heading: Option<Approximate>) -> bool {
    latitude.is_surely_within(-90.0, 90.0)
        && longitude.is_surely_within(-180.0, 180.0)
        && heading.is_none_or(|heading| heading.is_surely_within(0.0, 360.0))
}

#[cfg(test)]
mod tests;
