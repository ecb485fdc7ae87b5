//! One load vehicle: its connection, what is out on it, and its outbox.

use std::collections::VecDeque;

use telemetry::VehicleId;

use super::{
    outbox::{Outbox, Rules, Transmission},
    plan::Manners,
    stream::Stream,
    trouble::NEVER,
};

/// How far its connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// None. It tries again at `at_us`; `paced`: its turn among the fleet is reserved.
    Down { at_us: u64, paced: bool },
    /// The socket connects, since `since_us`.
    Opening { since_us: u64 },
    /// CONNECT is sent.
    Greeting { since_us: u64 },
    /// SUBSCRIBE is sent.
    Subscribing { since_us: u64 },
    /// Readings may be sent.
    Up,
    /// DISCONNECT is sent, at `since_us`; the broker closes.
    Leaving { since_us: u64 },
    /// It will not come back.
    Left,
}

/// A PUBLISH without its PUBACK.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outstanding {
    /// When its reading was due, µs after the start of the load.
    pub(super) due_us: u64,
    pub(super) seq: u32,
    pub(super) id: u16,
    /// Its reading had been sent before.
    pub(super) again: bool,
    /// The kernel has it.
    pub(super) written: bool,
}

/// Publishes for which a vehicle keeps room when none is out.
const IDLE: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Vehicle {
    pub(super) id: VehicleId,
    /// In the fleet, from 0.
    pub(super) place: u32,
    /// The index of its name.
    pub(super) index: u32,
    pub(super) link: Link,
    pub(super) stream: Option<Stream>,
    pub(super) outbox: Outbox,
    pub(super) outstanding: VecDeque<Outstanding>,
    /// The beginning of a packet whose end has not come yet.
    pub(super) inbound: Box<[u8]>,
    /// What the kernel had no room for.
    pub(super) unsent: Box<[u8]>,
    /// Readings made so far.
    pub(super) made: u32,
    /// The broker's session is ours, until it says that it has none.
    pub(super) known: bool,
    /// When it may be cut off on purpose next, µs after the start; [`NEVER`]: it will not.
    pub(super) cut_at_us: u64,
    /// A reading that leaves after the next one.
    pub(super) behind: Option<Box<Transmission>>,
    /// Successive attempts that failed.
    pub(super) failures: u8,
    last_id: u16,
    pub(super) receive_maximum: u16,
    /// As the broker wants it.
    pub(super) keep_alive_s: u16,
    /// When it last sent and heard something, ms.
    pub(super) sent_ms: u64,
    pub(super) heard_ms: u64,
}

impl Vehicle {
    pub(super) fn new(id: VehicleId, place: u32, index: u32, rules: &Rules, manners: &Manners, first_us: u64) -> Self {
        Self {
            id,
            place,
            index,
            link: Link::Down { at_us: first_us, paced: true },
            stream: None,
            outbox: Outbox::new(rules),
            outstanding: VecDeque::new(),
            inbound: Box::default(),
            unsent: Box::default(),
            made: 0,
            known: false,
            cut_at_us: NEVER,
            behind: None,
            failures: 0,
            last_id: 0,
            receive_maximum: u16::MAX,
            keep_alive_s: manners.keep_alive_s,
            sent_ms: 0,
            heard_ms: 0,
        }
    }

    /// Whether another PUBLISH may leave now.
    pub(super) fn has_room(&self) -> bool {
        let full_circle = self.outstanding.front().is_some_and(|oldest| oldest.id == following(self.last_id));
        self.unsent.is_empty() && self.outstanding.len() < usize::from(self.receive_maximum) && !full_circle
    }

    /// The next packet id. Ids are given in a circle and those that are out lie behind each other in it, so that the
    /// next one is free unless the oldest has it, which [`Self::has_room`] tells.
    pub(super) fn next_id(&mut self) -> u16 {
        self.last_id = following(self.last_id);
        self.last_id
    }

