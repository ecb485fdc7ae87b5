//! What a fleet consists of and how it is driven: chosen once, by flags, for all vehicles.

use std::{fmt, ops::Range};

use clap::ValueEnum;

/// What turns the wheels of one vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Drivetrain {
    /// One motor and a traction battery.
    #[default]
    Electric,
    /// A petrol engine with a six-speed gearbox.
    Combustion,
}

impl fmt::Display for Drivetrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Electric => "electric",
            Self::Combustion => "combustion",
        })
    }
}

/// What turns the wheels of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Drivetrains {
    /// All are electric.
    #[default]
    Electric,
    /// All burn petrol.
    Combustion,
    /// Of five neighbours (by index) two are electric and three burn petrol.
    Mixed,
}

/// How a fleet is driven, and how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub enum Cycle {
    /// New vehicles that are always on the road or at a charger, in a climate without seasons.
    #[default]
    Classic,
    /// Trips of phases with the speeds and standstill of the WLTC, parking by the time of day, seasons, ageing.
    Wltp,
}

/// The choices for a whole fleet. The default is the fleet that detectors have been trained on so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct World {
    /// What turns the wheels.
    pub drivetrains: Drivetrains,
    /// How it is driven.
    pub cycle: Cycle,
}

/// The choices for one vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Model {
    /// What turns the wheels.
    pub drivetrain: Drivetrain,
    /// How it is driven.
    pub cycle: Cycle,
}

impl World {
    /// The model of the vehicle with this index.
    pub fn model(self, index: u32) -> Model {
        let drivetrain = match self.drivetrains {
            Drivetrains::Electric => Drivetrain::Electric,
            Drivetrains::Combustion => Drivetrain::Combustion,
            Drivetrains::Mixed if index % 5 < 2 => Drivetrain::Electric,
            Drivetrains::Mixed => Drivetrain::Combustion,
        };
        Model { drivetrain, cycle: self.cycle }
    }
}

impl Model {
    /// Whether it reports more than the first electric vehicles did: cells, hubs, charging.
    pub fn is_extended(self) -> bool {
        self != Self::default()
    }

    /// Whether it burns petrol.
    pub fn burns(self) -> bool {
        self.drivetrain == Drivetrain::Combustion
    }
}

/// Vehicles of one cohort in so many get new software first.
const COHORT_OF: u32 = 40;

/// The vehicles of `indices` that get new software before all others: one in 40, by index.
pub fn first_cohort(indices: Range<u32>) -> impl Iterator<Item = u32> {
    indices.filter(|index| index % COHORT_OF == 13)
}
