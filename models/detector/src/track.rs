//! The track of a vehicle's deviations: what a model made of its last readings, in blocks of event time.
//!
//! From it follow the [`STATISTICS`] of each signal: the largest of the last deviations (a spike), means over a
//! minute, ten minutes and an hour (a break, a bias), a CUSUM over the hours of a day (a drift), and how long a value
//! has stood still in a lively vehicle (a frozen sensor). What is older than [`HORIZON`] steps has no part in them.
//!
//! A track belongs to one model: with another it begins anew.

mod bytes;

use telemetry::UnixMillis;

use crate::{
    baseline::Baseline,
    residual::{Head, Residual},
    ring::Ring,
    window::{COARSE, FINE, Query},
};

/// Last deviations that are kept one by one.
const RECENT: usize = 6;
/// Fine blocks, the current one with them: about 60 steps.
const FINE_BLOCKS: usize = 10;
/// Coarse blocks, the current one with them: about 360 steps.
const COARSE_BLOCKS: usize = 6;
/// Steps of a slow block: at 0.1 Hz an hour.
const SLOW: i64 = 360;
/// Slow blocks that a CUSUM runs over; the current one is not among them.
pub(crate) const SLOW_BLOCKS: usize = 24;
/// What is older than so many steps has no part in a track.
pub(crate) const HORIZON: i64 = SLOW * (SLOW_BLOCKS as i64 + 1);
/// A mean over so many steps is one if three quarters of them were there.
const LENGTHS: [u16; MEANS] = [6, 60, 360];
/// Means of a head.
pub(crate) const MEANS: usize = 3;
/// Slow blocks that a CUSUM needs.
const LEAST_SLOW: usize = 6;
/// A slow block counts from so many deviations on.
const LEAST_IN_SLOW: u16 = 60;
/// What a CUSUM takes off each block, in spreads: shifts below twice this are not what it looks for.
const SLACK: f32 = 0.5;
/// One block moves a CUSUM at most so far.
const MOST_IN_SLOW: f32 = 4.0;

/// Statistics of a signal: per head the largest deviation and [`MEANS`] means, then CUSUM and run.
pub(crate) const STATISTICS: usize = 2 * (1 + MEANS) + 2;
/// Place of the CUSUM.
pub(crate) const CUSUM: usize = STATISTICS - 2;
/// Place of the run.
pub(crate) const RUN: usize = STATISTICS - 1;

/// Blocks of a minute that share what a statistic is made of.
pub(crate) const BLOCKS_ALIKE: [u64; STATISTICS] = [1, 1, 10, 60, 1, 1, 10, 60, 360, 60];

/// For people: what a statistic is.
pub(crate) const NAMES: [&str; STATISTICS] = [
    "largest",
    "mean of 6",
    "mean of 60",
    "mean of 360",
    "own largest",
    "own mean of 6",
    "own mean of 60",
    "own mean of 360",
    "drift",
    "frozen",
];

/// The statistics of one signal; NaN where there is too little.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Raw {
    /// Per head: the largest of the last deviations, its sign dropped.
    pub(crate) largest: [f32; 2],
    /// Per head: means, with their sign, before they are held against a baseline.
    pub(crate) means: [[f32; MEANS]; 2],
    /// CUSUM of head A over the slow blocks that are over, held against a baseline.
    pub(crate) cusum: f32,
    /// Readings for which the value stood still.
    pub(crate) run: u16,
}

/// Sum and number, per head.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Block {
    sum: [f32; 2],
    count: [u16; 2],
}

impl Block {
    fn add(&mut self, head: usize, deviation: f32) {
        self.sum[head] += deviation;
        self.count[head] = self.count[head].saturating_add(1);
    }

    fn with(mut self, other: &Self) -> Self {
        for head in 0..2 {
            self.sum[head] += other.sum[head];
            self.count[head] = self.count[head].saturating_add(other.count[head]);
        }
        self
    }

    /// The mean of a head over so many steps; NaN if too few of them were there.
    fn mean(&self, head: usize, length: u16) -> f32 {
        let count = self.count[head];
        if 4 * u32::from(count) < 3 * u32::from(length) { f32::NAN } else { self.sum[head] / f32::from(count) }
    }
}

/// Of head A only.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Slow {
    sum: f32,
    count: u16,
}

/// What is kept of the inputs.
#[derive(Debug, Clone, PartialEq, Default)]
struct Channels {
    /// Which inputs were ever known.
    there: Vec<bool>,
    recent: Vec<[[f32; RECENT]; 2]>,
    fine: Ring<Block, FINE_BLOCKS>,
    coarse: Ring<Block, COARSE_BLOCKS>,
    slow: Ring<Slow, { SLOW_BLOCKS + 1 }>,
    /// Sums of all fine and of all coarse blocks but the current ones; they follow from the blocks.
    before: [Vec<Block>; 2],
    /// Follows from the slow blocks and the baseline.
    cusum: Vec<f32>,
}

