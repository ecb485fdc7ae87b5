//! Trips and pauses in the manner of the WLTC: phases with its speeds and its share of standstill, between them
//! parking, charging and refuelling by the time of day.
//!
//! The WLTC of class 3b (UN GTR 15) is a trace of 1,800 s; driving it over and over would show every vehicle the
//! same second. What is taken from it are the published figures of its four phases ([`Phase::facts`]); legs between
//! stops are drawn so that many of them have these figures (measured by a test).

use rand_chacha::ChaCha8Rng;

use super::{
    Moment,
    climate::Sky,
    noise::{chance, uniform},
};

/// A part of a trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Low,
    Medium,
    High,
    ExtraHigh,
}

/// What is published of a phase of the WLTC, class 3b.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Duration, s.
    pub(super) seconds: f64,
    /// Distance, m.
    #[cfg_attr(not(test), expect(dead_code, reason = "the legs are judged by it"))]
    pub(super) metres: f64,
    /// Largest speed, km/h.
    pub(super) top: f64,
    /// Share of the time at standstill.
    #[cfg_attr(not(test), expect(dead_code, reason = "the legs are judged by it"))]
    pub(super) standstill: f64,
}

impl Phase {
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::ExtraHigh];

    pub(super) fn facts(self) -> Facts {
        match self {
            Self::Low => Facts { seconds: 589.0, metres: 3_095.0, top: 56.5, standstill: 0.265 },
            Self::Medium => Facts { seconds: 433.0, metres: 4_756.0, top: 76.6, standstill: 0.111 },
            Self::High => Facts { seconds: 455.0, metres: 7_162.0, top: 97.4, standstill: 0.068 },
            Self::ExtraHigh => Facts { seconds: 323.0, metres: 8_254.0, top: 131.3, standstill: 0.022 },
        }
    }

    /// The next target speed (m/s) and how long it holds (s); 0 is a stop.
    fn leg(self, draws: &mut ChaCha8Rng) -> (f64, f64) {
        let (stop, stop_s, kmh, hold_s) = match self {
            Self::Low => (0.32, (6.0, 32.0), (9.0, 50.0), (10.0, 40.0)),
            Self::Medium => (0.22, (6.0, 26.0), (29.0, 71.0), (15.0, 50.0)),
            Self::High => (0.17, (6.0, 26.0), (41.0, 92.0), (20.0, 60.0)),
            Self::ExtraHigh => (0.08, (10.0, 30.0), (71.0, 129.0), (25.0, 80.0)),
        };
        if chance(draws, stop) {
            // Slowing down takes some 8 s of it.
            (0.0, 8.0 + uniform(draws, stop_s.0, stop_s.1))
        } else {
            (uniform(draws, kmh.0, kmh.1) / 3.6, uniform(draws, hold_s.0, hold_s.1))
        }
    }

    /// Roughness of the surface against the average.
    pub(super) fn roughness(self) -> f64 {
        match self {
            Self::Low => 1.2,
            Self::Medium => 1.05,
            Self::High => 0.95,
            Self::ExtraHigh => 0.85,
        }
    }

    /// The phase below, on the way home.
    fn below(self) -> Option<Self> {
        match self {
            Self::Low => None,
            Self::Medium => Some(Self::Low),
            Self::High => Some(Self::Medium),
            Self::ExtraHigh => Some(Self::High),
        }
    }

    /// The phase above, on the way out.
    fn above(self) -> Self {
        match self {
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::ExtraHigh => Self::ExtraHigh,
        }
    }
}

/// What one does with the vehicle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Activity {
    /// Under way, stops at lights included.
    Trip,
    /// Left alone.
    Parked,
    /// At a charger of so many W.
    Charging(f64),
    /// At a fuel pump.
    Refuelling,
}

/// A charger at home or at work, W.
const SLOW_CHARGER: f64 = 11_000.0;
/// A roadside charger, W.
const FAST_CHARGER: f64 = 70_000.0;
/// What is left when a trip is broken off for energy, percent.
const RESERVE: f64 = 9.0;

/// Where one is between two pauses.
#[derive(Debug, Clone)]
pub(super) struct Itinerary {
    pub(super) activity: Activity,
    pub(super) phase: Phase,
    /// The fastest phase of the trip.
    turning: Phase,
    outward: bool,
    /// Of the phase or of the pause, s.
    left_s: f64,
    leg_left_s: f64,
    /// Charging or refuelling ends here, percent.
    until: f64,
    /// What one looks for when little is left: a charger or a pump.
    burns: bool,
}

