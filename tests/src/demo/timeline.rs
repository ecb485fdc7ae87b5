//! When what happens in the demo: pure arithmetic on simulated and wall time.
//!
//! Simulated time runs `speed` times as fast as the wall clock, starts in the past, and meets the wall clock at
//! the end, so that no event time lies in the future.

use std::time::Duration;

/// The demo's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Simulated time at the start, ms since the epoch.
    pub start: i64,
    /// Simulated time that passes, ms.
    pub duration_ms: i64,
    /// Faults begin this long after the start, simulated ms.
    pub faults_from_ms: i64,
    /// They begin within the first half of this time, and last until its end, simulated ms.
    pub faults_for_ms: i64,
    /// The trainer waits for this much recorded history, simulated ms.
    pub history_ms: i64,
    /// How much faster than the wall clock.
    pub speed: i64,
}

impl Timeline {
    /// A timeline that starts at the wall time `now` (ms) and takes `drive` of wall time.
    pub fn new(now: i64, drive: Duration, speed: u32) -> Self {
        let speed = i64::from(speed);
        let wall = i64::try_from(drive.as_millis()).unwrap_or(i64::MAX / 1000);
        let duration_ms = wall * speed;
        Self {
            start: now + wall - duration_ms,
            duration_ms,
            // History to learn from; time to train and to swap the model in; then the faults.
            history_ms: duration_ms * 40 / 100,
            faults_from_ms: duration_ms * 60 / 100,
            faults_for_ms: duration_ms * 40 / 100,
            speed,
        }
    }

    /// Event time of a reading that was due at wall time `due`, both ms since the epoch.
    pub fn event_time(&self, due: i64) -> i64 {
        let begun = self.start + self.duration_ms - self.duration_ms / self.speed;
        self.start + (due - begun) * self.speed
    }

    /// Simulated time at wall time `now`, ms since the epoch.
    pub fn simulated(&self, begun: i64, now: i64) -> i64 {
        self.start + (now - begun).clamp(0, self.duration_ms / self.speed) * self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_starts_in_the_past_and_ends_at_now() {
        let now = 1_763_700_000_000;
        let timeline = Timeline::new(now, Duration::from_secs(100), 60);
        let end = now + 100_000;
        assert_eq!(timeline.start + timeline.duration_ms, end);
        assert_eq!(timeline.simulated(now, end), end);
        assert_eq!(timeline.event_time(now), timeline.start);
        assert_eq!(timeline.event_time(end), end);
        // At every moment simulated time is not after wall time.
        assert!((0..=100_000).step_by(1000).all(|t| timeline.simulated(now, now + t) <= now + t));
        assert!(timeline.history_ms < timeline.faults_from_ms);
        assert!(timeline.faults_from_ms + timeline.faults_for_ms <= timeline.duration_ms);
    }
}
