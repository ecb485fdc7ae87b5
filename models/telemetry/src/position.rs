//! Where a vehicle was.

use serde::{Deserialize, Serialize};

use crate::codec::object::objects_only;

/// A position (WGS 84).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Position {
    /// Degrees north, −90 to 90.
    pub latitude: f64,
    /// Degrees east, −180 to 180.
    pub longitude: f64,
    /// Degrees clockwise from north, 0 to 360, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<f64>,
}

objects_only!(Position);

impl Position {
    /// Whether every coordinate is finite and in its range.
    pub fn is_valid(&self) -> bool {
        // A NaN lies in no range.
        (-90.0..=90.0).contains(&self.latitude)
            && (-180.0..=180.0).contains(&self.longitude)
            && self.heading.is_none_or(|heading| (0.0..=360.0).contains(&heading))
    }
}
