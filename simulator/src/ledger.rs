//! The ledger: what the vehicles sent and what was acknowledged to them. The judge compares it with Kafka.
//!
//! One append-only file of frames per process. A reading is entered, with its payload's hash, before it is
//! first sent, and its acknowledgement before it leaves the outbox. The entries are handed to the kernel then,
//! so a killed process loses none; a power cut may. Workers of the load write theirs in blocks ([`batch`]), and enter
//! what they never sent when it leaves a full outbox or the run ends.

pub(crate) mod batch;
mod file;

use std::collections::HashMap;

use telemetry::{PayloadHash, Reason, UnixMillis, VehicleId};

pub use self::file::read;
pub(crate) use self::file::{Writer, create};
use crate::{
    by_seq::BySeq,
    frame::{self, Fields},
    outbox::Key,
};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A reading that was to be sent; entered before its first transmission.
    Sent {
        /// Whose.
        vehicle: VehicleId,
        /// Its boot, also of a payload without identity.
        boot: u32,
        /// Its name in acks.
        key: Key,
        /// Of its payload.
        hash: PayloadHash,
        /// When it was due, wall time, ms since the epoch.
        scheduled: UnixMillis,
        /// When it entered the outbox, wall time, ms since the epoch.
        accepted: UnixMillis,
        /// Event time, ms since the epoch.
        time: UnixMillis,
        /// Why it must be refused, if it is malformed.
        poison: Option<Reason>,
    },
    /// An ack named it.
    Acked {
        /// Whose.
        vehicle: VehicleId,
        /// Its name in the ack.
        key: Key,
        /// When, wall time, ms since the epoch.
        at: UnixMillis,
    },
    /// It left a full outbox without an ack.
    GivenUp {
        /// Whose.
        vehicle: VehicleId,
        /// Its name.
        key: Key,
    },
    /// A reading that was too large to be sent.
    Oversize {
        /// Whose.
        vehicle: VehicleId,
        /// Event time, ms since the epoch.
        time: UnixMillis,
    },
}

const SENT: u8 = 1;
const ACKED: u8 = 2;
const GIVEN_UP: u8 = 3;
const OVERSIZE: u8 = 4;

impl Entry {
    /// Appends the entry's frame.
    pub fn encode(&self, to: &mut Vec<u8>) {
        frame::append(to, |body| match self {
            Self::Sent { vehicle, boot, key, hash, scheduled, accepted, time, poison } => {
                body.u8(SENT);
                body.vehicle(vehicle);
                body.u32(*boot);
                body.key(*key);
                body.u64(hash.0);
                body.i64(*scheduled);
                body.i64(*accepted);
                body.i64(*time);
                body.reason(*poison);
            }
            Self::Acked { vehicle, key, at } => {
                body.u8(ACKED);
                body.vehicle(vehicle);
                body.key(*key);
                body.i64(*at);
            }
            Self::GivenUp { vehicle, key } => {
                body.u8(GIVEN_UP);
                body.vehicle(vehicle);
                body.key(*key);
            }
            Self::Oversize { vehicle, time } => {
                body.u8(OVERSIZE);
                body.vehicle(vehicle);
                body.i64(*time);
            }
        });
    }

    fn decode(mut fields: Fields<'_>) -> Option<Self> {
        let kind = fields.u8()?;
        let vehicle = fields.vehicle()?;
        Some(match kind {
            SENT => Self::Sent {
                vehicle,
                boot: fields.u32()?,
                key: fields.key()?,
                hash: PayloadHash(fields.u64()?),
                scheduled: fields.i64()?,
                accepted: fields.i64()?,
                time: fields.i64()?,
                poison: fields.reason()?,
            },
            ACKED => Self::Acked { vehicle, key: fields.key()?, at: fields.i64()? },
            GIVEN_UP => Self::GivenUp { vehicle, key: fields.key()? },
            OVERSIZE => Self::Oversize { vehicle, time: fields.i64()? },
            _ => return None,
        })
    }
}

