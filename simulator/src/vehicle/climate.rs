//! Weather and daylight of a region: functions of the place and of simulated time alone.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use super::{
    FleetSeed,
    noise::{normal, uniform},
};

const DAY_MS: f64 = 86_400_000.0;
/// Days in a year.
const YEAR: f64 = 365.2425;
/// Days from New Year to the warmest one (20 July), where the sea is far.
const WARMEST_DAY: f64 = 200.0;
/// The stream of the fleet's weather; vehicles use the streams of their 32-bit indices.
const STREAM: u64 = u64::MAX - 1;

/// The climate about one vehicle.
#[derive(Debug, Clone)]
pub(super) struct Climate {
    /// Mean of a year, °C.
    mean: f64,
    /// Half the difference between July and January, K.
    season: f64,
    /// Half the difference between day and night at the equinox, K.
    day: f64,
    /// Where in their turns highs and lows of 5 and of 2.7 days stand, rad. The same for the whole fleet.
    fronts: [f64; 2],
    /// Local time minus UTC, in days.
    offset: f64,
}

/// What the sky says at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sky {
    /// Outside air, °C.
    pub(super) air: f64,
    /// Local time of day, h.
    pub(super) hour: f64,
    /// Whether one drives with lights.
    pub(super) dark: bool,
}

/// The local time of day in the middle of the fleet's region, h.
pub(super) fn local_hour(time: UnixMillis) -> f64 {
    (time as f64 / DAY_MS + 9.5 / 360.0).rem_euclid(1.0) * 24.0
}

impl Climate {
    /// Of a place at `latitude` and `longitude`, degrees.
    pub(super) fn draw(fleet: FleetSeed, latitude: f64, longitude: f64, draws: &mut ChaCha8Rng) -> Self {
        let mut weather = ChaCha8Rng::seed_from_u64(fleet.seed);
        weather.set_stream(STREAM);
        let fronts = [(); 2].map(|()| uniform(&mut weather, 0.0, std::f64::consts::TAU));
        // Means and amplitudes of stations between the Rhine and the Danube; 1 K for the hill one lives on.
        Self {
            mean: 10.3 - 0.7 * (latitude - 48.8) + 1.0 * normal(draws),
            season: 9.6 + 0.4 * normal(draws),
            day: uniform(draws, 3.0, 5.0),
            fronts,
            offset: longitude / 360.0,
        }
    }

    /// The sky at a moment, ms since the epoch.
    pub(super) fn sky(&self, time: UnixMillis) -> Sky {
        let turn = |share: f64| (share * std::f64::consts::TAU).cos();
        let days = time as f64 / DAY_MS;
        let season = turn((days - WARMEST_DAY).rem_euclid(YEAR) / YEAR);
        let local = (days + self.offset).rem_euclid(1.0);
        let fronts = 2.6 * (days / 5.03 * std::f64::consts::TAU + self.fronts[0]).cos()
            + 1.8 * (days / 2.71 * std::f64::consts::TAU + self.fronts[1]).cos();
        // Summer days swing more than winter days; three o'clock is warmest.
        let day = self.day * (1.0 + 0.35 * season) * turn(local - 15.0 / 24.0);
        let hour = local * 24.0;
        // Eight hours of light in December, sixteen in June.
        let dark = (hour - 12.0).abs() > 6.0 + 2.0 * season;
        Sky { air: self.mean + self.season * season + fronts + day, hour, dark }
    }
}
