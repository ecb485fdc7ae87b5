//! The window of a vehicle's last readings: raw numbers, sums over blocks of event time, what repeats.
//!
//! Readings come in order of (boot, seq). Time decides what is near: sums stand in blocks of [`FINE`] and [`COARSE`]
//! steps that begin at multiples of their length, so nothing depends on where a replay began, and what is older
//! than [`HORIZON`] steps has no part. What a `change` record leaves out is carried from the last record that named
//! it, at most [`CARRY`] records back.

use std::{collections::BTreeSet, sync::Arc};

use telemetry::{Kind, Record, UnixMillis};

use crate::{
    layout::{Layout, Values},
    ring::Ring,
};

mod bytes;
mod channel;
pub(crate) use bytes::take;
use channel::{Block, Channel};
#[cfg(test)]
mod tests;

/// Steps of a fine block: at 0.1 Hz a minute.
pub const FINE: i64 = 6;
/// Steps of a coarse block: at 0.1 Hz ten minutes.
pub const COARSE: i64 = 60;
/// Fine blocks that are kept, the current one with them.
pub(crate) const FINE_BLOCKS: usize = 5;
/// Coarse blocks that are kept, the current one with them.
pub(crate) const COARSE_BLOCKS: usize = 12;
/// What is older than so many steps has no part in a window.
pub const HORIZON: i64 = COARSE * COARSE_BLOCKS as i64;
/// Last values that are kept one by one.
pub(crate) const RECENT: usize = 6;
/// Records for which a value that is not repeated stays known.
pub const CARRY: u8 = 60;
/// Readings further apart than so many tenths of a step do not follow each other.
const FOLLOWS_TENTHS: i64 = 25;

/// What a query says of a signal: its value, the three before it, and means over the last 6, 30, 180 and 720 steps.
pub(crate) const FEATURES: usize = 8;
/// Steps that its means reach back.
pub(crate) const MEANS: [i64; FEATURES - VALUES] = [6, 30, 180, 720];
/// Of these, single values.
pub(crate) const VALUES: usize = 4;

/// One reading as a window takes it.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// See [`telemetry::Identity::boot`].
    pub boot: u32,
    /// See [`telemetry::Identity::seq`].
    pub seq: u64,
    /// Window time ([`telemetry::time::window_time`]), ms.
    pub time: UnixMillis,
    /// Whole state or change.
    pub kind: Kind,
    /// Places of the values in the layout.
    pub at: &'a [u16],
    /// The values.
    pub numbers: &'a [f32],
}

impl<'a> Reading<'a> {
    /// A record's reading; `values` is where [`Layout::extract`] put its numbers.
    pub fn of(record: &Record, time: UnixMillis, values: &'a Values) -> Self {
        let Record { boot, seq, kind, .. } = *record;
        Self { boot, seq, time, kind, at: &values.at, numbers: &values.numbers }
    }
}

/// What is to be judged: what is known of a vehicle at one reading, in physical units.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Window time as the window counts it: it never goes back, ms.
    pub(crate) time: UnixMillis,
    /// What is known now, by place, ascending.
    pub(crate) signals: Vec<Known>,
}

/// What a query says of one signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Known {
    /// Its place.
    pub(crate) at: u16,
    /// Readings of a lively vehicle in which it kept the very same value.
    pub(crate) run: u16,
    /// NaN where unknown.
    pub(crate) features: [f32; FEATURES],
}

impl Query {
    /// The window time that counts, ms.
    pub fn time(&self) -> UnixMillis {
        self.time
    }
}

/// The last readings of one vehicle.
#[derive(Debug, Clone)]
pub struct Window {
    layout: Arc<Layout>,
    last: Option<(u32, u64)>,
    time: UnixMillis,
    /// Of the signals that the vehicle has ever shown, by ascending place: a layout has places for every kind of vehicle.
    channels: Vec<Channel>,
    /// By channel, as the coarse ones.
    fine: Ring<Block, FINE_BLOCKS>,
    coarse: Ring<Block, COARSE_BLOCKS>,
    /// Lively readings in each coarse block: those in which at least a third of the known signals changed.
    lively: [u16; COARSE_BLOCKS],
}

impl Window {
    /// An empty window.
    pub fn new(layout: Arc<Layout>) -> Self {
        Self::of(layout, Vec::new())
    }

    /// A window of these channels, without blocks.
    fn of(layout: Arc<Layout>, channels: Vec<Channel>) -> Self {
        let (fine, coarse) = (Ring::new(channels.len()), Ring::new(channels.len()));
        Self { layout, last: None, time: 0, channels, fine, coarse, lively: [0; COARSE_BLOCKS] }
    }

    /// Boot and sequence of the last reading taken in.
    pub fn last(&self) -> Option<(u32, u64)> {
        self.last
    }

