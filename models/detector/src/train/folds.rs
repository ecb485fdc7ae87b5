//! Folds of vehicles: what is judged while a limit is set is judged by vehicles of other folds. Pure.
//!
//! A tail that was fitted to a vehicle finds nothing improbable in it, least where there is little to fit to. Folds of time
//! would be the other way, but times that follow each other are alike and what comes later is not: limits came out so low
//! that up to two thirds more alarms came than were promised.

use crate::{baseline::Standing, tail};

/// How many there are. The more, the closer tails without a fold are to those of all vehicles.
pub(super) const FOLDS: usize = 8;

/// The fold of a vehicle.
pub(super) fn of_vehicle(vehicle: usize) -> usize {
    vehicle % FOLDS
}

/// The least share of values that make a tail. What differs between strangers is one number of each: a smaller share would
/// be made of a vehicle or two.
pub(super) fn tail_share(standing: Standing) -> f64 {
    match standing {
        Standing::Known => tail::SHARE,
        Standing::Stranger => tail::MOST_SHARE,
    }
}

/// What is above this quantile in the training part may belong to a tail: with room, for times change.
pub(super) fn candidates(standing: Standing) -> f64 {
    match standing {
        Standing::Known => 0.95,
        Standing::Stranger => 0.85,
    }
}
