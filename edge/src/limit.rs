//! How many readings each vehicle may send: one that sends without end must not take the others' share.
//! Pure: the clock is an argument.
//!
//! A token bucket per vehicle, kept as the one moment at which it will be full again (GCRA, the "virtual
//! scheduling" of ITU-T I.371). A full bucket is as good as none, so what has been silent for long enough is
//! forgotten, a whole generation at once and without looking at it.

use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// What each vehicle may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Readings per second, in the long run. 0, or no number, is no limit.
    pub per_second: f64,
    /// Readings at once after a silence: from 1 to about a million.
    pub burst: u32,
}

/// Whether a reading may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Yes,
    /// It may not.
    No {
        /// The pause that the vehicle should keep between readings (`slow_down_ms` of its ack): an eighth more
        /// than it must, so that its bucket fills again and jitter alone empties it no more. At least 1.
        retry_after_ms: u64,
    },
}

/// The buckets of the vehicles that sent lately.
#[derive(Debug)]
pub struct Limit {
    /// None: no limit.
    rule: Option<Rule>,
    max_vehicles: usize,
    /// Names come from outside: the hash has a key of this process, so that nobody can choose collisions.
    hasher: DefaultHashBuilder,
    start: Option<Instant>,
    /// Nanoseconds since the start.
    now: u64,
    /// When the younger generation began, in nanoseconds since the start.
    turned: u64,
    /// Who sent since then.
    younger: HashTable<Bucket>,
    /// Who sent only in the generation before that. Who sent in neither has a full bucket.
    older: HashTable<Bucket>,
    forgotten_early: u64,
}

/// Times are in units of 2^`shift` ns, the finest in which four generations are less than about 2^31.
#[derive(Debug, Clone, Copy)]
struct Rule {
    shift: u32,
    /// Between two readings; units.
    interval: u32,
    /// How far ahead of now the moment of a full bucket may lie for one more reading to pass; units.
    slack: u32,
    /// The time in which an empty bucket fills, or more; ns.
    generation: u64,
    retry_after_ms: u64,
}

/// 12 bytes: a vehicle is known by a hash of 64 bits with a key of this process. That two of 100,000 have the same
/// one, and then share an allowance, has a chance of 1 in 3,000 million.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    hash: [u32; 2],
    /// When it will be full, in units since the start, modulo 2^32: at most one generation ahead of now, and less
    /// than three behind.
    full_at: u32,
}

/// Generations are not shorter, so that ending one is rare; ns.
const SHORTEST: u64 = 1_000_000_000;
/// Nor longer than ten years; ns.
const LONGEST: f64 = 3.2e17;
/// Larger bursts are cut to this: there an interval still has hundreds of units.
const MAX_BURST: u32 = 1 << 20;

impl Rule {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and LONGEST")]
    fn new(allowance: Allowance) -> Option<Self> {
        // A NaN is not more than 0.
        if allowance.per_second.is_nan() || allowance.per_second <= 0.0 {
            return None;
        }
        let burst = allowance.burst.clamp(1, MAX_BURST);
        let interval = (1e9 / allowance.per_second).clamp(1.0, LONGEST / f64::from(burst)).ceil() as u64;
        let generation = (interval * u64::from(burst)).max(SHORTEST);
        // 4 * generation < 2^(31 + shift).
        let shift = (generation.ilog2() + 3).saturating_sub(31);
        // Rounded up: never more than allowed.
        let units = interval.div_ceil(1 << shift) as u32;
        Some(Self {
            shift,
            interval: units,
            slack: units * (burst - 1),
            // Rounding has made a filling longer, by less than a unit for each token.
            generation: generation + (u64::from(burst) << shift),
            retry_after_ms: (interval + interval / 8).div_ceil(1_000_000),
        })
    }
}

impl Limit {
    /// Remembers the last `max_vehicles` (at least 1) that sent, in at most 60 bytes each, and never more than twice
    /// as many. Where more than these send, the longest silent ones are forgotten early: their buckets are full again.
    pub fn new(allowance: Allowance, max_vehicles: usize) -> Self {
        Self {
            rule: Rule::new(allowance),
            max_vehicles: max_vehicles.max(1),
            hasher: DefaultHashBuilder::default(),
            start: None,
            now: 0,
            turned: 0,
            younger: HashTable::new(),
            older: HashTable::new(),
            forgotten_early: 0,
        }
    }

    /// Takes a token from the vehicle's bucket, if there is one. A time before the last one counts as that.
    pub fn admit(&mut self, vehicle: &str, now: Instant) -> Admission {
        let Some(rule) = self.rule else { return Admission::Yes };
        let since = now.saturating_duration_since(*self.start.get_or_insert(now));
        self.now = self.now.max(nanos(since));
        self.turn(rule);
        let now = units(self.now, rule);
        let bucket = self.bucket(self.hasher.hash_one(vehicle), now);
        // What lies behind now is far ahead of it, modulo 2^32.
        let ahead = bucket.full_at.wrapping_sub(now);
        let debt = if ahead > u32::MAX / 2 { 0 } else { ahead };
        if debt > rule.slack {
            return Admission::No { retry_after_ms: rule.retry_after_ms };
        }
        bucket.full_at = now.wrapping_add(debt + rule.interval);
        Admission::Yes
    }

    /// How many vehicles are remembered.
    pub fn vehicles(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// How many vehicles were forgotten so far though their buckets were perhaps not full.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    /// Begins a new generation where it is time: who did not send in the last one has a full bucket.
    fn turn(&mut self, rule: Rule) {
        let age = self.now - self.turned;
        if age >= rule.generation {
            self.next_generation();
            if age >= 2 * rule.generation {
                // Nobody sent in the second half of it, or it would have ended before.
                self.older.clear();
            }
        }
    }

    fn next_generation(&mut self) {
        self.turned = self.now;
        std::mem::swap(&mut self.younger, &mut self.older);
        self.younger.clear();
    }

    /// The bucket of the vehicle with this hash, from now on in the younger generation.
    fn bucket(&mut self, hash: u64, now: u32) -> &mut Bucket {
        let halves = halves(hash);
        let is_it = |bucket: &Bucket| bucket.hash == halves;
        if self.younger.len() >= self.max_vehicles && self.younger.find(hash, is_it).is_none() {
            self.forgotten_early += self.older.len() as u64;
            self.next_generation();
        }
        match self.younger.entry(hash, is_it, |bucket| whole(bucket.hash)) {
            Entry::Occupied(bucket) => bucket.into_mut(),
            Entry::Vacant(place) => {
                let known = self.older.find_entry(hash, is_it).map(|bucket| bucket.remove().0);
                place.insert(known.unwrap_or(Bucket { hash: halves, full_at: now })).into_mut()
            }
        }
    }
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
fn units(nanos: u64, rule: Rule) -> u32 {
    (nanos >> rule.shift) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn halves(hash: u64) -> [u32; 2] {
    [(hash >> 32) as u32, hash as u32]
}

fn whole([upper, lower]: [u32; 2]) -> u64 {
    (u64::from(upper) << 32) | u64::from(lower)
}

#[cfg(test)]
mod tests;
