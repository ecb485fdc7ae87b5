//! The severities: ONE table, in physical units, fixed before any detector is tuned against it.
//!
//! # How the sizes were chosen
//!
//! Every one of the first ten faults, which the demo shows, is a *conditional* anomaly: at full strength it is some 4
//! to 8 times the spread that the signal still has when everything else about the vehicle is known, yet below about
//! 2.5 standard deviations of what the healthy fleet shows anyway. A range check or a detector that ignores the
//! relations between the signals can't find it; one that knows them can. A test (`vehicle/severity_tests.rs`) measures
//! both sizes and prints them: 4.9 (current sensor) to 8.4 (speed sensor) residual deviations in the clearest signal,
//! 0.1 (speed sensor) to 2.2 (converter) deviations of the fleet.
//!
//! The others are what workshops see most. They are sized by their cause (a worn part, litres lost, a bad contact),
//! not by what a detector could find: some show only in the cold, at idle or under load, as they do in life, and some
//! are obvious once they are fully grown. `vehicle/shift_tests.rs` measures them on a winter's morning. How long they
//! last, grow and heal stands in [`super::prevalence`].
//!
//! | Fault | What a technician would find |
//! |---|---|
//! | tyre leak | A bead leaks slowly, then seats: about 12 % below its neighbours, above the 20 % at which a tyre-pressure monitor must warn |
//! | coolant pump wear | The impeller slips; the radiator passes half the heat, the motor's jacket 5 % less: coolant too warm for load and weather |
//! | battery resistance | Aged cells or a corroded joint: 2.2 times the resistance. Only sag under load and lift under charge show it |
//! | bearing vibration | A pitted race adds vibration in proportion to the motor's speed |
//! | converter weak | The output stage drops out of regulation in bursts; the 12 V battery alone holds the net up |
//! | motor loss | Partly demagnetised rotor or a tired inverter: 1.6 times the heat for the same torque |
//! | current sensor offset | A magnetised Hall core: 9 A too far towards charging, at every load |
//! | accelerator drift | The reported track of the two-track pedal sensor wears; the drive follows the other track |
//! | brake drag | A caliper does not release: 300 N more at the wheel, which the driver makes good with his foot |
//! | speed sensor low | Teeth missing on one encoder ring: 4 % of the pulses, whenever the ring is hot |
//! | coolant leak | A weeping hose: the loop is short of 2.5 of 5.5 l, the pump draws air, until somebody refills it |
//! | thermostat stuck | It does not close the last 2 of 8 mm: the engine warms up slowly and runs cold on the motorway |
//! | slow tyre leak | A nail: 45 kPa in a day or two, until somebody pumps it up |
//! | wheel bearing | A pitted race rings in its hub, the louder the faster |
//! | cell imbalance | One cell leaks charge: 8 % less than the others, until balancing has caught up |
//! | alternator | Worn brushes: 105 of 150 A are gone; the battery carries the rest and the net sags |
//! | sensor drift | A corroded contact puts 150 ohm in series with the coolant's thermistor: it reads low |
//! | sensor freeze | A converter hangs: the thermistor of motor or oil repeats its last value |
//! | intermittent connector | The plug of the coolant's thermistor is loose: 2 kilohm in bursts, until it is reseated |
//! | firmware regression | A new release regulates the 12 V net 0.5 V too low in a whole cohort, until it is rolled back |

use telemetry::signal::*;

use super::{Effect, FaultKind, Onset};

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Severity {
    /// The fault.
    pub kind: FaultKind,
    /// What it does at full strength.
    pub effect: Effect,
    /// How it gets there.
    pub onset: Onset,
    /// The signals that show it, of all drivetrains and wheels; those of one vehicle: [`super::Fault::signals`].
    pub signals: &'static [Number],
    /// Signals that physics moves along. All others stay exactly as they would have been.
    pub side_effects: &'static [Number],
    /// The signal that shows it most clearly, and by how much at full strength and in the usual circumstances, in the
    /// signal's unit. A test measures it.
    pub shift: (Number, f64),
    /// For people: the effect with its unit.
    pub text: &'static str,
}

const MINUTE_MS: i64 = 60_000;

