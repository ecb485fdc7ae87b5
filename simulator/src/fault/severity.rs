//! The severities: ONE table, in physical units, fixed before any detector is tuned against it.
//!
//! # How the sizes were chosen
//!
//! Every fault is a *conditional* anomaly: at full strength it is some 4 to 8 times the spread that the
//! signal still has when everything else about the vehicle is known, yet below about 2.5 standard deviations
//! of what the healthy fleet shows anyway. A range check or a detector that ignores the relations between
//! the signals can't find it; one that knows them can. A test (`vehicle/severity_tests.rs`) measures both
//! sizes and prints them: 4.9 (current sensor) to 8.4 (speed sensor) residual deviations in the clearest signal,
//! 0.1 (speed sensor) to 2.2 (converter) deviations of the fleet.
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

use telemetry::signal::{
    ACCELERATOR, BATTERY_CHARGE, BATTERY_CURRENT, BATTERY_TEMPERATURE, BATTERY_VOLTAGE, BRAKE, COOLANT_TEMPERATURE,
    LOW_VOLTAGE, MOTOR_TEMPERATURE, MOTOR_TORQUE, Number, SPEED, TYRE_FRONT_LEFT, TYRE_FRONT_RIGHT, TYRE_REAR_LEFT,
    TYRE_REAR_RIGHT, VIBRATION,
};

use super::FaultKind;

/// What a fault does at full strength, in physical units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Air lost by one tyre, as cold pressure.
    TyreLeak {
        /// kPa.
        loss_kpa: f64,
    },
    /// Heat conductances lost.
    Cooling {
        /// Percent of the conductance from coolant to air.
        radiator_percent: f64,
        /// Percent of the conductance from motor to coolant.
        jacket_percent: f64,
    },
    /// Internal resistance of the traction battery.
    Resistance {
        /// Added percent.
        percent: f64,
    },
    /// Vibration added in proportion to the motor's speed.
    Bearing {
        /// m/s² per 1,000 rpm.
        per_1000_rpm: f64,
    },
    /// 12 V net below its set point.
    LowVoltage {
        /// V.
        drop_v: f64,
    },
    /// Heat of motor and inverter.
    Loss {
        /// Added percent.
        percent: f64,
    },
    /// Offset of the reported battery current.
    Current {
        /// A, positive = charging.
        offset_a: f64,
    },
    /// Offset of the reported accelerator pedal.
    Accelerator {
        /// Percent of the pedal's travel.
        offset_percent: f64,
    },
    /// Force of a brake that does not release, while moving.
    Drag {
        /// N at the wheel's rim.
        force_n: f64,
    },
    /// Reported speed too low.
    Speed {
        /// Percent of the true speed.
        low_percent: f64,
    },
}

/// How a fault's strength, 0 to 1, follows its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onset {
    /// Grows in a straight line and stays.
    Ramp {
        /// From nothing to full strength, ms.
        ramp_ms: i64,
    },
    /// Comes and goes in a fixed rhythm, growing in a straight line from half strength.
    Intermittent {
        /// From half to full strength, ms.
        ramp_ms: i64,
        /// From the beginning of one burst to the next, ms.
        period_ms: i64,
        /// Length of a burst, ms.
        on_ms: i64,
    },
}

impl Onset {
    /// The strength at an age, 0 to 1.
    pub fn strength(self, age_ms: i64) -> f64 {
        let grown = |ramp_ms: i64| (age_ms as f64 / ramp_ms as f64).clamp(0.0, 1.0);
        match self {
            _ if age_ms < 0 => 0.0,
            Self::Ramp { ramp_ms } => grown(ramp_ms),
            Self::Intermittent { ramp_ms, period_ms, on_ms } if age_ms % period_ms < on_ms => {
                0.5 + 0.5 * grown(ramp_ms)
            }
            Self::Intermittent { .. } => 0.0,
        }
    }

