//! Spreads connection attempts, so that a fleet does not knock at once.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// At most so many attempts in a second, for the whole process.
#[derive(Debug)]
pub(crate) struct Pace {
    origin: Instant,
    gap_us: u64,
    /// The next free slot, µs after the origin.
    next: AtomicU64,
}

impl Pace {
    /// `per_second` above 0.
    pub(crate) fn new(origin: Instant, per_second: u32) -> Self {
        Self { origin, gap_us: 1_000_000 / u64::from(per_second.clamp(1, 1_000_000)), next: AtomicU64::new(0) }
    }

    /// Reserves the next free slot: `now` or later.
    pub(crate) fn slot(&self, now: Instant) -> Instant {
        let now = u64::try_from(now.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX / 2);
        let next = |next: u64| Some(next.max(now).saturating_add(self.gap_us));
        let free = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        self.origin + Duration::from_micros(free.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_a_gap_apart_and_never_early() {
        let origin = Instant::now();
        let pace = Pace::new(origin, 100);
        let slots: Vec<_> = (0..5).map(|_| pace.slot(origin) - origin).collect();
        assert_eq!(slots, [0, 10, 20, 30, 40].map(Duration::from_millis));
        let late = origin + Duration::from_millis(500);
        assert_eq!(pace.slot(late), late);
        assert!(pace.slot(late) >= late + Duration::from_millis(10));
    }
}
