//! What is in flight and which PUBACKs may leave. Pure: no sockets, no clock.
//!
//! MQTT wants PUBACKs in the order in which the publishes came; Kafka reports deliveries in any order. So the
//! PUBACKs of one connection stand in a queue, and its settled front may leave. A packet id means something
//! only on the connection that it came on: every CONNACK opens a new *epoch*, and what belongs to an older one
//! never leaves again.

use std::collections::{HashMap, VecDeque};

/// One received publish: counts from 1, never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The publishes that this process took in and that Kafka has not confirmed, each with a `T` that says what
/// it was, and the PUBACKs that wait.
#[derive(Debug)]
pub struct Tracker<T> {
    in_hand: HashMap<Ticket, T>,
    next: Ticket,
    /// PUBACKs of this epoch that have not left, in order of arrival. Tickets in it are consecutive.
    waiting: VecDeque<Puback>,
    /// The ticket of the front of `waiting`.
    front: Ticket,
    /// How many in `waiting` have a packet id.
    unacknowledged: usize,
    /// The first ticket that may belong to the connection of now.
    since: Ticket,
    connected: bool,
}

#[derive(Debug)]
struct Puback {
    /// None: QoS 0, nothing to send.
    packet_id: Option<u16>,
    settled: bool,
}

impl<T> Default for Tracker<T> {
    fn default() -> Self {
        Self {
            in_hand: HashMap::new(),
            next: Ticket(1),
            waiting: VecDeque::new(),
            front: Ticket(1),
            unacknowledged: 0,
            since: Ticket(1),
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
        self.since = self.next;
    }

    /// Takes a publish in. `packet_id` is none for QoS 0.
    pub fn arrived(&mut self, packet_id: Option<u16>, what: T) -> Ticket {
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.in_hand.insert(ticket, what);
        if self.connected {
            if self.waiting.is_empty() {
                self.front = ticket;
            }
            self.unacknowledged += usize::from(packet_id.is_some());
            self.waiting.push_back(Puback { packet_id, settled: false });
        }
        ticket
    }

    /// The publish may be acknowledged to the broker. Without effect for an older epoch, or the second time.
    pub fn settle(&mut self, ticket: Ticket) {
        let place = ticket.0.checked_sub(self.front.0).and_then(|place| usize::try_from(place).ok());
        if let Some(puback) = place.and_then(|place| self.waiting.get_mut(place)) {
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
            self.front = Ticket(self.front.0 + 1);
        }
    }

    /// What a ticket stands for, while it is in hand.
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        self.in_hand.get(&ticket)
    }

    /// Changes what becomes of a ticket.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.in_hand.get_mut(&ticket)
    }

    /// Kafka has it: it is no longer in hand.
    pub fn delivered(&mut self, ticket: Ticket) -> Option<T> {
        self.in_hand.remove(&ticket)
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
        ticket < self.since
    }
}

#[cfg(test)]
mod tests;
