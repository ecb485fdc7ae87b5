//! Queues threaded through the slots: a slot stands in one of them at most, and leaves it from any place at once.

use super::slot::Slot;

/// So many slots have an index, beside the one that means none.
pub(super) const MAX_SLOTS: usize = u32::MAX as usize;

const NONE: u32 = u32::MAX;

/// Where a slot waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to say, or only when it may again tell its vehicle to slow down.
    Nowhere,
    /// In order of the first new report: for the shorter pause.
    Early,
    /// In order of the first new report: for the longer pause.
    Late,
    /// Its ack may leave.
    Due,
}

/// A slot's place, and its neighbours there.
#[derive(Debug)]
pub(super) struct Links {
    before: u32,
    behind: u32,
    place: Place,
}

impl Links {
    pub(super) const NOWHERE: Self = Self { before: NONE, behind: NONE, place: Place::Nowhere };

    pub(super) fn place(&self) -> Place {
        self.place
    }
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// The ends of every queue.
#[derive(Debug)]
pub(super) struct Queues([Ends; 4]);

impl Default for Queues {
    fn default() -> Self {
        Self([Ends { first: NONE, last: NONE }; 4])
    }
}

impl Queues {
    /// The slot that has waited longest there.
    pub(super) fn first(&self, place: Place) -> Option<u32> {
        let first = self.0[place as usize].first;
        (first != NONE).then_some(first)
    }

    /// Takes the slot from where it waits, and puts it last there; one that waits there already keeps its turn.
    pub(super) fn put(&mut self, slots: &mut [Slot], at: u32, place: Place) {
        let links = &slots[at as usize].links;
        if links.place == place {
            return;
        }
        if links.place != Place::Nowhere {
            let Links { before, behind, place } = *links;
            let ends = &mut self.0[place as usize];
            match before {
                NONE => ends.first = behind,
                _ => slots[before as usize].links.behind = behind,
            }
            match behind {
                NONE => ends.last = before,
                _ => slots[behind as usize].links.before = before,
            }
        }
        if place == Place::Nowhere {
            slots[at as usize].links = Links::NOWHERE;
            return;
        }
        let ends = &mut self.0[place as usize];
        match ends.last {
            NONE => ends.first = at,
            last => slots[last as usize].links.behind = at,
        }
        slots[at as usize].links = Links { before: ends.last, behind: NONE, place };
        ends.last = at;
    }

    /// Every slot of a queue, from the one that has waited longest; one too many where it runs in a circle.
    #[cfg(test)]
    pub(super) fn all(&self, slots: &[Slot], place: Place) -> Vec<u32> {
        let next = |at: &u32| Some(slots[*at as usize].links.behind).filter(|next| *next != NONE);
        std::iter::successors(self.first(place), next).take(slots.len() + 1).collect()
    }
}