    /// The age from which the strength is full (in bursts, where intermittent), ms.
    pub fn full_after_ms(self) -> i64 {
        match self {
            Self::Ramp { ramp_ms } | Self::Intermittent { ramp_ms, .. } => ramp_ms,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Severity {
    /// The fault.
    pub kind: FaultKind,
    /// What it does at full strength.
    pub effect: Effect,
    /// How it gets there.
    pub onset: Onset,
    /// The signals that show it. For a tyre leak: one of these, see [`super::Fault::signals`].
    pub signals: &'static [Number],
    /// Signals that physics moves along. All others stay exactly as they would have been.
    pub side_effects: &'static [Number],
    /// For people: the effect with its unit.
    pub text: &'static str,
}

const MINUTE_MS: i64 = 60_000;

/// Every fault's severity, in the order of [`FaultKind::ALL`].
pub const SEVERITIES: [Severity; 10] = [
    Severity {
        kind: FaultKind::TyreLeak,
        effect: Effect::TyreLeak { loss_kpa: 30.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[TYRE_FRONT_LEFT, TYRE_FRONT_RIGHT, TYRE_REAR_LEFT, TYRE_REAR_RIGHT],
        side_effects: &[],
        text: "one tyre 30 kPa low (cold), over 12 min",
    },
    Severity {
        kind: FaultKind::CoolantPumpWear,
        effect: Effect::Cooling { radiator_percent: 50.0, jacket_percent: 5.0 },
        onset: Onset::Ramp { ramp_ms: 10 * MINUTE_MS },
        signals: &[COOLANT_TEMPERATURE, MOTOR_TEMPERATURE],
        side_effects: &[],
        text: "radiator conductance -50 %, motor jacket conductance -5 %, over 10 min",
    },
    Severity {
        kind: FaultKind::BatteryResistance,
        effect: Effect::Resistance { percent: 120.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[BATTERY_VOLTAGE],
        side_effects: &[BATTERY_CURRENT, BATTERY_TEMPERATURE, BATTERY_CHARGE, LOW_VOLTAGE],
        text: "battery internal resistance +120 %, over 12 min",
    },
    Severity {
        kind: FaultKind::BearingVibration,
        effect: Effect::Bearing { per_1000_rpm: 0.15 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[VIBRATION],
        side_effects: &[],
        text: "drive unit vibration +0.15 m/s^2 per 1000 rpm, over 12 min",
    },
    Severity {
        kind: FaultKind::ConverterWeak,
        effect: Effect::LowVoltage { drop_v: 0.35 },
        onset: Onset::Intermittent { ramp_ms: 10 * MINUTE_MS, period_ms: 4 * MINUTE_MS, on_ms: 100_000 },
        signals: &[LOW_VOLTAGE],
        side_effects: &[],
        text: "12 V net -0.35 V for 100 s of every 4 min, from half strength over 10 min",
    },
    Severity {
        kind: FaultKind::MotorLoss,
        effect: Effect::Loss { percent: 60.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[MOTOR_TEMPERATURE, COOLANT_TEMPERATURE, BATTERY_CURRENT],
        side_effects: &[BATTERY_VOLTAGE, BATTERY_TEMPERATURE, BATTERY_CHARGE, LOW_VOLTAGE],
        text: "motor and inverter heat +60 %, over 12 min",
    },
    Severity {
        kind: FaultKind::CurrentSensorOffset,
        effect: Effect::Current { offset_a: 9.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[BATTERY_CURRENT],
        side_effects: &[],
        text: "battery current reads +9 A, over 12 min",
    },
    Severity {
        kind: FaultKind::AcceleratorDrift,
        effect: Effect::Accelerator { offset_percent: 4.0 },
        onset: Onset::Ramp { ramp_ms: 12 * MINUTE_MS },
        signals: &[ACCELERATOR],
        side_effects: &[],
        text: "accelerator pedal reads +4 % of travel, over 12 min",
    },
    Severity {
        kind: FaultKind::BrakeDrag,
        effect: Effect::Drag { force_n: 300.0 },
        onset: Onset::Ramp { ramp_ms: 10 * MINUTE_MS },
        signals: &[MOTOR_TORQUE, ACCELERATOR, BATTERY_CURRENT],
        side_effects: &[
            BRAKE,
            BATTERY_VOLTAGE,
            BATTERY_TEMPERATURE,
            BATTERY_CHARGE,
            MOTOR_TEMPERATURE,
            COOLANT_TEMPERATURE,
            LOW_VOLTAGE,
        ],
        text: "300 N of brake drag while moving, over 10 min",
    },
    Severity {
        kind: FaultKind::SpeedSensorLow,
        effect: Effect::Speed { low_percent: 4.0 },
        onset: Onset::Intermittent { ramp_ms: 10 * MINUTE_MS, period_ms: 5 * MINUTE_MS, on_ms: 120_000 },
        signals: &[SPEED],
        side_effects: &[],
        text: "speed reads 4 % low for 120 s of every 5 min, from half strength over 10 min",
    },
];
