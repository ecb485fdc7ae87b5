//! The physics of one vehicle: seeded, deterministic, without clock or I/O.
//!
//! [`Vehicle::step`] advances `drive` (where and how fast), `powertrain` (forces, energy, heat: `electric` or
//! `engine`) and `chassis` (tyres, vibration) to a moment, then `sensors` adds noise and rounds. Noise enters the
//! reported values only and is drawn in a fixed number per sample, so that a vehicle with a fault and its healthy
//! twin of the same seed differ by the fault alone.
//!
//! What a fleet consists of and how it is driven says its [`World`]. The classic cycle divides the time between two
//! readings into sub-steps of at most a second. The other one ticks once a second from the fleet's start on,
//! whenever it is read: its physics does not depend on the readings.

mod build;
mod chassis;
mod climate;
mod constants;
mod cycle;
#[cfg(test)]
mod cycle_tests;
mod drive;
mod electric;
mod engine;
mod engine_heat;
#[cfg(test)]
mod fault_tests;
mod gearbox;
mod low_voltage;
mod noise;
#[cfg(test)]
mod plausibility_tests;
mod powertrain;
mod resistance;
pub(crate) mod sensors;
#[cfg(test)]
mod severity_tests;
#[cfg(test)]
mod shift_tests;
#[cfg(test)]
mod tests;
mod wear;
mod world;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use telemetry::{Position, Signals, UnixMillis, VehicleId, signal};

pub use self::world::{Cycle, Drivetrain, Drivetrains, Model, World, first_cohort};
use self::{
    build::Build,
    chassis::Chassis,
    climate::{Climate, Sky},
    cycle::Itinerary,
    drive::Drive,
    noise::Noise,
    powertrain::Powertrain,
    sensors::Held,
    wear::Wear,
};
use crate::fault::{Effects, Fault};

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

/// The vibrations of the four hubs, in the order of [`TYRES`].
pub const HUBS: [signal::Number; 4] =
    [signal::HUB_FRONT_LEFT, signal::HUB_FRONT_RIGHT, signal::HUB_REAR_LEFT, signal::HUB_REAR_RIGHT];

/// The wheel (index into [`TYRES`] and [`HUBS`]) that leaks if this vehicle gets a tyre leak, and whose bearing fails if
/// one does.
pub fn weak_wheel(index: u32) -> usize {
    index as usize % TYRES.len()
}

/// What the sensors of a vehicle report at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The signals that the vehicle's [`Model`] has, rounded to the resolution of their sensors.
    pub signals: Signals,
    /// Where the vehicle is, to about 0.1 m, heading to 0.1 degree.
    pub position: Option<Position>,
}

/// The longest time that one step catches up, s; the vehicle stood still before that.
const LONGEST_STEP_S: i64 = 3_600;
/// How long a new vehicle is driven before its first sample, so that the first minutes are like any other, s.
const WARM_UP_S: u32 = 600;
/// The same for a vehicle with pauses: an engine is cold after them.
const WARM_UP_WLTP_S: u32 = 1_500;
/// The sky is looked at once in so many ticks.
const TICKS_PER_SKY: i64 = 60;
const TICK_MS: i64 = 1_000;
/// Properties that the classic vehicles lack come from streams of their own above those of the 32-bit indices.
const STREAM: u64 = 1 << 32;

/// What a sub-step happens under.
#[derive(Debug, Clone, Copy)]
struct Moment<'a> {
    /// Length of the sub-step, s; at most 1.
    seconds: f64,
    sky: Sky,
    build: &'a Build,
    wear: &'a Wear,
    effects: &'a Effects,
}

/// The state of one vehicle.
#[derive(Debug, Clone)]
pub struct Vehicle {
    model: Model,
    /// The first tick, ms since the epoch.
    start: UnixMillis,
    /// How far the physics is, ms since the epoch.
    time: UnixMillis,
    weak_wheel: usize,
    build: Build,
    wear: Wear,
    climate: Option<Climate>,
    sky: Sky,
    drive: Drive,
    powertrain: Powertrain,
    chassis: Chassis,
    /// Draws of the drive cycle and of road and weather.
    draws: ChaCha8Rng,
    noise: Noise,
    held: Held,
}

impl Vehicle {
    /// A vehicle of the default [`World`] at the fleet's start, warmed up. It depends on the fleet's seed and its own
    /// index, never on other vehicles.
    pub fn new(fleet: FleetSeed, index: u32) -> Self {
        Self::of_world(fleet, index, World::default())
    }

    /// A vehicle of a given world, as [`Self::new`].
    pub fn of_world(fleet: FleetSeed, index: u32, world: World) -> Self {
        let model = world.model(index);
        let mut draws = ChaCha8Rng::seed_from_u64(fleet.seed);
        draws.set_stream(u64::from(index));
        let mut vehicle = match model.cycle {
            Cycle::Classic => Self::classic(fleet, index, model, draws),
            Cycle::Wltp => Self::wltp(fleet, index, model, draws),
        };
        let healthy = Effects::default();
        let warm_up = if model.cycle == Cycle::Wltp { WARM_UP_WLTP_S } else { WARM_UP_S };
        for _ in 0..warm_up {
            vehicle.advance(1.0, &healthy);
        }
        vehicle
    }

