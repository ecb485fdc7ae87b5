//! The physics of one vehicle: seeded, deterministic, without clock or I/O.
//!
//! [`Vehicle::step`] advances `drive` (where and how fast), `powertrain` (forces, electricity, heat) and
//! `chassis` (tyres, vibration, 12 V net) to a moment, then `sensors` adds noise and rounds. Noise enters the
//! reported values only and is drawn in a fixed number per sample, so that a vehicle with a fault and its healthy
//! twin of the same seed differ by the fault alone.

mod build;
mod chassis;
mod constants;
mod drive;
mod noise;
mod powertrain;
mod sensors;
#[cfg(test)]
mod severity_tests;
#[cfg(test)]
mod tests;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use telemetry::{Position, Signals, UnixMillis, VehicleId, signal};

use self::{build::Build, chassis::Chassis, drive::Drive, noise::Noise, powertrain::Powertrain};
use crate::fault::{ActiveFault, Effects};

/// What a whole fleet follows from: the same value gives the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetSeed {
    /// Every draw follows from it.
    pub seed: u64,
    /// The moment at which the vehicles start, event time, ms since the epoch.
    pub start: UnixMillis,
}

/// The pseudonym of the vehicle with this index: `veh-00001` for 1.
pub fn vehicle_id(index: u32) -> VehicleId {
    VehicleId::parse(&format!("veh-{index:05}")).expect("letters, a hyphen and digits make a pseudonym")
}

/// The four tyre pressures, as wheels are counted here: front left, front right, rear left, rear right.
pub const TYRES: [signal::Number; 4] =
    [signal::TYRE_FRONT_LEFT, signal::TYRE_FRONT_RIGHT, signal::TYRE_REAR_LEFT, signal::TYRE_REAR_RIGHT];

/// The wheel (index into [`TYRES`]) that leaks if this vehicle gets a tyre leak.
pub fn weak_wheel(index: u32) -> usize {
    index as usize % TYRES.len()
}

/// What the sensors of a vehicle report at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// All catalogued signals, rounded to the resolution of their sensors.
    pub signals: Signals,
    /// Where the vehicle is, to about 0.1 m, heading to 0.1 degree.
    pub position: Option<Position>,
}

/// The longest time that one step catches up, s; the vehicle stood still before that.
const LONGEST_STEP_S: i64 = 3_600;
/// How long a new vehicle is driven before its first sample, so that the first minutes are like any other, s.
const WARM_UP_S: u32 = 600;

/// The state of one vehicle.
#[derive(Debug, Clone)]
pub struct Vehicle {
    time: UnixMillis,
    weak_wheel: usize,
    build: Build,
    drive: Drive,
    powertrain: Powertrain,
    chassis: Chassis,
    /// Draws of the drive cycle and of road and weather.
    draws: ChaCha8Rng,
    noise: Noise,
}

impl Vehicle {
    /// A vehicle on the road at the fleet's start, warmed up. It depends on the fleet's seed and its own index,
    /// never on other vehicles.
    pub fn new(fleet: FleetSeed, index: u32) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(fleet.seed);
        draws.set_stream(u64::from(index));
        let build = Build::draw(&mut draws);
        let air = build.air_temperature(fleet.start);
        let drive = Drive::draw(&mut draws);
        let powertrain = Powertrain::warm(&build, air, &mut draws);
        let chassis = Chassis::warm(&mut draws);
        let noise = Noise::draw(&mut draws);
        let weak_wheel = weak_wheel(index);
        let mut vehicle = Self { time: fleet.start, weak_wheel, build, drive, powertrain, chassis, draws, noise };
        let healthy = Effects::default();
        for _ in 0..WARM_UP_S {
            vehicle.advance(1.0, air, &healthy);
        }
        vehicle
    }

    /// Advances the physics from the last moment to `time` (event time, ms since the epoch) and reads the sensors.
    ///
    /// A `time` before the last one reads the sensors again without going back. The faults act with the
    /// strength that they have at `time`.
    pub fn step(&mut self, time: UnixMillis, faults: &[ActiveFault]) -> Sample {
        let effects = Effects::of(faults);
        let elapsed_ms = time.saturating_sub(self.time).clamp(0, LONGEST_STEP_S * 1_000);
        let air = self.build.air_temperature(time.max(self.time));
        self.time = self.time.max(time);
        if elapsed_ms > 0 {
            let sub_steps = (elapsed_ms + 999) / 1_000;
            let sub_step_s = elapsed_ms as f64 / 1_000.0 / sub_steps as f64;
            self.chassis.begin_interval();
            for _ in 0..sub_steps {
                self.advance(sub_step_s, air, &effects);
            }
            self.drive.locate();
        }
        sensors::read(self, air, &effects)
    }

    /// One sub-step of at most 1 s.
    fn advance(&mut self, seconds: f64, air: f64, effects: &Effects) {
        self.drive.advance(seconds, self.powertrain.charge(), &self.build, &mut self.draws);
        self.powertrain.advance(seconds, &self.drive, air, &self.build, effects);
        self.chassis.advance(seconds, &self.drive, self.powertrain.motor_rpm(), effects, &mut self.draws);
    }
}
