//! The signal catalogue: one table with number, path, unit, range and kind of every signal.
//!
//! Paths and units follow COVESA VSS v6. What VSS lacks stands in a private overlay below `Motorcade.`.
//! Numbers travel in Protobuf and stand in MongoDB documents: they are never reused.

use std::collections::btree_map::{BTreeMap, Entry};

use crate::{Reason, validation::MAX_TEXT_BYTES};

mod by_path;

pub use by_path::by_path;
pub(crate) use by_path::by_path_bytes;

/// Below it stand signals that other people's data bring along and the catalogue lacks.
pub const FOREIGN: &str = "Motorcade.Foreign.";

/// The number of a catalogued signal.
pub type Number = u16;

/// A signal's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number in the signal's unit.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// A text, at most [`MAX_TEXT_BYTES`].
    Text(String),
}

impl Value {
    /// The number, where it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Boolean(_) | Self::Text(_) => None,
        }
    }
}

/// What values a signal takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Domain {
    /// Numbers in a closed, physically possible range.
    Number {
        /// Least possible value.
        min: f64,
        /// Largest possible value.
        max: f64,
    },
    /// True or false.
    Boolean,
    /// Text.
    Text,
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Stable number, never reused.
    pub number: Number,
    /// VSS path, or a path of the private overlay.
    pub path: &'static str,
    /// VSS unit; empty for booleans, texts and numbers without one.
    pub unit: &'static str,
    /// What values it takes.
    pub domain: Domain,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $number:literal $path:literal $unit:literal $domain:expr;)*) => {
        $($(#[$doc])* pub const $name: Number = $number;)*

        /// Every signal, in ascending order of number.
        pub const CATALOGUE: &[Signal] =
            &[$(Signal { number: $number, path: $path, unit: $unit, domain: $domain },)*];
    };
}

const fn number(min: f64, max: f64) -> Domain {
    Domain::Number { min, max }
}

catalogue! {
    /// Vehicle speed, km/h.
    SPEED = 1 "Vehicle.Speed" "km/h" number(0.0, 300.0);
    /// Accelerator pedal, percent.
    ACCELERATOR = 2 "Vehicle.Chassis.Accelerator.PedalPosition" "percent" number(0.0, 100.0);
    /// Brake pedal, percent.
    BRAKE = 3 "Vehicle.Chassis.Brake.PedalPosition" "percent" number(0.0, 100.0);
    /// Electric motor speed, rpm.
    MOTOR_SPEED = 4 "Vehicle.Powertrain.ElectricMotor.Speed" "rpm" number(0.0, 25_000.0);
    /// Electric motor torque, Nm; negative while recuperating.
    MOTOR_TORQUE = 5 "Vehicle.Powertrain.ElectricMotor.Torque" "Nm" number(-1_000.0, 1_000.0);
    /// Electric motor temperature, Celsius.
    MOTOR_TEMPERATURE = 6 "Vehicle.Powertrain.ElectricMotor.Temperature" "celsius" number(-50.0, 250.0);
    /// Drive coolant temperature, Celsius.
    COOLANT_TEMPERATURE = 7 "Vehicle.Powertrain.ElectricMotor.EngineCoolant.Temperature" "celsius" number(-50.0, 200.0);
    /// Traction battery state of charge, percent.
    BATTERY_CHARGE = 8 "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current" "percent" number(0.0, 100.0);
    /// Traction battery voltage, V.
    BATTERY_VOLTAGE = 9 "Vehicle.Powertrain.TractionBattery.CurrentVoltage" "V" number(0.0, 1_200.0);
    /// Traction battery current, A; positive while charging (VSS).
    BATTERY_CURRENT = 10 "Vehicle.Powertrain.TractionBattery.CurrentCurrent" "A" number(-1_500.0, 1_500.0);
    /// Traction battery temperature, average over the pack, Celsius.
    BATTERY_TEMPERATURE = 11 "Vehicle.Powertrain.TractionBattery.Temperature.Average" "celsius" number(-50.0, 120.0);
    /// 12 V battery voltage, V.
    LOW_VOLTAGE = 12 "Vehicle.LowVoltageBattery.CurrentVoltage" "V" number(0.0, 30.0);
    /// Outside air temperature, Celsius.
    AIR_TEMPERATURE = 13 "Vehicle.Exterior.AirTemperature" "celsius" number(-60.0, 70.0);
    /// Tyre pressure, front left, kPa above atmosphere.
    TYRE_FRONT_LEFT = 14 "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure" "kPa" number(0.0, 1_000.0);
    /// Tyre pressure, front right, kPa above atmosphere.
    TYRE_FRONT_RIGHT = 15 "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure" "kPa" number(0.0, 1_000.0);
    /// Tyre pressure, rear left, kPa above atmosphere.
    TYRE_REAR_LEFT = 16 "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Pressure" "kPa" number(0.0, 1_000.0);
    /// Tyre pressure, rear right, kPa above atmosphere.
    TYRE_REAR_RIGHT = 17 "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure" "kPa" number(0.0, 1_000.0);
    /// Longitudinal acceleration, m/s².
    ACCELERATION_LONGITUDINAL = 18 "Vehicle.Acceleration.Longitudinal" "m/s^2" number(-50.0, 50.0);
    /// Lateral acceleration, m/s².
    ACCELERATION_LATERAL = 19 "Vehicle.Acceleration.Lateral" "m/s^2" number(-50.0, 50.0);
    /// Drive unit vibration, root mean square over the reporting interval, m/s² (overlay: VSS has none).
    VIBRATION = 20 "Motorcade.Powertrain.DriveUnit.Vibration" "m/s^2" number(0.0, 500.0);
    /// Distance travelled since the vehicle was built, m.
    TRAVELED_DISTANCE = 21 "Vehicle.TraveledDistance" "m" number(0.0, 1.0e10);
    /// Whether the vehicle moves.
    IS_MOVING = 22 "Vehicle.IsMoving" "" Domain::Boolean;
    /// State of the low-voltage system, for example `ON` or `LOCK`.
    LOW_VOLTAGE_STATE = 23 "Vehicle.LowVoltageSystemState" "" Domain::Text;
    /// Combustion engine speed, rpm.
    ENGINE_SPEED = 24 "Vehicle.Powertrain.CombustionEngine.Speed" "rpm" number(0.0, 12_000.0);
    /// Combustion engine torque at the clutch, Nm; negative while the engine brakes.
    ENGINE_TORQUE = 25 "Vehicle.Powertrain.CombustionEngine.Torque" "Nm" number(-500.0, 3_000.0);
    /// Combustion engine coolant temperature, Celsius.
    ENGINE_COOLANT_TEMPERATURE = 26 "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature" "celsius" number(-50.0, 200.0);
    /// Combustion engine oil temperature, Celsius.
    OIL_TEMPERATURE = 27 "Vehicle.Powertrain.CombustionEngine.EngineOil.Temperature" "celsius" number(-50.0, 220.0);
    /// Combustion engine oil pressure above atmosphere, kPa.
    OIL_PRESSURE = 28 "Vehicle.Powertrain.CombustionEngine.EOP" "kPa" number(0.0, 1_500.0);
    /// Pressure in the intake manifold, absolute, kPa.
    INTAKE_PRESSURE = 29 "Vehicle.Powertrain.CombustionEngine.MAP" "kPa" number(0.0, 500.0);
    /// Air that the combustion engine draws, grams in a second.
    AIR_FLOW = 30 "Vehicle.Powertrain.CombustionEngine.MAF" "g/s" number(0.0, 1_500.0);
    /// Engaged gear; 0 is neutral, -1 the first reverse gear.
    GEAR = 31 "Vehicle.Powertrain.Transmission.CurrentGear" "" number(-8.0, 18.0);
    /// Air-fuel ratio over the stoichiometric one, before the catalyst (VSS overlay OBD).
    LAMBDA = 32 "Vehicle.OBD.O2WR.Sensor1.Lambda" "" number(0.0, 16.0);
    /// Fuel in the tank, percent of its capacity.
    FUEL_LEVEL = 33 "Vehicle.Powertrain.FuelSystem.RelativeLevel" "percent" number(0.0, 100.0);
    /// Fuel that the combustion engine burns, litres in an hour (VSS overlay OBD).
    FUEL_RATE = 34 "Vehicle.OBD.FuelRate" "l/h" number(0.0, 1_000.0);
    /// 12 V battery current, A; positive while charging (VSS).
    LOW_VOLTAGE_CURRENT = 35 "Vehicle.LowVoltageBattery.CurrentCurrent" "A" number(-2_000.0, 1_000.0);
    /// Voltage of the traction battery's lowest cell, V.
    CELL_VOLTAGE_MIN = 36 "Vehicle.Powertrain.TractionBattery.CellVoltage.Min" "V" number(0.0, 10.0);
    /// Voltage of the traction battery's highest cell, V.
    CELL_VOLTAGE_MAX = 37 "Vehicle.Powertrain.TractionBattery.CellVoltage.Max" "V" number(0.0, 10.0);
    /// Traction battery state of health, percent of the capacity when new.
    BATTERY_HEALTH = 38 "Vehicle.Powertrain.TractionBattery.StateOfHealth" "percent" number(0.0, 100.0);
    /// Vibration of the front left hub, root mean square over the reporting interval, m/s² (overlay: VSS has none).
    HUB_FRONT_LEFT = 39 "Motorcade.Chassis.Axle.Row1.Wheel.Left.Hub.Vibration" "m/s^2" number(0.0, 500.0);
    /// Vibration of the front right hub, as of the left one.
    HUB_FRONT_RIGHT = 40 "Motorcade.Chassis.Axle.Row1.Wheel.Right.Hub.Vibration" "m/s^2" number(0.0, 500.0);
    /// Vibration of the rear left hub, as of the front left one.
    HUB_REAR_LEFT = 41 "Motorcade.Chassis.Axle.Row2.Wheel.Left.Hub.Vibration" "m/s^2" number(0.0, 500.0);
    /// Vibration of the rear right hub, as of the front left one.
    HUB_REAR_RIGHT = 42 "Motorcade.Chassis.Axle.Row2.Wheel.Right.Hub.Vibration" "m/s^2" number(0.0, 500.0);
    /// Whether the combustion engine runs.
    IS_ENGINE_RUNNING = 43 "Vehicle.Powertrain.CombustionEngine.IsRunning" "" Domain::Boolean;
    /// Whether energy flows from a charger into the traction battery.
    IS_CHARGING = 44 "Vehicle.Powertrain.TractionBattery.Charging.IsCharging" "" Domain::Boolean;
}

impl Signal {
    /// Whether the value has the right type, is finite and physically possible.
    pub(crate) fn check(&self, value: &Value) -> Result<(), (Reason, String)> {
        match (self.domain, value) {
            (Domain::Number { .. }, Value::Number(number)) if !number.is_finite() => {
                Err((Reason::NotFinite, format!("{} is {number}", self.path)))
            }
            (Domain::Number { min, max }, Value::Number(number)) if !(min..=max).contains(number) => {
                Err((Reason::OutOfRange, format!("{} = {number} {} is outside {min}..{max}", self.path, self.unit)))
            }
            (Domain::Text, Value::Text(text)) if text.len() > MAX_TEXT_BYTES => {
                Err((Reason::LimitExceeded, format!("{} holds a text of {} bytes", self.path, text.len())))
            }
            (Domain::Number { .. }, Value::Number(_))
            | (Domain::Boolean, Value::Boolean(_))
            | (Domain::Text, Value::Text(_)) => Ok(()),
            _ => Err((Reason::WrongType, format!("{} can't be {value:?}", self.path))),
        }
    }
}

/// The catalogue's row of a number.
pub fn lookup(number: Number) -> Option<&'static Signal> {
    // Numbers are dense from 1 (asserted by a test); the catalogue is its own index.
    CATALOGUE.get(usize::from(number).checked_sub(1)?)
}

