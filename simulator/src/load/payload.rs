//! What load vehicles report: records that the edge accepts, rendered in well under a microsecond.
//!
//! The bytes are a pure function of the seed, the vehicle, the boot, the seq, the time and the form: a resend
//! renders them again. Values move a little from reading to reading, so that nothing that compresses, compares
//! or aggregates has it too easy.

use std::{fmt, str::FromStr};

use telemetry::{
    Encoding, Kind, SCHEMA, UnixMillis, VehicleId,
    signal::{self, Domain, Number},
    validation::MAX_PAYLOAD_BYTES,
};

/// The smallest payload that can be asked for, bytes.
pub const LEAST_BYTES: usize = 200;
/// How many signals a record of the forms `record-json` and `record-protobuf` has.
const RECORD_SIGNALS: usize = 20;

/// The form of the payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Form {
    /// JSON of exactly 200 bytes: what changed, three signals.
    Change200,
    /// JSON of exactly so many bytes: as many signals as fit, and padding.
    Sized(usize),
    /// JSON, 20 signals.
    RecordJson,
    /// Protobuf, 20 signals.
    RecordProtobuf,
    /// JSON, of 20 signals those that changed; all of them now and then.
    OnChange,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "change-200" => Ok(Self::Change200),
            "kib" => Ok(Self::Sized(1024)),
            "record-json" => Ok(Self::RecordJson),
            "record-protobuf" => Ok(Self::RecordProtobuf),
            "on-change" => Ok(Self::OnChange),
            bytes => match bytes.parse() {
                Ok(bytes) if (LEAST_BYTES..=MAX_PAYLOAD_BYTES).contains(&bytes) => Ok(Self::Sized(bytes)),
                Ok(bytes) => Err(format!("{bytes} bytes are not {LEAST_BYTES} to {MAX_PAYLOAD_BYTES}")),
                Err(_) => {
                    Err("neither change-200, kib, record-json, record-protobuf, on-change nor a number of bytes"
                        .to_owned())
                }
            },
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change200 => f.write_str("change-200"),
            Self::Sized(1024) => f.write_str("kib"),
            Self::Sized(bytes) => write!(f, "{bytes}"),
            Self::RecordJson => f.write_str("record-json"),
            Self::RecordProtobuf => f.write_str("record-protobuf"),
            Self::OnChange => f.write_str("on-change"),
        }
    }
}

/// A signal of the load, which goes up and down around a middle.
struct Course {
    number: Number,
    /// Hundredths of its unit.
    middle: i64,
    swing: i64,
}

/// Middle and swing in the signal's unit.
const fn course(number: Number, middle: i64, swing: i64) -> Course {
    Course { number, middle: 100 * middle, swing: 100 * swing }
}

/// The short ones first: they are what fits into 200 bytes.
const COURSES: [Course; 22] = [
    course(signal::SPEED, 80, 40),
    course(signal::IS_MOVING, 0, 0),
    course(signal::TRAVELED_DISTANCE, 0, 0),
    course(signal::ACCELERATION_LATERAL, 0, 2),
    course(signal::ACCELERATION_LONGITUDINAL, 0, 3),
    course(signal::AIR_TEMPERATURE, 14, 6),
    course(signal::BRAKE, 20, 18),
    course(signal::ACCELERATOR, 35, 30),
    course(signal::VIBRATION, 4, 2),
    course(signal::LOW_VOLTAGE, 13, 1),
    course(signal::MOTOR_SPEED, 6_000, 2_500),
    course(signal::MOTOR_TORQUE, 60, 90),
    course(signal::MOTOR_TEMPERATURE, 70, 15),
    course(signal::COOLANT_TEMPERATURE, 45, 8),
    course(signal::TYRE_FRONT_LEFT, 250, 6),
    course(signal::TYRE_FRONT_RIGHT, 250, 6),
    course(signal::TYRE_REAR_LEFT, 260, 6),
    course(signal::TYRE_REAR_RIGHT, 260, 6),
    course(signal::BATTERY_VOLTAGE, 390, 12),
    course(signal::BATTERY_CURRENT, -40, 90),
    course(signal::BATTERY_CHARGE, 60, 25),
    course(signal::BATTERY_TEMPERATURE, 30, 4),
];
/// In the form `on-change` each signal gets a new value once in so many readings; speed each time, some never.
const PERIODS: [u8; 22] = [1, 0, 1, 2, 2, 20, 2, 2, 3, 5, 2, 2, 8, 8, 12, 12, 12, 12, 3, 2, 16, 10];
/// In 200 bytes.
const CHANGED_SIGNALS: usize = 3;
/// The most that a value takes in JSON, bytes: `-10000.00`.
const WIDEST_VALUE: usize = 9;
/// What a record takes beside its signals in JSON at most, bytes: names and punctuation 92, vehicle 10, boot 10,
/// seq 10, time 13, kind 6.
const WIDEST_HEAD: usize = 141;
/// `,"pad":""`.
const PAD_FRAME: usize = 9;
/// Odometers are built into new cars, and in 200 bytes there is room for six digits of metres.
const FARTHEST_M: i64 = 900_000;

