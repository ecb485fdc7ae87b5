//! Ageing: what years and kilometres have done to one vehicle before the simulation begins.

use rand_chacha::ChaCha8Rng;

use super::noise::{normal, uniform};

/// The age of one vehicle, as factors on what a new one has. All are 1 in a new vehicle.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wear {
    /// Driven before, m.
    pub(super) travelled: f64,
    /// Capacity of the traction battery.
    pub(super) capacity: f64,
    /// Internal resistance of the traction battery.
    pub(super) resistance: f64,
    /// Rolling radius: 6 mm of tread are 2 %.
    pub(super) radius: f64,
    /// Rolling resistance: little tread rolls lighter.
    pub(super) rolling: f64,
    /// Vibration of hubs and drive unit.
    pub(super) vibration: f64,
    /// Efficiency of the combustion: compression past the rings.
    pub(super) compression: f64,
    /// Oil pressure: clearance of the bearings.
    pub(super) oil: f64,
    /// Largest current of the alternator: brushes and diodes.
    pub(super) alternator: f64,
    /// Internal resistance of the 12 V battery.
    pub(super) low_voltage_resistance: f64,
}

impl Wear {
    /// A new vehicle.
    pub(super) fn none() -> Self {
        Self {
            travelled: 0.0,
            capacity: 1.0,
            resistance: 1.0,
            radius: 1.0,
            rolling: 1.0,
            vibration: 1.0,
            compression: 1.0,
            oil: 1.0,
            alternator: 1.0,
            low_voltage_resistance: 1.0,
        }
    }

    /// A vehicle of up to twelve years, some 13,000 km in each.
    pub(super) fn draw(draws: &mut ChaCha8Rng) -> Self {
        let years = uniform(draws, 0.1, 12.0);
        let travelled = years * 13_000_000.0 * (1.0 + 0.3 * normal(draws)).clamp(0.3, 2.0);
        // Of a life of 250,000 km.
        let life = (travelled / 2.5e8).min(1.0);
        let mut about = |mean: f64, deviation: f64| mean + deviation * normal(draws);
        let capacity = about(1.0 - 0.011 * years - 0.06 * life, 0.01).clamp(0.7, 1.0);
        let resistance = about(1.0 + 0.018 * years + 0.12 * life, 0.02).max(0.95);
        let vibration = about(1.0 + 0.25 * life, 0.04).max(0.8);
        let compression = about(1.0 - 0.05 * life, 0.008).min(1.0);
        let oil = about(1.0 - 0.18 * life, 0.02).min(1.03);
        let alternator = about(1.0 - 0.12 * life, 0.02).min(1.0);
        // It is replaced every six years.
        let low_voltage_resistance = about(1.0 + 0.12 * (years % 6.0), 0.03).max(0.9);
        // Tyres are replaced every 40,000 km.
        let tread = 1.0 - (travelled / 4.0e7).fract();
        let (radius, rolling) = (0.98 + 0.02 * tread, 0.94 + 0.06 * tread);
        Self {
            travelled,
            capacity,
            resistance,
            radius,
            rolling,
            vibration,
            compression,
            oil,
            alternator,
            low_voltage_resistance,
        }
    }
}