/// The number in a path of the form `#17`, which stands for a signal that the catalogue of its reader lacked.
pub(crate) fn numbered(path: &str) -> Option<Number> {
    let digits = path.strip_prefix('#')?;
    // Only the canonical form, so that a path that merely looks similar survives a round trip.
    digits.parse().ok().filter(|number: &Number| *number > 0 && number.to_string() == digits)
}

/// Why a value could not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signal stands twice")]
pub struct Duplicate;

/// The values of one record: catalogued signals by number, unknown ones kept by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signals {
    /// Ascending by number. A vector, because records are small and mostly arrive in order.
    known: Vec<(Number, Value)>,
    unknown: BTreeMap<String, Value>,
}

impl Signals {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// No values, with room for so many catalogued ones.
    pub fn with_capacity(known: usize) -> Self {
        Self { known: Vec::with_capacity(known), unknown: BTreeMap::new() }
    }

    /// Adds a catalogued signal; a number that the catalogue lacks is kept as unknown, under `#<number>`.
    pub fn insert(&mut self, number: Number, value: Value) -> Result<(), Duplicate> {
        if lookup(number).is_none() {
            return self.insert_unknown(format!("#{number}"), value);
        }
        match self.known.last() {
            Some((last, _)) if *last >= number => match self.known.binary_search_by_key(&number, |(n, _)| *n) {
                Ok(_) => return Err(Duplicate),
                Err(at) => self.known.insert(at, (number, value)),
            },
            _ => self.known.push((number, value)),
        }
        Ok(())
    }