impl Itinerary {
    /// Somewhere in a day: more likely under way in the daytime.
    pub(super) fn draw(burns: bool, hour: f64, draws: &mut ChaCha8Rng) -> Self {
        let phase = Phase::Low;
        let mut itinerary = Self {
            activity: Activity::Parked,
            phase,
            turning: phase,
            outward: true,
            left_s: 0.0,
            leg_left_s: 0.0,
            until: 0.0,
            burns,
        };
        let busy = if (6.0..20.0).contains(&hour) { 0.25 } else { 0.04 };
        if chance(draws, busy) {
            itinerary.depart(draws);
        } else {
            // One looks in at any moment of a pause, and meets the long ones more often.
            let longer = pause_s(hour, draws).max(pause_s(hour, draws));
            itinerary.left_s = longer * uniform(draws, 0.0, 1.0);
        }
        itinerary
    }

    fn depart(&mut self, draws: &mut ChaCha8Rng) {
        self.activity = Activity::Trip;
        self.turning = match uniform(draws, 0.0, 1.0) {
            share if share < 0.20 => Phase::Low,
            share if share < 0.50 => Phase::Medium,
            share if share < 0.80 => Phase::High,
            _ => Phase::ExtraHigh,
        };
        self.outward = true;
        // One gets in, starts, and looks about.
        self.leg_left_s = uniform(draws, 5.0, 20.0);
        self.enter(Phase::Low, draws);
    }

    fn enter(&mut self, phase: Phase, draws: &mut ChaCha8Rng) {
        self.phase = phase;
        self.left_s += phase.facts().seconds * uniform(draws, 0.6, 1.4);
        if phase == Phase::ExtraHigh {
            // Motorways lead further than 8 km.
            self.left_s += uniform(draws, 0.0, 1_200.0);
        }
    }

    /// Ends the trip; `energy` is what battery or tank hold, percent, and `low` when one looks for more.
    fn arrive(&mut self, energy: f64, low: f64, sky: Sky, draws: &mut ChaCha8Rng) {
        let pause = pause_s(sky.hour, draws);
        self.left_s = pause;
        let long = pause > 7_200.0;
        self.activity = if self.burns && energy < low {
            self.until = 98.0;
            self.left_s = uniform(draws, 180.0, 420.0);
            Activity::Refuelling
        } else if !self.burns && long && energy < 65.0 {
            self.until = 90.0;
            Activity::Charging(SLOW_CHARGER)
        } else if !self.burns && energy < low {
            self.until = 80.0;
            Activity::Charging(FAST_CHARGER)
        } else {
            Activity::Parked
        };
    }

    /// The next target speed, m/s, if one is due. `energy` is what battery or tank hold, percent.
    pub(super) fn advance(&mut self, energy: f64, speed: f64, now: &Moment, draws: &mut ChaCha8Rng) -> Option<f64> {
        let Moment { seconds, sky, build, .. } = *now;
        self.left_s -= seconds;
        if self.activity != Activity::Trip {
            return self.pause(energy, draws).then_some(0.0);
        }
        self.leg_left_s -= seconds;
        if self.left_s <= 0.0 {
            // As in the WLTC, every phase ends with a halt.
            if speed > 0.0 {
                return Some(0.0);
            }
            self.outward &= self.phase != self.turning;
            let next = if self.outward { Some(self.phase.above()) } else { self.phase.below() };
            match next.filter(|_| energy >= RESERVE) {
                Some(next) => {
                    self.leg_left_s = uniform(draws, 2.0, 8.0);
                    self.enter(next, draws);
                }
                None => self.arrive(energy, build.charge_below, sky, draws),
            }
            return Some(0.0);
        }
        if self.leg_left_s > 0.0 {
            return None;
        }
        let (target, hold_s) = self.phase.leg(draws);
        self.leg_left_s = hold_s;
        Some(target)
    }

    /// Goes on with a pause; whether it ended.
    fn pause(&mut self, energy: f64, draws: &mut ChaCha8Rng) -> bool {
        let full = energy >= self.until;
        match self.activity {
            // A cable may stay in all night.
            Activity::Charging(power) if full && (power < FAST_CHARGER || self.left_s > 0.0) => {
                self.activity = Activity::Parked;
            }
            // Who came with an empty battery waits for it.
            Activity::Charging(_) if energy < RESERVE + 15.0 => self.left_s = self.left_s.max(1.0),
            _ => {}
        }
        if self.left_s > 0.0 {
            return false;
        }
        self.left_s = 0.0;
        self.depart(draws);
        true
    }

    /// The largest speed here, m/s.
    pub(super) fn top(&self) -> f64 {
        self.phase.facts().top / 3.6
    }
}

/// How long the vehicle stands after a trip that ends now, s.
fn pause_s(hour: f64, draws: &mut ChaCha8Rng) -> f64 {
    let night = !(5.5..20.5).contains(&hour);
    if night && chance(draws, 0.9) {
        let morning = uniform(draws, 5.5, 8.5);
        return (morning - hour).rem_euclid(24.0) * 3_600.0;
    }
    if chance(draws, 0.45) { uniform(draws, 180.0, 1_200.0) } else { uniform(draws, 1_200.0, 9_000.0) }
}
