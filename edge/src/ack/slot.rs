//! What is remembered of one vehicle. There are very many of them: the usual one has a short name, one range and no
//! hash, and all of that lies in one place. What a report costs is mostly fetching it.

use smallvec::SmallVec;
use smol_str::SmolStr;
use telemetry::{
    PayloadHash, VehicleId,
    event::{Ack, AckedRange, MAX_ACK_HASHES, MAX_ACK_RANGES},
};

use super::{
    Reading,
    queues::{Links, Place},
};

/// An ack leaves early when it holds this many ranges, or hashes, that no ack has named yet: well before the
/// limits would make the edge forget one that the vehicle never heard of.
const MANY_UNSAID: usize = MAX_ACK_RANGES / 2;

#[derive(Debug)]
pub(super) struct Slot {
    /// Well-formed.
    vehicle: SmolStr,
    /// Newest last: the one that a report touched last. No two overlap or adjoin.
    ranges: SmallVec<[Range; 1]>,
    rare: Option<Box<Rare>>,
    /// Reports since the last ack.
    pub(super) new: u32,
    /// The first of them, by the clock of all slots; without meaning where there is none.
    pub(super) since: u32,
    pub(super) links: Links,
    /// The vehicle was told to slow down, less than [`super::SLOW_DOWN_PAUSE_MS`] ago.
    pub(super) hushed: bool,
    pub(super) recent: bool,
}

/// What most vehicles never need.
#[derive(Debug, Default)]
struct Rare {
    /// Newest last.
    hashes: Vec<PayloadHash>,
    unsaid_hashes: usize,
    /// What the next ack says of it.
    slow_down_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    boot: u32,
    said: bool,
    from: u64,
    to: u64,
}

impl Slot {
    pub(super) fn new(vehicle: &VehicleId) -> Self {
        Self {
            vehicle: vehicle.as_str().into(),
            ranges: SmallVec::new(),
            rare: None,
            new: 0,
            since: 0,
            links: Links::NOWHERE,
            hushed: false,
            // Only a second report shows that it stays: passers-by push each other out.
            recent: false,
        }
    }

    /// Someone else moves in, and stands in no queue; the silence about slowing down goes on.
    pub(super) fn move_in(&mut self, other: Self) {
        *self = Self { hushed: self.hushed, ..other };
    }

    pub(super) fn vehicle(&self) -> &str {
        &self.vehicle
    }

    pub(super) fn place(&self) -> Place {
        self.links.place()
    }

    pub(super) fn cover(&mut self, reading: Reading) {
        match reading {
            Reading::Sequence { boot, seq } => self.cover_seq(boot, seq),
            Reading::Hash(hash) => self.rare().cover(hash),
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
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

    pub(super) fn much_unsaid(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.unsaid_hashes >= MANY_UNSAID)
            || (self.ranges.len() >= MANY_UNSAID
                && self.ranges.iter().filter(|range| !range.said).count() >= MANY_UNSAID)
    }

    pub(super) fn slow_down(&mut self, slow_down_ms: u64) {
        self.rare().slow_down_ms = Some(slow_down_ms);
    }

    pub(super) fn slow_down_ms(&self) -> Option<u64> {
        self.rare.as_ref()?.slow_down_ms
    }

    /// The ack that may leave, and to whom.
    pub(super) fn ack(&self) -> (VehicleId, Ack) {
        let vehicle = VehicleId::parse(&self.vehicle).expect("it was one when it came");
        let ranges = self.ranges.iter().rev();
        let hashes = self.rare.iter().flat_map(|rare| rare.hashes.iter().rev());
        let ack = Ack {
            ranges: ranges.map(|range| AckedRange { boot: range.boot, from: range.from, to: range.to }).collect(),
            hashes: hashes.copied().collect(),
            slow_down_ms: self.slow_down_ms(),
        };
        (vehicle, ack)
    }

    /// Everything was said.
    pub(super) fn said(&mut self) {
        self.ranges.iter_mut().for_each(|range| range.said = true);
        if self.ranges.spilled() && self.ranges.len() == 1 {
            // The gaps are filled: back into the slot.
            self.ranges.shrink_to_fit();
        }
        if let Some(rare) = &mut self.rare {
            rare.unsaid_hashes = 0;
            rare.slow_down_ms = None;
        }
        self.rare.take_if(|rare| rare.hashes.is_empty());
        self.new = 0;
    }
}

impl Rare {
    fn cover(&mut self, hash: PayloadHash) {
        if let Some(at) = self.hashes.iter().position(|known| *known == hash) {
            self.hashes.remove(at);
        } else if self.hashes.len() == MAX_ACK_HASHES {
            self.hashes.remove(0);
        }
        self.hashes.push(hash);
        self.unsaid_hashes += 1;
    }
}
