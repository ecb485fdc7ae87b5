//! The simulated clock.
//!
//! Simulated time at the wall time `w` is `start + (w − wall_start) × speed`. When it reaches the real time it
//! goes on with it, at speed 1: a reading is never stamped in the future. So a fleet may begin an hour ago at
//! 60 times the speed, catch up in about a minute, and drive on live.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telemetry::UnixMillis;

/// Wall time now, ms since the epoch.
pub fn wall_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

/// Where simulated time began: with it, a process that was killed goes on where it would be by now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// Simulated time at `wall_start`, ms since the epoch; not after it.
    pub start: UnixMillis,
    /// Wall time, ms since the epoch.
    pub wall_start: UnixMillis,
    /// Simulated seconds in a second, above 0.
    pub speed: f64,
}

impl Anchor {
    /// Simulated time at a wall time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "spans of a simulation, in ms")]
    pub fn at(&self, wall: UnixMillis) -> UnixMillis {
        let elapsed = (wall - self.wall_start) as f64;
        let simulated = self.start.saturating_add((elapsed * self.speed).floor() as i64);
        simulated.min(wall)
    }

    /// The earliest wall time at which simulated time has reached `time`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "spans of a simulation, in ms")]
    pub fn wall_of(&self, time: UnixMillis) -> UnixMillis {
        let elapsed = (time - self.start) as f64 / self.speed;
        self.wall_start.saturating_add(elapsed.ceil() as i64).max(time)
    }
}

/// An [`Anchor`] with a running clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Anchor,
    origin: Instant,
    origin_wall: UnixMillis,
}

impl Clock {
    /// Runs from here on; steps of the system's clock no longer matter.
    pub fn new(anchor: Anchor) -> Self {
        Self { anchor, origin: Instant::now(), origin_wall: wall_now() }
    }

    /// Where it began.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Wall time, ms since the epoch.
    pub fn wall(&self) -> UnixMillis {
        self.origin_wall + UnixMillis::try_from(self.origin.elapsed().as_millis()).unwrap_or(UnixMillis::MAX / 2)
    }

    /// Simulated time, ms since the epoch.
    pub fn simulated(&self) -> UnixMillis {
        self.anchor.at(self.wall())
    }

    /// Monotonic ms since this clock was made.
    pub fn monotonic(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment of a monotonic time.
    pub fn instant_of_monotonic(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms)
    }

    /// The moment at which simulated time reaches `time`.
    pub fn instant_of(&self, time: UnixMillis) -> Instant {
        let ahead = u64::try_from(self.anchor.wall_of(time) - self.origin_wall).unwrap_or(0);
        self.instant_of_monotonic(ahead)
    }

    /// The wall time at which simulated time reaches `time`, ms since the epoch.
    pub fn wall_of(&self, time: UnixMillis) -> UnixMillis {
        self.anchor.wall_of(time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALL: UnixMillis = 1_760_000_000_000;

    #[test]
    fn it_catches_up_and_goes_on_live() {
        let anchor = Anchor { start: WALL - 3_540_000, wall_start: WALL, speed: 60.0 };
        assert_eq!(anchor.at(WALL), WALL - 3_540_000);
        assert_eq!(anchor.at(WALL + 1_000), WALL - 3_480_000);
        assert_eq!(anchor.at(WALL + 60_000), WALL + 60_000, "59 minutes are made up in one");
        assert_eq!(anchor.at(WALL + 90_000), WALL + 90_000);
    }

    proptest! {
        #[test]
        fn no_stamp_lies_in_the_future_and_the_inverse_holds(
            behind in 0..10_000_000_i64, speed in 0.1..500.0_f64, wall in 0..10_000_000_i64, time in 0..20_000_000_i64,
        ) {
            let anchor = Anchor { start: WALL - behind, wall_start: WALL, speed };
            prop_assert!(anchor.at(WALL + wall) <= WALL + wall);
            let time = anchor.start + time;
            let reached = anchor.wall_of(time);
            // Within the rounding of one ms of wall time.
            prop_assert!(anchor.at(reached + 1) >= time, "{} {}", anchor.at(reached + 1), time);
            prop_assert!(reached == WALL || anchor.at(reached - 2) < time);
        }
    }
}
