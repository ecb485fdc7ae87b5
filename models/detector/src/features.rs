//! Features: which signals count, and the finite window of a vehicle's last readings.
//!
//! A [`Window`] takes a vehicle's records in order of (boot, seq). What a `change` record leaves out is carried
//! from the last record that named it, at most [`CARRY`] records back; a hole in the sequence or a new boot
//! starts the window anew. So everything here follows from the last [`MEMORY`] records.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use telemetry::{Kind, PayloadHash, Record, VehicleId, signal};

use crate::Error;

/// One input signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The catalogue's number.
    pub number: signal::Number,
    /// Whether it is judged; the others are context only.
    pub judged: bool,
}

const fn judged(number: signal::Number) -> Feature {
    Feature { number, judged: true }
}

const fn context(number: signal::Number) -> Feature {
    Feature { number, judged: false }
}

/// The input signals. State of charge, weather and the slow heat of the pack explain others but are no fault themselves.
pub const FEATURES: [Feature; COUNT] = [
    judged(signal::SPEED),
    judged(signal::ACCELERATOR),
    judged(signal::BRAKE),
    judged(signal::MOTOR_SPEED),
    judged(signal::MOTOR_TORQUE),
    judged(signal::MOTOR_TEMPERATURE),
    judged(signal::COOLANT_TEMPERATURE),
    context(signal::BATTERY_CHARGE),
    judged(signal::BATTERY_VOLTAGE),
    judged(signal::BATTERY_CURRENT),
    context(signal::BATTERY_TEMPERATURE),
    judged(signal::LOW_VOLTAGE),
    context(signal::AIR_TEMPERATURE),
    judged(signal::TYRE_FRONT_LEFT),
    judged(signal::TYRE_FRONT_RIGHT),
    judged(signal::TYRE_REAR_LEFT),
    judged(signal::TYRE_REAR_RIGHT),
    judged(signal::ACCELERATION_LONGITUDINAL),
    judged(signal::ACCELERATION_LATERAL),
    judged(signal::VIBRATION),
];

/// Number of input signals.
pub const COUNT: usize = 20;
/// Readings that the network sees at once.
pub const STEPS: usize = 4;
/// Residuals that are averaged into one judgement.
pub const BLOCK: usize = 6;
/// Readings that a window holds.
pub const DEPTH: usize = STEPS + BLOCK - 1;
/// Records for which a value that is not repeated stays known.
pub const CARRY: u16 = 60;
/// L: a score depends on so many last records of the vehicle and no other.
pub const MEMORY: usize = DEPTH + CARRY as usize;
/// A reading with fewer known signals is not judged.
const LEAST_KNOWN: usize = COUNT * 3 / 4;
/// Raised whenever the same records would give other features.
const REVISION: u32 = 1;

/// One value per input signal.
pub type Values = [f64; COUNT];

/// The identity of the features: an artefact fits exactly one.
pub fn schema_id() -> String {
    let signals: Vec<String> =
        FEATURES.iter().map(|f| format!("{}{}", f.number, if f.judged { 'j' } else { 'c' })).collect();
    let text = format!("r{REVISION} s{STEPS} b{BLOCK} c{CARRY} k{LEAST_KNOWN} {}", signals.join(","));
    PayloadHash::of(text.as_bytes()).to_string()
}

/// The VSS path of an input signal.
pub fn path(at: usize) -> &'static str {
    signal::lookup(FEATURES[at].number).map_or("", |row| row.path)
}

/// The values known at one reading; what is unknown is NaN. With it, what a network made of it.
#[cfg_attr(not(feature = "torch"), expect(dead_code, reason = "only the network reads them"))]
#[derive(Debug)]
pub struct Frame {
    pub(crate) values: Values,
    pub(crate) residual: Mutex<Option<(u64, Residual)>>,
}

/// What the network expects of each signal from the others, and how far the reading is from that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// Expectation, scaled.
    pub(crate) expected: [f32; COUNT],
    /// The expected spread, scaled.
    pub(crate) spread: Values,
    /// (observed − expected) / spread; NaN where unknown.
    pub(crate) deviation: Values,
}

