//! The sensors: noise, what broken ones make of the truth, and rounding to what such a sensor resolves.

use telemetry::{Position, Signals, Value, signal::*};

use super::{
    Drivetrain, HUBS, Model, Sample, TYRES, Vehicle, cycle::Activity, drive::Drive, noise::Noise,
    powertrain::Powertrain,
};
use crate::fault::Effects;

/// What a sound sensor makes of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Accuracy {
    /// Standard deviation of its noise, in the signal's unit.
    pub(crate) noise: f64,
    /// It reports steps of 1 / `per_unit`.
    per_unit: f64,
}

/// The accuracy of a signal's sensor.
pub(crate) fn accuracy(number: Number) -> Accuracy {
    let (noise, per_unit) = match number {
        SPEED => (0.15, 10.0),
        ACCELERATOR | BRAKE => (0.3, 2.0),
        MOTOR_SPEED => (6.0, 1.0),
        MOTOR_TORQUE => (0.4, 10.0),
        MOTOR_TEMPERATURE | COOLANT_TEMPERATURE => (0.3, 2.0),
        BATTERY_VOLTAGE => (0.3, 10.0),
        BATTERY_CURRENT => (0.4, 10.0),
        BATTERY_TEMPERATURE | AIR_TEMPERATURE => (0.2, 2.0),
        LOW_VOLTAGE => (0.02, 100.0),
        TYRE_FRONT_LEFT | TYRE_FRONT_RIGHT | TYRE_REAR_LEFT | TYRE_REAR_RIGHT => (0.6, 1.0),
        ACCELERATION_LONGITUDINAL | ACCELERATION_LATERAL => (0.015, 100.0),
        VIBRATION => (0.03, 100.0),
        ENGINE_SPEED => (6.0, 1.0),
        ENGINE_TORQUE => (0.5, 10.0),
        ENGINE_COOLANT_TEMPERATURE | OIL_TEMPERATURE => (0.3, 2.0),
        OIL_PRESSURE => (2.5, 1.0),
        INTAKE_PRESSURE => (0.4, 10.0),
        AIR_FLOW => (0.06, 100.0),
        LAMBDA => (0.004, 1_000.0),
        FUEL_LEVEL => (0.15, 10.0),
        FUEL_RATE => (0.02, 100.0),
        LOW_VOLTAGE_CURRENT => (0.3, 10.0),
        CELL_VOLTAGE_MIN | CELL_VOLTAGE_MAX => (0.0015, 1_000.0),
        HUB_FRONT_LEFT | HUB_FRONT_RIGHT | HUB_REAR_LEFT | HUB_REAR_RIGHT => (0.04, 100.0),
        // Counted or computed, not measured.
        BATTERY_CHARGE | BATTERY_HEALTH => (0.0, 10.0),
        _ => (0.0, 1.0),
    };
    Accuracy { noise, per_unit }
}

/// Whether a vehicle of this model has the sensor.
pub(crate) fn reports(model: Model, number: Number) -> bool {
    match number {
        MOTOR_SPEED..=BATTERY_TEMPERATURE => !model.burns(),
        ENGINE_SPEED..=LOW_VOLTAGE_CURRENT | IS_ENGINE_RUNNING => model.burns(),
        CELL_VOLTAGE_MIN..=BATTERY_HEALTH | IS_CHARGING => !model.burns() && model.is_extended(),
        HUB_FRONT_LEFT..=HUB_REAR_RIGHT => model.is_extended(),
        _ => true,
    }
}

/// Sensors of a vehicle at most.
const SENSORS: usize = 32;

/// Where a frozen sensor stopped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held(Option<f64>);

/// The sensor that freezes if this kind of vehicle gets a frozen one: thermistors of motor or oil.
pub(crate) fn freezing(drivetrain: Drivetrain) -> Number {
    match drivetrain {
        Drivetrain::Electric => MOTOR_TEMPERATURE,
        Drivetrain::Combustion => OIL_TEMPERATURE,
    }
}

/// The thermistor in the loop of an electric motor, which is never hot, at 20 °C, Ω.
const MOTOR_LOOP_OHMS: f64 = 500.0;
/// The thermistor in an engine's coolant at 20 °C, Ω.
const ENGINE_OHMS: f64 = 2_500.0;

