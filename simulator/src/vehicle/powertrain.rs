//! Forces, motor, battery and their heat.

use rand_chacha::ChaCha8Rng;

use super::{
    build::Build,
    constants::*,
    drive::Drive,
    noise::{normal, uniform},
};
use crate::fault::Effects;

/// Motor, coolant and traction battery.
#[derive(Debug, Clone)]
pub(super) struct Powertrain {
    /// Percent of the pedal's travel.
    pub(super) accelerator: f64,
    /// Percent of the pedal's travel.
    pub(super) brake: f64,
    /// Rad/s.
    motor_speed: f64,
    /// Nm.
    pub(super) torque: f64,
    /// °C.
    pub(super) motor_temperature: f64,
    /// °C.
    pub(super) coolant_temperature: f64,
    /// Share of the usable energy, 0 to 1.
    charge: f64,
    /// V.
    pub(super) voltage: f64,
    /// A, positive while discharging.
    discharge: f64,
    /// °C.
    pub(super) battery_temperature: f64,
}

impl Powertrain {
    /// A powertrain near the temperatures that half an hour on the road would give it.
    pub(super) fn warm(build: &Build, air: f64, draws: &mut ChaCha8Rng) -> Self {
        let coolant_temperature = air + uniform(draws, 9.0, 20.0);
        Self {
            accelerator: 0.0,
            brake: 0.0,
            motor_speed: 0.0,
            torque: 0.0,
            motor_temperature: coolant_temperature + uniform(draws, 5.0, 15.0),
            coolant_temperature,
            // Warming up may start at a charger; low ones go there soon.
            charge: uniform(draws, build.charge_below, 92.0) / 100.0,
            voltage: 0.0,
            discharge: 0.0,
            battery_temperature: conditioned(air) + 2.0 + 1.5 * normal(draws),
        }
    }

    pub(super) fn advance(&mut self, seconds: f64, drive: &Drive, air: f64, build: &Build, effects: &Effects) {
        self.drive(drive, build, effects);
        let heat = if drive.moving() {
            let rpm_and_torque = LOSS_PER_RPM * self.motor_rpm() + LOSS_PER_TORQUE_SQUARED * self.torque * self.torque;
            (LOSS_IDLE + rpm_and_torque) * build.loss * effects.loss
        } else if drive.charging() {
            0.0
        } else {
            LOSS_IDLE * build.loss * effects.loss
        };
        self.cool(seconds, heat, drive.speed, air, build, effects);
        let cabin = CABIN_POWER * build.cabin * (air - CABIN_TEMPERATURE).abs();
        let charger = if drive.charging() { CHARGING_POWER } else { 0.0 };
        let power = self.torque * self.motor_speed + heat + AUXILIARY_POWER + cabin - charger;
        self.supply(seconds, power, air, build, effects);
    }

    /// From motion to torque and pedals: the driver asks for whatever the motion needs.
    fn drive(&mut self, drive: &Drive, build: &Build, effects: &Effects) {
        self.motor_speed = drive.speed / build.wheel_radius * GEAR_RATIO;
        if !drive.moving() {
            (self.torque, self.accelerator) = (0.0, 0.0);
            self.brake = if drive.charging() { 0.0 } else { 12.0 };
            return;
        }
        let air_speed = (drive.speed + drive.head_wind()).max(0.0);
        let force = build.mass * (1.0 + ROTATING_SHARE) * drive.acceleration
            + build.mass * drive.slope()
            + 0.5 * AIR_DENSITY * DRAG_AREA * build.drag * air_speed * air_speed
            + build.mass * GRAVITY * ROLLING * build.rolling
            + effects.drag_n;
        let lever = build.wheel_radius / GEAR_RATIO;
        if force >= 0.0 {
            let strongest = PEAK_TORQUE.min(PEAK_POWER / self.motor_speed.max(1.0));
            self.torque = (force * lever / GEAR_EFFICIENCY).min(strongest);
            self.accelerator = 100.0 * self.torque / strongest;
            self.brake = 0.0;
        } else {
            let fade = (drive.speed / RECUPERATION_FADE).min(1.0);
            let strongest = RECUPERATION_FORCE.min(RECUPERATION_POWER / drive.speed.max(1.0)) * fade;
            self.torque = -(-force).min(strongest) * lever * GEAR_EFFICIENCY;
            self.accelerator = 0.0;
            self.brake = (100.0 * -force / BRAKE_FORCE).min(100.0);
        }
    }

    fn cool(&mut self, seconds: f64, heat: f64, speed: f64, air: f64, build: &Build, effects: &Effects) {
        let to_coolant = JACKET_CONDUCTANCE * effects.jacket * (self.motor_temperature - self.coolant_temperature);
        let radiator = (RADIATOR_CONDUCTANCE + RADIATOR_PER_SPEED * speed) * build.radiator * effects.radiator;
        let to_air = radiator * (self.coolant_temperature - air);
        self.motor_temperature += (heat - to_coolant) / MOTOR_CAPACITY * seconds;
        self.coolant_temperature += (to_coolant - to_air) / COOLANT_CAPACITY * seconds;
    }

    /// The battery delivers `power` (W, negative while charging).
    fn supply(&mut self, seconds: f64, power: f64, air: f64, build: &Build, effects: &Effects) {
        let open_circuit = CELLS * (CELL_EMPTY + CELL_RISE * self.charge) + build.open_circuit_v;
        let cold = (1.0 + RESISTANCE_PER_KELVIN * (25.0 - self.battery_temperature)).clamp(0.7, 1.7);
        let resistance = RESISTANCE * cold * build.resistance * effects.resistance;
        // power = (open_circuit - resistance × current) × current, the smaller root; what lies beyond the
        // largest possible power is not delivered.
        let root = (open_circuit * open_circuit - 4.0 * resistance * power).max(0.0).sqrt();
        self.discharge = (open_circuit - root) / (2.0 * resistance);
        self.voltage = open_circuit - resistance * self.discharge;
        self.charge = (self.charge - open_circuit * self.discharge * seconds / ENERGY).clamp(0.0, 1.0);
        let heat = resistance * self.discharge * self.discharge;
        let cooling = PACK_CONDUCTANCE * (self.battery_temperature - conditioned(air));
        self.battery_temperature += (heat - cooling) / PACK_CAPACITY * seconds;
    }

    pub(super) fn motor_rpm(&self) -> f64 {
        self.motor_speed * 30.0 / std::f64::consts::PI
    }

    /// State of charge, percent.
    pub(super) fn charge(&self) -> f64 {
        self.charge * 100.0
    }

    /// Battery current, A; positive while charging.
    pub(super) fn current(&self) -> f64 {
        -self.discharge
    }
}

/// What the battery's conditioning loop aims at, °C.
fn conditioned(air: f64) -> f64 {
    22.0 + 0.25 * (air - 15.0)
}
