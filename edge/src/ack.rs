//! The acknowledgement of our own: which readings of each vehicle Kafka has, and when the vehicle is told.
//! Pure: the clock is an argument.
//!
//! Ranges hold exactly what delivery reports of *this process* covered: an edge that was restarted and
//! delivers 501 says 501..501, never "all up to 501". Whatever is forgotten here costs a resend, nothing else.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use telemetry::{
    PayloadHash, VehicleId,
    event::{Ack, AckedRange, MAX_ACK_HASHES, MAX_ACK_RANGES},
};

/// An ack leaves early when it holds this many ranges, or hashes, that no ack has named yet: well before the
/// limits would make the edge forget one that the vehicle never heard of.
const MANY_UNSAID: usize = MAX_ACK_RANGES / 2;

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
/// that sends again must hear again.
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
    by_vehicle: HashMap<VehicleId, usize>,
    slots: Vec<Slot>,
    /// Where the search for an idle vehicle goes on (the clock algorithm).
    hand: usize,
    /// When to look at a slot; each stands here at most once.
    checks: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Slots whose ack may leave; each stands here at most once.
    due: VecDeque<usize>,
}

#[derive(Debug)]
struct Slot {
    vehicle: VehicleId,
    /// Newest last: the one that a report touched last. No two overlap or adjoin.
    ranges: Vec<Range>,
    /// Newest last.
    hashes: Vec<PayloadHash>,
    unsaid_hashes: usize,
    new: u32,
    /// The first report since the last ack.
    since: Option<Instant>,
    in_checks: bool,
    in_due: bool,
    recent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    boot: u32,
    from: u64,
    to: u64,
    said: bool,
}

impl Slot {
    fn new(vehicle: VehicleId) -> Self {
        Self {
            vehicle,
            ranges: Vec::new(),
            hashes: Vec::new(),
            unsaid_hashes: 0,
            new: 0,
            since: None,
            in_checks: false,
            in_due: false,
            // Only a second report shows that it stays: passers-by push each other out.
            recent: false,
        }
    }

    /// Someone else moves in; its places in the queues stay.
    fn reuse(&mut self, vehicle: VehicleId) {
        *self = Self { in_checks: self.in_checks, in_due: self.in_due, ..Self::new(vehicle) };
    }

    fn cover(&mut self, reading: Reading) {
        match reading {
            Reading::Sequence { boot, seq } => self.cover_seq(boot, seq),
            Reading::Hash(hash) => self.cover_hash(hash),
        }
    }

    fn cover_seq(&mut self, boot: u32, seq: u64) {
        let mut grown = Range { boot, from: seq, to: seq, said: false };
        // At most two adjoin, at most one contains it: usually the last, found at once.
        let joins = |range: &Range| {
            range.boot == boot && range.from <= seq.saturating_add(1) && seq <= range.to.saturating_add(1)
        };
        while let Some(at) = self.ranges.iter().rposition(joins) {
            let range = self.ranges.remove(at);
            grown.from = grown.from.min(range.from);
            grown.to = grown.to.max(range.to);
        }
        if self.ranges.len() == MAX_ACK_RANGES {
            self.ranges.remove(0);
        }
        self.ranges.push(grown);
    }

    fn cover_hash(&mut self, hash: PayloadHash) {
        if let Some(at) = self.hashes.iter().position(|known| *known == hash) {
            self.hashes.remove(at);
        } else if self.hashes.len() == MAX_ACK_HASHES {
            self.hashes.remove(0);
        }
        self.hashes.push(hash);
        self.unsaid_hashes += 1;
    }

    fn much_unsaid(&self) -> bool {
        self.unsaid_hashes >= MANY_UNSAID
            || (self.ranges.len() >= MANY_UNSAID
                && self.ranges.iter().filter(|range| !range.said).count() >= MANY_UNSAID)
    }

    fn ack(&self) -> Ack {
        let ranges = self.ranges.iter().rev();
        Ack {
            ranges: ranges.map(|range| AckedRange { boot: range.boot, from: range.from, to: range.to }).collect(),
            hashes: self.hashes.iter().rev().copied().collect(),
            slow_down_ms: None,
        }
    }

