//! The track of a vehicle's deviations: what a model made of its last readings, in blocks of event time.
//!
//! From it follow the [`STATISTICS`] of each signal: the largest of the last deviations (a spike), means over a
//! minute, ten minutes and an hour (a break, a bias), a CUSUM over the hours of a day (a drift), and how long a value
//! has stood still in a lively vehicle (a frozen sensor). What is older than [`HORIZON`] steps has no part in them.
//!
//! A track belongs to one model: with another it begins anew.

use telemetry::UnixMillis;

use crate::{
    Error,
    baseline::Baseline,
    residual::{Head, Residual},
    window::{COARSE, FINE, Query, take},
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

#[derive(Debug, Clone, PartialEq)]
struct Channel {
    recent: [[f32; RECENT]; 2],
    fine: [Block; FINE_BLOCKS],
    coarse: [Block; COARSE_BLOCKS],
    /// Of head A only.
    slow: [(f32, u16); SLOW_BLOCKS + 1],
    /// Sums of all fine and all coarse blocks but the current ones; they follow from the blocks.
    before: [Block; 2],
    /// Follows from the slow blocks and the baseline.
    cusum: f32,
}

impl Channel {
    const EMPTY: Self = Self {
        recent: [[f32::NAN; RECENT]; 2],
        fine: [Block { sum: [0.0; 2], count: [0; 2] }; FINE_BLOCKS],
        coarse: [Block { sum: [0.0; 2], count: [0; 2] }; COARSE_BLOCKS],
        slow: [(0.0, 0); SLOW_BLOCKS + 1],
        before: [Block { sum: [0.0; 2], count: [0; 2] }; 2],
        cusum: f32::NAN,
    };

    /// Puts what follows from the blocks in order: after blocks began anew, and after a restart.
    fn follow(&mut self, now: Places, baseline: &Baseline) {
        let older = |blocks: &[Block], now: usize| {
            let back = (1..blocks.len()).map(|back| &blocks[(now + blocks.len() - back) % blocks.len()]);
            back.fold(Block::default(), |sum, block| sum.with(block))
        };
        self.before = [older(&self.fine, now.fine), older(&self.coarse, now.coarse)];
        self.cusum = self.cusum(now.slow, baseline.center[0], baseline.spread[0][MEANS - 1]);
    }

    /// CUSUM of the slow blocks, upwards or downwards, whichever is larger.
    fn cusum(&self, now: usize, center: f32, spread: f32) -> f32 {
        let (mut up, mut down, mut count) = (0.0_f32, 0.0_f32, 0);
        let blocks = (1..=SLOW_BLOCKS).map(|at| self.slow[(now + at) % (SLOW_BLOCKS + 1)]);
        for (sum, n) in blocks.filter(|(_, n)| *n >= LEAST_IN_SLOW) {
            let z = ((sum / f32::from(n) - center) / spread).clamp(-MOST_IN_SLOW, MOST_IN_SLOW);
            up = (up + z - SLACK).max(0.0);
            down = (down - z - SLACK).max(0.0);
            count += 1;
        }
        if count < LEAST_SLOW { f32::NAN } else { up.max(down) }
    }

    fn take(&mut self, heads: &[Head; 2], now: Places, run: u16) -> Raw {
        let mut raw = Raw { largest: [f32::NAN; 2], means: [[f32::NAN; MEANS]; 2], cusum: self.cusum, run };
        for (head, found) in heads.iter().enumerate() {
            let recent = &mut self.recent[head];
            recent.copy_within(0..RECENT - 1, 1);
            recent[0] = found.deviation;
            if !found.deviation.is_nan() {
                self.fine[now.fine].add(head, found.deviation);
                self.coarse[now.coarse].add(head, found.deviation);
                if head == 0 {
                    let slow = &mut self.slow[now.slow];
                    *slow = (slow.0 + found.deviation, slow.1.saturating_add(1));
                }
            }
        }
        let middle = self.before[0].with(&self.fine[now.fine]);
        let long = self.before[1].with(&self.coarse[now.coarse]);
        for (head, recent) in self.recent.iter().enumerate() {
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
    /// By input of the model; made when it is first known.
    channels: Vec<Option<Box<Channel>>>,
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
        let near = (query.time - self.time) * 10 <= step_ms * 25;
        let now = Places::at(query.time, step_ms);
        self.channels.resize(baselines.len(), None);
        self.pass(query.time, step_ms, baselines);
        if !near {
            self.channels.iter_mut().flatten().for_each(|channel| channel.recent = [[f32::NAN; RECENT]; 2]);
        }
        found.clear();
        for (n, input, heads) in &residual.signals {
            let channel = self.channels[usize::from(*input)].get_or_insert_with(|| Box::new(Channel::EMPTY));
            found.push(channel.take(heads, now, query.runs[usize::from(*n)]));
        }
    }

    /// Empties the blocks that begin anew.
    fn pass(&mut self, time: UnixMillis, step_ms: i64, baselines: &[Baseline]) {
        let gone = |steps: i64, ring: usize| {
            let (from, to) = (self.time.div_euclid(steps * step_ms), time.div_euclid(steps * step_ms));
            let ring = ring as i64;
            (to - (to - from).min(ring) + 1..=to).map(move |block| block.rem_euclid(ring) as usize)
        };
        let (fine, coarse) = (gone(FINE, FINE_BLOCKS), gone(COARSE, COARSE_BLOCKS));
        let slow = gone(SLOW, SLOW_BLOCKS + 1);
        let now = Places::at(time, step_ms);
        if self.restored || fine.clone().next().is_some() {
            for (channel, baseline) in self.channels.iter_mut().zip(baselines) {
                let Some(channel) = channel else { continue };
                fine.clone().for_each(|at| channel.fine[at] = Block::default());
                coarse.clone().for_each(|at| channel.coarse[at] = Block::default());
                slow.clone().for_each(|at| channel.slow[at] = (0.0, 0));
                channel.follow(now, baseline);
            }
        }
        self.restored = false;
        self.time = time;
    }

    /// The track as bytes, bit for bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, u8::from(self.alarmed.is_some())];
        bytes.extend(self.tag.to_le_bytes());
        bytes.extend(self.time.to_le_bytes());
        bytes.extend(self.alarmed.unwrap_or_default().to_le_bytes());
        for (at, channel) in self.channels.iter().enumerate() {
            let Some(channel) = channel else { continue };
            bytes.extend((at as u16).to_le_bytes());
            bytes.extend(channel.recent.iter().flatten().flat_map(|value| value.to_le_bytes()));
            for block in channel.fine.iter().chain(&channel.coarse) {
                bytes.extend(block.sum.iter().flat_map(|sum| sum.to_le_bytes()));
                bytes.extend(block.count.iter().flat_map(|count| count.to_le_bytes()));
            }
            for (sum, count) in channel.slow {
                bytes.extend(sum.to_le_bytes());
                bytes.extend(count.to_le_bytes());
            }
        }
        bytes
    }

    /// The track that [`Track::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are of another form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let [form, alarmed] = take(&mut rest)?;
        if form != 1 {
            return Err(Error::Malformed(format!("a track of form {form}")));
        }
        let mut track = Self { tag: u64::from_le_bytes(take(&mut rest)?), restored: true, ..Self::default() };
        track.time = i64::from_le_bytes(take(&mut rest)?);
        let moment = i64::from_le_bytes(take(&mut rest)?);
        track.alarmed = (alarmed == 1).then_some(moment);
        while !rest.is_empty() {
            let at = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let mut channel = Box::new(Channel::EMPTY);
            for value in channel.recent.iter_mut().flatten() {
                *value = f32::from_le_bytes(take(&mut rest)?);
            }
            let Channel { fine, coarse, .. } = &mut *channel;
            for block in fine.iter_mut().chain(coarse) {
                for sum in &mut block.sum {
                    *sum = f32::from_le_bytes(take(&mut rest)?);
                }
                for count in &mut block.count {
                    *count = u16::from_le_bytes(take(&mut rest)?);
                }
            }
            for slow in &mut channel.slow {
                *slow = (f32::from_le_bytes(take(&mut rest)?), u16::from_le_bytes(take(&mut rest)?));
            }
            if track.channels.len() <= at {
                track.channels.resize(at + 1, None);
            }
            track.channels[at] = Some(channel);
        }
        Ok(track)
    }
}