impl<const N: usize> Ring<Block, N> {
    /// The sums of all blocks but those at one place, newest first.
    fn but(&self, now: usize, sums: &mut [Block]) {
        sums.fill(Block::default());
        for back in 1..N {
            for (sum, block) in sums.iter_mut().zip(self.at((now + N - back) % N)) {
                *sum = sum.with(block);
            }
        }
    }
}

impl Channels {
    fn new(inputs: usize) -> Self {
        Self {
            there: vec![false; inputs],
            recent: vec![[[f32::NAN; RECENT]; 2]; inputs],
            fine: Ring::new(inputs),
            coarse: Ring::new(inputs),
            slow: Ring::new(inputs),
            before: [vec![Block::default(); inputs], vec![Block::default(); inputs]],
            cusum: vec![f32::NAN; inputs],
        }
    }

    fn len(&self) -> usize {
        self.there.len()
    }

    /// CUSUM of an input's slow blocks, upwards or downwards, whichever is larger.
    fn cusum(&self, input: usize, now: usize, baseline: &Baseline) -> f32 {
        let (center, spread) = (baseline.center[0], baseline.spread[0][MEANS - 1]);
        let (mut up, mut down, mut count) = (0.0_f32, 0.0_f32, 0);
        let blocks = (1..=SLOW_BLOCKS).map(|at| self.slow.at((now + at) % (SLOW_BLOCKS + 1))[input]);
        for Slow { sum, count: n } in blocks.filter(|slow| slow.count >= LEAST_IN_SLOW) {
            let z = ((sum / f32::from(n) - center) / spread).clamp(-MOST_IN_SLOW, MOST_IN_SLOW);
            up = (up + z - SLACK).max(0.0);
            down = (down - z - SLACK).max(0.0);
            count += 1;
        }
        if count < LEAST_SLOW { f32::NAN } else { up.max(down) }
    }

    /// Forgets the last deviations of what has not been there for as long as the slow blocks reach.
    fn forget(&mut self) {
        for input in (0..self.len()).filter(|input| self.there[*input]) {
            let is_gone = self.slow.of(input).all(|slow| slow.count == 0)
                && self.coarse.of(input).all(|block| block.count == [0; 2]);
            if is_gone {
                self.recent[input] = [[f32::NAN; RECENT]; 2];
            }
        }
    }

    /// Takes what was made of an input; its statistics.
    fn take(&mut self, input: usize, heads: &[Head; 2], now: Places, run: u16) -> Raw {
        self.there[input] = true;
        let mut raw = Raw { largest: [f32::NAN; 2], means: [[f32::NAN; MEANS]; 2], cusum: self.cusum[input], run };
        let (fine, coarse) = (&mut self.fine.at_mut(now.fine)[input], &mut self.coarse.at_mut(now.coarse)[input]);
        for (head, found) in heads.iter().enumerate() {
            let recent = &mut self.recent[input][head];
            recent.copy_within(0..RECENT - 1, 1);
            recent[0] = found.deviation;
            if !found.deviation.is_nan() {
                fine.add(head, found.deviation);
                coarse.add(head, found.deviation);
                if head == 0 {
                    let slow = &mut self.slow.at_mut(now.slow)[input];
                    *slow = Slow { sum: slow.sum + found.deviation, count: slow.count.saturating_add(1) };
                }
            }
        }
        let (middle, long) = (self.before[0][input].with(fine), self.before[1][input].with(coarse));
        for (head, recent) in self.recent[input].iter().enumerate() {
            // What is not known adds nothing; branches would take longer.
            let (mut largest, mut sum, mut count) = (0.0_f32, 0.0, 0.0_f32);
            for one in recent {
                let there = !one.is_nan();
                let value = if there { *one } else { 0.0 };
                largest = largest.max(value.abs());
                sum += value;
                count += if there { 1.0 } else { 0.0 };
            }
            raw.largest[head] = if count > 0.0 { largest } else { f32::NAN };
            let short = if 4.0 * count < 3.0 * f32::from(LENGTHS[0]) { f32::NAN } else { sum / count };
            raw.means[head] = [short, middle.mean(head, LENGTHS[1]), long.mean(head, LENGTHS[2])];
        }
        raw
    }
}

/// Places of the current blocks in their rings.
#[derive(Debug, Clone, Copy)]
struct Places {
    fine: usize,
    coarse: usize,
    slow: usize,
}

impl Places {
    fn at(time: UnixMillis, step_ms: i64) -> Self {
        let at = |steps: i64, ring: usize| time.div_euclid(steps * step_ms).rem_euclid(ring as i64) as usize;
        Self { fine: at(FINE, FINE_BLOCKS), coarse: at(COARSE, COARSE_BLOCKS), slow: at(SLOW, SLOW_BLOCKS + 1) }
    }
}

