//! The combustion drivetrain: a petrol engine of 1.6 litres, its air and fuel, and the pedals.
//!
//! Mean pressures carry the model: what the gearbox asks for, friction and pumping together are burnt with the
//! efficiency of an Otto cycle (Willans), the fuel needs air, and the air needs a pressure in the manifold.

use rand_chacha::ChaCha8Rng;

use super::{
    Moment,
    build::Build,
    climate::Sky,
    constants::{ATMOSPHERE_KPA, BRAKE_FORCE, CABIN_TEMPERATURE, KELVIN},
    cycle::Activity,
    drive::Drive,
    engine_heat::{EngineHeat, Heat},
    gearbox::{self, Gearbox},
    low_voltage::{Consumers, LowVoltage},
    noise::uniform,
    resistance,
    wear::Wear,
};

/// A combustion car is so much lighter than an electric one, kg.
const LIGHTER: f64 = 430.0;
/// Displacement, m³.
const DISPLACEMENT: f64 = 1.6e-3;
/// Torque per mean pressure, Nm/Pa: displacement / 4π.
const TORQUE_PER_PASCAL: f64 = DISPLACEMENT / (4.0 * std::f64::consts::PI);
/// Largest torque, Nm, at 4,000 rpm.
const PEAK_TORQUE: f64 = 152.0;
/// Share of the fuel's energy that does work on the pistons.
const INDICATED: f64 = 0.395;
/// Lower heating value of petrol, J/kg.
const HEATING_VALUE: f64 = 43.0e6;
/// Density of petrol, kg/l.
const FUEL_DENSITY: f64 = 0.745;
/// Air to fuel by mass where nothing is left over.
const STOICHIOMETRIC: f64 = 14.6;
/// Gas constant of air, J/(kg K).
const AIR_CONSTANT: f64 = 287.0;
/// Share of the displacement that is filled.
const FILLING: f64 = 0.88;
/// What burnt gas leaves in the cylinders adds to the manifold's pressure, kPa.
const RESIDUAL_KPA: f64 = 8.0;
/// Idle of a warm engine, rpm.
const IDLE: f64 = 760.0;
/// Of a cold one, rpm.
const IDLE_COLD: f64 = 1_150.0;
/// Volume of the tank, l.
const TANK: f64 = 50.0;
/// What a pump gives, l/s.
const PUMP: f64 = 0.6;
/// What a lambda sensor reads in air.
const LAMBDA_AIR: f64 = 2.0;

/// Engine, tank, gearbox and 12 V net.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// Percent of the pedal's travel.
    pub(super) accelerator: f64,
    /// Percent of the pedal's travel.
    pub(super) brake: f64,
    /// Rpm; 0 while it stands.
    pub(super) rpm: f64,
    /// At the clutch, Nm.
    pub(super) torque: f64,
    /// Absolute, kPa.
    pub(super) intake_kpa: f64,
    /// g/s.
    pub(super) air_flow: f64,
    /// g/s.
    fuel_flow: f64,
    pub(super) lambda: f64,
    /// l.
    fuel: f64,
    /// Power that alternator and compressor take, W.
    belt: f64,
    pub(super) gearbox: Gearbox,
    pub(super) heat: EngineHeat,
    pub(super) low_voltage: LowVoltage,
}

impl Engine {
    /// As it is before the vehicle has moved: at the temperature of the air.
    pub(super) fn cold(build: &Build, air: f64, draws: &mut ChaCha8Rng) -> Self {
        Self {
            accelerator: 0.0,
            brake: 0.0,
            rpm: 0.0,
            torque: 0.0,
            intake_kpa: ATMOSPHERE_KPA,
            air_flow: 0.0,
            fuel_flow: 0.0,
            lambda: LAMBDA_AIR,
            fuel: TANK * uniform(draws, build.charge_below, 98.0) / 100.0,
            belt: 0.0,
            gearbox: Gearbox::new(),
            heat: EngineHeat::cold(air),
            low_voltage: LowVoltage::draw(draws),
        }
    }

    pub(super) fn advance(&mut self, drive: &Drive, wander: f64, now: &Moment) {
        let Moment { seconds, sky, build, wear, .. } = *now;
        let activity = drive.activity;
        let running = activity == Activity::Trip;
        if running {
            self.pull(drive, now);
            self.burn(sky, wear);
        } else {
            self.stand(seconds, activity);
        }
        self.fuel = (self.fuel - self.fuel_flow / 1_000.0 / FUEL_DENSITY * seconds).clamp(0.0, TANK);

        let cabin = if running { build.cabin * (sky.air - CABIN_TEMPERATURE) } else { 0.0 };
        let heat = Heat {
            fuel: self.fuel_flow / 1_000.0 * HEATING_VALUE,
            friction: self.friction(wear) * DISPLACEMENT * self.rpm / 120.0,
            heater: (-cabin).max(0.0) * 110.0,
            running,
        };
        self.heat.advance(heat, drive.speed, now);
        let consumers = Consumers { wander, fan: self.heat.fan() };
        let alternator = self.low_voltage.advance(self.rpm, consumers, now);
        let compressor = (cabin.max(0.0) * 170.0).min(3_500.0);
        self.belt = alternator + compressor;
    }

