//! Values, keys and order as all documents hold them.

use mongodb::bson::{Bson, Document, RawDocumentBuf, raw::CString};
use serde::{Deserialize, Serialize};
use telemetry::{Record, Signals, Value, signal};

/// The order of a vehicle's records: boot, then sequence; of two records with the same identity (a resend) the
/// later one in the log is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Boot of the vehicle's unit.
    pub boot: u32,
    /// Sequence in the boot; at most `i64::MAX`, which is all that a document can hold.
    pub seq: i64,
    /// Partition of `telemetry`.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

impl Stamp {
    /// The stamp of a record that stands there; none if its sequence is beyond what a document can hold.
    pub fn of(record: &Record, partition: i32, offset: i64) -> Option<Self> {
        Some(Self { boot: record.boot, seq: i64::try_from(record.seq).ok()?, partition, offset })
    }

    /// Appends it as the first four fields. Always 64 bits wide: documents are compared field by field.
    pub(crate) fn append_to(self, document: &mut RawDocumentBuf) {
        append(document, "b", i64::from(self.boot));
        append(document, "n", self.seq);
        append(document, "p", i64::from(self.partition));
        append(document, "o", self.offset);
    }

    pub(crate) fn read(document: &Document) -> Option<Self> {
        Some(Self {
            boot: u32::try_from(document.get_i64("b").ok()?).ok()?,
            seq: document.get_i64("n").ok()?,
            partition: i32::try_from(document.get_i64("p").ok()?).ok()?,
            offset: document.get_i64("o").ok()?,
        })
    }
}

/// A signal's value, as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalValue {
    /// True or false.
    Boolean(bool),
    /// A number in the signal's unit; finite.
    Number(f64),
    /// A text.
    Text(String),
}

impl From<&Value> for SignalValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(*number),
            Value::Boolean(truth) => Self::Boolean(*truth),
            Value::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl SignalValue {
    pub(crate) fn append_to(&self, document: &mut RawDocumentBuf, key: &str) {
        match self {
            Self::Number(number) => append(document, key, *number),
            Self::Boolean(truth) => append(document, key, *truth),
            Self::Text(text) => append(document, key, text.as_str()),
        }
    }

    pub(crate) fn read(value: &Bson) -> Option<Self> {
        match value {
            Bson::Double(number) => Some(Self::Number(*number)),
            Bson::Boolean(truth) => Some(Self::Boolean(*truth)),
            Bson::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}

/// Names a signal in a document: the catalogue's number, or the path of a signal that the catalogue lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalKey {
    /// Catalogued.
    Known(signal::Number),
    /// Not catalogued.
    Unknown(String),
}

impl SignalKey {
    /// Every signal of a record with its value.
    pub fn all(signals: &Signals) -> impl Iterator<Item = (Self, SignalValue)> + '_ {
        let known = signals.known().map(|(number, value)| (Self::Known(number), value.into()));
        let unknown = signals.unknown().map(|(path, value)| (Self::Unknown(path.to_owned()), value.into()));
        known.chain(unknown)
    }

    /// The path that readers see.
    pub fn path(&self) -> String {
        match self {
            Self::Known(number) => {
                signal::lookup(*number).map_or_else(|| format!("#{number}"), |signal| signal.path.to_owned())
            }
            Self::Unknown(path) => path.clone(),
        }
    }

    /// The field: a number, or `~` and the path with the characters masked that mean something to MongoDB.
    pub(crate) fn field(&self) -> String {
        match self {
            Self::Known(number) => number.to_string(),
            Self::Unknown(path) => {
                let mut field = String::with_capacity(path.len() + 8);
                field.push('~');
                for c in path.chars() {
                    match c {
                        '%' => field.push_str("%25"),
                        '.' => field.push_str("%2E"),
                        '$' => field.push_str("%24"),
                        '\0' => field.push_str("%00"),
                        plain => field.push(plain),
                    }
                }
                field
            }
        }
    }

    pub(crate) fn from_field(field: &str) -> Option<Self> {
        match field.strip_prefix('~') {
            None => field.parse().ok().map(Self::Known),
            Some(masked) => {
                // `%25` last: what it gives must not be read as the start of another mask.
                let path = masked.replace("%2E", ".").replace("%24", "$").replace("%00", "\0").replace("%25", "%");
                Some(Self::Unknown(path))
            }
        }
    }
}

/// Appends a field. A key with a NUL in it can't be written; none of ours has one.
pub(crate) fn append(document: &mut RawDocumentBuf, key: &str, value: impl mongodb::bson::raw::BindRawBsonRef) {
    match CString::try_from(key) {
        Ok(key) => document.append(key, value),
        Err(error) => tracing::error!(%error, "a field that can't be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_survives_its_field(path in "[a-zA-Z0-9.$%~#\\x00é]{0,24}") {
            let key = SignalKey::Unknown(path);
            let field = key.field();
            prop_assert!(!field.contains(['.', '$', '\0']));
            prop_assert_eq!(SignalKey::from_field(&field), Some(key));
        }
    }

    #[test]
    fn a_catalogued_signal_is_a_number_in_the_document_and_a_path_to_readers() {
        let key = SignalKey::Known(signal::SPEED);
        assert_eq!((key.field().as_str(), key.path().as_str()), ("1", "Vehicle.Speed"));
        assert_eq!(SignalKey::from_field("1"), Some(key));
    }

    #[test]
    fn json_tells_the_types_apart() {
        for value in [SignalValue::Number(1.0), SignalValue::Boolean(true), SignalValue::Text("1".into())] {
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<SignalValue>(&text).unwrap(), value);
        }
    }
}
