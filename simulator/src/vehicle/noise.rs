//! Draws: uniform and normal numbers, slowly wandering values, and the sensors' own cheap generator.
//!
//! Only additions, multiplications and square roots are used, which every machine rounds alike.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A normal draw (mean 0, deviation 1) from 64 random bits: the sum of four uniform ones, so never beyond ±3.47.
fn normal_of(bits: u64) -> f64 {
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    // Four uniform numbers in 0..1 have the mean 2 and the variance 1/3.
    ((sum as f64 + 2.0) / 65_536.0 - 2.0) * 1.732_050_807_568_877_2
}

/// A normal draw, mean 0, deviation 1.
pub(super) fn normal(draws: &mut ChaCha8Rng) -> f64 {
    normal_of(draws.next_u64())
}

/// A uniform draw.
pub(super) fn uniform(draws: &mut ChaCha8Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * ((draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Whether something of this probability happens.
pub(super) fn chance(draws: &mut ChaCha8Rng, probability: f64) -> bool {
    uniform(draws, 0.0, 1.0) < probability
}

/// A value that wanders about 0 and comes back (Ornstein–Uhlenbeck), in deviations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wander(f64);

impl Wander {
    pub(super) fn draw(draws: &mut ChaCha8Rng) -> Self {
        Self(normal(draws))
    }

    /// Advances by `seconds`, which must be well below the time constant.
    pub(super) fn advance(&mut self, seconds: f64, time_constant: f64, draws: &mut ChaCha8Rng) {
        let share = seconds / time_constant;
        self.0 += (2.0 * share).sqrt() * normal(draws) - self.0 * share;
    }

    pub(super) fn value(self) -> f64 {
        self.0
    }
}

/// The sensors' generator (SplitMix64): 8 bytes of state, seeded from the vehicle's ChaCha stream.
#[derive(Debug, Clone)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn draw(draws: &mut ChaCha8Rng) -> Self {
        Self(draws.next_u64())
    }

    /// A normal draw, mean 0, deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        normal_of(bits ^ (bits >> 31))
    }
}