/// What a model made of a vehicle's last readings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Track {
    /// The model's tag; 0: none yet.
    tag: u64,
    time: UnixMillis,
    /// By input of the model.
    channels: Channels,
    /// Moment of the last reading whose score reached the limit, ms.
    pub(crate) alarmed: Option<UnixMillis>,
    /// Read from bytes: what follows from the blocks is not in order yet.
    restored: bool,
}

impl Track {
    /// An empty track.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a model with this tag made of the vehicle's next reading. Blocks are multiples of a step of
    /// `step_ms`. Writes the statistics of every signal in the residual, in its order, over what is in `found`.
    pub(crate) fn advance(
        &mut self,
        (tag, step_ms): (u64, i64),
        baselines: &[Baseline],
        (query, residual): (&Query, &Residual),
        found: &mut Vec<Raw>,
    ) {
        if self.tag != tag || query.time < self.time {
            *self = Self { tag, time: query.time, ..Self::default() };
        }
        if self.channels.len() != baselines.len() {
            self.channels = Channels::new(baselines.len());
        }
        let near = (query.time - self.time) * 10 <= step_ms * 25;
        let now = Places::at(query.time, step_ms);
        self.pass(query.time, step_ms, baselines);
        if !near {
            self.channels.recent.fill([[f32::NAN; RECENT]; 2]);
        }
        found.clear();
        for (n, input, heads) in &residual.signals {
            found.push(self.channels.take(usize::from(*input), heads, now, query.signals[usize::from(*n)].run));
        }
    }

    /// Empties the blocks that begin anew, and puts what follows from the others in order.
    fn pass(&mut self, time: UnixMillis, step_ms: i64, baselines: &[Baseline]) {
        let gone = |steps: i64, ring: usize| {
            let (from, to) = (self.time.div_euclid(steps * step_ms), time.div_euclid(steps * step_ms));
            let ring = ring as i64;
            (to - (to - from).min(ring) + 1..=to).map(move |block| block.rem_euclid(ring) as usize)
        };
        let (mut fine, mut coarse) = (gone(FINE, FINE_BLOCKS).peekable(), gone(COARSE, COARSE_BLOCKS).peekable());
        let mut slow = gone(SLOW, SLOW_BLOCKS + 1).peekable();
        let (now, restored) = (Places::at(time, step_ms), self.restored);
        let channels = &mut self.channels;
        if restored || fine.peek().is_some() {
            fine.for_each(|at| channels.fine.at_mut(at).fill(Block::default()));
            channels.fine.but(now.fine, &mut channels.before[0]);
        }
        if restored || coarse.peek().is_some() {
            coarse.for_each(|at| channels.coarse.at_mut(at).fill(Block::default()));
            channels.coarse.but(now.coarse, &mut channels.before[1]);
        }
        let turned = slow.peek().is_some();
        if restored || turned {
            slow.for_each(|at| channels.slow.at_mut(at).fill(Slow::default()));
            // Not where a track was read from bytes: it would forget at other moments than one that went on.
            if turned {
                channels.forget();
            }
            for (input, baseline) in baselines.iter().enumerate().filter(|(input, _)| channels.there[*input]) {
                channels.cusum[input] = channels.cusum(input, now.slow, baseline);
            }
        }
        self.restored = false;
        self.time = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The CUSUM of these means of slow blocks, oldest first, in spreads.
    fn cusum(means: &[f32]) -> f32 {
        let mut channels = Channels::new(1);
        for (place, mean) in means.iter().enumerate() {
            channels.slow.at_mut(place)[0] = Slow { sum: mean * f32::from(LEAST_IN_SLOW), count: LEAST_IN_SLOW };
        }
        // The current block is the one behind the last.
        channels.cusum(0, means.len(), &Baseline::PLAIN)
    }

    #[test]
    fn a_cusum_sums_what_shifts_for_hours_and_nothing_that_is_usual() {
        assert!(cusum(&[1.0; LEAST_SLOW - 1]).is_nan(), "too few hours");
        assert_eq!(cusum(&[SLACK; 20]), 0.0);
        assert_eq!(cusum(&[1.0; 20]), 20.0 * (1.0 - SLACK));
        assert_eq!(cusum(&[-1.0; 20]), 20.0 * (1.0 - SLACK), "downwards as well");
        assert_eq!(cusum(&[0.0, 0.0, 0.0, 0.0, 0.0, 1e6]), MOST_IN_SLOW - SLACK, "one hour is no drift");
        assert_eq!(cusum(&[1.0, 1.0, 1.0, -9.0, 0.0, 0.0]), MOST_IN_SLOW - 3.0 * SLACK, "what turns back is forgotten");
    }
}
