//! Exponential back-off with full jitter.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Pauses between tries: each is drawn evenly from zero to a bound that doubles up to a maximum, so that many
/// clients that failed together don't return together.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    tries: u32,
    // Seeded by the system once per process; jitter needs no more.
    random: RandomState,
}

impl Backoff {
    /// The first pause is at most `base`, none is longer than `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, tries: 0, random: RandomState::new() }
    }

    /// The next pause.
    #[expect(clippy::should_implement_trait, reason = "an endless sequence with a reset is no iterator")]
    pub fn next(&mut self) -> Duration {
        let bound = self.base.saturating_mul(2_u32.saturating_pow(self.tries)).min(self.max);
        self.tries = self.tries.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a fraction needs no more than 53 bits")]
        let fraction = (self.random.hash_one(self.tries) >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(fraction)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
        self.random = RandomState::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_bound_that_doubles_up_to_the_maximum() {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(base, max);
        for n in 0..40 {
            assert!(backoff.next() <= base.saturating_mul(2_u32.saturating_pow(n)).min(max));
        }
        backoff.reset();
        assert!(backoff.next() <= base);
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let pauses = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(pauses(), pauses());
    }
}
