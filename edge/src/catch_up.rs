//! Which spooled records Kafka has, and which are to be read next. Pure.
//!
//! Positions are those of the spool. Everything below `base` is delivered; from `base` on some are. What stood
//! with the producer when the spool was begun is in the spool as well, and is not read back: its reports come
//! when Kafka does.

use std::{collections::VecDeque, ops::Range};

/// The bookkeeping of a spool's positions.
#[derive(Debug)]
pub(crate) struct CatchUp {
    base: u64,
    /// From `base` on: whether Kafka has it. Shorter than what the spool holds.
    done: VecDeque<bool>,
    done_ahead: u64,
    /// The next position to read.
    cursor: u64,
    /// Behind the last position that the spool holds.
    end: u64,
}

impl CatchUp {
    /// For a spool that holds the positions of `held`, none of them delivered or read.
    pub(crate) fn new(held: Range<u64>) -> Self {
        Self { base: held.start, done: VecDeque::new(), done_ahead: 0, cursor: held.start, end: held.end }
    }

    /// The spool holds these, too: those behind it. `with_producer`: this one is not to be read back.
    pub(crate) fn appended(&mut self, position: u64, with_producer: bool) {
        debug_assert!(position >= self.end, "{position} is not behind {}", self.end);
        // A hole would be of positions that are nobody's.
        self.pass(self.end..position);
        self.end = position + 1;
        if with_producer && self.cursor == position {
            self.cursor = self.end;
        }
    }

    /// The position to read from; none when everything was read.
    pub(crate) fn to_read(&self) -> Option<u64> {
        (self.cursor < self.end).then_some(self.cursor)
    }

    /// So many positions are still to be read.
    pub(crate) fn left(&self) -> u64 {
        self.end - self.cursor
    }

    /// The spool was read up to before `next`.
    pub(crate) fn read(&mut self, next: u64) {
        self.cursor = self.cursor.max(next.min(self.end));
    }

    /// These can't be read and will not be delivered; how many of them were still wanted.
    pub(crate) fn pass(&mut self, positions: Range<u64>) -> u64 {
        positions.filter(|position| self.delivered(*position)).count() as u64
    }

    /// Kafka has it, or nobody waits for it any more; false if that was known.
    pub(crate) fn delivered(&mut self, position: u64) -> bool {
        let Some(at) = position.checked_sub(self.base).and_then(|at| usize::try_from(at).ok()) else { return false };
        if at >= self.done.len() {
            self.done.resize(at + 1, false);
        }
        let news = !std::mem::replace(&mut self.done[at], true);
        self.done_ahead += u64::from(news);
        while self.done.front() == Some(&true) {
            self.done.pop_front();
            self.done_ahead -= 1;
            self.base += 1;
        }
        news
    }

    /// Everything below it is delivered.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// How many positions lie between the first undelivered one and the last delivered one: memory, a byte each.
    pub(crate) fn spread(&self) -> usize {
        self.done.len()
    }

    /// Records that the spool holds and Kafka has not confirmed.
    pub(crate) fn undelivered(&self) -> u64 {
        self.end.saturating_sub(self.base).saturating_sub(self.done_ahead)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_producer_holds_is_not_read_back() {
        let mut catch_up = CatchUp::new(1..1);
        assert_eq!(catch_up.to_read(), None);
        catch_up.appended(1, true);
        catch_up.appended(2, true);
        assert_eq!(catch_up.to_read(), None);
        catch_up.appended(3, false);
        catch_up.appended(4, false);
        assert_eq!((catch_up.to_read(), catch_up.undelivered()), (Some(3), 4));
        assert!(catch_up.delivered(2) && !catch_up.delivered(2));
        assert_eq!((catch_up.base(), catch_up.undelivered(), catch_up.spread()), (1, 3, 2));
        assert!(catch_up.delivered(1));
        assert_eq!((catch_up.base(), catch_up.undelivered(), catch_up.spread()), (3, 2, 0));
        catch_up.read(5);
        assert_eq!(catch_up.to_read(), None);
    }

    #[test]
    fn what_can_not_be_read_holds_nothing_up() {
        let mut catch_up = CatchUp::new(10..20);
        catch_up.delivered(12);
        assert_eq!(catch_up.pass(10..15), 4, "12 was delivered");
        assert_eq!((catch_up.base(), catch_up.undelivered()), (15, 5));
        assert_eq!(catch_up.pass(8..11), 0, "long past");
    }

    proptest! {
        #[test]
        fn it_counts_as_a_set_does(held in 0_u64..50, order in Just(1_u64..=80).prop_flat_map(|all| {
            Just(all.collect::<Vec<_>>()).prop_shuffle()
        })) {
            let mut catch_up = CatchUp::new(1..held + 1);
            for position in held + 1..=80 {
                catch_up.appended(position, false);
            }
            let mut left: std::collections::BTreeSet<u64> = (1..=80).collect();
            for position in order {
                left.remove(&position);
                prop_assert!(catch_up.delivered(position));
                prop_assert_eq!(catch_up.undelivered(), left.len() as u64);
                prop_assert_eq!(catch_up.base(), left.first().copied().unwrap_or(81));
            }
        }
    }
}
