//! Faults: what can break, how strongly ([`severity`]), in whom and when ([`plan`]). Pure.
//!
//! A fault changes the physics or a sensor through [`Effects`]; the label never enters a reading. The
//! labelled truth travels on a path of its own, see [`crate::truth`].

mod effects;
mod plan;
mod severity;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

pub use effects::Effects;
pub use plan::FaultPlan;
pub use severity::{Effect, Onset, SEVERITIES, Severity};

use telemetry::{UnixMillis, signal};

use crate::vehicle;

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
}

impl FaultKind {
    /// Every kind, in the order of [`SEVERITIES`].
    pub const ALL: [Self; 10] = [
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
        }
    }

    /// The kind's row of the table.
    pub fn severity(self) -> &'static Severity {
        // The table stands in the order of the variants (asserted by a test).
        &SEVERITIES[self as usize]
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
}

impl Fault {
    /// The numbers of the signals that show the fault, the leaking wheel resolved.
    pub fn signals(&self) -> Vec<signal::Number> {
        match self.kind {
            FaultKind::TyreLeak => vec![vehicle::TYRES[vehicle::weak_wheel(self.vehicle_index)]],
            kind => kind.severity().signals.to_vec(),
        }
    }
}

/// A fault that is present in a vehicle now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveFault {
    /// What is broken.
    pub kind: FaultKind,
    /// How long it has been, ms of event time; 0 at its beginning.
    pub age_ms: i64,
}
