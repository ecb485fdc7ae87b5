//! When a publish is acknowledged: the one decision that guarantee G1 hangs on, in one place.

use std::time::Instant;

use crate::{
    ack::Acks,
    delivery::{Ticket, Tracker},
    intake::Sorted,
};

/// A publish in hand.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) sorted: Sorted,
    /// Counts arrivals; 0 for what came out of the spool.
    pub(crate) arrival: u64,
    /// It was handed to the producer, or is to be: not read back from the spool.
    pub(crate) with_producer: bool,
    /// Where the spool holds it, if it does.
    pub(crate) position: Option<u64>,
}

/// What was taken in, and what has been acknowledged of it.
#[derive(Debug)]
pub struct Books {
    pub(crate) tracker: Tracker<Item>,
    pub(crate) acks: Acks,
}

impl Books {
    pub(crate) fn new(acks: Acks) -> Self {
        Self { tracker: Tracker::default(), acks }
    }

    /// The PUBACK may leave, in its turn. Without effect if the publish's connection is gone.
    pub fn acknowledge_to_broker(&mut self, ticket: Ticket) {
        self.tracker.settle(ticket);
    }

    /// The next ack to the vehicle of the MQTT topic names this reading. Without effect if it is none.
    pub fn acknowledge_to_vehicle(&mut self, ticket: Ticket, now: Instant) {
        let Some(Item { sorted, .. }) = self.tracker.get(ticket) else { return };
        if let (Some(vehicle), Some(reading)) = (sorted.vehicle(), sorted.reading) {
            self.acks.report(vehicle, reading, now);
        }
    }
}

/// Decides when a publish is acknowledged to the broker (PUBACK) and to the vehicle (ack).
///
/// The product knows one answer, [`AfterDelivery`]. The trait is the seam for the tests: an edge that acknowledges
/// on arrival, built from the same parts by [`crate::connect_with`], must make the ledger report losses. It stays
/// in the tests' crate.
pub trait Release: Send + 'static {
    /// A publish was taken in; Kafka has not confirmed it.
    fn arrived(&mut self, books: &mut Books, ticket: Ticket, now: Instant);

    /// The spool has it, fsynced; Kafka has not confirmed it.
    fn spooled(&mut self, books: &mut Books, ticket: Ticket, now: Instant);

    /// Kafka confirmed it, in `telemetry`, `vehicle-status` or the dead letters. Afterwards the ticket is void.
    fn delivered(&mut self, books: &mut Books, ticket: Ticket, now: Instant);
}

/// To the broker when it is in Kafka or safe in the spool; to the vehicle when Kafka's delivery report is there, also
/// when the publish's connection is gone by then.
#[derive(Debug, Clone, Copy, Default)]
pub struct AfterDelivery;

impl Release for AfterDelivery {
    fn arrived(&mut self, _: &mut Books, _: Ticket, _: Instant) {}

    fn spooled(&mut self, books: &mut Books, ticket: Ticket, _: Instant) {
        books.acknowledge_to_broker(ticket);
    }

    fn delivered(&mut self, books: &mut Books, ticket: Ticket, now: Instant) {
        books.acknowledge_to_broker(ticket);
        books.acknowledge_to_vehicle(ticket, now);
    }
}