    /// The broker has answered this packet id. None if it was not out.
    pub(super) fn answered(&mut self, id: u16) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|out| out.id == id)?;
        let out = self.outstanding.remove(at);
        if self.outstanding.is_empty() {
            // A backlog is rare, and its memory would stay with each vehicle that once had one.
            self.outstanding.shrink_to(IDLE);
        }
        out
    }

    /// When the next PINGREQ is due, and when the silence of the broker means that it has gone, ms.
    pub(super) fn keep_alive_ms(&self) -> Option<(u64, u64)> {
        let keep_alive = u64::from(self.keep_alive_s) * 1_000;
        (keep_alive > 0).then_some((self.sent_ms + keep_alive * 3 / 4, self.heard_ms + keep_alive * 3 / 2))
    }

    /// Forgets what belonged to a connection.
    pub(super) fn disconnect(&mut self) {
        self.stream = None;
        self.behind = None;
        self.outstanding = VecDeque::new();
        self.inbound = Box::default();
        self.unsent = Box::default();
    }
}

fn following(id: u16) -> u16 {
    // 1 is the SUBSCRIBE's, whose SUBACK comes before the first PUBLISH; 0 is none.
    id.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        outbox::{Counts, Settings, Times},
        vehicle::vehicle_id,
    };

    fn vehicle() -> Vehicle {
        let times = Times {
            left_out_ms: 1,
            left_out_max_ms: 1,
            probe_ms: 1,
            probe_max_ms: 1,
            refused_ms: 1,
            refused_max_ms: 1,
        };
        let settings = Settings { window: 1, capacity: 1, times, obeys: true };
        let rules = Rules { settings, boot: 1, rng: ChaCha8Rng::seed_from_u64(1), counts: Counts::default() };
        let manners = Manners {
            window: 1,
            outbox_records: 1,
            resend_ms: (1, 1),
            probe_ms: (1, 1),
            refused_ms: (1, 1),
            reconnect_ms: (1, 1),
            heedless: false,
            attempt_ms: 1,
            keep_alive_s: 60,
            session_expiry_s: 0,
            socket_buffer: 0,
        };
        Vehicle::new(vehicle_id(1), 0, 1, &rules, &manners, 0)
    }

    fn publish(vehicle: &mut Vehicle) -> u16 {
        let id = vehicle.next_id();
        vehicle.outstanding.push_back(Outstanding { due_us: 0, seq: 1, id, again: false, written: true });
        id
    }

    #[test]
    fn the_brokers_receive_maximum_is_kept() {
        let mut vehicle = vehicle();
        vehicle.receive_maximum = 3;
        (0..3).for_each(|_| assert!(vehicle.has_room() && publish(&mut vehicle) > 0));
        assert!(!vehicle.has_room());
        vehicle.outstanding.remove(1);
        assert!(vehicle.has_room());
        vehicle.unsent = [0].into();
        assert!(!vehicle.has_room(), "what waits for the kernel comes first");
    }

    #[test]
    fn what_was_out_at_once_takes_no_memory_when_it_is_answered() {
        let mut vehicle = vehicle();
        let ids: Vec<_> = (0..1_000).map(|_| publish(&mut vehicle)).collect();
        assert!(vehicle.answered(1_001).is_none() && vehicle.outstanding.capacity() >= 1_000);
        assert!(ids.iter().all(|id| vehicle.answered(*id).is_some_and(|out| out.id == *id)));
        assert!(vehicle.outstanding.is_empty() && vehicle.outstanding.capacity() <= IDLE);
    }

    #[test]
    fn no_packet_id_is_given_twice_while_it_is_out() {
        let mut vehicle = vehicle();
        let stuck = publish(&mut vehicle);
        // Everything is answered but the first.
        for _ in 0..u16::MAX - 1 {
            assert!(vehicle.has_room());
            assert_ne!(publish(&mut vehicle), stuck);
            vehicle.outstanding.pop_back();
        }
        assert!(!vehicle.has_room(), "once around");
        vehicle.outstanding.clear();
        assert!(vehicle.has_room() && publish(&mut vehicle) == stuck);
    }

    #[test]
    fn a_ping_is_due_before_the_keep_alive_is_over_and_silence_after_it() {
        let mut vehicle = vehicle();
        (vehicle.sent_ms, vehicle.heard_ms) = (1_000, 2_000);
        assert_eq!(vehicle.keep_alive_ms(), Some((46_000, 92_000)));
        vehicle.keep_alive_s = 0;
        assert_eq!(vehicle.keep_alive_ms(), None);
    }
}
