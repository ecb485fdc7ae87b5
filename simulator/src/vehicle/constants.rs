//! The physical constants of the simulated cars: what all have in common, and a mid-size battery-electric car of
//! about 2020. Those of the combustion engine stand beside it.
//!
//! Orders of magnitude are those of published data sheets and road tests of the class (1.8 t, 150 kW, 75 kWh,
//! 400 V); none is taken from one particular car. What differs between cars stands in `build`.

/// Standard gravity, m/s².
pub(super) const GRAVITY: f64 = 9.81;
/// Air density at 15 °C, kg/m³.
pub(super) const AIR_DENSITY: f64 = 1.225;
/// Atmospheric pressure at sea level, kPa.
pub(super) const ATMOSPHERE_KPA: f64 = 101.3;
/// 0 °C in kelvin.
pub(super) const KELVIN: f64 = 273.15;
/// The largest speed that a driver takes, m/s (150 km/h).
pub(super) const SPEED_LIMIT: f64 = 150.0 / 3.6;

/// Kerb weight with driver, kg.
pub(super) const MASS: f64 = 1_850.0;
/// Equivalent mass of the rotating parts, as a share of the mass.
pub(super) const ROTATING_SHARE: f64 = 0.04;
/// Drag coefficient × frontal area, m².
pub(super) const DRAG_AREA: f64 = 0.62;
/// Rolling resistance coefficient.
pub(super) const ROLLING: f64 = 0.010;
/// Rolling radius of a wheel, m.
pub(super) const WHEEL_RADIUS: f64 = 0.33;
/// Single-speed reduction gear, motor turns per wheel turn.
pub(super) const GEAR_RATIO: f64 = 9.0;
/// Efficiency of gear and shafts, either direction.
pub(super) const GEAR_EFFICIENCY: f64 = 0.97;
/// Peak motor torque, Nm.
pub(super) const PEAK_TORQUE: f64 = 320.0;
/// Peak motor power, W.
pub(super) const PEAK_POWER: f64 = 160_000.0;
/// Largest force of recuperation at the wheels, N.
pub(super) const RECUPERATION_FORCE: f64 = 2_800.0;
/// Largest power of recuperation, W.
pub(super) const RECUPERATION_POWER: f64 = 60_000.0;
/// Below this speed recuperation fades out, m/s.
pub(super) const RECUPERATION_FADE: f64 = 3.0;
/// Brake force at full pedal, N.
pub(super) const BRAKE_FORCE: f64 = 12_000.0;

/// Heat of inverter and control at no load, W.
pub(super) const LOSS_IDLE: f64 = 250.0;
/// Iron and friction heat, W per rpm.
pub(super) const LOSS_PER_RPM: f64 = 0.12;
/// Copper and switching heat, W per Nm².
pub(super) const LOSS_PER_TORQUE_SQUARED: f64 = 0.12;
/// Consumption of the control units, W.
pub(super) const AUXILIARY_POWER: f64 = 350.0;
/// Heating or cooling of the cabin, W per K of distance from [`CABIN_TEMPERATURE`].
pub(super) const CABIN_POWER: f64 = 110.0;
/// What the cabin is kept at, °C.
pub(super) const CABIN_TEMPERATURE: f64 = 21.0;

/// Heat capacity of the motor, J/K.
pub(super) const MOTOR_CAPACITY: f64 = 14_000.0;
/// Heat capacity of the coolant loop, J/K.
pub(super) const COOLANT_CAPACITY: f64 = 22_000.0;
/// Conductance from motor to coolant, W/K.
pub(super) const JACKET_CONDUCTANCE: f64 = 120.0;
/// Conductance from coolant to air at standstill, W/K.
pub(super) const RADIATOR_CONDUCTANCE: f64 = 62.0;
/// Added by the air stream, W/K per m/s.
pub(super) const RADIATOR_PER_SPEED: f64 = 0.7;

/// Cells in series.
pub(super) const CELLS: f64 = 96.0;
/// Open-circuit voltage of an empty cell, V.
pub(super) const CELL_EMPTY: f64 = 3.42;
/// Rise to a full cell, V.
pub(super) const CELL_RISE: f64 = 0.72;
/// Internal resistance of the pack at 25 °C, Ω.
pub(super) const RESISTANCE: f64 = 0.09;
/// Relative rise of the resistance per K below 25 °C.
pub(super) const RESISTANCE_PER_KELVIN: f64 = 0.012;
/// Usable energy of the pack, J (75 kWh).
pub(super) const ENERGY: f64 = 75.0 * 3.6e6;
/// Heat capacity of the pack, J/K.
pub(super) const PACK_CAPACITY: f64 = 420_000.0;
/// Conductance from the pack to its conditioning loop, W/K.
pub(super) const PACK_CONDUCTANCE: f64 = 120.0;
/// What a locked vehicle takes from the traction battery, W.
pub(super) const STANDBY_POWER: f64 = 12.0;
/// Distance of the lowest and of the highest sound cell from the mean, V.
pub(super) const CELL_SPREAD: f64 = 0.004;
/// What a current adds to it, V/A.
pub(super) const CELL_SPREAD_PER_AMPERE: f64 = 2.0e-5;
/// Conductance from the pack to the air while nothing conditions it, W/K.
pub(super) const PACK_LEAK: f64 = 7.0;
/// Charging power of a roadside charger, W.
pub(super) const CHARGING_POWER: f64 = 70_000.0;

/// Set point of the DC/DC converter at 20 °C, V.
pub(super) const LOW_VOLTAGE_SET_POINT: f64 = 14.2;
/// Temperature compensation of a six-cell lead battery, V/K.
pub(super) const LOW_VOLTAGE_PER_KELVIN: f64 = -0.018;
/// Voltage of a lead battery that rests, V.
pub(super) const LOW_VOLTAGE_AT_REST: f64 = 12.72;
/// The energy strategy lowers the set point under traction and raises it under recuperation, V/A.
pub(super) const LOW_VOLTAGE_PER_AMPERE: f64 = -0.0025;
/// The current beyond which it does so no further, A.
pub(super) const LOW_VOLTAGE_CURRENT_LIMIT: f64 = 100.0;

/// Warming of a tyre above the air: standing at rest in traffic, K.
pub(super) const TYRE_WARMTH: f64 = 5.0;
/// Warming of a tyre above the air per m/s, K.
pub(super) const TYRE_WARMTH_PER_SPEED: f64 = 0.6;
/// Time constant of a tyre's temperature, s.
pub(super) const TYRE_TIME: f64 = 500.0;

/// Vibration of the standing drive unit (pumps, fan), m/s².
pub(super) const VIBRATION_IDLE: f64 = 0.15;
/// Vibration of gear and motor, m/s² per 1,000 rpm.
pub(super) const VIBRATION_PER_1000_RPM: f64 = 0.21;
/// Vibration of a hub at standstill, m/s².
pub(super) const HUB_IDLE: f64 = 0.05;
/// Vibration of a hub by the road, m/s² per m/s.
pub(super) const HUB_PER_SPEED: f64 = 0.11;
/// Vibration of the road, m/s² per m/s.
pub(super) const VIBRATION_PER_SPEED: f64 = 0.032;
