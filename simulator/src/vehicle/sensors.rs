//! The sensors: noise, offsets of broken ones, and rounding to what such a sensor resolves.

use telemetry::{Position, Signals, Value, signal::*};

use super::{Sample, Vehicle};
use crate::fault::Effects;

/// Rounds to steps of 1 / `per_unit`. Dividing by a whole number gives the shortest decimal text.
fn rounded(value: f64, per_unit: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (value * per_unit).round() / per_unit + 0.0
}

/// Reads every sensor of the catalogue. The number of noise draws is the same in every state.
pub(super) fn read(vehicle: &mut Vehicle, air: f64, effects: &Effects) -> Sample {
    let Vehicle { build, drive, powertrain, chassis, noise, weak_wheel, .. } = vehicle;
    let mut signals = Signals::new();
    let mut put = |number: Number, value: Value| {
        signals.insert(number, value).expect("every number of the catalogue is put once");
    };
    let mut measured = |number: Number, value: f64, deviation: f64, per_unit: f64, (min, max): (f64, f64)| {
        let reported = rounded(value + deviation * noise.normal(), per_unit).clamp(min, max);
        put(number, Value::Number(reported));
    };
    const ANY: (f64, f64) = (f64::MIN, f64::MAX);
    const PERCENT: (f64, f64) = (0.0, 100.0);
    const POSITIVE: (f64, f64) = (0.0, f64::MAX);

    // Wheel and motor encoders don't count at standstill, pedals have a dead band: no noise around zero.
    let if_turning = |deviation: f64| if drive.moving() { deviation } else { 0.0 };
    let if_pressed = |pedal: f64| if pedal > 0.0 { 0.3 } else { 0.0 };
    measured(SPEED, drive.speed * 3.6 * effects.speed, if_turning(0.15), 10.0, POSITIVE);
    let accelerator = powertrain.accelerator + effects.accelerator_offset_percent;
    measured(ACCELERATOR, accelerator, if_pressed(powertrain.accelerator), 2.0, PERCENT);
    measured(BRAKE, powertrain.brake, if_pressed(powertrain.brake), 2.0, PERCENT);
    measured(MOTOR_SPEED, powertrain.motor_rpm(), if_turning(6.0), 1.0, POSITIVE);
    measured(MOTOR_TORQUE, powertrain.torque, if_turning(0.4), 10.0, ANY);
    measured(MOTOR_TEMPERATURE, powertrain.motor_temperature, 0.3, 2.0, ANY);
    measured(COOLANT_TEMPERATURE, powertrain.coolant_temperature, 0.3, 2.0, ANY);
    measured(BATTERY_CHARGE, powertrain.charge(), 0.0, 10.0, PERCENT);
    measured(BATTERY_VOLTAGE, powertrain.voltage, 0.3, 10.0, ANY);
    measured(BATTERY_CURRENT, powertrain.current() + effects.current_offset_a, 0.4, 10.0, ANY);
    measured(BATTERY_TEMPERATURE, powertrain.battery_temperature, 0.2, 2.0, ANY);
    measured(LOW_VOLTAGE, chassis.low_voltage(powertrain.current(), air, build, effects), 0.02, 100.0, ANY);
    measured(AIR_TEMPERATURE, air, 0.2, 2.0, ANY);
    for (wheel, number) in super::TYRES.into_iter().enumerate() {
        let loss = if wheel == *weak_wheel { effects.tyre_loss_kpa } else { 0.0 };
        measured(number, chassis.tyre_kpa(build.tyres_kpa[wheel] - loss, air), 0.6, 1.0, POSITIVE);
    }
    // An accelerometer feels gravity along a slope as well.
    measured(ACCELERATION_LONGITUDINAL, drive.acceleration + drive.slope(), 0.015, 100.0, ANY);
    measured(ACCELERATION_LATERAL, drive.lateral(), 0.015, 100.0, ANY);
    measured(VIBRATION, chassis.vibration(build), 0.03, 100.0, POSITIVE);
    measured(TRAVELED_DISTANCE, drive.travelled, 0.0, 1.0, POSITIVE);
    put(IS_MOVING, Value::Boolean(drive.moving()));
    put(LOW_VOLTAGE_STATE, Value::Text(if drive.charging() { "OFF" } else { "ON" }.to_owned()));

    let position = Position {
        latitude: rounded(drive.latitude, 1e6),
        longitude: rounded(drive.longitude, 1e6),
        heading: Some(rounded(drive.heading_degrees(), 10.0)),
    };
    Sample { signals, position: Some(position) }
}
