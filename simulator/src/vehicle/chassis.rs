//! Tyres, vibration and the loads of the 12 V net.

use rand_chacha::ChaCha8Rng;

use super::{
    Moment,
    build::Build,
    constants::*,
    cycle::Activity,
    drive::Drive,
    noise::{Wander, uniform},
    wear::Wear,
};
use crate::fault::Effects;

/// The slow and the shaking parts.
#[derive(Debug, Clone)]
pub(super) struct Chassis {
    /// Of the tyres above the air, K.
    tyre_warmth: f64,
    /// Patches of better and worse surface.
    surface: Wander,
    /// Fans, lights, heated panes.
    loads: Wander,
    /// Sum of squares over the reporting interval, (m/s²)² s, and its length, s.
    shaking: (f64, f64),
    /// Sums of squares over the same interval: of the speed on the surface, (m/s)² s, which shakes all hubs, and of
    /// what the weak one adds by its bearing, (m/s²)² s.
    hubs: (f64, f64),
}

impl Chassis {
    pub(super) fn warm(draws: &mut ChaCha8Rng) -> Self {
        Self {
            tyre_warmth: TYRE_WARMTH + TYRE_WARMTH_PER_SPEED * uniform(draws, 8.0, 28.0),
            surface: Wander::draw(draws),
            loads: Wander::draw(draws),
            shaking: (0.0, 0.0),
            hubs: (0.0, 0.0),
        }
    }

    pub(super) fn begin_interval(&mut self) {
        self.shaking = (0.0, 0.0);
        self.hubs = (0.0, 0.0);
    }

    pub(super) fn advance(&mut self, drive: &Drive, rpm: f64, now: &Moment, draws: &mut ChaCha8Rng) {
        let Moment { seconds, effects, .. } = *now;
        if drive.activity == Activity::Parked {
            // Nothing shakes, and the tyres cool to the air.
            self.tyre_warmth -= self.tyre_warmth * seconds / TYRE_TIME;
            self.shaking.1 += seconds;
            return;
        }
        self.surface.advance(seconds, 25.0, draws);
        self.loads.advance(seconds, 40.0, draws);
        let goal = TYRE_WARMTH + TYRE_WARMTH_PER_SPEED * drive.speed;
        self.tyre_warmth += (goal - self.tyre_warmth) * seconds / TYRE_TIME;
        let surface = drive.roughness() * (1.0 + 0.12 * self.surface.value());
        let shaking = VIBRATION_IDLE
            + (VIBRATION_PER_1000_RPM + effects.vibration_per_1000_rpm) * rpm / 1_000.0
            + VIBRATION_PER_SPEED * drive.speed * surface;
        self.shaking.0 += shaking * shaking * seconds;
        self.shaking.1 += seconds;
        let road = drive.speed * surface;
        self.hubs.0 += road * road * seconds;
        if effects.hub_per_speed > 0.0 {
            // A pitted race rings in proportion to the speed at which the balls run over it, on any road.
            let race = effects.hub_per_speed * drive.speed;
            self.hubs.1 += race * race * seconds;
        }
    }

    /// Root mean square over the reporting interval, m/s².
    pub(super) fn vibration(&self, build: &Build, wear: &Wear) -> f64 {
        build.vibration * wear.vibration * (self.shaking.0 / self.shaking.1.max(1e-3)).sqrt()
    }

    /// Of one hub, root mean square over the reporting interval, m/s²; `weak` is the one whose bearing may fail.
    pub(super) fn hub_vibration(&self, weak: bool, wear: &Wear) -> f64 {
        let race = if weak { self.hubs.1 } else { 0.0 };
        let per_speed = HUB_PER_SPEED * wear.vibration;
        HUB_IDLE + ((per_speed * per_speed * self.hubs.0 + race) / self.shaking.1.max(1e-3)).sqrt()
    }

    /// Deviations of the wandering consumers of the 12 V net.
    pub(super) fn loads(&self) -> f64 {
        self.loads.value()
    }

    /// Pressure of one tyre above the atmosphere, kPa: a fixed amount of gas in a fixed volume.
    pub(super) fn tyre_kpa(&self, cold_kpa: f64, air: f64) -> f64 {
        (cold_kpa + ATMOSPHERE_KPA) * (air + self.tyre_warmth + KELVIN) / (20.0 + KELVIN) - ATMOSPHERE_KPA
    }

    /// Voltage of an electric vehicle's 12 V battery while nothing charges it, V.
    pub(super) fn resting_voltage(&self, build: &Build) -> f64 {
        LOW_VOLTAGE_AT_REST + build.low_voltage_v
    }

    /// Voltage of an electric vehicle's 12 V net, V; `current` is the traction battery's, positive while charging.
    pub(super) fn low_voltage(&self, current: f64, air: f64, build: &Build, effects: &Effects) -> f64 {
        let strategy = LOW_VOLTAGE_PER_AMPERE * (-current).clamp(-LOW_VOLTAGE_CURRENT_LIMIT, LOW_VOLTAGE_CURRENT_LIMIT);
        LOW_VOLTAGE_SET_POINT + LOW_VOLTAGE_PER_KELVIN * (air - 20.0) + strategy + build.low_voltage_v
            - 0.04 * (1.5 + self.loads.value()).max(0.0)
            - effects.low_voltage_drop_v
            - effects.set_point_drop_v
    }
}
