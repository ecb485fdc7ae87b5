//! Motion: a driver who follows target speeds, slopes, bends, wind and traffic, and where that leads.
//!
//! The targets come from the classic cycle, which alternates between city, country road and motorway, stops at
//! lights, and charges when the battery is low, or from an [`Itinerary`]. Faults don't change how he drives; he
//! makes them good with his feet.

use rand_chacha::ChaCha8Rng;

use super::{
    Moment,
    build::Build,
    constants::{CHARGING_POWER, GRAVITY, SPEED_LIMIT},
    cycle::{Activity, Itinerary},
    noise::{Wander, chance, normal, uniform},
};

/// Metres per degree of latitude.
const METRES_PER_DEGREE: f64 = 111_320.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    City,
    Country,
    Motorway,
}

impl Road {
    fn draw(draws: &mut ChaCha8Rng) -> Self {
        match uniform(draws, 0.0, 1.0) {
            share if share < 0.40 => Self::City,
            share if share < 0.72 => Self::Country,
            _ => Self::Motorway,
        }
    }

    /// How long one stays on such a road, s.
    fn duration(self, draws: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::City => uniform(draws, 180.0, 480.0),
            Self::Country => uniform(draws, 240.0, 540.0),
            Self::Motorway => uniform(draws, 300.0, 720.0),
        }
    }

    /// The next target speed (km/h) and how long it holds (s). 0 is a stop at a light.
    fn leg(self, draws: &mut ChaCha8Rng) -> (f64, f64) {
        let (stop, stop_s, speed, hold_s) = match self {
            Self::City => (0.35, (6.0, 30.0), (24.0, 58.0), (20.0, 60.0)),
            Self::Country => (0.08, (5.0, 20.0), (58.0, 102.0), (40.0, 120.0)),
            Self::Motorway => (0.0, (0.0, 0.0), (92.0, 136.0), (50.0, 180.0)),
        };
        if chance(draws, stop) {
            (0.0, 8.0 + uniform(draws, stop_s.0, stop_s.1))
        } else {
            (uniform(draws, speed.0, speed.1), uniform(draws, hold_s.0, hold_s.1))
        }
    }

    /// Roughness of the surface against the average.
    fn roughness(self) -> f64 {
        match self {
            Self::City => 1.15,
            Self::Country => 1.0,
            Self::Motorway => 0.85,
        }
    }
}

/// The classic cycle.
#[derive(Debug, Clone)]
struct Roads {
    road: Road,
    road_left_s: f64,
    leg_left_s: f64,
    /// Charging (or refuelling) ends at this percentage; `None` while not looking for a charger.
    charge_until: Option<f64>,
    /// Whether the charger is a pump.
    burns: bool,
}

impl Roads {
    fn draw(burns: bool, draws: &mut ChaCha8Rng) -> Self {
        let road = Road::draw(draws);
        Self { road, road_left_s: road.duration(draws), leg_left_s: 0.0, charge_until: None, burns }
    }

    /// Decides on the next leg, road and charging stop: the new target, m/s.
    fn plan(&mut self, seconds: f64, charge: f64, build: &Build, draws: &mut ChaCha8Rng) -> Option<f64> {
        self.leg_left_s -= seconds;
        self.road_left_s -= seconds;
        if let Some(until) = self.charge_until {
            if charge < until {
                return Some(0.0);
            }
            self.charge_until = None;
            self.leg_left_s = 0.0;
        }
        if self.leg_left_s > 0.0 {
            return None;
        }
        if charge < build.charge_below {
            self.charge_until = Some(build.charge_below + build.charge_by);
            return Some(0.0);
        }
        if self.road_left_s <= 0.0 {
            self.road = Road::draw(draws);
            self.road_left_s = self.road.duration(draws);
        }
        let (kmh, hold_s) = self.road.leg(draws);
        self.leg_left_s = hold_s;
        Some(kmh / 3.6)
    }

    fn activity(&self, moving: bool) -> Activity {
        match self.charge_until {
            Some(_) if !moving && self.burns => Activity::Refuelling,
            Some(_) if !moving => Activity::Charging(CHARGING_POWER),
            _ => Activity::Trip,
        }
    }
}

/// Where the next target speed comes from.
#[derive(Debug, Clone)]
enum Targets {
    Classic(Roads),
    Wltp(Itinerary),
}

/// Where the vehicle is and how it moves.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    targets: Targets,
    /// What is being done with it.
    pub(super) activity: Activity,
    /// m/s.
    target: f64,
    /// m/s.
    pub(super) speed: f64,
    /// Change of the speed, m/s².
    pub(super) acceleration: f64,
    traffic: Wander,
    hills: Wander,
    wind: Wander,
    bends: Wander,
    /// Rad clockwise from north.
    heading: f64,
    /// Driven since the position was last computed, m.
    since_located: f64,
    /// Degrees.
    pub(super) latitude: f64,
    /// Degrees.
    pub(super) longitude: f64,
    /// Since the vehicle was built, m.
    pub(super) travelled: f64,
}

impl Drive {
    /// On the roads of the classic cycle.
    pub(super) fn classic(burns: bool, draws: &mut ChaCha8Rng) -> Self {
        let targets = Targets::Classic(Roads::draw(burns, draws));
        Self::with(targets, draws)
    }

    /// With trips and pauses.
    pub(super) fn wltp(itinerary: Itinerary, draws: &mut ChaCha8Rng) -> Self {
        Self::with(Targets::Wltp(itinerary), draws)
    }

