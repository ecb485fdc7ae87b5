//! The acknowledgement of our own: which readings of each vehicle Kafka has, and when the vehicle is told.
//! Pure: the clock is an argument.
//!
//! Ranges hold exactly what delivery reports of *this process* covered: an edge that was restarted and
//! delivers 501 says 501..501, never "all up to 501". Whatever is forgotten here costs a resend, nothing else.
//!
//! It is made for 100,000 vehicles: one slot each, found by an index, and queues threaded through the slots.

mod queues;
mod slot;

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    time::{Duration, Instant},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use telemetry::{PayloadHash, VehicleId, event::Ack};

use self::{
    queues::{Place, Queues},
    slot::Slot,
};

/// The least time between two acks of a vehicle that leave only to slow it down.
const SLOW_DOWN_PAUSE_MS: u32 = 1_000;

/// By what a vehicle knows one of its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// The whole payload parsed.
    Sequence {
        /// The boot.
        boot: u32,
        /// From 1 in each boot.
        seq: u64,
    },
    /// It did not.
    Hash(PayloadHash),
}

/// How acks are coalesced. "New" are the delivery reports since the last ack, duplicates included: a vehicle
/// that sends again must hear again. Pauses count whole milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// An ack leaves after this many new ones;
    pub records: u32,
    /// with at least this many
    pub min_records: u32,
    /// after this pause;
    pub min_pause: Duration,
    /// with any after this one.
    pub max_pause: Duration,
}

/// The acknowledged ranges of every vehicle that this process heard of lately.
#[derive(Debug)]
pub struct Acks {
    pace: Pace,
    max_vehicles: usize,
    clock: Clock,
    /// Names come from outside: the hash has a key of this process, so that nobody can choose collisions.
    hasher: DefaultHashBuilder,
    /// The slots' indices, by vehicle.
    by_vehicle: HashTable<u32>,
    slots: Vec<Slot>,
    queues: Queues,
    /// Slots whose vehicle was told to slow down, and when; each stands here at most once.
    hushed: VecDeque<(u32, u32)>,
    /// Where the search for an idle vehicle goes on (the clock algorithm).
    hand: usize,
}

/// Milliseconds since the first moment that came by, as slots keep them: modulo 2^32, which is 49 days.
#[derive(Debug, Default)]
struct Clock {
    start: Option<Instant>,
    now: u64,
}

impl Clock {
    fn set(&mut self, now: Instant) {
        let since = now.saturating_duration_since(*self.start.get_or_insert(now));
        self.now = self.now.max(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    }

    #[expect(clippy::cast_possible_truncation, reason = "that is the modulo")]
    fn now(&self) -> u32 {
        self.now as u32
    }

    /// Time since a moment, which lies less than 49 days back: no slot waits longer for its turn.
    fn ms_since(&self, moment: u32) -> u32 {
        self.now().wrapping_sub(moment)
    }

    /// When a pause after such a moment is over.
    fn end(&self, moment: u32, pause_ms: u32) -> Option<Instant> {
        let moment = self.now - u64::from(self.ms_since(moment));
        Some(self.start? + Duration::from_millis(moment + u64::from(pause_ms)))
    }
}

/// A pause in whole milliseconds; more than 24 days would not be told from less.
fn ms(pause: Duration) -> u32 {
    u32::try_from(pause.as_millis()).map_or(u32::MAX / 2, |ms| ms.min(u32::MAX / 2))
}

impl Acks {
    /// Remembers at most `max_vehicles` (at least 1); beyond it an idle one is forgotten.
    pub fn new(pace: Pace, max_vehicles: usize) -> Self {
        Self {
            pace,
            max_vehicles: max_vehicles.clamp(1, queues::MAX_SLOTS),
            clock: Clock::default(),
            hasher: DefaultHashBuilder::default(),
            by_vehicle: HashTable::new(),
            slots: Vec::new(),
            queues: Queues::default(),
            hushed: VecDeque::new(),
            hand: 0,
        }
    }

    /// A delivery report came for this reading, whichever connection it had come in on. `now` never goes back.
    ///
    /// The vehicle is that of the MQTT topic; a text that is none has no topic to hear an ack on, and no effect.
    pub fn report(&mut self, vehicle: impl AsRef<str>, reading: Reading, now: Instant) {
        self.clock.set(now);
        let Some(at) = self.slot_of(vehicle.as_ref()) else { return };
        let slot = &mut self.slots[at as usize];
        slot.cover(reading);
        if slot.new == 0 {
            slot.since = self.clock.now();
        }
        slot.new = slot.new.saturating_add(1);
        let enough = slot.new >= self.pace.records
            || slot.much_unsaid()
            || (slot.new >= self.pace.min_records && self.clock.ms_since(slot.since) >= ms(self.pace.min_pause));
        match slot.place() {
            Place::Due => {}
            _ if enough => self.queues.put(&mut self.slots, at, Place::Due),
            Place::Nowhere => self.queues.put(&mut self.slots, at, Place::Early),
            Place::Early | Place::Late => {}
        }
    }