    fn said(&mut self) {
        self.ranges.iter_mut().for_each(|range| range.said = true);
        self.unsaid_hashes = 0;
        self.new = 0;
        self.since = None;
    }
}

impl Acks {
    /// Remembers at most `max_vehicles` (at least 1); beyond it an idle one is forgotten.
    pub fn new(pace: Pace, max_vehicles: usize) -> Self {
        Self {
            pace,
            max_vehicles: max_vehicles.max(1),
            by_vehicle: HashMap::new(),
            slots: Vec::new(),
            hand: 0,
            checks: BinaryHeap::new(),
            due: VecDeque::new(),
        }
    }

    /// A delivery report came for this reading, whichever connection it had come in on. `now` never goes back.
    pub fn report(&mut self, vehicle: &VehicleId, reading: Reading, now: Instant) {
        let at = self.slot_of(vehicle);
        let slot = &mut self.slots[at];
        slot.cover(reading);
        slot.new = slot.new.saturating_add(1);
        let since = *slot.since.get_or_insert(now);
        let enough = slot.new >= self.pace.records
            || slot.much_unsaid()
            || (slot.new >= self.pace.min_records && now >= since + self.pace.min_pause);
        if enough {
            self.make_due(at);
        } else if !slot.in_checks {
            slot.in_checks = true;
            self.checks.push(Reverse((since + self.pace.min_pause, at)));
        }
    }

    /// Makes due what time has made due.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse((when, at))) = self.checks.peek().copied() {
            if when > now {
                break;
            }
            self.checks.pop();
            let slot = &mut self.slots[at];
            slot.in_checks = false;
            let Some(since) = slot.since.filter(|_| !slot.in_due) else { continue };
            let early = since + self.pace.min_pause;
            let late = since + self.pace.max_pause;
            if now >= late || (now >= early && slot.new >= self.pace.min_records) {
                self.make_due(at);
            } else {
                slot.in_checks = true;
                self.checks.push(Reverse((if now < early { early } else { late }, at)));
            }
        }
    }

    /// When [`Self::tick`] is wanted next.
    pub fn next_check(&self) -> Option<Instant> {
        self.checks.peek().map(|Reverse((when, _))| *when)
    }

    /// The next ack that may leave, and to whom.
    pub fn next_due(&mut self) -> Option<(&VehicleId, Ack)> {
        while let Some(at) = self.due.front().copied() {
            // A vehicle that moved into the place of another has perhaps nothing to hear yet.
            if self.slots[at].new > 0 {
                let slot = &self.slots[at];
                return Some((&slot.vehicle, slot.ack()));
            }
            self.due.pop_front();
            self.slots[at].in_due = false;
        }
        None
    }

    /// The ack that [`Self::next_due`] gave has left.
    pub fn left(&mut self) {
        if let Some(at) = self.due.pop_front() {
            self.slots[at].in_due = false;
            self.slots[at].said();
        }
    }

    /// Makes everything due that no ack has said yet: before a stop.
    pub fn all_due(&mut self) {
        for at in 0..self.slots.len() {
            if self.slots[at].new > 0 {
                self.make_due(at);
            }
        }
    }

    /// How many vehicles are remembered.
    pub fn vehicles(&self) -> usize {
        self.slots.len()
    }

    fn make_due(&mut self, at: usize) {
        if !self.slots[at].in_due {
            self.slots[at].in_due = true;
            self.due.push_back(at);
        }
    }

    fn slot_of(&mut self, vehicle: &VehicleId) -> usize {
        if let Some(at) = self.by_vehicle.get(vehicle).copied() {
            self.slots[at].recent = true;
            return at;
        }
        let at = if self.slots.len() < self.max_vehicles {
            self.slots.push(Slot::new(vehicle.clone()));
            self.slots.len() - 1
        } else {
            let at = self.idle();
            self.by_vehicle.remove(&self.slots[at].vehicle);
            self.slots[at].reuse(vehicle.clone());
            at
        };
        self.by_vehicle.insert(vehicle.clone(), at);
        at
    }

    /// A vehicle that has not reported since the hand last came by.
    fn idle(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            if !std::mem::replace(&mut self.slots[at].recent, false) {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests;