    /// The layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Takes the vehicle's next reading in; says what is known then. None if nothing is.
    pub fn advance(&mut self, reading: &Reading<'_>) -> Option<Query> {
        let follows = self.last.is_some_and(|(boot, seq)| boot == reading.boot && reading.seq == seq.wrapping_add(1));
        if !follows {
            // What was missed may have said otherwise.
            self.channels.iter_mut().for_each(|channel| channel.known = f32::NAN);
        }
        let near = self.last.is_some() && self.pass(reading.time);
        self.last = Some((reading.boot, reading.seq));
        self.name(reading);
        self.sum_up(near)
    }

    /// Lets time go on; whether the reading follows the last one closely.
    fn pass(&mut self, time: UnixMillis) -> bool {
        let step = self.layout.step_ms();
        if time < self.time - COARSE * step {
            // The clock was set back further than readings come out of order: what was summed up has no date.
            let still_known =
                |channel: &Channel| Channel { known: channel.known, age: channel.age, ..Channel::empty(channel.at) };
            let channels = self.channels.iter().map(still_known).collect();
            *self = Self { last: self.last, time, ..Self::of(Arc::clone(&self.layout), channels) };
            return false;
        }
        let time = time.max(self.time);
        let near = (time - self.time) * 10 <= step * FOLLOWS_TENTHS;
        let (fine, coarse) = (blocks(self.time, time, FINE * step), blocks(self.time, time, COARSE * step));
        if coarse.passed > 0 {
            let mut gone = 0;
            for at in coarse.gone(COARSE_BLOCKS) {
                self.lively[at] = 0;
                self.coarse.at_mut(at).fill(Block::default());
                gone |= 1 << at;
            }
            for channel in &mut self.channels {
                channel.changed &= !gone;
                channel.still = 0;
            }
        }
        for at in fine.gone(FINE_BLOCKS) {
            self.fine.at_mut(at).fill(Block::default());
        }
        self.time = time;
        if fine.passed > 0 {
            self.sum_fine();
        }
        if coarse.passed > 0 {
            self.sum_coarse();
        }
        near
    }

    /// The sum of all fine blocks but the current one.
    fn sum_fine(&mut self) {
        let (now, _) = self.now();
        self.channels.iter_mut().for_each(|channel| channel.before[0] = Block::default());
        // From the newest on: the order of a sum decides its last bits.
        for back in 1..FINE_BLOCKS {
            let blocks = self.fine.at((now + FINE_BLOCKS - back) % FINE_BLOCKS);
            for (channel, block) in self.channels.iter_mut().zip(blocks) {
                channel.before[0] = channel.before[0].with(*block);
            }
        }
    }

    /// The sums of the last two coarse blocks and of all, without the current one.
    fn sum_coarse(&mut self) {
        let (_, now) = self.now();
        for channel in &mut self.channels {
            (channel.before[1], channel.before[2]) = Default::default();
        }
        for back in 1..COARSE_BLOCKS {
            let blocks = self.coarse.at((now + COARSE_BLOCKS - back) % COARSE_BLOCKS);
            let sum = if back <= 2 { 1 } else { 2 };
            for (channel, block) in self.channels.iter_mut().zip(blocks) {
                channel.before[sum] = channel.before[sum].with(*block);
            }
        }
        for channel in &mut self.channels {
            channel.before[2] = channel.before[1].with(channel.before[2]);
        }
    }

    /// Places of the current blocks.
    fn now(&self) -> (usize, usize) {
        let at =
            |steps: i64, of: usize| self.time.div_euclid(steps * self.layout.step_ms()).rem_euclid(of as i64) as usize;
        (at(FINE, FINE_BLOCKS), at(COARSE, COARSE_BLOCKS))
    }

    /// Notes what the reading names, and what it leaves out.
    fn name(&mut self, reading: &Reading<'_>) {
        match reading.kind {
            Kind::Full => self.channels.iter_mut().for_each(|channel| channel.known = f32::NAN),
            Kind::Change => {
                for channel in &mut self.channels {
                    if channel.age >= CARRY {
                        channel.known = f32::NAN;
                    } else {
                        channel.age += 1;
                    }
                }
            }
        }
        // The same signals come again and again, in the same order.
        let mut next = 0;
        for (at, number) in named(reading) {
            if self.channels.get(next).is_none_or(|channel| channel.at != at) {
                let Some(channel) = self.channel_of(at, reading) else { continue };
                next = channel;
            }
            (self.channels[next].known, self.channels[next].age) = (number, 0);
            next += 1;
        }
    }

