//! The likely family of a fault: where to look first. Pure.

use telemetry::signal::{self, Number};

/// Signals of a part of the vehicle. The first family that holds a signal counts.
const FAMILIES: [(&str, &[Number]); 9] = [
    (
        "cooling",
        &[
            signal::COOLANT_TEMPERATURE,
            signal::ENGINE_COOLANT_TEMPERATURE,
            signal::MOTOR_TEMPERATURE,
            signal::OIL_TEMPERATURE,
        ],
    ),
    ("tyres", &[signal::TYRE_FRONT_LEFT, signal::TYRE_FRONT_RIGHT, signal::TYRE_REAR_LEFT, signal::TYRE_REAR_RIGHT]),
    (
        "wheel bearings",
        &[signal::HUB_FRONT_LEFT, signal::HUB_FRONT_RIGHT, signal::HUB_REAR_LEFT, signal::HUB_REAR_RIGHT],
    ),
    ("drive unit", &[signal::VIBRATION]),
    ("low-voltage supply", &[signal::LOW_VOLTAGE, signal::LOW_VOLTAGE_CURRENT]),
    (
        "traction battery",
        &[
            signal::BATTERY_VOLTAGE,
            signal::BATTERY_CURRENT,
            signal::BATTERY_TEMPERATURE,
            signal::CELL_VOLTAGE_MIN,
            signal::CELL_VOLTAGE_MAX,
        ],
    ),
    (
        "engine",
        &[
            signal::ENGINE_SPEED,
            signal::ENGINE_TORQUE,
            signal::OIL_PRESSURE,
            signal::INTAKE_PRESSURE,
            signal::AIR_FLOW,
            signal::LAMBDA,
            signal::FUEL_RATE,
        ],
    ),
    ("motor", &[signal::MOTOR_SPEED, signal::MOTOR_TORQUE]),
    (
        "driving and brakes",
        &[
            signal::SPEED,
            signal::ACCELERATOR,
            signal::BRAKE,
            signal::GEAR,
            signal::ACCELERATION_LONGITUDINAL,
            signal::ACCELERATION_LATERAL,
        ],
    ),
];
/// A sensor that stands still or jumps, whatever it measures.
pub(crate) const SENSOR: &str = "sensor";
/// A signal that no family holds.
const OTHER: &str = "other";

/// The family of a signal.
pub(crate) fn of(path: &str) -> &'static str {
    let Some(row) = signal::by_path(path) else { return OTHER };
    FAMILIES.iter().find(|(_, numbers)| numbers.contains(&row.number)).map_or(OTHER, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Layout, Role};

    #[test]
    fn every_judged_signal_of_the_catalogue_has_a_family() {
        for place in Layout::default().places().iter().filter(|place| place.role == Role::Judged) {
            assert_ne!(of(&place.path), OTHER, "{}", place.path);
        }
        assert_eq!(of("pump.flow"), OTHER);
    }
}