/// Every fault's severity, in the order of [`FaultKind::ALL`].
pub const SEVERITIES: [Severity; 20] = [
    Severity {
        kind: FaultKind::TyreLeak,
        effect: Effect::TyreLeak { loss_kpa: 30.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[TYRE_FRONT_LEFT, TYRE_FRONT_RIGHT, TYRE_REAR_LEFT, TYRE_REAR_RIGHT],
        side_effects: &[],
        shift: (TYRE_FRONT_LEFT, 30.0),
        text: "one tyre 30 kPa low (cold), over 12 min",
    },
    Severity {
        kind: FaultKind::CoolantPumpWear,
        effect: Effect::Cooling { radiator_percent: 50.0, jacket_percent: 5.0 },
        onset: Onset::Ramp { ramp_ms: 10 * MINUTE_MS },
        signals: &[COOLANT_TEMPERATURE, MOTOR_TEMPERATURE],
        side_effects: &[],
        shift: (COOLANT_TEMPERATURE, 10.0),
        text: "radiator conductance -50 %, motor jacket conductance -5 %, over 10 min",
    },
    Severity {
        kind: FaultKind::BatteryResistance,
        effect: Effect::Resistance { percent: 120.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[BATTERY_VOLTAGE],
        side_effects: &[
            BATTERY_CURRENT,
            BATTERY_TEMPERATURE,
            BATTERY_CHARGE,
            LOW_VOLTAGE,
            CELL_VOLTAGE_MIN,
            CELL_VOLTAGE_MAX,
        ],
        shift: (BATTERY_VOLTAGE, 6.7),
        text: "battery internal resistance +120 %, over 12 min",
    },
    Severity {
        kind: FaultKind::BearingVibration,
        effect: Effect::Bearing { per_1000_rpm: 0.15 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[VIBRATION],
        side_effects: &[],
        shift: (VIBRATION, 0.94),
        text: "drive unit vibration +0.15 m/s^2 per 1000 rpm, over 12 min",
    },
    Severity {
        kind: FaultKind::ConverterWeak,
        effect: Effect::LowVoltage { drop_v: 0.35 },
        onset: Onset::Intermittent { ramp_ms: 10 * MINUTE_MS, period_ms: 4 * MINUTE_MS, on_ms: 100_000 },
        signals: &[LOW_VOLTAGE],
        side_effects: &[],
        shift: (LOW_VOLTAGE, 0.35),
        text: "12 V net -0.35 V for 100 s of every 4 min, from half strength over 10 min",
    },
    Severity {
        kind: FaultKind::MotorLoss,
        effect: Effect::Loss { percent: 60.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[MOTOR_TEMPERATURE, COOLANT_TEMPERATURE, BATTERY_CURRENT],
        side_effects: &[
            BATTERY_VOLTAGE,
            BATTERY_TEMPERATURE,
            BATTERY_CHARGE,
            LOW_VOLTAGE,
            CELL_VOLTAGE_MIN,
            CELL_VOLTAGE_MAX,
        ],
        shift: (MOTOR_TEMPERATURE, 13.0),
        text: "motor and inverter heat +60 %, over 12 min",
    },
    Severity {
        kind: FaultKind::CurrentSensorOffset,
        effect: Effect::Current { offset_a: 9.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[BATTERY_CURRENT],
        side_effects: &[],
        shift: (BATTERY_CURRENT, 9.0),
        text: "battery current reads +9 A, over 12 min",
    },
    Severity {
        kind: FaultKind::AcceleratorDrift,
        effect: Effect::Accelerator { offset_percent: 4.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[ACCELERATOR],
        side_effects: &[],
        shift: (ACCELERATOR, 4.0),
        text: "accelerator pedal reads +4 % of travel, over 12 min",
    },
    Severity {
        kind: FaultKind::BrakeDrag,
        effect: Effect::Drag { force_n: 300.0 },
        onset: Onset::Ramp { ramp_ms: 10 * MINUTE_MS },
        signals: &[MOTOR_TORQUE, ACCELERATOR, BATTERY_CURRENT, ENGINE_TORQUE, INTAKE_PRESSURE, FUEL_RATE],
        side_effects: &[
            BRAKE,
            ENGINE_SPEED,
            GEAR,
            AIR_FLOW,
            LAMBDA,
            ENGINE_COOLANT_TEMPERATURE,
            OIL_TEMPERATURE,
            OIL_PRESSURE,
            FUEL_LEVEL,
            LOW_VOLTAGE_CURRENT,
            VIBRATION,
            CELL_VOLTAGE_MIN,
            CELL_VOLTAGE_MAX,
            BATTERY_VOLTAGE,
            BATTERY_TEMPERATURE,
            BATTERY_CHARGE,
            MOTOR_TEMPERATURE,
            COOLANT_TEMPERATURE,
            LOW_VOLTAGE,
        ],
        shift: (MOTOR_TORQUE, 11.0),
        text: "300 N of brake drag while moving, over 10 min",
    },
    Severity {
        kind: FaultKind::SpeedSensorLow,
        effect: Effect::Speed { low_percent: 4.0 },
        onset: Onset::Intermittent { ramp_ms: 10 * MINUTE_MS, period_ms: 5 * MINUTE_MS, on_ms: 120_000 },
        signals: &[SPEED],
        side_effects: &[],
        shift: (SPEED, 3.4),
        text: "speed reads 4 % low for 120 s of every 5 min, from half strength over 10 min",
    },
    Severity {
        kind: FaultKind::CoolantLeak,
        effect: Effect::CoolantLeak { lost_l: 2.5 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[COOLANT_TEMPERATURE, MOTOR_TEMPERATURE, ENGINE_COOLANT_TEMPERATURE],
        side_effects: ENGINE_RUNS_OTHERWISE,
        shift: (COOLANT_TEMPERATURE, 10.0),
        text: "2.5 l of 5.5 l of coolant lost",
    },
    Severity {
        kind: FaultKind::ThermostatStuck,
        effect: Effect::ThermostatOpen { lift_mm: 2.0 },
        onset: Onset::Step,
        signals: &[ENGINE_COOLANT_TEMPERATURE, OIL_TEMPERATURE],
        side_effects: ENGINE_RUNS_OTHERWISE,
        shift: (ENGINE_COOLANT_TEMPERATURE, 19.0),
        text: "thermostat stays 2 mm of 8 mm open",
    },
    Severity {
        kind: FaultKind::SlowTyreLeak,
        effect: Effect::TyreLeak { loss_kpa: 45.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[TYRE_FRONT_LEFT, TYRE_FRONT_RIGHT, TYRE_REAR_LEFT, TYRE_REAR_RIGHT],
        side_effects: &[],
        shift: (TYRE_FRONT_LEFT, 45.0),
        text: "one tyre 45 kPa low (cold)",
    },
    Severity {
        kind: FaultKind::WheelBearing,
        effect: Effect::Race { per_speed: 0.07 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[HUB_FRONT_LEFT, HUB_FRONT_RIGHT, HUB_REAR_LEFT, HUB_REAR_RIGHT],
        side_effects: &[],
        shift: (HUB_FRONT_LEFT, 0.3),
        text: "one hub rings with 0.07 m/s^2 per m/s",
    },
    Severity {
        kind: FaultKind::CellImbalance,
        effect: Effect::WeakCell { deficit_percent: 8.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[CELL_VOLTAGE_MIN],
        side_effects: &[
            BATTERY_VOLTAGE,
            BATTERY_CURRENT,
            BATTERY_CHARGE,
            BATTERY_TEMPERATURE,
            CELL_VOLTAGE_MAX,
            LOW_VOLTAGE,
        ],
        shift: (CELL_VOLTAGE_MIN, 0.058),
        text: "one cell holds 8 % less charge, 58 mV",
    },
    Severity {
        kind: FaultKind::Alternator,
        effect: Effect::Alternator { lost_a: 105.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[LOW_VOLTAGE, LOW_VOLTAGE_CURRENT],
        side_effects: ENGINE_RUNS_OTHERWISE,
        shift: (LOW_VOLTAGE, 2.6),
        text: "105 A of 150 A of the alternator's output lost",
    },
    Severity {
        kind: FaultKind::SensorDrift,
        effect: Effect::Contact { ohms: 150.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[COOLANT_TEMPERATURE, ENGINE_COOLANT_TEMPERATURE],
        side_effects: &[],
        shift: (ENGINE_COOLANT_TEMPERATURE, 18.0),
        text: "150 ohm in series with the coolant's thermistor",
    },
    Severity {
        kind: FaultKind::SensorFreeze,
        effect: Effect::Frozen,
        onset: Onset::Step,
        signals: &[MOTOR_TEMPERATURE, OIL_TEMPERATURE],
        side_effects: &[],
        shift: (MOTOR_TEMPERATURE, 10.0),
        text: "the temperature of motor or oil repeats its last value",
    },
    Severity {
        kind: FaultKind::IntermittentConnector,
        effect: Effect::Contact { ohms: 2_000.0 },
        onset: Onset::Intermittent { ramp_ms: 10 * MINUTE_MS, period_ms: 5 * MINUTE_MS, on_ms: 40_000 },
        signals: &[COOLANT_TEMPERATURE, ENGINE_COOLANT_TEMPERATURE],
        side_effects: &[],
        shift: (ENGINE_COOLANT_TEMPERATURE, 65.0),
        text: "2 kilohm in series with the coolant's thermistor, in bursts",
    },
    Severity {
        kind: FaultKind::FirmwareRegression,
        effect: Effect::SetPoint { drop_v: 0.5 },
        onset: Onset::Step,
        signals: &[LOW_VOLTAGE],
        side_effects: &[
            LOW_VOLTAGE_CURRENT,
            ENGINE_TORQUE,
            INTAKE_PRESSURE,
            AIR_FLOW,
            FUEL_RATE,
            FUEL_LEVEL,
            LAMBDA,
            ENGINE_COOLANT_TEMPERATURE,
            OIL_TEMPERATURE,
            OIL_PRESSURE,
        ],
        shift: (LOW_VOLTAGE, 0.5),
        text: "12 V net regulated 0.5 V too low in one cohort",
    },
];

/// What a warmer, a colder or a more burdened engine changes besides.
const ENGINE_RUNS_OTHERWISE: &[Number] = &[
    ENGINE_SPEED,
    GEAR,
    ACCELERATOR,
    ENGINE_TORQUE,
    OIL_TEMPERATURE,
    OIL_PRESSURE,
    INTAKE_PRESSURE,
    AIR_FLOW,
    LAMBDA,
    FUEL_LEVEL,
    FUEL_RATE,
    LOW_VOLTAGE,
    LOW_VOLTAGE_CURRENT,
    ENGINE_COOLANT_TEMPERATURE,
    VIBRATION,
    BRAKE,
    BATTERY_CURRENT,
    BATTERY_VOLTAGE,
];