    /// Adds a signal by path, catalogued or not.
    pub fn insert_path(&mut self, path: &str, value: Value) -> Result<(), Duplicate> {
        match by_path(path).map(|signal| signal.number).or_else(|| numbered(path)) {
            Some(number) => self.insert(number, value),
            None => self.insert_unknown(path.to_owned(), value),
        }
    }

    fn insert_unknown(&mut self, path: String, value: Value) -> Result<(), Duplicate> {
        match self.unknown.entry(path) {
            Entry::Occupied(_) => Err(Duplicate),
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
        }
    }

    /// The value of a catalogued signal.
    pub fn get(&self, number: Number) -> Option<&Value> {
        self.known.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| &self.known[at].1)
    }

    /// The value of a catalogued numeric signal.
    pub fn number(&self, number: Number) -> Option<f64> {
        self.get(number).and_then(Value::as_number)
    }

    /// Catalogued signals, ascending by number.
    pub fn known(&self) -> impl ExactSizeIterator<Item = (Number, &Value)> {
        self.known.iter().map(|(number, value)| (*number, value))
    }

    /// Signals that the catalogue lacks, by path.
    pub fn unknown(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.unknown.iter().map(|(path, value)| (path.as_str(), value))
    }

    /// Number of signals, known and unknown.
    pub fn len(&self) -> usize {
        self.known.len() + self.unknown.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Overwrites these values with those of a later `change` record.
    pub fn merge(&mut self, later: &Self) {
        for (number, value) in &later.known {
            match self.known.binary_search_by_key(number, |(n, _)| *n) {
                Ok(at) => self.known[at].1 = value.clone(),
                Err(at) => self.known.insert(at, (*number, value.clone())),
            }
        }
        for (path, value) in &later.unknown {
            self.unknown.insert(path.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_paths_unique() {
        for (at, signal) in CATALOGUE.iter().enumerate() {
            assert_eq!(usize::from(signal.number), at + 1, "{}", signal.path);
            assert_eq!(lookup(signal.number), Some(signal));
            assert_eq!(by_path(signal.path), Some(signal));
        }
        assert_eq!(lookup(0), None);
        assert_eq!(lookup(u16::MAX), None);
    }

    #[test]
    fn signals_keep_order_refuse_duplicates_and_keep_unknown_ones() {
        let mut signals = Signals::new();
        signals.insert(LOW_VOLTAGE, Value::Number(12.6)).unwrap();
        signals.insert(SPEED, Value::Number(50.0)).unwrap();
        signals.insert_path("Vehicle.New", Value::Boolean(true)).unwrap();
        assert_eq!(signals.insert(SPEED, Value::Number(51.0)), Err(Duplicate));
        assert_eq!(signals.insert_path("Vehicle.New", Value::Boolean(true)), Err(Duplicate));
        assert_eq!(signals.known().map(|(n, _)| n).collect::<Vec<_>>(), [SPEED, LOW_VOLTAGE]);
        assert_eq!(signals.unknown().count(), 1);
        assert_eq!(signals.number(SPEED), Some(50.0));
    }

    #[test]
    fn a_change_overwrites_only_what_it_names() {
        let mut state = Signals::new();
        state.insert(SPEED, Value::Number(50.0)).unwrap();
        state.insert(LOW_VOLTAGE, Value::Number(12.6)).unwrap();
        let mut change = Signals::new();
        change.insert(SPEED, Value::Number(0.0)).unwrap();
        change.insert(IS_MOVING, Value::Boolean(false)).unwrap();
        state.merge(&change);
        assert_eq!(state.number(SPEED), Some(0.0));
        assert_eq!(state.number(LOW_VOLTAGE), Some(12.6));
        assert_eq!(state.get(IS_MOVING), Some(&Value::Boolean(false)));
    }
}