/// What the control unit takes a thermistor's temperature for, °C, if `ohms` of a bad contact lie in series with it.
///
/// A thermistor of `at_20` Ω at 20 °C has an eighth of that at 80 °C: its resistance falls with the third power of the
/// distance from -40 °C.
fn read_thermistor(celsius: f64, ohms: f64, at_20: f64) -> f64 {
    if ohms == 0.0 {
        return celsius;
    }
    let distance = (celsius + 40.0).max(1.0);
    let ratio = 60.0 / distance;
    let resistance = at_20 * ratio * ratio * ratio;
    let share = resistance / (resistance + ohms);
    // The cube root by Newton's method, so that every machine gets the same bits.
    let mut root = 1.0;
    for _ in 0..12 {
        root -= (root * root * root - share) / (3.0 * root * root);
    }
    distance * root - 40.0
}

/// Rounds to steps of 1 / `per_unit`. Dividing by a whole number gives the shortest decimal text.
fn rounded(value: f64, per_unit: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (value * per_unit).round() / per_unit + 0.0
}

const ANY: (f64, f64) = (f64::MIN, f64::MAX);
const PERCENT: (f64, f64) = (0.0, 100.0);
const POSITIVE: (f64, f64) = (0.0, f64::MAX);

/// What is read so far.
struct Readout<'a> {
    signals: Signals,
    noise: &'a mut Noise,
    frozen: Option<Number>,
    held: &'a mut Held,
}

impl Readout<'_> {
    fn put(&mut self, number: Number, value: Value) {
        self.signals.insert(number, value).expect("every number of the catalogue is put once");
    }

    /// `noisy` is 0 where a sensor is silent: encoders at standstill, a pedal in its dead band.
    fn measure(&mut self, number: Number, value: f64, noisy: f64, (min, max): (f64, f64)) {
        let Accuracy { noise, per_unit } = accuracy(number);
        let mut reported = rounded(value + noise * noisy * self.noise.normal(), per_unit).clamp(min, max);
        if self.frozen == Some(number) {
            reported = *self.held.0.get_or_insert(reported);
        }
        self.put(number, Value::Number(reported));
    }
}

