//! What an outbox holds: records, their state, and the settings and counts around them.

use bytes::Bytes;
use telemetry::{PayloadHash, VehicleId};

/// By what an ack names a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// By range.
    Seq {
        /// The boot.
        boot: u32,
        /// From 1 in each boot.
        seq: u64,
    },
    /// By hash: the payload holds no identity that can be read.
    Hash(PayloadHash),
}

impl Key {
    /// How people read it: `veh-00001/7/3`, or `veh-00001#hash`.
    pub fn of(self, vehicle: &VehicleId) -> String {
        match self {
            Self::Seq { boot, seq } => format!("{vehicle}/{boot}/{seq}"),
            Self::Hash(hash) => format!("{vehicle}#{hash}"),
        }
    }
}

/// One reading as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name in acks.
    pub key: Key,
    /// The MQTT content type.
    pub content_type: &'static str,
    /// The bytes.
    pub payload: Bytes,
}

/// The pauses of the resend rules, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Rule 2: the first pause is drawn from zero to this; it doubles
    pub left_out_ms: u64,
    /// up to this.
    pub left_out_max_ms: u64,
    /// Rule 3: the first probe comes after this time without an ack; it doubles
    pub probe_ms: u64,
    /// up to this.
    pub probe_max_ms: u64,
    /// Rule 4: the first pause is drawn from zero to this; it doubles
    pub refused_ms: u64,
    /// up to this.
    pub refused_max_ms: u64,
}

/// Limits and pauses of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// At most so many readings are sent and unacknowledged.
    pub window: usize,
    /// At most so many are kept.
    pub capacity: usize,
    /// Pauses.
    pub times: Times,
    /// The vehicle slows down when the edge asks it to. One that does not goes on being discarded.
    pub obeys: bool,
}

/// Why a reading was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resent {
    /// The process started, or the broker had no session.
    NoSession,
    /// Two successive acks left it out.
    LeftOut,
    /// No ack came for a while.
    Probe,
    /// The broker refused it.
    Refused,
    /// The connection ended before the broker had taken it.
    ConnectionLost,
    /// The edge asked to slow down, and did not name it: it discards some.
    SlowedDown,
}

impl Resent {
    /// Every reason, in the order of [`Counts::resent`].
    pub const ALL: [Self; 6] =
        [Self::NoSession, Self::LeftOut, Self::Probe, Self::Refused, Self::ConnectionLost, Self::SlowedDown];

    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::LeftOut => "left_out",
            Self::Probe => "probe",
            Self::Refused => "refused",
            Self::ConnectionLost => "connection_lost",
            Self::SlowedDown => "slowed_down",
        }
    }
}

/// What has happened in an outbox: offered + restored = acked + given up + in hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// New readings.
    pub offered: u64,
    /// Readings of an earlier process.
    pub restored: u64,
    /// Readings that acks removed, or, where the broker judges, its PUBACKs.
    pub acked: u64,
    /// The oldest of a full outbox.
    pub given_up: u64,
    /// Transmissions.
    pub sent: u64,
    /// Transmissions of what had been sent before, by [`Resent`].
    pub resent: [u64; Resent::ALL.len()],
    /// PUBACKs with 0x10 or from 0x80.
    pub refused: u64,
    /// Acks.
    pub acks: u64,
    /// Ranges above the last seq sent.
    pub refused_ranges: u64,
    /// Acks that asked to slow down.
    pub slow_downs: u64,
    /// Transmissions that were held back for it,
    pub held_back: u64,
    /// and for how long together, ms.
    pub held_back_ms: u64,
}

/// A reading that is to be sent now.
#[derive(Debug)]
pub struct Transmission<'a> {
    /// For [`super::Outbox::puback`].
    pub ordinal: u64,
    /// What to send.
    pub record: &'a Record,
    /// Why it is sent again, if it is.
    pub again: Option<Resent>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// The number of its last transmission in this session; 0 before.
    pub(super) order: u64,
    /// It was not the first one in this session: nobody knows which of them an ack speaks of.
    pub(super) repeated: bool,
    /// The broker has answered the last transmission.
    pub(super) taken: bool,
    /// At least once, in this process or an earlier one.
    pub(super) sent_before: bool,
    /// Successive acks that left it out while they covered later transmissions.
    pub(super) strikes: u8,
    /// Resends by rule 2.
    pub(super) left_out: u32,
    /// Successive refusals.
    pub(super) refusals: u32,
    pub(super) resend_at: Option<u64>,
    /// The rule that sends it next.
    pub(super) why: Resent,
}

impl Entry {
    pub(super) fn new(record: Record, restored: bool) -> Self {
        Self {
            record,
            order: 0,
            repeated: false,
            taken: false,
            sent_before: restored,
            strikes: 0,
            left_out: 0,
            refusals: 0,
            resend_at: None,
            why: Resent::NoSession,
        }
    }

    pub(super) fn transmit(&mut self, order: u64) {
        self.repeated = self.order > 0;
        self.order = order;
        self.taken = false;
        self.sent_before = true;
        self.strikes = 0;
    }

    pub(super) fn forget_session(&mut self) {
        self.order = 0;
        self.repeated = false;
        self.taken = false;
        self.strikes = 0;
        self.left_out = 0;
        self.refusals = 0;
        self.resend_at = None;
        self.why = Resent::NoSession;
    }
}

/// How long no ack has come while connected. The time between two connections does not count, but the time on
/// several connections adds up, so that a flapping one is probed too.
#[derive(Debug)]
pub(crate) struct Quiet {
    since: u64,
    before: u64,
    pause: u64,
}

impl Quiet {
    pub(crate) fn new(pause: u64) -> Self {
        Self { since: 0, before: 0, pause }
    }

    pub(crate) fn ends(&self) -> u64 {
        self.since + self.pause.saturating_sub(self.before)
    }

    pub(crate) fn resume(&mut self, now: u64) {
        self.since = now;
    }

    pub(crate) fn pause(&mut self, now: u64) {
        self.before += now.saturating_sub(self.since);
        self.since = now;
    }

    pub(crate) fn restart(&mut self, now: u64, pause: u64) {
        *self = Self { since: now, before: 0, pause };
    }

    pub(crate) fn double(&mut self, now: u64, max: u64) {
        self.restart(now, self.pause.saturating_mul(2).min(max));
    }
}

/// `base` doubled `times` times, up to `max`.
pub(crate) fn doubled(base: u64, max: u64, times: u32) -> u64 {
    base.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX)).min(max)
}
