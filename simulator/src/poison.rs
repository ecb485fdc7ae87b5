//! Malformed payloads, each with the reason for which the edge must refuse it.
//!
//! Those that parse as a whole hold an identity, use up a seq and are acknowledged by range; the others are
//! acknowledged by hash. Missing here is [`Reason::BadTopic`]: a vehicle may only write to its own topics.

use telemetry::{
    Encoding, Reason, Record, Value, VehicleId, encode,
    validation::{MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES},
};

/// What a malformed payload is made of.
#[derive(Debug, Clone)]
pub struct Context {
    /// A valid record with the seq that is to be used up.
    pub record: Record,
    /// Makes payloads without an identity differ.
    pub nonce: u64,
}

/// One kind of malformed payload.
#[derive(Debug)]
pub struct Poison {
    /// What is wrong with it.
    pub name: &'static str,
    /// Why it must be refused.
    pub reason: Reason,
    /// The MQTT content type that it is sent with.
    pub content_type: &'static str,
    /// It parses as a whole: it uses up a seq, and an ack names it by range.
    pub has_identity: bool,
    make: fn(&Context) -> Vec<u8>,
}

impl Poison {
    /// The bytes.
    pub fn payload(&self, context: &Context) -> Vec<u8> {
        (self.make)(context)
    }
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

macro_rules! poison {
    ($($name:literal $reason:ident $content_type:ident $has_identity:literal $make:expr;)*) => {
        /// Every kind. Those with a reason in common differ in encoding or cause.
        pub const ALL: &[Poison] = &[$(Poison {
            name: $name,
            reason: Reason::$reason,
            content_type: $content_type,
            has_identity: $has_identity,
            make: $make,
        },)*];
    };
}

const CSV: &str = "text/csv";

poison! {
    "nothing" Empty JSON false |_| Vec::new();
    "too large, though the broker takes it" Oversize JSON false oversize;
    "content type of something else" UnknownEncoding CSV false |c| format!("{},{}", c.record.vehicle, c.nonce).into_bytes();
    "JSON that is not UTF-8" NotUtf8 JSON false |c| [json_text(c).as_bytes(), &[0xFF]].concat();
    "Protobuf with a text that is not UTF-8" NotUtf8 PROTOBUF false |c| {
        [&protobuf(&c.record, |_| ())[..], &[0x12, 2, 0xC3, 0x28]].concat()
    };
    "JSON cut off" Malformed JSON false |c| cut(json_text(c).into_bytes());
    "Protobuf cut off" Malformed PROTOBUF false |c| cut(protobuf(&c.record, |_| ()));
    "no vehicle" MissingField JSON false |c| json(c, "vehicle", None);
    "seq is a text" WrongType JSON false |c| json(c, "seq", Some("\"many\""));
    "speed is a truth value" WrongType JSON true |c| altered(c, |record| replace(record, Value::Boolean(true)));
    "schema of the future" UnsupportedSchema JSON true |c| altered(c, |record| record.schema = 99);
    "a vehicle with a slash" BadVehicle JSON false |c| json(c, "vehicle", Some("\"veh/1\""));
    "another vehicle" VehicleMismatch JSON true |c| altered(c, |record| record.vehicle = impostor());
    "seq 0" BadSequence JSON false |c| json(c, "seq", Some("0"));
    "time before 2000" BadTime JSON true |c| altered(c, |record| record.time = 1_000);
    "a number beyond all numbers" NotFinite JSON false |c| json(c, "signals", Some("{\"Vehicle.Speed\":1e999}"));
    "NaN" NotFinite PROTOBUF true |c| protobuf(&c.record, |record| replace(record, Value::Number(f64::NAN)));
    "faster than any vehicle" OutOfRange JSON true |c| altered(c, |record| replace(record, Value::Number(9_999.0)));
    "north of the pole" BadPosition JSON true |c| json(c, "position", Some("{\"latitude\":91.5,\"longitude\":0.5}"));
    "speed twice" DuplicateSignal JSON false |c| json(c, "signals", Some("{\"Vehicle.Speed\":1.5,\"Vehicle.Speed\":2.5}"));
    "a text of a novel's length" LimitExceeded JSON true |c| {
        let text = format!("{{\"Vehicle.Diary\":\"{}\"}}", "a".repeat(MAX_TEXT_BYTES + 1));
        json(c, "signals", Some(&text))
    };
    "nothing measured" NoSignals JSON true |c| altered(c, |record| {
        record.signals = telemetry::Signals::new();
        record.position = None;
    });
}

fn impostor() -> VehicleId {
    VehicleId::parse("veh-impostor").expect("a well-formed pseudonym")
}

fn altered(context: &Context, alter: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = context.record.clone();
    alter(&mut record);
    encode(&record, Encoding::Json).unwrap_or_default()
}

fn protobuf(record: &Record, alter: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = record.clone();
    alter(&mut record);
    // Only JSON can't carry every number.
    encode(&record, Encoding::Protobuf).unwrap_or_default()
}

fn replace(record: &mut Record, speed: Value) {
    let mut wrong = telemetry::Signals::new();
    wrong.insert(telemetry::signal::SPEED, speed).ok();
    record.signals.merge(&wrong);
}

fn json_text(context: &Context) -> String {
    String::from_utf8(altered(context, |_| ())).unwrap_or_default()
}

/// The valid record with one field put in other words, or left out, and the nonce in a field that readers ignore.
fn json(context: &Context, field: &str, raw: Option<&str>) -> Vec<u8> {
    let whole: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&json_text(context)).unwrap_or_default();
    let mut fields: Vec<String> =
        whole.iter().filter(|(name, _)| *name != field).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    fields.push(format!("\"nonce\":{}", context.nonce));
    fields.extend(raw.map(|raw| format!("\"{field}\":{raw}")));
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn cut(mut payload: Vec<u8>) -> Vec<u8> {
    payload.truncate(payload.len().saturating_sub(3));
    payload
}

fn oversize(context: &Context) -> Vec<u8> {
    let mut text = json_text(context);
    text.extend(std::iter::repeat_n(' ', (MAX_PAYLOAD_BYTES + 1).saturating_sub(text.len())));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use telemetry::{Kind, SCHEMA, Signals, decode, signal};

    use super::*;

    fn context() -> Context {
        let mut signals = Signals::new();
        signals.insert(signal::SPEED, Value::Number(50.0)).unwrap();
        signals.insert(signal::LOW_VOLTAGE, Value::Number(12.5)).unwrap();
        let vehicle = VehicleId::parse("veh-00001").unwrap();
        let time = 1_760_000_000_000;
        let record =
            Record { schema: SCHEMA, vehicle, boot: 7, seq: 41, time, kind: Kind::Full, signals, position: None };
        Context { record, nonce: 5 }
    }

    #[test]
    fn each_is_refused_for_its_reason_with_the_identity_that_it_claims() {
        let context = context();
        for poison in ALL {
            let payload = poison.payload(&context);
            let invalid = Encoding::from_content_type(Some(poison.content_type))
                .and_then(|encoding| decode(&payload, encoding, Some(&context.record.vehicle)))
                .expect_err(poison.name);
            assert_eq!(invalid.reason, poison.reason, "{}: {invalid}", poison.name);
            let identity = invalid.identity.map(|identity| (identity.boot, identity.seq));
            assert_eq!(identity, poison.has_identity.then_some((7, 41)), "{}", poison.name);
        }
    }

    #[test]
    fn every_reason_that_a_vehicle_can_cause_is_there() {
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::BadTopic) {
            assert!(ALL.iter().any(|poison| poison.reason == reason), "{reason}");
        }
    }

    #[test]
    fn all_but_the_empty_one_differ_from_reading_to_reading() {
        let other = Context { record: Record { seq: 42, ..context().record }, nonce: 6 };
        for poison in ALL.iter().filter(|poison| poison.reason != Reason::Empty) {
            assert_ne!(poison.payload(&context()), poison.payload(&other), "{}", poison.name);
        }
    }
}
