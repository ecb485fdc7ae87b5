//! Which commands the broker has not confirmed, by packet id. Its PUBACK says nothing of the vehicle: it frees the
//! packet id, no more.

use std::{collections::BTreeMap, mem};

use super::open::Number;

/// The SUBSCRIBE has 1.
const FIRST_ID: u16 = 2;
/// More than this are never needed ahead; a broker may take fewer.
const MOST: usize = 64;

/// Publishes on their way to the broker of one connection.
#[derive(Debug)]
pub(crate) struct Flight {
    numbers: BTreeMap<u16, Number>,
    last_id: u16,
    most: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), last_id: 0, most: MOST }
    }
}

impl Flight {
    /// A broker is connected that takes so many ahead of its PUBACKs.
    pub(crate) fn connected(&mut self, receive_maximum: u16) {
        self.most = MOST.min(usize::from(receive_maximum));
    }

    /// A free packet id; none while too many are on their way.
    pub(crate) fn free_id(&self) -> Option<u16> {
        if self.numbers.len() >= self.most {
            return None;
        }
        let following = self.last_id.saturating_add(1).max(FIRST_ID)..=u16::MAX;
        following.chain(FIRST_ID..=u16::MAX).find(|id| !self.numbers.contains_key(id))
    }

    /// A command has left under this packet id.
    pub(crate) fn left(&mut self, packet_id: u16, number: Number) {
        self.last_id = packet_id;
        self.numbers.insert(packet_id, number);
    }

    /// The broker has answered; whether it was asked.
    pub(crate) fn answered(&mut self, packet_id: u16) -> bool {
        self.numbers.remove(&packet_id).is_some()
    }

    /// The connection is gone: what was on its way may be lost.
    pub(crate) fn lost(&mut self) -> impl Iterator<Item = Number> {
        mem::take(&mut self.numbers).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_on_their_way_than_the_broker_takes() {
        for (receive_maximum, most) in [(1, 1), (20, 20), (64, 64), (u16::MAX, MOST)] {
            let mut flight = Flight::default();
            flight.connected(receive_maximum);
            while let Some(id) = flight.free_id() {
                flight.left(id, 0);
            }
            assert_eq!(flight.lost().count(), most);
        }
    }

    #[test]
    fn packet_ids_go_round_and_none_is_used_twice() {
        let mut flight = Flight { last_id: u16::MAX - 1, ..Flight::default() };
        let mut ids = Vec::new();
        while let Some(id) = flight.free_id() {
            flight.left(id, u64::from(id));
            ids.push(id);
        }
        assert_eq!((ids.len(), &ids[..3]), (MOST, &[u16::MAX, 2, 3][..]));
        assert!(flight.answered(3) && !flight.answered(3) && !flight.answered(1));
        assert_eq!(flight.free_id(), Some(65), "not the one that has just become free");
        assert_eq!(flight.lost().count(), MOST - 1);
        assert_eq!(flight.lost().count(), 0);
    }
}
