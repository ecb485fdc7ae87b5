//! What turns the wheels: one of two drivetrains.

use rand_chacha::ChaCha8Rng;

use super::{Moment, build::Build, drive::Drive, electric::Electric, engine::Engine, world::Drivetrain};

/// The drivetrain and what it feeds on.
#[derive(Debug, Clone)]
pub(super) enum Powertrain {
    /// Motor and traction battery.
    Electric(Electric),
    /// Petrol engine, gearbox and alternator.
    Combustion(Engine),
}

impl Powertrain {
    pub(super) fn draw(drivetrain: Drivetrain, build: &Build, air: f64, draws: &mut ChaCha8Rng) -> Self {
        match drivetrain {
            Drivetrain::Electric => Self::Electric(Electric::warm(build, air, draws)),
            Drivetrain::Combustion => Self::Combustion(Engine::cold(build, air, draws)),
        }
    }

    /// One sub-step; `loads` are the wandering consumers of the 12 V net, in deviations.
    pub(super) fn advance(&mut self, drive: &Drive, loads: f64, now: &Moment) {
        match self {
            Self::Electric(electric) => electric.advance(drive, now),
            Self::Combustion(engine) => engine.advance(drive, loads, now),
        }
    }

    /// What battery or tank hold, percent.
    pub(super) fn energy(&self) -> f64 {
        match self {
            Self::Electric(electric) => electric.charge(),
            Self::Combustion(engine) => engine.fuel_percent(),
        }
    }

    /// What shakes the drive unit, rpm of motor or crankshaft.
    pub(super) fn rpm(&self) -> f64 {
        match self {
            Self::Electric(electric) => electric.motor_rpm(),
            Self::Combustion(engine) => engine.rpm,
        }
    }
}
