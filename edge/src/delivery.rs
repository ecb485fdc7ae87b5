//! What is in flight and which PUBACKs may leave. Pure: no sockets, no clock.
//!
//! MQTT wants PUBACKs in the order in which the publishes came; Kafka reports deliveries in any order. So the
//! PUBACKs of one connection stand in a queue, and its settled front may leave. A packet id means something
//! only on the connection that it came on: every CONNACK opens a new *epoch*, and what belongs to an older one
//! never leaves again.

use std::collections::VecDeque;

use slotmap::{Key, KeyData, SlotMap, new_key_type};

new_key_type! {
    /// One received publish, while it is in hand. Never used twice in a process: a ticket that is void finds
    /// nothing, also when its place has been taken by another.
    pub struct Ticket;
}

impl Ticket {
    /// As 64 bits that librdkafka carries along.
    pub(crate) fn to_bits(self) -> u64 {
        self.data().as_ffi()
    }

    /// What [`Self::to_bits`] gave.
    pub(crate) fn from_bits(bits: u64) -> Self {
        KeyData::from_ffi(bits).into()
    }
}

/// The publishes that this process took in and that Kafka has not confirmed, each with a `T` that says what
/// it was, and the PUBACKs that wait.
#[derive(Debug)]
pub struct Tracker<T> {
    in_hand: SlotMap<Ticket, InHand<T>>,
    /// PUBACKs of this epoch that have not left, in order of arrival: of the places from `first` to before `next`.
    waiting: VecDeque<Puback>,
    first: u64,
    next: u64,
    /// How many in `waiting` have a packet id.
    unacknowledged: usize,
    /// The first place of the connection of now.
    since: u64,
    connected: bool,
}

#[derive(Debug)]
struct InHand<T> {
    /// Counts arrivals; [`NOWHERE`] for one that no connection waits for.
    place: u64,
    what: T,
}

const NOWHERE: u64 = u64::MAX;

#[derive(Debug)]
struct Puback {
    /// None: QoS 0, nothing to send.
    packet_id: Option<u16>,
    settled: bool,
}

impl<T> Default for Tracker<T> {
    fn default() -> Self {
        Self {
            in_hand: SlotMap::with_key(),
            waiting: VecDeque::new(),
            first: 0,
            next: 0,
            unacknowledged: 0,
            since: 0,
            connected: false,
        }
    }
}

impl<T> Tracker<T> {
    /// A CONNACK came: a new epoch begins. No PUBACK of an older one will leave.
    pub fn connected(&mut self) {
        self.lost();
        self.connected = true;
    }

    /// The connection is gone. What still comes out of its buffers is taken in, but never acknowledged on it.
    pub fn lost(&mut self) {
        self.connected = false;
        self.waiting.clear();
        self.unacknowledged = 0;
        self.first = self.next;
        self.since = self.next;
    }

    /// Takes a publish in. `packet_id` is none for QoS 0.
    pub fn arrived(&mut self, packet_id: Option<u16>, what: T) -> Ticket {
        let mut place = NOWHERE;
        if self.connected {
            place = self.next;
            self.next += 1;
            self.unacknowledged += usize::from(packet_id.is_some());
            self.waiting.push_back(Puback { packet_id, settled: false });
        }
        self.in_hand.insert(InHand { place, what })
    }

    /// Takes in what no connection waits for: it came out of the spool.
    pub fn restored(&mut self, what: T) -> Ticket {
        self.in_hand.insert(InHand { place: NOWHERE, what })
    }

    /// The publish may be acknowledged to the broker. Without effect for an older epoch, or the second time.
    pub fn settle(&mut self, ticket: Ticket) {
        let Some(InHand { place, .. }) = self.in_hand.get(ticket) else { return };
        let at = place.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(puback) = at.and_then(|at| self.waiting.get_mut(at)) {
            puback.settled = true;
        }
    }

    /// The packet id of the next PUBACK that may leave; none while the front is not settled.
    pub fn next_puback(&mut self) -> Option<u16> {
        while let Some(Puback { packet_id, settled: true }) = self.waiting.front() {
            if packet_id.is_some() {
                return *packet_id;
            }
            self.pop();
        }
        None
    }

    /// The PUBACK that [`Self::next_puback`] named has left.
    pub fn puback_left(&mut self) {
        debug_assert!(self.waiting.front().is_some_and(|puback| puback.settled), "only a settled PUBACK leaves");
        self.pop();
    }

    fn pop(&mut self) {
        if let Some(puback) = self.waiting.pop_front() {
            self.unacknowledged -= usize::from(puback.packet_id.is_some());
            self.first += 1;
        }
    }

    /// What a ticket stands for, while it is in hand.
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        self.in_hand.get(ticket).map(|in_hand| &in_hand.what)
    }

    /// Changes what becomes of a ticket.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.in_hand.get_mut(ticket).map(|in_hand| &mut in_hand.what)
    }

    /// Somebody else answers for it now, Kafka or the spool: it is no longer in hand.
    pub fn delivered(&mut self, ticket: Ticket) -> Option<T> {
        self.in_hand.remove(ticket).map(|in_hand| in_hand.what)
    }

    /// Everything in hand, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.in_hand.iter().map(|(ticket, in_hand)| (ticket, &in_hand.what))
    }

    /// How many publishes are in hand, of all epochs.
    pub fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    /// How many publishes of this connection have not been acknowledged: what Receive Maximum bounds.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Whether the connection that brought this publish is gone, and with it the chance to acknowledge it.
    pub fn is_late(&self, ticket: Ticket) -> bool {
        self.in_hand.get(ticket).is_some_and(|in_hand| in_hand.place < self.since || in_hand.place == NOWHERE)
    }
}

#[cfg(test)]
mod tests;