    /// The next ack to this vehicle tells it to wait so long between readings; the last word counts.
    ///
    /// Such an ack leaves at once, even with nothing new to say, but not more often than once a second.
    pub fn slow_down(&mut self, vehicle: impl AsRef<str>, slow_down_ms: u64, now: Instant) {
        self.clock.set(now);
        let Some(at) = self.slot_of(vehicle.as_ref()) else { return };
        let slot = &mut self.slots[at as usize];
        slot.slow_down(slow_down_ms);
        if !slot.hushed {
            self.queues.put(&mut self.slots, at, Place::Due);
        }
    }

    /// Makes due what time has made due.
    pub fn tick(&mut self, now: Instant) {
        self.clock.set(now);
        let (early, late) = (ms(self.pace.min_pause), ms(self.pace.max_pause));
        while let Some(at) = self.queues.first(Place::Early).filter(|at| self.waited(*at) >= early) {
            let enough = self.slots[at as usize].new >= self.pace.min_records || self.waited(at) >= late;
            self.queues.put(&mut self.slots, at, if enough { Place::Due } else { Place::Late });
        }
        while let Some(at) = self.queues.first(Place::Late).filter(|at| self.waited(*at) >= late) {
            self.queues.put(&mut self.slots, at, Place::Due);
        }
        while let Some((_, at)) = self.hushed.pop_front_if(|(told, _)| self.clock.ms_since(*told) >= SLOW_DOWN_PAUSE_MS)
        {
            let slot = &mut self.slots[at as usize];
            slot.hushed = false;
            if slot.slow_down_ms().is_some() {
                self.queues.put(&mut self.slots, at, Place::Due);
            }
        }
    }

    fn waited(&self, at: u32) -> u32 {
        self.clock.ms_since(self.slots[at as usize].since)
    }

    /// When [`Self::tick`] is wanted next.
    pub fn next_check(&self) -> Option<Instant> {
        let first = |place, pause| {
            let since = self.slots[self.queues.first(place)? as usize].since;
            self.clock.end(since, ms(pause))
        };
        let told = || self.clock.end(self.hushed.front()?.0, SLOW_DOWN_PAUSE_MS);
        let checks = [first(Place::Early, self.pace.min_pause), first(Place::Late, self.pace.max_pause), told()];
        checks.into_iter().flatten().min()
    }

    /// The next ack that may leave, and to whom.
    pub fn next_due(&self) -> Option<(VehicleId, Ack)> {
        Some(self.slots[self.queues.first(Place::Due)? as usize].ack())
    }

    /// The ack that [`Self::next_due`] gave has left.
    pub fn left(&mut self) {
        let Some(at) = self.queues.first(Place::Due) else { return };
        self.queues.put(&mut self.slots, at, Place::Nowhere);
        let slot = &mut self.slots[at as usize];
        if slot.slow_down_ms().is_some() && !slot.hushed {
            slot.hushed = true;
            self.hushed.push_back((self.clock.now(), at));
        }
        slot.said();
    }

    /// Makes everything due that no ack has said yet: before a stop.
    pub fn all_due(&mut self) {
        for at in (0_u32..).take(self.slots.len()) {
            let slot = &self.slots[at as usize];
            if slot.new > 0 && slot.place() != Place::Due {
                self.queues.put(&mut self.slots, at, Place::Due);
            }
        }
    }

    /// How many vehicles are remembered.
    pub fn vehicles(&self) -> usize {
        self.slots.len()
    }

    fn slot_of(&mut self, vehicle: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(vehicle);
        let is_it = |at: &u32| self.slots[*at as usize].vehicle() == vehicle;
        if let Some(at) = self.by_vehicle.find(hash, is_it).copied() {
            self.slots[at as usize].recent = true;
            return Some(at);
        }
        let slot = Slot::new(&VehicleId::parse(vehicle).ok()?);
        let at = if self.slots.len() < self.max_vehicles {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).ok()?
        } else {
            let at = self.idle();
            self.forget(at);
            self.slots[at as usize].move_in(slot);
            at
        };
        let hash_of = |at: &u32| self.hasher.hash_one(self.slots[*at as usize].vehicle());
        self.by_vehicle.insert_unique(hash, at, hash_of);
        Some(at)
    }

    /// A vehicle that has not reported since the hand last came by.
    fn idle(&mut self) -> u32 {
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            if !std::mem::replace(&mut self.slots[at].recent, false) {
                return u32::try_from(at).expect("there are at most MAX_SLOTS");
            }
        }
    }

    fn forget(&mut self, at: u32) {
        self.queues.put(&mut self.slots, at, Place::Nowhere);
        let hash = self.hasher.hash_one(self.slots[at as usize].vehicle());
        if let Ok(entry) = self.by_vehicle.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests;