    /// The channel of a place that a reading names; none if the layout has no such place.
    fn channel_of(&mut self, at: u16, reading: &Reading<'_>) -> Option<usize> {
        if usize::from(at) >= self.layout.len() {
            return None;
        }
        let found = |channels: &[Channel]| channels.binary_search_by_key(&at, |channel| channel.at).ok();
        if let Some(channel) = found(&self.channels) {
            return Some(channel);
        }
        // Room for all that are new, at once.
        let before: Vec<u16> = self.channels.iter().map(|channel| channel.at).collect();
        let new = named(reading).map(|(at, _)| at).filter(|at| usize::from(*at) < self.layout.len());
        let places: BTreeSet<u16> = before.iter().copied().chain(new).collect();
        let from: Vec<Option<usize>> = places.iter().map(|at| before.binary_search(at).ok()).collect();
        let channels = places.iter().zip(&from);
        self.channels =
            channels.map(|(at, from)| from.map_or_else(|| Channel::empty(*at), |from| self.channels[from])).collect();
        (self.fine, self.coarse) = (self.fine.arranged(&from), self.coarse.arranged(&from));
        found(&self.channels)
    }

    /// Adds what is known to sums and last values, and says all of it.
    fn sum_up(&mut self, near: bool) -> Option<Query> {
        let (fine_at, now) = self.now();
        let (mut known, mut changed) = (0_usize, 0_usize);
        let (fine, coarse) = (self.fine.at_mut(fine_at), self.coarse.at_mut(now));
        for ((channel, fine), coarse) in self.channels.iter_mut().zip(fine).zip(coarse) {
            channel.recent.copy_within(0..RECENT - 1, 1);
            channel.recent[0] = channel.known;
            if !near {
                channel.recent[1..].fill(f32::NAN);
            }
            if channel.known.is_nan() {
                continue;
            }
            known += 1;
            changed += usize::from(channel.recent[0] != channel.recent[1]);
            fine.add(channel.known);
            coarse.add(channel.known);
        }
        if known == 0 {
            return None;
        }
        let lively = near && changed * 3 >= known;
        self.lively[now] = self.lively[now].saturating_add(u16::from(lively));
        let mut query = Query { time: self.time, signals: Vec::with_capacity(known) };
        let (fine, coarse) = (self.fine.at(fine_at), self.coarse.at(now));
        for (n, channel) in self.channels.iter_mut().enumerate().filter(|(_, channel)| !channel.known.is_nan()) {
            if near && channel.recent[0] == channel.recent[1] {
                channel.still = channel.still.saturating_add(u16::from(lively));
            } else {
                channel.changed |= 1 << now;
                channel.still = 0;
            }
            let (mut sum, mut count) = (0.0, 0.0);
            for value in channel.recent {
                let there = !value.is_nan();
                sum += if there { value } else { 0.0 };
                count += if there { 1.0 } else { 0.0 };
            }
            let [value, first, second, third, ..] = channel.recent;
            query.signals.push(Known {
                at: channel.at,
                run: run((channel, n), &self.coarse, &self.lively, now),
                features: [
                    value,
                    first,
                    second,
                    third,
                    sum / count,
                    channel.before[0].with(fine[n]).mean(value),
                    channel.before[1].with(coarse[n]).mean(value),
                    channel.before[2].with(coarse[n]).mean(value),
                ],
            });
        }
        Some(query)
    }
}

/// Places and values of what a reading says.
fn named(reading: &Reading<'_>) -> impl Iterator<Item = (u16, f32)> {
    let both = reading.at.iter().copied().zip(reading.numbers.iter().copied());
    both.filter(|(_, number)| number.is_finite())
}

/// Lively readings since the value last changed, back to the oldest coarse block at most.
fn run(
    (channel, n): (&Channel, usize),
    coarse: &Ring<Block, COARSE_BLOCKS>,
    lively: &[u16; COARSE_BLOCKS],
    now: usize,
) -> u16 {
    let mut run = channel.still;
    if channel.changed & (1 << now) != 0 {
        return run;
    }
    for back in 1..COARSE_BLOCKS {
        let at = (now + COARSE_BLOCKS - back) % COARSE_BLOCKS;
        // An empty block: the value was not there.
        if channel.changed & (1 << at) != 0 || coarse.at(at)[n].count == 0 {
            break;
        }
        run = run.saturating_add(lively[at]);
    }
    run
}

/// Blocks between two moments.
struct Passed {
    passed: i64,
    now: i64,
}

fn blocks(from: UnixMillis, to: UnixMillis, length_ms: i64) -> Passed {
    let now = to.div_euclid(length_ms);
    Passed { passed: now - from.div_euclid(length_ms), now }
}

impl Passed {
    /// Places, in a ring of so many, of the blocks that begin anew.
    fn gone(&self, ring: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (now, ring) = (self.now, ring as i64);
        (now - self.passed.min(ring) + 1..=now).map(move |block| block.rem_euclid(ring) as usize)
    }
}