/// A reading as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Of its payload.
    pub hash: PayloadHash,
    /// When it was due, wall time, ms since the epoch.
    pub scheduled: UnixMillis,
    /// When it entered the outbox, wall time, ms since the epoch.
    pub accepted: UnixMillis,
    /// Event time, ms since the epoch.
    pub time: UnixMillis,
    /// When it was acknowledged, wall time, ms since the epoch.
    pub acked: Option<UnixMillis>,
    /// It left a full outbox.
    pub given_up: bool,
    /// Why it must be refused, if it is malformed.
    pub poison: Option<Reason>,
}

/// A reading that the ledger knows without its payload: no acknowledgement can name it, and no Kafka may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsent {
    /// Whose: its place in [`Ledger::vehicles`].
    pub vehicle: u32,
    /// Its boot; none of a payload without identity.
    pub boot: Option<u32>,
    /// When it was due, wall time, ms since the epoch, where the ledger says it.
    pub scheduled: Option<UnixMillis>,
    /// It left a full outbox; the others stood there at the end of the run.
    pub given_up: bool,
}

/// [`Sent`] in 40 bytes: a long run has millions.
#[derive(Debug, Clone, Copy)]
struct Packed {
    hash: PayloadHash,
    scheduled: UnixMillis,
    time: UnixMillis,
    /// Ms after it was due.
    accepted_after: u32,
    /// Ms after it was accepted; [`NEVER`] if it was not.
    acked_after: u32,
    poison: Option<Reason>,
    given_up: bool,
}

const NEVER: u32 = u32::MAX;

/// In ms; a clock that was set back gives 0.
fn after(earlier: UnixMillis, later: UnixMillis) -> u32 {
    u32::try_from(later.saturating_sub(earlier).max(0)).unwrap_or(NEVER - 1).min(NEVER - 1)
}

impl Packed {
    fn accepted(&self) -> UnixMillis {
        self.scheduled.saturating_add(self.accepted_after.into())
    }

    fn sent(&self) -> Sent {
        let acked = (self.acked_after != NEVER).then(|| self.accepted() + UnixMillis::from(self.acked_after));
        Sent {
            hash: self.hash,
            scheduled: self.scheduled,
            accepted: self.accepted(),
            time: self.time,
            acked,
            given_up: self.given_up,
            poison: self.poison,
        }
    }
}

/// Everything that the ledger files of a folder say.
#[derive(Debug, Default)]
pub struct Ledger {
    vehicles: Vec<VehicleId>,
    numbers: HashMap<VehicleId, u32>,
    readings: BySeq<Packed>,
    /// Payloads without identity. One that was sent several times stands here once, with how often it was entered.
    nameless: HashMap<(u32, PayloadHash), (Packed, u32)>,
    /// Readings that were made and never sent, too large ones aside.
    pub unsent: Vec<Unsent>,
    /// Readings too large to be sent.
    pub oversize: u64,
    /// The latest moment that it tells of, wall time, ms since the epoch: the run had not ended before.
    pub latest: UnixMillis,
    /// Files read.
    pub files: u64,
    /// Bytes of torn ends.
    pub torn_bytes: u64,
    /// Identities that were used for two different payloads: the first 20, and how many there are.
    pub ambiguous: (Vec<String>, u64),
    /// Acknowledgements of what was never entered: the first 20, and how many there are.
    pub acked_unsent: (Vec<String>, u64),
}

