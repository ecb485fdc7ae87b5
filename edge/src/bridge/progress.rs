//! Since when Kafka has confirmed nothing although something is in hand. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// When Kafka last confirmed something, or nothing was in hand.
#[derive(Debug)]
pub(super) struct Progress(Instant);

impl Progress {
    /// Nothing is in hand yet.
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Kafka has confirmed something, or is given its time anew.
    pub(super) fn made(&mut self, now: Instant) {
        self.0 = now;
    }

    /// So much is in hand now. Asked before each arrival, too: after a silence the first one is not late.
    pub(super) fn in_hand(&mut self, in_hand: usize, now: Instant) {
        if in_hand == 0 {
            self.0 = now;
        }
    }

    /// Whether there has been none for longer than this.
    pub(super) fn stands_for(&self, longer_than: Duration, now: Instant) -> bool {
        now.duration_since(self.0) > longer_than
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_hand_can_be_late() {
        const AFTER: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let silence_over = start + 10 * AFTER;
        assert!(progress.stands_for(AFTER, silence_over));
        progress.in_hand(0, silence_over);
        // The first reading after the silence has come.
        assert!(!progress.stands_for(AFTER, silence_over + AFTER));
        progress.in_hand(1, silence_over + AFTER);
        assert!(progress.stands_for(AFTER, silence_over + 2 * AFTER), "another arrival changes nothing");
        progress.made(silence_over + 2 * AFTER);
        assert!(!progress.stands_for(AFTER, silence_over + 3 * AFTER));
    }
}