/// What is to be judged: the window that ends with one reading of a vehicle.
#[cfg_attr(not(feature = "torch"), expect(dead_code, reason = "only the network reads them"))]
#[derive(Debug, Clone)]
pub struct Query {
    /// The vehicle.
    pub vehicle: VehicleId,
    /// The last [`DEPTH`] readings, oldest first.
    pub(crate) frames: Vec<Arc<Frame>>,
}

/// The last readings of one vehicle.
#[derive(Debug, Clone)]
pub struct Window {
    last: Option<(u32, u64)>,
    known: Values,
    age: [u16; COUNT],
    frames: VecDeque<Arc<Frame>>,
}

impl Default for Window {
    fn default() -> Self {
        Self { last: None, known: [f64::NAN; COUNT], age: [0; COUNT], frames: VecDeque::with_capacity(DEPTH) }
    }
}

impl Window {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }

    /// Boot and sequence of the last reading taken in.
    pub fn last(&self) -> Option<(u32, u64)> {
        self.last
    }

    /// Takes the vehicle's next record in. The query to be judged, if the window is full and enough is known.
    pub fn advance(&mut self, record: &Record) -> Option<Query> {
        let follows = self.last.is_some_and(|(boot, seq)| boot == record.boot && record.seq == seq.wrapping_add(1));
        if !follows {
            *self = Self::default();
        }
        self.last = Some((record.boot, record.seq));
        for (at, feature) in FEATURES.iter().enumerate() {
            let value = record.signals.number(feature.number).filter(|value| value.is_finite());
            match (value, record.kind) {
                (Some(value), _) => (self.known[at], self.age[at]) = (value, 0),
                (None, Kind::Full) => self.known[at] = f64::NAN,
                (None, Kind::Change) if self.age[at] >= CARRY => self.known[at] = f64::NAN,
                (None, Kind::Change) => self.age[at] += 1,
            }
        }
        if self.frames.len() == DEPTH {
            self.frames.pop_front();
        }
        self.frames.push_back(Arc::new(Frame { values: self.known, residual: Mutex::new(None) }));
        let known = self.known.iter().filter(|value| !value.is_nan()).count();
        (self.frames.len() == DEPTH && known >= LEAST_KNOWN)
            .then(|| Query { vehicle: record.vehicle.clone(), frames: self.frames.iter().cloned().collect() })
    }

    /// The window as bytes, bit for bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (boot, seq) = self.last.unwrap_or_default();
        let mut bytes = vec![2, u8::from(self.last.is_some()), u8::try_from(self.frames.len()).unwrap_or(u8::MAX)];
        bytes.extend(boot.to_le_bytes());
        bytes.extend(seq.to_le_bytes());
        for (value, age) in self.known.iter().zip(self.age) {
            bytes.extend(value.to_bits().to_le_bytes());
            bytes.extend(age.to_le_bytes());
        }
        for value in self.frames.iter().flat_map(|frame| frame.values) {
            bytes.extend(value.to_bits().to_le_bytes());
        }
        bytes
    }

    /// The window that [`Window::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are of another form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let [form, present, count] = take(&mut rest)?;
        let (boot, seq) = (u32::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        if form != 2 || usize::from(count) > DEPTH {
            return Err(Error::Malformed(format!("a window of form {form} with {count} readings")));
        }
        let mut window = Self { last: (present == 1).then_some((boot, seq)), ..Self::default() };
        for at in 0..COUNT {
            window.known[at] = f64::from_bits(u64::from_le_bytes(take(&mut rest)?));
            window.age[at] = u16::from_le_bytes(take(&mut rest)?);
        }
        for _ in 0..count {
            let mut values = [0.0; COUNT];
            for value in &mut values {
                *value = f64::from_bits(u64::from_le_bytes(take(&mut rest)?));
            }
            window.frames.push_back(Arc::new(Frame { values, residual: Mutex::new(None) }));
        }
        if rest.is_empty() { Ok(window) } else { Err(Error::Malformed("a window with bytes left over".into())) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| Error::Malformed("a window cut short".into()))?;
    *rest = tail;
    Ok(*head)
}
