//! Faults: what can break, how strongly ([`severity`]), in whom and when ([`plan`], [`prevalence`]), and how it grows
//! and heals ([`course`]). Pure.
//!
//! A fault changes the physics or a sensor through [`Effects`]; the label never enters a reading. The
//! labelled truth travels on a path of its own, see [`crate::truth`].

mod course;
mod effect;
mod effects;
mod listing;
mod plan;
mod prevalence;
#[cfg(test)]
mod prevalence_tests;
mod severity;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

pub use course::{Bursts, Corner, Course, Onset};
pub use effect::Effect;
pub use effects::Effects;
pub use listing::{Listed, listed};
pub use plan::FaultPlan;
pub use prevalence::Prevalence;
pub use severity::{SEVERITIES, Severity};

use telemetry::{UnixMillis, signal};

use crate::vehicle::{self, Drivetrain, Model, sensors};

/// Every fault with its size in physical units, the shift of the signal that shows it most clearly, and that shift
/// against the noise of the signal's sensor: a table for people, one line a fault.
pub fn table() -> impl fmt::Display {
    listing::Table
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// One tyre loses air.
    TyreLeak,
    /// The coolant pump moves less coolant.
    CoolantPumpWear,
    /// The traction battery's internal resistance is too large.
    BatteryResistance,
    /// A bearing of the drive unit is worn.
    BearingVibration,
    /// The DC/DC converter drops its output now and then.
    ConverterWeak,
    /// Motor or inverter turn more power into heat.
    MotorLoss,
    /// The battery current sensor has an offset.
    CurrentSensorOffset,
    /// The reported track of the accelerator pedal has an offset.
    AcceleratorDrift,
    /// A brake does not release.
    BrakeDrag,
    /// The speed sensor reads low now and then.
    SpeedSensorLow,
    /// The cooling loop loses coolant.
    CoolantLeak,
    /// The engine's thermostat does not close.
    ThermostatStuck,
    /// One tyre loses air over a day or two.
    SlowTyreLeak,
    /// The bearing of one wheel is pitted.
    WheelBearing,
    /// One cell of the traction battery holds less charge.
    CellImbalance,
    /// The alternator gives too little.
    Alternator,
    /// The coolant's thermistor reads low, more and more.
    SensorDrift,
    /// A thermistor repeats its last value.
    SensorFreeze,
    /// The plug of the coolant's thermistor is loose.
    IntermittentConnector,
    /// New software regulates the 12 V net too low.
    FirmwareRegression,
}

impl FaultKind {
    /// Every kind, in the order of [`SEVERITIES`].
    pub const ALL: [Self; 20] = [
        Self::TyreLeak,
        Self::CoolantPumpWear,
        Self::BatteryResistance,
        Self::BearingVibration,
        Self::ConverterWeak,
        Self::MotorLoss,
        Self::CurrentSensorOffset,
        Self::AcceleratorDrift,
        Self::BrakeDrag,
        Self::SpeedSensorLow,
        Self::CoolantLeak,
        Self::ThermostatStuck,
        Self::SlowTyreLeak,
        Self::WheelBearing,
        Self::CellImbalance,
        Self::Alternator,
        Self::SensorDrift,
        Self::SensorFreeze,
        Self::IntermittentConnector,
        Self::FirmwareRegression,
    ];

    /// The kinds that the demo shows, in an electric fleet on the classic cycle.
    pub const DEMO: [Self; 10] = [
        Self::TyreLeak,
        Self::CoolantPumpWear,
        Self::BatteryResistance,
        Self::BearingVibration,
        Self::ConverterWeak,
        Self::MotorLoss,
        Self::CurrentSensorOffset,
        Self::AcceleratorDrift,
        Self::BrakeDrag,
        Self::SpeedSensorLow,
    ];

    /// The kinds that workshops see, in all fleets: those of a prevalence plan.
    pub const WORKSHOP: [Self; 11] = [
        Self::CoolantLeak,
        Self::ThermostatStuck,
        Self::SlowTyreLeak,
        Self::WheelBearing,
        Self::CellImbalance,
        Self::Alternator,
        Self::BrakeDrag,
        Self::SensorDrift,
        Self::SensorFreeze,
        Self::IntermittentConnector,
        Self::FirmwareRegression,
    ];

