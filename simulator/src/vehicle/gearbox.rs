//! The automatic six-speed gearbox of a combustion car.

/// Turns of the crankshaft per turn of a wheel, final drive included, by gear.
const RATIOS: [f64; 6] = [15.0, 8.8, 5.9, 4.5, 3.65, 3.0];
/// Efficiency of gears and shafts.
pub(super) const EFFICIENCY: f64 = 0.93;
/// Below this speed of the vehicle the clutch is open when nothing pulls, m/s.
const OPEN_BELOW: f64 = 1.5;

/// Which gear is in.
#[derive(Debug, Clone)]
pub(super) struct Gearbox {
    /// 1 to 6; 0 is neutral.
    pub(super) gear: u8,
}

impl Gearbox {
    /// In neutral.
    pub(super) fn new() -> Self {
        Self { gear: 0 }
    }

    /// Turns of the crankshaft per turn of a wheel; 0 in neutral.
    pub(super) fn ratio(&self) -> f64 {
        usize::from(self.gear).checked_sub(1).map_or(0.0, |at| RATIOS[at])
    }

    /// Changes the gear at most once. `wheel` in rad/s, `speed` of the vehicle in m/s, `pedal` in percent of its
    /// travel.
    pub(super) fn shift(&mut self, wheel: f64, speed: f64, pedal: f64, running: bool) {
        if !running || speed < OPEN_BELOW && pedal == 0.0 {
            self.gear = 0;
            return;
        }
        if self.gear == 0 {
            // Whoever coasts back in finds the gear at once.
            let rpm = |ratio: f64| wheel * ratio * 30.0 / std::f64::consts::PI;
            self.gear = (1..=6).rev().find(|gear| rpm(RATIOS[usize::from(*gear) - 1]) > 1_300.0).unwrap_or(1);
        }
        let rpm = wheel * self.ratio() * 30.0 / std::f64::consts::PI;
        // The heavier the foot, the later up and the earlier down.
        if rpm > 2_050.0 + 24.0 * pedal && self.gear < 6 {
            self.gear += 1;
        } else if rpm < 1_050.0 + 6.0 * pedal && self.gear > 1 {
            self.gear -= 1;
        }
    }
}
