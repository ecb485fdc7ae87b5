//! Names of the simulator's metrics, and the counts that the progress line and the tally are made of.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::outbox::Resent;

const RECEIVED: &str = "simulator_records_received_total";
const SENT: &str = "simulator_records_sent_total";
const DISCARDED: &str = "simulator_records_discarded_total";
const PUBLISHED: &str = "simulator_publishes_total";
const RESENT: &str = "simulator_records_resent_total";
const REFUSED: &str = "simulator_publishes_refused_total";
const ACKS: &str = "simulator_acks_received_total";
const REFUSED_RANGES: &str = "simulator_ack_ranges_refused_total";
const SLOW_DOWNS: &str = "simulator_slow_downs_total";
const HELD_BACK: &str = "simulator_publishes_held_back_total";
const HELD_BACK_MS: &str = "simulator_held_back_milliseconds_total";
const CONNECTIONS: &str = "simulator_connections_total";
const CONNECTED: &str = "simulator_connected_vehicles";
const COMMANDS: &str = "simulator_commands_total";
const IN_HAND: &str = "simulator_outbox_records";

/// Why a reading was put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// The oldest of a full outbox.
    GivenUp,
    /// Above the packet limit: it was never sent.
    Oversize,
    /// The broker took it although nobody listens (0x10), where its word counts.
    Unheard,
}

impl Discarded {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GivenUp => "given_up",
            Self::Oversize => "oversize",
            Self::Unheard => "unheard",
        }
    }
}

/// What became of a command that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commanded {
    /// Carried out.
    Obeyed,
    /// It had been carried out before.
    Repeated,
    /// Not carried out: expired, of no known kind, not for this vehicle, or out of bounds.
    Refused,
    /// Not looked at for want of room: it comes again.
    Postponed,
    /// Nobody could be answered.
    Unreadable,
}

impl Commanded {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Obeyed, Self::Repeated, Self::Refused, Self::Postponed, Self::Unreadable];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Obeyed => "obeyed",
            Self::Repeated => "repeated",
            Self::Refused => "refused",
            Self::Postponed => "postponed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Counts of the whole process.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) received: AtomicU64,
    pub(crate) restored: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) given_up: AtomicU64,
    pub(crate) oversize: AtomicU64,
    pub(crate) unheard: AtomicU64,
    pub(crate) poison: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) resent: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) acks: AtomicU64,
    pub(crate) unreadable_acks: AtomicU64,
    pub(crate) refused_ranges: AtomicU64,
    pub(crate) slow_downs: AtomicU64,
    pub(crate) held_back: AtomicU64,
    pub(crate) held_back_ms: AtomicU64,
    /// By [`Commanded`].
    pub(crate) commands: [AtomicU64; Commanded::ALL.len()],
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) failed_connections: AtomicU64,
    pub(crate) driving: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// The value of one count.
pub(crate) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(crate) fn received(&self, poison: bool) {
        add(&self.received, 1);
        add(&self.poison, u64::from(poison));
        metrics::counter!(RECEIVED).increment(1);
    }

    pub(crate) fn restored(&self, n: u64) {
        add(&self.received, n);
        add(&self.restored, n);
        metrics::counter!(RECEIVED).increment(n);
    }

    pub(crate) fn discarded(&self, why: Discarded, n: u64) {
        let counter = match why {
            Discarded::GivenUp => &self.given_up,
            Discarded::Oversize => &self.oversize,
            Discarded::Unheard => &self.unheard,
        };
        add(counter, n);
        metrics::counter!(DISCARDED, "reason" => why.as_str()).increment(n);
    }

    pub(crate) fn published(&self, again: Option<Resent>) {
        add(&self.published, 1);
        metrics::counter!(PUBLISHED).increment(1);
        if let Some(why) = again {
            add(&self.resent, 1);
            metrics::counter!(RESENT, "rule" => why.as_str()).increment(1);
        }
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
        metrics::counter!(REFUSED).increment(1);
    }

    pub(crate) fn acked(&self, records: u64, refused_ranges: u64) {
        add(&self.acks, 1);
        add(&self.refused_ranges, refused_ranges);
        metrics::counter!(ACKS).increment(1);
        metrics::counter!(REFUSED_RANGES).increment(refused_ranges);
        self.settled(records);
    }

    /// Readings that whoever judges has acknowledged.
    pub(crate) fn settled(&self, records: u64) {
        add(&self.acked, records);
        metrics::counter!(SENT).increment(records);
    }

    /// The edge asked to slow down.
    pub(crate) fn slowed_down(&self) {
        add(&self.slow_downs, 1);
        metrics::counter!(SLOW_DOWNS).increment(1);
    }

    /// Transmissions were held back because of it, so long together.
    pub(crate) fn held_back(&self, n: u64, ms: u64) {
        add(&self.held_back, n);
        add(&self.held_back_ms, ms);
        metrics::counter!(HELD_BACK).increment(n);
        metrics::counter!(HELD_BACK_MS).increment(ms);
    }

    pub(crate) fn unreadable_ack(&self) {
        add(&self.unreadable_acks, 1);
    }

    pub(crate) fn commanded(&self, what: Commanded) {
        add(&self.commands[what as usize], 1);
        metrics::counter!(COMMANDS, "outcome" => what.as_str()).increment(1);
    }

    pub(crate) fn connected(&self) {
        add(&self.connected, 1);
        add(&self.connections, 1);
        metrics::counter!(CONNECTIONS).increment(1);
        metrics::gauge!(CONNECTED).increment(1.0);
    }

    /// An attempt to connect failed. Says whether it is the first: a whole fleet would flood the log.
    pub(crate) fn connection_failed(&self) -> bool {
        self.failed_connections.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(CONNECTED).decrement(1.0);
    }

    /// received − acknowledged − discarded: what the outboxes hold.
    pub(crate) fn in_hand(&self) -> u64 {
        let discarded = value(&self.given_up) + value(&self.oversize) + value(&self.unheard);
        let gone = value(&self.acked) + discarded;
        value(&self.received).saturating_sub(gone)
    }

    pub(crate) fn show(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
        metrics::gauge!(IN_HAND).set(self.in_hand() as f64);
    }
}
