//! The 12 V net of a combustion car: alternator, lead battery, and what they feed.

use rand_chacha::ChaCha8Rng;

use super::{Moment, noise::uniform};

/// What the regulator aims at with the battery at 20 °C, V.
const SET_POINT: f64 = 14.25;
/// It rises in the cold, V/K.
const SET_POINT_PER_KELVIN: f64 = -0.010;
/// Where it ends, V.
const SET_POINT_RANGE: (f64, f64) = (13.7, 14.7);
/// Largest current at endless speed, A.
const ALTERNATOR: f64 = 150.0;
/// Speed of the engine at which it gives half of that, rpm.
const ALTERNATOR_HALF: f64 = 600.0;
/// Voltage of an empty battery at rest, V.
const EMPTY: f64 = 11.7;
/// Rise to a full one, V.
const RISE: f64 = 1.05;
/// Charge of a full battery, C (60 Ah).
const CAPACITY: f64 = 60.0 * 3_600.0;
/// Resistance against discharge, Ω.
const RESISTANCE: f64 = 0.010;
/// Resistance against charge with a half-full battery, Ω; a full one hardly takes any current.
const CHARGE_RESISTANCE: f64 = 0.05;
/// Engine control, ignition, fuel pump, A.
const ENGINE_LOAD: f64 = 14.0;
/// Lights and dashboard in the dark, A.
const LIGHT_LOAD: f64 = 11.0;
/// The largest fan of the cabin, A.
const BLOWER_LOAD: f64 = 14.0;
/// Heated pane and seats in frost, A.
const HEATED_LOAD: f64 = 18.0;
/// The radiator's fan, A.
const FAN_LOAD: f64 = 22.0;
/// Alarm, receivers and the telemetry unit of a locked car, A.
const LOCKED_LOAD: f64 = 0.035;

/// What draws on the net besides the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consumers {
    /// Wipers, panes, seats: deviations about their mean.
    pub(super) wander: f64,
    /// Whether the radiator's fan runs.
    pub(super) fan: bool,
}

/// Charge, voltage and current of the battery.
#[derive(Debug, Clone)]
pub(super) struct LowVoltage {
    /// Share of the capacity, 0 to 1.
    charge: f64,
    /// At the poles, V.
    pub(super) voltage: f64,
    /// A, positive while charging.
    pub(super) current: f64,
}

impl LowVoltage {
    pub(super) fn draw(draws: &mut ChaCha8Rng) -> Self {
        Self { charge: uniform(draws, 0.80, 0.95), voltage: EMPTY + RISE, current: 0.0 }
    }

    /// One sub-step; `rpm` is 0 while the engine stands. Returns the mechanical power that the alternator takes, W.
    pub(super) fn advance(&mut self, rpm: f64, consumers: Consumers, now: &Moment) -> f64 {
        let Moment { seconds, sky, build, wear, effects } = *now;
        let open_circuit = EMPTY + RISE * self.charge;
        let resistance = RESISTANCE * wear.low_voltage_resistance;
        if rpm <= 0.0 {
            self.current = -LOCKED_LOAD;
            self.voltage = open_circuit + resistance * self.current;
            self.charge = (self.charge + self.current * seconds / CAPACITY).clamp(0.0, 1.0);
            return 0.0;
        }
        let blower = BLOWER_LOAD * (0.2 + 0.03 * (sky.air - 20.0).abs()).min(1.0);
        let heated = HEATED_LOAD * ((8.0 - sky.air) / 10.0).clamp(0.0, 1.0);
        let lights = if sky.dark { LIGHT_LOAD } else { 2.0 };
        let fan = if consumers.fan { FAN_LOAD } else { 0.0 };
        let load = (ENGINE_LOAD + blower + heated + lights + fan + 3.0 * consumers.wander).max(ENGINE_LOAD);

        let compensated = SET_POINT + SET_POINT_PER_KELVIN * (sky.air - 20.0);
        let set_point =
            compensated.clamp(SET_POINT_RANGE.0, SET_POINT_RANGE.1) + build.low_voltage_v - effects.set_point_drop_v;
        let largest = ALTERNATOR * wear.alternator * effects.alternator * rpm / (rpm + ALTERNATOR_HALF);
        // What the battery would take at the set point: little when it is full.
        let charge_resistance = CHARGE_RESISTANCE * wear.low_voltage_resistance / (1.02 - self.charge).max(0.02);
        let wanted = ((set_point - open_circuit) / charge_resistance).min(60.0);
        let given = (load + wanted).min(largest);
        self.current = given - load;
        self.voltage = if self.current >= wanted {
            set_point - resistance_of_cables(given)
        } else if self.current >= 0.0 {
            open_circuit + self.current * charge_resistance
        } else {
            open_circuit + self.current * resistance
        };
        self.charge = (self.charge + self.current * seconds / CAPACITY).clamp(0.0, 1.0);
        self.voltage * given / 0.62
    }
}

/// What is lost between alternator and battery, V.
fn resistance_of_cables(current: f64) -> f64 {
    0.0018 * current
}
