//! The count that every process ends with (guarantee G4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of everything that a process received: received = sent + discarded + in hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Taken in.
    pub received: u64,
    /// Handed on and confirmed by the other side.
    pub sent: u64,
    /// Put aside, by reason.
    pub discarded: BTreeMap<String, u64>,
    /// Neither yet.
    pub in_hand: u64,
    /// Further counts that stand outside the sum.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<String, u64>,
}

impl Tally {
    /// Whether the sum holds.
    pub fn balances(&self) -> bool {
        self.received == self.sent + self.discarded.values().sum::<u64>() + self.in_hand
    }

    /// Counts `n` discarded for this reason.
    pub fn discard(&mut self, reason: &str, n: u64) {
        if let Some(count) = self.discarded.get_mut(reason) {
            *count += n;
        } else {
            self.discarded.insert(reason.to_owned(), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_record_unbalances_the_tally() {
        let mut tally = Tally { received: 10, sent: 6, in_hand: 1, ..Tally::default() };
        tally.discard("empty", 2);
        assert!(!tally.balances());
        tally.discard("empty", 1);
        assert!(tally.balances());
        assert_eq!(tally.discarded["empty"], 3);
    }
}
