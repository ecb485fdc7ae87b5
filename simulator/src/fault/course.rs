//! How strong a fault is from its beginning to its end, 0 to 1, as a function of time that consists of straight lines.

use telemetry::UnixMillis;

/// How a fault's strength, 0 to 1, follows its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onset {
    /// All at once, and stays.
    Step,
    /// Grows in a straight line and stays.
    Ramp {
        /// From nothing to full strength, ms.
        ramp_ms: i64,
    },
    /// Comes and goes in a fixed rhythm, growing in a straight line from half strength.
    Intermittent {
        /// From half to full strength, ms.
        ramp_ms: i64,
        /// From the beginning of one burst to the next, ms.
        period_ms: i64,
        /// Length of a burst, ms.
        on_ms: i64,
    },
}

impl Onset {
    /// The strength at an age, 0 to 1.
    pub fn strength(self, age_ms: i64) -> f64 {
        let grown = |ramp_ms: i64| (age_ms as f64 / ramp_ms as f64).clamp(0.0, 1.0);
        match self {
            _ if age_ms < 0 => 0.0,
            Self::Step => 1.0,
            Self::Ramp { ramp_ms } => grown(ramp_ms),
            Self::Intermittent { ramp_ms, period_ms, on_ms } if age_ms % period_ms < on_ms => {
                0.5 + 0.5 * grown(ramp_ms)
            }
            Self::Intermittent { .. } => 0.0,
        }
    }

    /// The age from which the strength is full (in bursts, where intermittent), ms.
    pub fn full_after_ms(self) -> i64 {
        match self {
            Self::Step => 0,
            Self::Ramp { ramp_ms } | Self::Intermittent { ramp_ms, .. } => ramp_ms,
        }
    }
}

/// Bursts of an intermittent fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// From the beginning of one burst to the next, ms.
    pub period_ms: i64,
    /// Length of a burst, ms.
    pub on_ms: i64,
}

/// The whole course of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// As the kind's row of the table begins; it stays to the end.
    Onset,
    /// It grows, stays, and heals, all within its time: what is too long for it is shortened, healing first.
    Episode {
        /// From nothing to full strength, ms; 0: at once.
        grow_ms: i64,
        /// From full strength to nothing, the last of the fault's time, ms; 0: at once.
        heal_ms: i64,
        /// Where it comes and goes.
        bursts: Option<Bursts>,
    },
}

/// A point of the course. Between two corners the strength lies on the straight line through them; of two corners at
/// one moment the second one holds from there on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corner {
    /// Event time, ms since the epoch.
    pub time: UnixMillis,
    /// 0 to 1.
    pub strength: f64,
}

/// A fault that comes and goes for years is not told to its end.
const MOST_BURSTS: i64 = 1_000;

impl Course {
    /// The strength at an age of a fault that lasts `length_ms`; nothing before and after.
    pub(super) fn strength(self, onset: Onset, age_ms: i64, length_ms: i64) -> f64 {
        if !(0..length_ms).contains(&age_ms) {
            return 0.0;
        }
        match self {
            Self::Onset => onset.strength(age_ms),
            Self::Episode { bursts: Some(bursts), .. } if age_ms % bursts.period_ms >= bursts.on_ms => 0.0,
            Self::Episode { grow_ms, heal_ms, .. } => line(grow_ms, heal_ms, age_ms, length_ms),
        }
    }

    /// Where the strength bends or jumps: ages from 0 to `length_ms`, ascending.
    fn bends(self, onset: Onset, length_ms: i64) -> Vec<i64> {
        let (kinks, bursts) = match (self, onset) {
            (Self::Onset, Onset::Step) => (vec![], None),
            (Self::Onset, Onset::Ramp { ramp_ms }) => (vec![ramp_ms], None),
            (Self::Onset, Onset::Intermittent { ramp_ms, period_ms, on_ms }) => {
                (vec![ramp_ms], Some(Bursts { period_ms, on_ms }))
            }
            (Self::Episode { grow_ms, heal_ms, bursts }, _) => {
                let (grow_ms, heal_ms) = fitted(grow_ms, heal_ms, length_ms);
                (vec![grow_ms, length_ms - heal_ms], bursts)
            }
        };
        let mut bends = vec![0, length_ms];
        bends.extend(kinks);
        if let Some(Bursts { period_ms, on_ms }) = bursts {
            let bursts = (length_ms / period_ms + 1).min(MOST_BURSTS);
            bends.extend((0..bursts).flat_map(|n| [n * period_ms, n * period_ms + on_ms]));
        }
        bends.retain(|age| (0..=length_ms).contains(age));
        bends.sort_unstable();
        bends.dedup();
        bends
    }

    /// The corners of a fault that begins at `from` and lasts `length_ms`, ascending by time; of bursts the first
    /// 1,000.
    pub(super) fn corners(self, onset: Onset, from: UnixMillis, length_ms: i64) -> Vec<Corner> {
        let strength = |age: i64| self.strength(onset, age, length_ms);
        let mut corners = Vec::new();
        let mut last = 0;
        for age in self.bends(onset, length_ms) {
            // What the line up to here leads to, if that is not where the next one begins.
            let before = self.limit(onset, last, age, length_ms);
            let after = strength(age);
            if age > 0 && before.to_bits() != after.to_bits() {
                corners.push(Corner { time: from + age, strength: before });
            }
            corners.push(Corner { time: from + age, strength: after });
            last = age;
        }
        corners
    }

    /// The strength just before `age`, where `last` is the bend before it.
    fn limit(self, onset: Onset, last: i64, age: i64, length_ms: i64) -> f64 {
        if age == 0 || self.strength(onset, last, length_ms) == 0.0 && self.strength(onset, age - 1, length_ms) == 0.0 {
            return 0.0;
        }
        // The same lines without bursts and without an end.
        match self {
            Self::Onset => match onset {
                Onset::Intermittent { ramp_ms, .. } => {
                    Onset::Intermittent { ramp_ms, period_ms: i64::MAX, on_ms: i64::MAX }.strength(age)
                }
                steady => steady.strength(age),
            },
            Self::Episode { grow_ms, heal_ms, .. } => line(grow_ms, heal_ms, age, length_ms),
        }
    }
}

/// Growing and healing that fit into so many ms.
fn fitted(grow_ms: i64, heal_ms: i64, length_ms: i64) -> (i64, i64) {
    let grow_ms = grow_ms.min(length_ms);
    (grow_ms, heal_ms.min(length_ms - grow_ms))
}

/// Up, along, and down again; without the jump at the end of what does not heal gradually.
fn line(grow_ms: i64, heal_ms: i64, age_ms: i64, length_ms: i64) -> f64 {
    let (grow_ms, heal_ms) = fitted(grow_ms, heal_ms, length_ms);
    let share = |of: i64, all: i64| if of >= all { 1.0 } else { of as f64 / all as f64 };
    share(age_ms, grow_ms).min(share(length_ms - age_ms, heal_ms))
}
