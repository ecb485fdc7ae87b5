//! What a fleet reports and when: a function of seed, start and index alone, whatever the wall clock does.
//!
//! The n-th reading of a vehicle is due at start + phase + n × interval, exactly, unless a command sets another
//! interval; the phase spreads the vehicles evenly over the interval. Same seed, same start and same boot: same bytes, as long as the broker takes
//! payloads of the same size.

use std::sync::Arc;

use bytes::Bytes;
use telemetry::{
    Encoding, Kind, PayloadHash, Reason, Record, SCHEMA, Signals, UnixMillis, VehicleId, encode,
    validation::MAX_PAYLOAD_BYTES,
};

use crate::{
    fault::FaultPlan,
    outbox::{self, Key},
    poison::{self, Context},
    vehicle::{FleetSeed, Sample, Vehicle, World, vehicle_id},
};

/// A sensible clock of a unit is later than this: 2020-01-01T00:00:00Z, when its software was built. A unit
/// with an earlier one would wait for the network's time before its first boot.
pub const BUILD_DATE: UnixMillis = 1_577_836_800_000;

/// What all vehicles of a fleet have in common.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The physics.
    pub seed: FleetSeed,
    /// What the vehicles are and how they are driven.
    pub world: World,
    /// Simulated ms between two readings of a vehicle.
    pub interval_ms: i64,
    /// Simulated time at which no more readings are made.
    pub end: Option<UnixMillis>,
    /// Encoding of the readings.
    pub encoding: Encoding,
    /// Every so many readings one is full, the others carry what changed; 0: all are full.
    pub changes: u32,
    /// After every so many readings one malformed payload follows; 0: never.
    pub poison: u32,
    /// What breaks when.
    pub faults: Arc<FaultPlan>,
}

/// A reading that is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// As the outbox takes it.
    pub record: outbox::Record,
    /// XXH3-64 of the payload.
    pub hash: PayloadHash,
    /// Event time, ms since the epoch.
    pub time: UnixMillis,
    /// Why the edge must refuse it, if it is malformed.
    pub poison: Option<Reason>,
}

/// What was made at one moment.
#[derive(Debug, Default, PartialEq)]
pub struct Made {
    /// What is to be sent, in this order.
    pub readings: Vec<Reading>,
    /// Event times of readings above the limit: they have no seq and are only counted.
    pub oversize: Vec<UnixMillis>,
}

/// The readings of one vehicle in one boot.
#[derive(Debug)]
pub struct Readings {
    fleet: Fleet,
    index: u32,
    id: VehicleId,
    physics: Vehicle,
    boot: u32,
    seq: u64,
    /// Of the next reading.
    n: i64,
    /// The n-th reading is due at this moment + n × interval, ms since the epoch.
    origin: UnixMillis,
    interval_ms: i64,
    /// Accepted readings since the last full one.
    since_full: u32,
    last: Option<Signals>,
    /// Larger readings are not sent, bytes.
    limit: usize,
    /// The largest payload that the broker takes, bytes. Malformed ones may be above the limit, but not above it.
    room: usize,
}

impl Readings {
    /// The readings of vehicle `index` from the first one that is due at or after `from`.
    pub fn new(fleet: Fleet, index: u32, boot: u32, from: UnixMillis) -> Self {
        let first = fleet.seed.start + phase(&fleet, index);
        let late = from.saturating_sub(first).max(0);
        let n = late / fleet.interval_ms + i64::from(late % fleet.interval_ms > 0);
        Self {
            id: vehicle_id(index),
            physics: Vehicle::of_world(fleet.seed, index, fleet.world),
            origin: first,
            interval_ms: fleet.interval_ms,
            fleet,
            index,
            boot,
            seq: 0,
            n,
            since_full: 0,
            last: None,
            limit: MAX_PAYLOAD_BYTES,
            room: usize::MAX,
        }
    }

    /// Whose.
    pub fn vehicle(&self) -> &VehicleId {
        &self.id
    }

    /// The boot.
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// From now on the broker takes payloads of at most so many bytes.
    pub fn bound(&mut self, room: usize) {
        self.room = room;
        self.limit = room.min(MAX_PAYLOAD_BYTES);
    }

    /// From now on a reading is due every `interval_ms`: the next one so long after the last, but not before `now`.
    pub fn set_interval(&mut self, interval_ms: i64, now: UnixMillis) {
        let last = self.origin + (self.n - 1) * self.interval_ms;
        let next = last.saturating_add(interval_ms).max(now);
        self.interval_ms = interval_ms;
        self.origin = next.saturating_sub(self.n.saturating_mul(interval_ms));
    }

