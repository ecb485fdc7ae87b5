//! What makes one vehicle different from the next: tolerances, load, habits of its driver, and its region.

use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use super::{
    constants,
    noise::{normal, uniform},
};

/// The fixed properties of one vehicle.
#[derive(Debug, Clone)]
pub(super) struct Build {
    /// Mass with passengers and luggage, kg.
    pub(super) mass: f64,
    /// Rolling radius by wear and make, m.
    pub(super) wheel_radius: f64,
    /// Factor on the drag area (roof boxes, wheels).
    pub(super) drag: f64,
    /// Factor on the rolling resistance (tyre make).
    pub(super) rolling: f64,
    /// Factor on the heat of motor and inverter.
    pub(super) loss: f64,
    /// Factor on the power for the cabin.
    pub(super) cabin: f64,
    /// Factor on the radiator's conductance (dirt).
    pub(super) radiator: f64,
    /// Factor on the internal resistance (age).
    pub(super) resistance: f64,
    /// Offset of the open-circuit voltage (age, balance), V.
    pub(super) open_circuit_v: f64,
    /// Offset of the 12 V set point, V.
    pub(super) low_voltage_v: f64,
    /// Factor on the vibration.
    pub(super) vibration: f64,
    /// Cold pressure of each tyre at 20 °C, kPa.
    pub(super) tyres_kpa: [f64; 4],
    /// The state of charge at which its driver looks for a charger, percent.
    pub(super) charge_below: f64,
    /// How much is charged then, percent.
    pub(super) charge_by: f64,
    /// Factor on the driver's accelerations.
    pub(super) briskness: f64,
    /// Mean air temperature of the region, °C.
    region: f64,
    /// Half the difference between day and night, K.
    day_and_night: f64,
    /// When the day is warmest, as a share of the day (UTC).
    warmest: f64,
}

impl Build {
    pub(super) fn draw(draws: &mut ChaCha8Rng) -> Self {
        let mut about = |mean: f64, deviation: f64| mean + deviation * normal(draws);
        let mass = about(constants::MASS + 130.0, 45.0);
        let wheel_radius = constants::WHEEL_RADIUS * about(1.0, 0.007);
        let [drag, rolling, loss] = [about(1.0, 0.03), about(1.0, 0.04), about(1.0, 0.03)];
        let [cabin, radiator, resistance] = [about(1.0, 0.10), about(1.0, 0.04), about(1.0, 0.06)];
        let [open_circuit_v, low_voltage_v, vibration] = [about(0.0, 0.8), about(0.0, 0.035), about(1.0, 0.05)];
        let region = about(14.0, 6.0);
        // What the driver pumped, the axle's difference, and the neglect of each wheel.
        let placard = uniform(draws, 215.0, 295.0);
        let rear = uniform(draws, 0.0, 16.0);
        let tyres_kpa = [placard, placard, placard + rear, placard + rear].map(|kpa| kpa + 3.5 * normal(draws));
        Self {
            mass,
            wheel_radius,
            drag,
            rolling,
            loss,
            cabin,
            radiator,
            resistance,
            open_circuit_v,
            low_voltage_v,
            vibration,
            tyres_kpa,
            charge_below: uniform(draws, 18.0, 32.0),
            charge_by: uniform(draws, 14.0, 24.0),
            briskness: uniform(draws, 0.75, 1.2),
            region,
            day_and_night: uniform(draws, 3.0, 6.0),
            warmest: uniform(draws, 0.56, 0.64),
        }
    }

    /// The outside air's temperature at a moment, °C: a daily curve about the region's mean.
    pub(super) fn air_temperature(&self, time: UnixMillis) -> f64 {
        const DAY_MS: i64 = 86_400_000;
        let of_day = time.rem_euclid(DAY_MS) as f64 / DAY_MS as f64;
        self.region + self.day_and_night * ((of_day - self.warmest) * std::f64::consts::TAU).cos()
    }
}