    /// The stable name, as written in the truth file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TyreLeak => "tyre_leak",
            Self::CoolantPumpWear => "coolant_pump_wear",
            Self::BatteryResistance => "battery_resistance",
            Self::BearingVibration => "bearing_vibration",
            Self::ConverterWeak => "converter_weak",
            Self::MotorLoss => "motor_loss",
            Self::CurrentSensorOffset => "current_sensor_offset",
            Self::AcceleratorDrift => "accelerator_drift",
            Self::BrakeDrag => "brake_drag",
            Self::SpeedSensorLow => "speed_sensor_low",
            Self::CoolantLeak => "coolant_leak",
            Self::ThermostatStuck => "thermostat_stuck",
            Self::SlowTyreLeak => "slow_tyre_leak",
            Self::WheelBearing => "wheel_bearing",
            Self::CellImbalance => "cell_imbalance",
            Self::Alternator => "alternator",
            Self::SensorDrift => "sensor_drift",
            Self::SensorFreeze => "sensor_freeze",
            Self::IntermittentConnector => "intermittent_connector",
            Self::FirmwareRegression => "firmware_regression",
        }
    }

    /// The kind's row of the table.
    pub fn severity(self) -> &'static Severity {
        // The table stands in the order of the variants (asserted by a test).
        &SEVERITIES[self as usize]
    }

    /// Whether a vehicle of this model can have it, and reports a signal that shows it.
    pub fn befalls(self, model: Model) -> bool {
        let electric = model.drivetrain == Drivetrain::Electric;
        match self {
            Self::CoolantPumpWear
            | Self::BatteryResistance
            | Self::ConverterWeak
            | Self::MotorLoss
            | Self::CurrentSensorOffset => electric,
            Self::ThermostatStuck | Self::Alternator => !electric,
            Self::CellImbalance => electric && model.is_extended(),
            Self::WheelBearing => model.is_extended(),
            _ => true,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is named {0:?}")]
pub struct UnknownFaultKind(pub String);

impl FromStr for FaultKind {
    type Err = UnknownFaultKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownFaultKind(text.to_owned()))
    }
}

/// One fault of one vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What is broken.
    pub kind: FaultKind,
    /// The vehicle's index, see [`vehicle::vehicle_id`].
    pub vehicle_index: u32,
    /// When it begins, event time, ms since the epoch.
    pub from: UnixMillis,
    /// When it ends (exclusive), event time, ms since the epoch.
    pub to: UnixMillis,
    /// How it grows and heals between the two.
    pub course: Course,
    /// How large it gets, percent of the size in its kind's row of the table.
    pub percent: u16,
}

impl Fault {
    /// What it does at its full strength, against the table's row: 1 is as large.
    pub fn size(&self) -> f64 {
        f64::from(self.percent) / 100.0
    }

    /// How strong it is at a moment, 0 (not there) to 1, whatever its size.
    pub fn strength(&self, time: UnixMillis) -> f64 {
        let age_ms = time.saturating_sub(self.from);
        self.course.strength(self.kind.severity().onset, age_ms, self.to.saturating_sub(self.from))
    }

    /// The corners of its course, ascending by time: what lies between two of them lies on a straight line.
    pub fn corners(&self) -> Vec<Corner> {
        self.course.corners(self.kind.severity().onset, self.from, self.to.saturating_sub(self.from))
    }

    /// When it has reached its full strength, ms since the epoch.
    pub fn full_from(&self) -> UnixMillis {
        match self.course {
            Course::Onset => self.from + self.kind.severity().onset.full_after_ms(),
            Course::Episode { grow_ms, .. } => self.from + grow_ms,
        }
    }

    /// The numbers of the signals that show the fault in a vehicle of this model, the weak wheel resolved.
    pub fn signals(&self, model: Model) -> Vec<signal::Number> {
        let wheel = vehicle::weak_wheel(self.vehicle_index);
        match self.kind {
            FaultKind::TyreLeak | FaultKind::SlowTyreLeak => vec![vehicle::TYRES[wheel]],
            FaultKind::WheelBearing => vec![vehicle::HUBS[wheel]],
            kind => {
                let shown = kind.severity().signals.iter().copied();
                shown.filter(|number| sensors::reports(model, *number)).collect()
            }
        }
    }
}