    fn classic(fleet: FleetSeed, index: u32, model: Model, mut draws: ChaCha8Rng) -> Self {
        let build = Build::draw(&mut draws);
        let air = build.air_temperature(fleet.start);
        let drive = Drive::classic(model.burns(), &mut draws);
        let powertrain = Powertrain::draw(model.drivetrain, &build, air, &mut draws);
        let chassis = Chassis::warm(&mut draws);
        let noise = Noise::draw(&mut draws);
        Self {
            model,
            start: fleet.start,
            time: fleet.start,
            weak_wheel: weak_wheel(index),
            build,
            wear: Wear::none(),
            climate: None,
            // A classic fleet drives in daylight.
            sky: Sky { air, hour: 12.0, dark: false },
            drive,
            powertrain,
            chassis,
            draws,
            noise,
            held: Held::default(),
        }
    }

    fn wltp(fleet: FleetSeed, index: u32, model: Model, mut draws: ChaCha8Rng) -> Self {
        let mut further = ChaCha8Rng::seed_from_u64(fleet.seed);
        further.set_stream(STREAM | u64::from(index));
        let build = Build::draw(&mut draws);
        let wear = Wear::draw(&mut further);
        let itinerary = Itinerary::draw(model.burns(), climate::local_hour(fleet.start), &mut draws);
        let mut drive = Drive::wltp(itinerary, &mut draws);
        let climate = Climate::draw(fleet, drive.latitude, drive.longitude, &mut further);
        let sky = climate.sky(fleet.start);
        drive.travelled = wear.travelled;
        let powertrain = Powertrain::draw(model.drivetrain, &build, sky.air, &mut draws);
        let chassis = Chassis::warm(&mut draws);
        let noise = Noise::draw(&mut draws);
        Self {
            model,
            start: fleet.start,
            time: fleet.start,
            weak_wheel: weak_wheel(index),
            build,
            wear,
            climate: Some(climate),
            sky,
            drive,
            powertrain,
            chassis,
            draws,
            noise,
            held: Held::default(),
        }
    }

    /// What the vehicle is.
    pub fn model(&self) -> Model {
        self.model
    }

    /// Advances the physics from the last moment to `time` (event time, ms since the epoch) and reads the sensors.
    ///
    /// A `time` before the last one reads the sensors again without going back. `faults` are those of the vehicle at
    /// any time. In the classic cycle they act with the strength that they have at `time`, otherwise with that of
    /// each second.
    pub fn step(&mut self, time: UnixMillis, faults: &[Fault]) -> Sample {
        match self.climate.is_some() {
            false => self.sub_steps(time, faults),
            true => self.ticks(time, faults),
        }
    }

    fn sub_steps(&mut self, time: UnixMillis, faults: &[Fault]) -> Sample {
        let effects = Effects::at(faults, time);
        let elapsed_ms = time.saturating_sub(self.time).clamp(0, LONGEST_STEP_S * 1_000);
        self.sky.air = self.build.air_temperature(time.max(self.time));
        self.time = self.time.max(time);
        if elapsed_ms > 0 {
            let sub_steps = (elapsed_ms + 999) / 1_000;
            let sub_step_s = elapsed_ms as f64 / 1_000.0 / sub_steps as f64;
            self.chassis.begin_interval();
            for _ in 0..sub_steps {
                self.advance(sub_step_s, &effects);
            }
            self.drive.locate();
        }
        sensors::read(self, &effects)
    }

    fn ticks(&mut self, time: UnixMillis, faults: &[Fault]) -> Sample {
        let healthy = Effects::default();
        let behind = time.saturating_sub(self.time) / TICK_MS;
        if behind > LONGEST_STEP_S {
            self.time += (behind - LONGEST_STEP_S) * TICK_MS;
        }
        if behind > 0 {
            self.chassis.begin_interval();
        }
        for _ in 0..behind.min(LONGEST_STEP_S) {
            self.time += TICK_MS;
            if (self.time - self.start) / TICK_MS % TICKS_PER_SKY == 0
                && let Some(climate) = &self.climate
            {
                self.sky = climate.sky(self.time);
            }
            if faults.is_empty() {
                self.advance(1.0, &healthy);
            } else {
                self.advance(1.0, &Effects::at(faults, self.time));
            }
            if self.drive.moving() {
                self.drive.locate();
            }
        }
        sensors::read(self, &Effects::at(faults, time))
    }

    /// One sub-step of at most 1 s.
    fn advance(&mut self, seconds: f64, effects: &Effects) {
        let now = Moment { seconds, sky: self.sky, build: &self.build, wear: &self.wear, effects };
        self.drive.advance(self.powertrain.energy(), &now, &mut self.draws);
        self.powertrain.advance(&self.drive, self.chassis.loads(), &now);
        self.chassis.advance(&self.drive, self.powertrain.rpm(), &now, &mut self.draws);
    }
}