    fn with(targets: Targets, draws: &mut ChaCha8Rng) -> Self {
        Self {
            activity: Activity::Trip,
            targets,
            target: 0.0,
            speed: 0.0,
            acceleration: 0.0,
            traffic: Wander::draw(draws),
            hills: Wander::draw(draws),
            wind: Wander::draw(draws),
            bends: Wander::draw(draws),
            heading: uniform(draws, 0.0, std::f64::consts::TAU),
            since_located: 0.0,
            // Southern Germany and around, as good a place to drive as any.
            latitude: 48.8 + 0.5 * normal(draws),
            longitude: 9.5 + 0.8 * normal(draws),
            travelled: uniform(draws, 5.0e6, 1.5e8),
        }
    }

    /// One sub-step; `energy` is what battery or tank hold in percent.
    pub(super) fn advance(&mut self, energy: f64, now: &Moment, draws: &mut ChaCha8Rng) {
        let Moment { seconds, build, .. } = *now;
        let next = match &mut self.targets {
            Targets::Classic(roads) => roads.plan(seconds, energy, build, draws),
            Targets::Wltp(itinerary) => {
                let next = itinerary.advance(energy, self.speed, now, draws);
                self.activity = itinerary.activity;
                if self.activity != Activity::Trip {
                    // Left alone: nothing moves.
                    (self.target, self.speed, self.acceleration) = (0.0, 0.0, 0.0);
                    return;
                }
                next
            }
        };
        if let Some(next) = next {
            self.target = next;
        }
        self.traffic.advance(seconds, 20.0, draws);
        self.hills.advance(seconds, 45.0, draws);
        self.wind.advance(seconds, 60.0, draws);
        self.bends.advance(seconds, 12.0, draws);

        let limit = match &self.targets {
            Targets::Classic(_) => SPEED_LIMIT,
            Targets::Wltp(itinerary) => itinerary.top(),
        };
        let target = if self.target > 0.0 { (self.target + 0.9 * self.traffic.value()).clamp(3.0, limit) } else { 0.0 };
        let strongest = build.briskness * (2.0 - 0.035 * self.speed);
        let wanted = ((target - self.speed) / 5.0).clamp(-2.2, strongest);
        self.acceleration += (wanted - self.acceleration) * (seconds / 1.5).min(1.0);
        let speed = (self.speed + self.acceleration * seconds).clamp(0.0, SPEED_LIMIT);
        self.speed = speed;
        if target == 0.0 && speed < 0.5 {
            self.speed = 0.0;
            self.acceleration = 0.0;
        }
        self.travelled += self.speed * seconds;
        self.since_located += self.speed * seconds;
        if self.moving() {
            self.heading =
                (self.heading + self.lateral() / self.speed.max(3.0) * seconds).rem_euclid(std::f64::consts::TAU);
        }
        if let Targets::Classic(roads) = &self.targets {
            self.activity = roads.activity(self.speed > 0.0);
        }
    }

    /// Moves the position along the heading by what was driven since the last call.
    pub(super) fn locate(&mut self) {
        let (east, north) = self.heading.sin_cos();
        let (latitude, longitude) = (self.latitude, self.longitude);
        let degrees = self.since_located / METRES_PER_DEGREE;
        self.since_located = 0.0;
        self.latitude = latitude + degrees * north;
        self.longitude = longitude + degrees * east / 0.66;
        // A vehicle that leaves the region turns back, so that it never falls off the map.
        if (self.latitude - 48.8).abs() > 5.0 || (self.longitude - 9.5).abs() > 8.0 {
            (self.latitude, self.longitude) = (latitude, longitude);
            self.heading = (self.heading + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU);
        }
    }

    /// Whether the wheels turn.
    pub(super) fn moving(&self) -> bool {
        self.speed > 0.0
    }

    /// Under way at a constant speed, m/s, on a level road without wind.
    #[cfg(test)]
    pub(super) fn calm(&mut self, speed: f64) {
        (self.activity, self.speed, self.acceleration) = (Activity::Trip, speed, 0.0);
        (self.hills, self.wind) = (Wander::default(), Wander::default());
    }

    /// The phase of the cycle, where it has phases and a trip is under way.
    #[cfg(test)]
    pub(super) fn phase(&self) -> Option<super::cycle::Phase> {
        match &self.targets {
            Targets::Wltp(itinerary) if itinerary.activity == Activity::Trip => Some(itinerary.phase),
            _ => None,
        }
    }

    /// Component of gravity against the direction of travel, m/s²: slopes of some 1.5 %.
    pub(super) fn slope(&self) -> f64 {
        GRAVITY * 0.015 * self.hills.value()
    }

    /// Head wind, m/s.
    pub(super) fn head_wind(&self) -> f64 {
        1.3 * self.wind.value()
    }

    /// Lateral acceleration, m/s²; positive in a right-hand bend.
    pub(super) fn lateral(&self) -> f64 {
        let share = (self.speed / 12.0).min(1.0);
        (0.7 * self.bends.value() * share).clamp(-3.5, 3.5)
    }

    /// Degrees clockwise from north.
    pub(super) fn heading_degrees(&self) -> f64 {
        self.heading.to_degrees()
    }

    /// Roughness of the road against the average.
    pub(super) fn roughness(&self) -> f64 {
        match &self.targets {
            Targets::Classic(roads) => roads.road.roughness(),
            Targets::Wltp(itinerary) => itinerary.phase.roughness(),
        }
    }
}