    /// Goes on in another boot: from seq 1, with a full reading.
    pub fn reboot(&mut self, boot: u32) {
        self.boot = boot;
        self.seq = 0;
        self.since_full = 0;
        self.last = None;
    }

    /// Event time of the next reading, ms since the epoch; none after the end.
    pub fn next_time(&self) -> Option<UnixMillis> {
        let time = self.origin.saturating_add(self.n.saturating_mul(self.interval_ms));
        self.fleet.end.is_none_or(|end| time < end).then_some(time)
    }

    /// Makes the next reading, and what malformed follows it. Empty after the end.
    pub fn make(&mut self) -> Made {
        let Some(time) = self.next_time() else { return Made::default() };
        let sample = self.physics.step(time, self.fleet.faults.of_vehicle(self.index));
        let mut made = Made::default();
        let record = self.record(time, &sample);
        let payload = encode(&record, self.fleet.encoding).ok().filter(|payload| payload.len() <= self.limit);
        match payload {
            Some(payload) => {
                self.accepted(&record.kind, sample.signals);
                let key = Key::Seq { boot: self.boot, seq: record.seq };
                made.readings.push(reading(key, self.fleet.encoding.content_type(), payload, time, None));
            }
            None => made.oversize.push(time),
        }
        if let Some(every) = i64::from(self.fleet.poison).checked_sub(1)
            && every >= 0
            && self.n % (every + 1) == every
        {
            match self.malformed(&record, self.n / (every + 1)) {
                Some(malformed) => made.readings.push(malformed),
                None => made.oversize.push(time),
            }
        }
        self.n += 1;
        made
    }

    fn record(&self, time: UnixMillis, sample: &Sample) -> Record {
        let changed = self.last.as_ref().filter(|_| self.since_full < self.fleet.changes).map(|last| {
            let mut changed = Signals::new();
            for (number, value) in sample.signals.known().filter(|(number, value)| last.get(*number) != Some(*value)) {
                // Numbers of one sample are distinct.
                changed.insert(number, value.clone()).ok();
            }
            changed
        });
        // A change that changes nothing and says not where would be no reading.
        let changed = changed.filter(|changed| !changed.is_empty() || sample.position.is_some());
        Record {
            schema: SCHEMA,
            vehicle: self.id.clone(),
            boot: self.boot,
            seq: self.seq + 1,
            time,
            kind: if changed.is_some() { Kind::Change } else { Kind::Full },
            signals: changed.unwrap_or_else(|| sample.signals.clone()),
            position: sample.position,
        }
    }

    fn accepted(&mut self, kind: &Kind, signals: Signals) {
        self.seq += 1;
        self.since_full = if *kind == Kind::Full { 1 } else { self.since_full + 1 };
        self.last = Some(signals);
    }

    /// None if the broker would not take it: then it has no seq.
    fn malformed(&mut self, valid: &Record, turn: i64) -> Option<Reading> {
        let at = turn.unsigned_abs() + u64::from(self.index);
        let at = usize::try_from(at % poison::ALL.len() as u64).unwrap_or(0);
        let poison = &poison::ALL[at];
        let mut record = valid.clone();
        record.seq = self.seq + 1;
        let payload = poison.payload(&Context { record, nonce: self.n.unsigned_abs() });
        if payload.len() > self.room {
            return None;
        }
        let key = if poison.has_identity {
            self.seq += 1;
            Key::Seq { boot: self.boot, seq: self.seq }
        } else {
            Key::Hash(PayloadHash::of(&payload))
        };
        Some(reading(key, poison.content_type, payload, valid.time, Some(poison.reason)))
    }
}

fn reading(
    key: Key,
    content_type: &'static str,
    payload: Vec<u8>,
    time: UnixMillis,
    poison: Option<Reason>,
) -> Reading {
    let payload = Bytes::from(payload);
    let hash = PayloadHash::of(&payload);
    Reading { record: outbox::Record { key, content_type, payload }, hash, time, poison }
}

/// Spreads neighbours far apart (golden ratio), so that few vehicles are as even as many.
fn phase(fleet: &Fleet, index: u32) -> i64 {
    let turn = u64::from(index).wrapping_add(fleet.seed.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    i64::try_from((u128::from(turn) * fleet.interval_ms.unsigned_abs() as u128) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests;