impl Ledger {
    /// Takes in one more entry.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Sent { vehicle, key, hash, scheduled, accepted, time, poison, .. } => {
                let number = self.number(vehicle);
                let accepted_after = after(scheduled, accepted);
                let packed =
                    Packed { hash, scheduled, time, accepted_after, acked_after: NEVER, poison, given_up: false };
                self.sent(number, key, packed);
            }
            Entry::Acked { vehicle, key, at } => {
                let number = self.number(vehicle);
                self.acked(number, key, at);
            }
            Entry::GivenUp { vehicle, key } => {
                let number = self.number(vehicle);
                self.given_up(number, key, None);
            }
            Entry::Oversize { .. } => self.oversize += 1,
        }
    }

    fn sent(&mut self, number: u32, key: Key, packed: Packed) {
        self.latest = self.latest.max(packed.accepted());
        // A restarted process enters what it found in its outbox once more.
        let known = match key {
            Key::Seq { boot, seq } => self.readings.get_or_insert(number, boot, seq, packed).0,
            Key::Hash(hash) => {
                let (known, times) = self.nameless.entry((number, hash)).or_insert((packed, 0));
                *times = times.saturating_add(1);
                known
            }
        };
        if known.hash != packed.hash {
            let name = self.name(number, key);
            note(&mut self.ambiguous, name);
        }
    }

    fn acked(&mut self, number: u32, key: Key, at: UnixMillis) {
        self.latest = self.latest.max(at);
        match self.packed(number, key) {
            Some(packed) if packed.acked_after == NEVER => packed.acked_after = after(packed.accepted(), at),
            Some(_) => {}
            None => {
                let name = self.name(number, key);
                note(&mut self.acked_unsent, name);
            }
        }
    }

    fn given_up(&mut self, vehicle: u32, key: Key, scheduled: Option<UnixMillis>) {
        let boot = match key {
            Key::Seq { boot, .. } => Some(boot),
            Key::Hash(_) => None,
        };
        match self.packed(vehicle, key) {
            Some(packed) => packed.given_up = true,
            // An outbox gives up its oldest reading, sent or not.
            None => self.unsent.push(Unsent { vehicle, boot, scheduled, given_up: true }),
        }
    }

    fn packed(&mut self, number: u32, key: Key) -> Option<&mut Packed> {
        match key {
            Key::Seq { boot, seq } => self.readings.get_mut(number, boot, seq),
            Key::Hash(hash) => self.nameless.get_mut(&(number, hash)).map(|(packed, _)| packed),
        }
    }

    fn number(&mut self, vehicle: VehicleId) -> u32 {
        if let Some(number) = self.numbers.get(&vehicle) {
            return *number;
        }
        let number = u32::try_from(self.vehicles.len()).unwrap_or(u32::MAX);
        self.vehicles.push(vehicle.clone());
        self.numbers.insert(vehicle, number);
        number
    }

    fn name(&self, number: u32, key: Key) -> String {
        key.of(&self.vehicles[number as usize])
    }

    /// The number of a vehicle that sent: its place in [`Self::vehicles`].
    #[cfg(feature = "audit")]
    pub(crate) fn number_of(&self, vehicle: &str) -> Option<u32> {
        self.numbers.get(vehicle).copied()
    }

    /// One reading of the vehicle with this number.
    pub(crate) fn of_number(&self, number: u32, key: Key) -> Option<Sent> {
        let packed = match key {
            Key::Seq { boot, seq } => self.readings.get(number, boot, seq),
            Key::Hash(hash) => self.nameless.get(&(number, hash)).map(|(packed, _)| packed),
        };
        packed.map(Packed::sent)
    }

    /// How often the vehicle with this number has sent this payload, which has no identity.
    #[cfg(feature = "audit")]
    pub(crate) fn times_sent(&self, number: u32, hash: PayloadHash) -> u32 {
        self.nameless.get(&(number, hash)).map_or(0, |(_, times)| *times)
    }

    /// One reading.
    pub fn get(&self, vehicle: &str, key: Key) -> Option<Sent> {
        self.of_number(*self.numbers.get(vehicle)?, key)
    }

    /// Every reading, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&VehicleId, Key, Sent)> {
        let readings = self.readings.iter().map(|(number, boot, seq, packed)| (number, Key::Seq { boot, seq }, packed));
        let nameless = self.nameless.iter().map(|((number, hash), (packed, _))| (*number, Key::Hash(*hash), packed));
        readings.chain(nameless).map(|(number, key, packed)| (&self.vehicles[number as usize], key, packed.sent()))
    }

    /// How many readings were sent.
    pub fn len(&self) -> usize {
        self.readings.len() + self.nameless.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vehicles that sent.
    pub fn vehicles(&self) -> &[VehicleId] {
        &self.vehicles
    }
}

fn note(names: &mut (Vec<String>, u64), name: String) {
    names.1 += 1;
    if names.0.len() < 20 {
        names.0.push(name);
    }
}

#[cfg(test)]
mod tests;
