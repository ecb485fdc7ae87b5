//! Heat of a combustion engine: coolant with thermostat and fan, and oil.

use super::{Moment, climate::Sky};

/// Heat capacity of coolant, head and what warms with them, J/K.
const COOLANT_CAPACITY: f64 = 42_000.0;
/// Heat capacity of the oil and the lower block, J/K.
const OIL_CAPACITY: f64 = 24_000.0;
/// Between coolant and oil, W/K.
const COOLANT_TO_OIL: f64 = 120.0;
/// Share of the fuel's heat that goes into the coolant.
const TO_COOLANT: f64 = 0.30;
/// Where the thermostat begins to open, °C.
const OPENS: f64 = 87.0;
/// From there to fully open, K.
const OPENING_SPAN: f64 = 14.0;
/// How far it opens, mm.
pub(super) const LIFT_MM: f64 = 8.0;
/// Time constant of the wax, s.
const WAX_TIME: f64 = 18.0;
/// Radiator at standstill, fully open, W/K.
const RADIATOR: f64 = 26.0;
/// Added by the air stream, W/K per m/s.
const RADIATOR_PER_SPEED: f64 = 28.0;
/// Added by the fan, W/K.
const RADIATOR_FAN: f64 = 320.0;
/// The fan starts at this temperature, °C, and stops 6 K below.
const FAN_ON: f64 = 102.0;
/// Block and hoses to the air at standstill, W/K.
const SKIN: f64 = 5.0;
/// Added by the air stream, W/K per m/s.
const SKIN_PER_SPEED: f64 = 0.8;
/// Oil pan to the air at standstill, W/K.
const PAN: f64 = 3.0;
/// Added by the air stream, W/K per m/s.
const PAN_PER_SPEED: f64 = 0.5;

/// Where heat comes from and goes to at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heat {
    /// In the burnt fuel, W.
    pub(super) fuel: f64,
    /// Friction in bearings and at pistons, W.
    pub(super) friction: f64,
    /// What the cabin would like, W.
    pub(super) heater: f64,
    /// Whether the pump turns.
    pub(super) running: bool,
}

/// Temperatures, thermostat and fan.
#[derive(Debug, Clone)]
pub(super) struct EngineHeat {
    /// °C.
    pub(super) coolant: f64,
    /// °C.
    pub(super) oil: f64,
    /// Of the thermostat, 0 to 1.
    opening: f64,
    fan: bool,
}

impl EngineHeat {
    pub(super) fn cold(air: f64) -> Self {
        Self { coolant: air, oil: air, opening: 0.0, fan: false }
    }

    /// Whether the radiator's fan runs.
    pub(super) fn fan(&self) -> bool {
        self.fan
    }

    pub(super) fn advance(&mut self, heat: Heat, speed: f64, now: &Moment) {
        let Moment { seconds, sky: Sky { air, .. }, build, effects, .. } = *now;
        let goal = ((self.coolant - OPENS) / OPENING_SPAN).clamp(0.0, 1.0);
        self.opening += (goal - self.opening) * (seconds / WAX_TIME).min(1.0);
        // A stuck valve does not close beyond its lift.
        let opening = self.opening.max(effects.thermostat_lift_mm / LIFT_MM).min(1.0);
        self.fan = heat.running && (self.coolant > FAN_ON || self.fan && self.coolant > FAN_ON - 6.0);

        // Where the pump draws air, steam stands in the head: an engine needs its coolant more than a motor does.
        let flow = if heat.running { effects.coolant_flow() * effects.coolant_flow() } else { 0.15 };
        let fan = if self.fan { RADIATOR_FAN } else { 0.0 };
        let radiator =
            opening * flow * build.radiator * effects.radiator * (RADIATOR + RADIATOR_PER_SPEED * speed + fan);
        let heater = if heat.running { heat.heater.min(90.0 * flow * (self.coolant - 25.0).max(0.0)) } else { 0.0 };
        let skin = SKIN + SKIN_PER_SPEED * speed;
        let to_oil = COOLANT_TO_OIL * (self.coolant - self.oil);
        let in_coolant = TO_COOLANT * heat.fuel + 0.35 * heat.friction;
        let out = (radiator + skin) * (self.coolant - air) + heater + to_oil;
        let pan = (PAN + PAN_PER_SPEED * speed) * (self.oil - air);
        self.coolant += (in_coolant - out) / (COOLANT_CAPACITY * effects.coolant_mass()) * seconds;
        self.oil += (0.65 * heat.friction + to_oil - pan) / OIL_CAPACITY * seconds;
    }
}