/// Renders the payloads of one run.
#[derive(Debug)]
pub struct Payloads {
    form: Form,
    seed: u64,
    boot: u32,
    /// What stands before each value, and whose value it is.
    segments: Vec<(Box<[u8]>, usize)>,
    /// Text to fill up with, as long as is ever needed.
    padding: Box<[u8]>,
}

impl Payloads {
    /// Of a form, for every vehicle of a run; `boot` is theirs.
    pub fn new(form: Form, seed: u64, boot: u32) -> Self {
        let courses = match form {
            Form::Change200 => CHANGED_SIGNALS,
            Form::RecordJson | Form::RecordProtobuf | Form::OnChange => RECORD_SIGNALS,
            Form::Sized(bytes) => fitting(bytes),
        };
        let segment = |(at, course): (usize, &Course)| {
            let comma = if at == 0 { "" } else { "," };
            (format!("{comma}\"{}\":", path(course.number)).into_bytes().into(), at)
        };
        let mut segments: Vec<_> = COURSES.iter().take(courses).enumerate().map(segment).collect();
        if form == Form::RecordProtobuf {
            // As the catalogue's encoder does it.
            segments.sort_by_key(|(_, at)| COURSES[*at].number);
        }
        let padding = if let Form::Sized(bytes) = form { letters(seed, bytes) } else { Box::default() };
        Self { form, seed, boot, segments, padding }
    }

    /// The MQTT content type.
    pub fn content_type(&self) -> &'static str {
        match self.form {
            Form::RecordProtobuf => Encoding::Protobuf.content_type(),
            _ => Encoding::Json.content_type(),
        }
    }

    /// No payload is longer, bytes.
    pub fn longest(&self) -> usize {
        match self.form {
            Form::Change200 => LEAST_BYTES,
            Form::Sized(bytes) => bytes,
            // Protobuf is shorter.
            Form::RecordJson | Form::RecordProtobuf | Form::OnChange => {
                let signals = self.segments.iter().map(|(segment, _)| segment.len() + WIDEST_VALUE);
                WIDEST_HEAD + signals.sum::<usize>()
            }
        }
    }

    /// Whether readings hold only what changed.
    pub fn on_change(&self) -> bool {
        self.form == Form::OnChange
    }

    /// Appends the payload of a reading to `to`. The first of a boot is a full record.
    pub fn render(&self, vehicle: &VehicleId, index: u32, seq: u32, time: UnixMillis, to: &mut Vec<u8>) {
        self.render_as(vehicle, index, Of { seq, time, snapshot: false }, to);
    }

    /// As [`Self::render`]; in the form `on-change` a reading may be a snapshot.
    pub fn render_as(&self, vehicle: &VehicleId, index: u32, Of { seq, time, snapshot }: Of, to: &mut Vec<u8>) {
        let change = match self.form {
            Form::Change200 => seq > 1,
            Form::OnChange => seq > 1 && !snapshot,
            _ => false,
        };
        let kind = if change { Kind::Change } else { Kind::Full };
        let held = self.form == Form::OnChange;
        let values = Values { base: mix(self.seed ^ (u64::from(index) << 32)), seq: i64::from(seq), held };
        if self.form == Form::RecordProtobuf {
            self.protobuf(vehicle, seq, time, &values, to);
        } else {
            self.json(vehicle, seq, time, kind, &values, to);
        }
    }

    fn json(&self, vehicle: &VehicleId, seq: u32, time: UnixMillis, kind: Kind, values: &Values, to: &mut Vec<u8>) {
        let start = to.len();
        let mut digits = itoa::Buffer::new();
        to.extend_from_slice(b"{\"schema\":1,\"vehicle\":\"");
        to.extend_from_slice(vehicle.as_str().as_bytes());
        to.extend_from_slice(b"\",\"boot\":");
        to.extend_from_slice(digits.format(self.boot).as_bytes());
        to.extend_from_slice(b",\"seq\":");
        to.extend_from_slice(digits.format(seq).as_bytes());
        to.extend_from_slice(b",\"time\":");
        to.extend_from_slice(digits.format(time).as_bytes());
        to.extend_from_slice(b",\"kind\":\"");
        to.extend_from_slice(kind.as_str().as_bytes());
        to.extend_from_slice(b"\",\"signals\":{");
        let mut first = true;
        for (segment, at) in &self.segments {
            if values.held && kind == Kind::Change && !values.changed(*at) {
                continue;
            }
            // A comma stands before each but the first of all.
            to.extend_from_slice(if first { segment.strip_prefix(b",").unwrap_or(segment) } else { segment });
            first = false;
            match values.of(*at) {
                Value::Moving => to.extend_from_slice(b"true"),
                Value::Metres(metres) => to.extend_from_slice(digits.format(metres).as_bytes()),
                Value::Hundredths(hundredths) => {
                    if hundredths < 0 {
                        to.push(b'-');
                    }
                    let whole = hundredths.unsigned_abs();
                    to.extend_from_slice(digits.format(whole / 100).as_bytes());
                    let rest = u8::try_from(whole % 100).unwrap_or(0);
                    to.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10]);
                }
            }
        }
        to.push(b'}');
        let bytes = match self.form {
            Form::Change200 => LEAST_BYTES,
            Form::Sized(bytes) => bytes,
            Form::RecordJson | Form::RecordProtobuf | Form::OnChange => 0,
        };
        let room = (start + bytes).saturating_sub(to.len() + 1);
        if room >= PAD_FRAME && !self.padding.is_empty() {
            // Readers ignore a field that they don't know.
            to.extend_from_slice(b",\"pad\":\"");
            to.extend_from_slice(&self.padding[..room - PAD_FRAME]);
            to.push(b'"');
        } else {
            to.resize(to.len() + room, b' ');
        }
        to.push(b'}');
    }

    fn protobuf(&self, vehicle: &VehicleId, seq: u32, time: UnixMillis, values: &Values, to: &mut Vec<u8>) {
        // Fields of `proto/v1/record.proto`: key = number × 8 + wire type.
        to.push(0x08);
        varint(u64::from(SCHEMA), to);
        to.push(0x12);
        varint(vehicle.as_str().len() as u64, to);
        to.extend_from_slice(vehicle.as_str().as_bytes());
        to.push(0x18);
        varint(u64::from(self.boot), to);
        to.push(0x20);
        varint(u64::from(seq), to);
        to.push(0x28);
        varint(((time << 1) ^ (time >> 63)).cast_unsigned(), to);
        // Full.
        to.extend_from_slice(&[0x30, 1]);
        for (_, at) in &self.segments {
            // All numbers of the catalogue are below 128: one byte.
            let number = COURSES[*at].number.to_le_bytes()[0];
            match values.of(*at) {
                Value::Moving => to.extend_from_slice(&[0x3A, 4, 0x08, number, 0x18, 1]),
                Value::Metres(metres) => double(number, metres as f64, to),
                Value::Hundredths(hundredths) => double(number, hundredths as f64 / 100.0, to),
            }
        }
    }
}

