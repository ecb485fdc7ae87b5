//! The electric drivetrain: motor, traction battery and their heat.

use rand_chacha::ChaCha8Rng;

use super::{
    Moment,
    build::Build,
    climate::Sky,
    constants::*,
    cycle::Activity,
    drive::Drive,
    noise::{normal, uniform},
    resistance,
};
use crate::fault::Effects;

/// Motor, coolant and traction battery.
#[derive(Debug, Clone)]
pub(super) struct Electric {
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

impl Electric {
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

    pub(super) fn advance(&mut self, drive: &Drive, now: &Moment) {
        let Moment { sky: Sky { air, .. }, build, effects, .. } = *now;
        self.drive(drive, now);
        let activity = drive.activity;
        let heat = if drive.moving() {
            let rpm_and_torque = LOSS_PER_RPM * self.motor_rpm() + LOSS_PER_TORQUE_SQUARED * self.torque * self.torque;
            (LOSS_IDLE + rpm_and_torque) * build.loss * effects.loss
        } else if activity == Activity::Trip {
            LOSS_IDLE * build.loss * effects.loss
        } else {
            0.0
        };
        self.cool(heat, drive.speed, now);
        let cabin = CABIN_POWER * build.cabin * (air - CABIN_TEMPERATURE).abs();
        let power = match activity {
            Activity::Parked | Activity::Refuelling => STANDBY_POWER,
            // A roadside stop is short, and the cabin stays as it is; at home nobody sits in it.
            Activity::Charging(charger) if charger < CHARGING_POWER => AUXILIARY_POWER - self.taken(charger),
            Activity::Charging(charger) => AUXILIARY_POWER + cabin - self.taken(charger),
            Activity::Trip => self.torque * self.motor_speed + heat + AUXILIARY_POWER + cabin,
        };
        self.supply(power, activity == Activity::Parked, now);
    }

    /// What the battery takes of a charger's power, W: less and less in the last fifth.
    fn taken(&self, charger: f64) -> f64 {
        charger.min(CHARGING_POWER * (1.02 - self.charge).max(0.0) / 0.22)
    }

    /// From motion to torque and pedals: the driver asks for whatever the motion needs.
    fn drive(&mut self, drive: &Drive, now: &Moment) {
        let Moment { build, wear, effects, .. } = *now;
        let wheel_radius = build.wheel_radius * wear.radius;
        self.motor_speed = drive.speed / wheel_radius * GEAR_RATIO;
        if !drive.moving() {
            (self.torque, self.accelerator) = (0.0, 0.0);
            self.brake = if drive.activity == Activity::Trip { 12.0 } else { 0.0 };
            return;
        }
        let force = resistance::force(drive, build.mass, build, wear) + effects.drag_n;
        let lever = wheel_radius / GEAR_RATIO;
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

    fn cool(&mut self, heat: f64, speed: f64, now: &Moment) {
        let Moment { seconds, sky: Sky { air, .. }, build, effects, .. } = *now;
        let flow = effects.coolant_flow();
        let jacket = JACKET_CONDUCTANCE * effects.jacket * flow;
        let to_coolant = jacket * (self.motor_temperature - self.coolant_temperature);
        let radiator = (RADIATOR_CONDUCTANCE + RADIATOR_PER_SPEED * speed) * build.radiator * effects.radiator * flow;
        let to_air = radiator * (self.coolant_temperature - air);
        self.motor_temperature += (heat - to_coolant) / MOTOR_CAPACITY * seconds;
        self.coolant_temperature += (to_coolant - to_air) / (COOLANT_CAPACITY * effects.coolant_mass()) * seconds;
    }

    /// The battery delivers `power` (W, negative while charging). A locked vehicle does not condition it.
    fn supply(&mut self, power: f64, locked: bool, now: &Moment) {
        let Moment { seconds, sky: Sky { air, .. }, build, wear, effects } = *now;
        let weak_cell_v = CELL_RISE * effects.cell_deficit;
        let open_circuit = CELLS * (CELL_EMPTY + CELL_RISE * self.charge) + build.open_circuit_v - weak_cell_v;
        let cold = (1.0 + RESISTANCE_PER_KELVIN * (25.0 - self.battery_temperature)).clamp(0.7, 1.7);
        let resistance = RESISTANCE * cold * build.resistance * effects.resistance * wear.resistance;
        // power = (open_circuit - resistance × current) × current, the smaller root; what lies beyond the
        // largest possible power is not delivered.
        let root = (open_circuit * open_circuit - 4.0 * resistance * power).max(0.0).sqrt();
        self.discharge = (open_circuit - root) / (2.0 * resistance);
        self.voltage = open_circuit - resistance * self.discharge;
        self.charge =
            (self.charge - open_circuit * self.discharge * seconds / (ENERGY * wear.capacity)).clamp(0.0, 1.0);
        let heat = resistance * self.discharge * self.discharge;
        let cooling = if locked {
            PACK_LEAK * (self.battery_temperature - air)
        } else {
            PACK_CONDUCTANCE * (self.battery_temperature - conditioned(air))
        };
        self.battery_temperature += (heat - cooling) / PACK_CAPACITY * seconds;
    }

    pub(super) fn motor_rpm(&self) -> f64 {
        self.motor_speed * 30.0 / std::f64::consts::PI
    }

    /// The lowest and the highest voltage of the cells, V: one in 96 holds less than the others.
    pub(super) fn cells(&self, effects: &Effects) -> (f64, f64) {
        let weak_cell_v = CELL_RISE * effects.cell_deficit;
        let mean = (self.voltage + weak_cell_v) / CELLS;
        // The spread of sound cells: of their charge, and of their resistance under current.
        let half_spread = CELL_SPREAD + CELL_SPREAD_PER_AMPERE * self.discharge.abs();
        (mean - half_spread - weak_cell_v, mean + half_spread)
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