/// Reads every sensor of the vehicle. The number of noise draws is the same in every state.
pub(super) fn read(vehicle: &mut Vehicle, effects: &Effects) -> Sample {
    let Vehicle { model, build, wear, drive, powertrain, chassis, noise, weak_wheel, sky, held, .. } = vehicle;
    let frozen = effects.frozen.then(|| freezing(model.drivetrain));
    if frozen.is_none() {
        *held = Held::default();
    }
    let mut to = Readout { signals: Signals::with_capacity(SENSORS), noise, frozen, held };
    let activity = drive.activity;
    let on = |yes: bool| f64::from(u8::from(yes));

    to.measure(SPEED, drive.speed * 3.6 * effects.speed, on(drive.moving()), POSITIVE);
    let (accelerator, brake) = match powertrain {
        Powertrain::Electric(electric) => (electric.accelerator, electric.brake),
        Powertrain::Combustion(engine) => (engine.accelerator, engine.brake),
    };
    to.measure(ACCELERATOR, accelerator + effects.accelerator_offset_percent, on(accelerator > 0.0), PERCENT);
    to.measure(BRAKE, brake, on(brake > 0.0), PERCENT);
    match powertrain {
        Powertrain::Electric(electric) => {
            to.measure(MOTOR_SPEED, electric.motor_rpm(), on(drive.moving()), POSITIVE);
            to.measure(MOTOR_TORQUE, electric.torque, on(drive.moving()), ANY);
            to.measure(MOTOR_TEMPERATURE, electric.motor_temperature, 1.0, ANY);
            let coolant = read_thermistor(electric.coolant_temperature, effects.contact_ohms, MOTOR_LOOP_OHMS);
            to.measure(COOLANT_TEMPERATURE, coolant, 1.0, ANY);
            to.measure(BATTERY_CHARGE, electric.charge(), 1.0, PERCENT);
            to.measure(BATTERY_VOLTAGE, electric.voltage, 1.0, ANY);
            to.measure(BATTERY_CURRENT, electric.current() + effects.current_offset_a, 1.0, ANY);
            to.measure(BATTERY_TEMPERATURE, electric.battery_temperature, 1.0, ANY);
            let low_voltage = if activity == Activity::Parked {
                chassis.resting_voltage(build)
            } else {
                chassis.low_voltage(electric.current(), sky.air, build, effects)
            };
            to.measure(LOW_VOLTAGE, low_voltage, 1.0, ANY);
        }
        Powertrain::Combustion(engine) => to.measure(LOW_VOLTAGE, engine.low_voltage.voltage, 1.0, ANY),
    }
    to.measure(AIR_TEMPERATURE, sky.air, 1.0, ANY);
    for (wheel, number) in TYRES.into_iter().enumerate() {
        let loss = if wheel == *weak_wheel { effects.tyre_loss_kpa } else { 0.0 };
        to.measure(number, chassis.tyre_kpa(build.tyres_kpa[wheel] - loss, sky.air), 1.0, POSITIVE);
    }
    // An accelerometer feels gravity along a slope as well.
    to.measure(ACCELERATION_LONGITUDINAL, drive.acceleration + drive.slope(), 1.0, ANY);
    to.measure(ACCELERATION_LATERAL, drive.lateral(), 1.0, ANY);
    to.measure(VIBRATION, chassis.vibration(build, wear), 1.0, POSITIVE);
    to.measure(TRAVELED_DISTANCE, drive.travelled, 1.0, POSITIVE);
    to.put(IS_MOVING, Value::Boolean(drive.moving()));
    let state = match activity {
        Activity::Trip => "ON",
        Activity::Charging(_) | Activity::Refuelling => "OFF",
        Activity::Parked => "LOCK",
    };
    to.put(LOW_VOLTAGE_STATE, Value::Text(state.to_owned()));

    if let Powertrain::Combustion(engine) = powertrain {
        let running = on(engine.rpm > 0.0);
        to.measure(ENGINE_SPEED, engine.rpm, running, POSITIVE);
        to.measure(ENGINE_TORQUE, engine.torque, running, ANY);
        let coolant = read_thermistor(engine.heat.coolant, effects.contact_ohms, ENGINE_OHMS);
        to.measure(ENGINE_COOLANT_TEMPERATURE, coolant, 1.0, ANY);
        to.measure(OIL_TEMPERATURE, engine.heat.oil, 1.0, ANY);
        to.measure(OIL_PRESSURE, engine.oil_kpa(wear), running, POSITIVE);
        to.measure(INTAKE_PRESSURE, engine.intake_kpa, 1.0, POSITIVE);
        to.measure(AIR_FLOW, engine.air_flow, running, POSITIVE);
        to.put(GEAR, Value::Number(f64::from(engine.gearbox.gear)));
        to.measure(LAMBDA, engine.lambda, running, POSITIVE);
        to.measure(FUEL_LEVEL, engine.fuel_percent(), 1.0, PERCENT);
        to.measure(FUEL_RATE, engine.fuel_rate(), running, POSITIVE);
        to.measure(LOW_VOLTAGE_CURRENT, engine.low_voltage.current, 1.0, ANY);
    }
    if model.is_extended() {
        if let Powertrain::Electric(electric) = powertrain {
            let (lowest, highest) = electric.cells(effects);
            to.measure(CELL_VOLTAGE_MIN, lowest, 1.0, POSITIVE);
            to.measure(CELL_VOLTAGE_MAX, highest, 1.0, POSITIVE);
            to.measure(BATTERY_HEALTH, 100.0 * wear.capacity, 1.0, PERCENT);
        }
        for (wheel, number) in HUBS.into_iter().enumerate() {
            to.measure(number, chassis.hub_vibration(wheel == *weak_wheel, wear), 1.0, POSITIVE);
        }
        match powertrain {
            Powertrain::Electric(_) => {
                to.put(IS_CHARGING, Value::Boolean(matches!(activity, Activity::Charging(_))));
            }
            Powertrain::Combustion(engine) => to.put(IS_ENGINE_RUNNING, Value::Boolean(engine.rpm > 0.0)),
        }
    }
    Sample { signals: to.signals, position: Some(position(drive)) }
}

fn position(drive: &Drive) -> Position {
    Position {
        latitude: rounded(drive.latitude, 1e6),
        longitude: rounded(drive.longitude, 1e6),
        heading: Some(rounded(drive.heading_degrees(), 10.0)),
    }
}