    /// From motion to speed, torque and pedals.
    fn pull(&mut self, drive: &Drive, now: &Moment) {
        let Moment { build, wear, effects, .. } = *now;
        let radius = build.wheel_radius * wear.radius;
        let wheel = drive.speed / radius;
        self.gearbox.shift(wheel, drive.speed, self.accelerator, true);
        let idle = IDLE + (IDLE_COLD - IDLE) * ((70.0 - self.heat.coolant) / 60.0).clamp(0.0, 1.0);
        let ratio = self.gearbox.ratio();
        self.rpm = (wheel * ratio * 30.0 / std::f64::consts::PI).max(idle);
        if !drive.moving() {
            (self.torque, self.accelerator, self.brake) = (0.0, 0.0, 12.0);
            return;
        }
        let force = resistance::force(drive, build.mass - LIGHTER, build, wear) + effects.drag_n;
        if force >= 0.0 {
            let strongest = PEAK_TORQUE * wear.compression * fullness(self.rpm);
            // In neutral, the first metre, the gearbox is about to take the first gear.
            self.torque = (force * radius / (ratio.max(3.0) * gearbox::EFFICIENCY)).min(strongest);
            self.accelerator = 100.0 * self.torque / strongest;
            self.brake = 0.0;
        } else {
            // The engine brakes with what it drags, the foot with the rest.
            let drag = (self.friction(wear) + 60_000.0) * TORQUE_PER_PASCAL;
            self.torque = -(-force * radius * gearbox::EFFICIENCY / ratio.max(3.0)).min(drag);
            let engine = if ratio > 0.0 { -self.torque * ratio / radius / gearbox::EFFICIENCY } else { 0.0 };
            if ratio == 0.0 {
                self.torque = 0.0;
            }
            self.accelerator = 0.0;
            self.brake = (100.0 * (-force - engine).max(0.0) / BRAKE_FORCE).min(100.0);
        }
    }

    /// From torque to fuel and air.
    fn burn(&mut self, sky: Sky, wear: &Wear) {
        let cycles = self.rpm / 120.0;
        let belt_torque = self.belt / (self.rpm * std::f64::consts::PI / 30.0);
        let wanted = (self.torque + belt_torque) / TORQUE_PER_PASCAL + self.friction(wear);
        let intake_kelvin = sky.air + 14.0 + KELVIN;
        // Air per cycle and pascal in the manifold, kg.
        let charge = FILLING * DISPLACEMENT / (AIR_CONSTANT * intake_kelvin);
        if self.torque < -5.0 && self.rpm > 1_250.0 && wanted < 40_000.0 {
            // Overrun: no fuel, a closed throttle, air through the exhaust.
            self.fuel_flow = 0.0;
            self.intake_kpa = 20.0;
            self.air_flow = 1_000.0 * charge * (self.intake_kpa - RESIDUAL_KPA) * 1_000.0 * cycles;
            self.lambda = LAMBDA_AIR;
            return;
        }
        let load = self.torque / (PEAK_TORQUE * wear.compression * fullness(self.rpm));
        self.lambda = if load > 0.92 { 0.90 } else { 1.0 };
        // A cold engine wets its walls and burns late.
        let cold = 1.0 - 0.0022 * (80.0 - self.heat.coolant).clamp(0.0, 90.0);
        let efficiency = INDICATED * wear.compression * cold * self.lambda.min(1.0);
        // Pascals in the manifold that a pascal of burnt mean pressure needs, and pumping against the throttle.
        let share = STOICHIOMETRIC * self.lambda * DISPLACEMENT / (HEATING_VALUE * charge * efficiency);
        let residual = RESIDUAL_KPA * 1_000.0;
        let manifold = (share * (wanted + ATMOSPHERE_KPA * 1_000.0) + residual) / (1.0 + share);
        let most = ATMOSPHERE_KPA * 1_000.0 - 2_000.0;
        self.intake_kpa = manifold.clamp(20_000.0, most) / 1_000.0;
        self.air_flow = 1_000.0 * charge * (self.intake_kpa * 1_000.0 - residual) * cycles;
        self.fuel_flow = self.air_flow / (STOICHIOMETRIC * self.lambda);
    }

    fn stand(&mut self, seconds: f64, activity: Activity) {
        (self.rpm, self.torque, self.accelerator, self.brake) = (0.0, 0.0, 0.0, 0.0);
        (self.air_flow, self.fuel_flow) = (0.0, 0.0);
        (self.intake_kpa, self.lambda) = (ATMOSPHERE_KPA, LAMBDA_AIR);
        self.gearbox.gear = 0;
        if activity == Activity::Refuelling {
            self.fuel += PUMP * seconds;
        }
    }

    /// Mean pressure of friction, Pa: with speed, and with the oil's stiffness.
    fn friction(&self, wear: &Wear) -> f64 {
        let stiff = 1.0 + 0.009 * (90.0 - self.heat.oil).clamp(-20.0, 110.0);
        (80_000.0 + 14.0 * self.rpm) * stiff * (2.0 - wear.compression)
    }

    /// Petrol in the tank, percent.
    pub(super) fn fuel_percent(&self) -> f64 {
        100.0 * self.fuel / TANK
    }

    /// l/h.
    pub(super) fn fuel_rate(&self) -> f64 {
        self.fuel_flow * 3.6 / FUEL_DENSITY
    }

    /// Above atmosphere, kPa: a pump that turns with the engine against gaps through which warm oil runs easily.
    pub(super) fn oil_kpa(&self, wear: &Wear) -> f64 {
        let thick = wear.oil / (0.30 + 0.0085 * self.heat.oil.max(0.0));
        let pushed = self.rpm / 1_500.0 * thick;
        430.0 * pushed / (1.0 + pushed)
    }
}

/// The largest torque at a speed, as a share of [`PEAK_TORQUE`].
fn fullness(rpm: f64) -> f64 {
    let off = (rpm - 4_000.0) / 5_000.0;
    1.0 - 0.55 * off * off
}