fn double(number: u8, value: f64, to: &mut Vec<u8>) {
    to.extend_from_slice(&[0x3A, 11, 0x08, number, 0x11]);
    to.extend_from_slice(&value.to_le_bytes());
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

fn path(number: Number) -> &'static str {
    signal::lookup(number).map_or("", |signal| signal.path)
}

/// How many signals fit into so many bytes at their widest, three at least.
fn fitting(bytes: usize) -> usize {
    let mut taken = WIDEST_HEAD;
    let fit = COURSES.iter().take_while(|course| {
        taken += path(course.number).len() + 4 + WIDEST_VALUE;
        taken <= bytes
    });
    fit.count().max(CHANGED_SIGNALS)
}

/// Letters without a pattern.
fn letters(seed: u64, count: usize) -> Box<[u8]> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |at: usize| alphabet[usize::from(mix(seed ^ at as u64).to_le_bytes()[0] & 63)];
    (0..count).map(letter).collect()
}

enum Value {
    Hundredths(i64),
    Metres(i64),
    Moving,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Of {
    /// From 1.
    pub seq: u32,
    /// Event time.
    pub time: UnixMillis,
    /// It holds every signal, in the form `on-change`.
    pub snapshot: bool,
}

/// The values of one reading.
struct Values {
    base: u64,
    seq: i64,
    /// Each signal keeps its value for a period.
    held: bool,
}

impl Values {
    fn own(&self, at: usize) -> u64 {
        mix(self.base ^ at as u64)
    }

    /// How many readings ago this signal got its value; none if that was at the start.
    fn age(&self, at: usize) -> Option<i64> {
        let period = i64::from(PERIODS[at]);
        let phase = i64::from((self.own(at) >> 16) as u8);
        (period > 0).then(|| (self.seq + phase) % period).filter(|age| self.seq - age > 1)
    }

    /// Whether this signal has a new value in this reading.
    fn changed(&self, at: usize) -> bool {
        self.seq == 1 || self.age(at) == Some(0)
    }

    fn of(&self, at: usize) -> Value {
        let Course { number, middle, swing } = COURSES[at];
        // Where the vehicle stands in this signal's wave, and what its sensor adds.
        let own = self.own(at);
        let offset = i64::from(own as u8) * 3;
        let seq = if self.held { self.age(at).map_or(1, |age| self.seq - age) } else { self.seq };
        match number {
            signal::IS_MOVING => Value::Moving,
            signal::TRAVELED_DISTANCE => Value::Metres((offset * 1_000 + seq * 15) % FARTHEST_M),
            _ => {
                let wave = ((seq + offset) % 400 - 200).abs() - 100;
                let noise = ((own >> 8) as i64 ^ (seq * 7)) & 7;
                debug_assert!(matches!(signal::lookup(number).map(|s| s.domain), Some(Domain::Number { .. })));
                Value::Hundredths(middle + swing * wave / 100 + noise)
            }
        }
    }
}

/// `SplitMix64`: spreads neighbouring inputs over all outputs.
pub(super) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
