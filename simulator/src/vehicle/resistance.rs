//! What motion costs at the wheels, whatever turns them.

use super::{build::Build, constants::*, drive::Drive, wear::Wear};

/// The force that the motion needs at the wheels, N: inertia, slope, air and rolling. `mass` in kg.
pub(super) fn force(drive: &Drive, mass: f64, build: &Build, wear: &Wear) -> f64 {
    let air_speed = (drive.speed + drive.head_wind()).max(0.0);
    mass * (1.0 + ROTATING_SHARE) * drive.acceleration
        + mass * drive.slope()
        + 0.5 * AIR_DENSITY * DRAG_AREA * build.drag * air_speed * air_speed
        + mass * GRAVITY * ROLLING * build.rolling * wear.rolling
}
