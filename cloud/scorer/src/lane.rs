//! One partition of `telemetry`: order and windows of its vehicles. Pure; live scoring and verification share it.

use std::{borrow::Cow, sync::Arc};

use cloud_log::InRecord;
use detector::{Judgement, Layout, Query, Reading, Values, Window};
use smol_str::SmolStr;
use telemetry::{
    Encoding, Invalid, PayloadHash, Record, UnixMillis, VehicleId,
    event::{Score, Source},
    kafka_topic::header,
    time::window_time,
};

use crate::{
    order::{Dropped, Placed},
    vehicles::{Evicted, Vehicle, Vehicles},
};

/// The layout of the model that scores an offset.
pub(crate) type LayoutAt<'a> = &'a dyn Fn(i64) -> &'a Arc<Layout>;

/// A reading whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The vehicle's place in its lane, and the life of it that the reading belongs to.
    pub(crate) place: usize,
    pub(crate) life: u32,
    pub(crate) boot: u32,
    pub(crate) seq: u64,
    pub(crate) time: UnixMillis,
    pub(crate) source: Source,
    pub(crate) payload: PayloadHash,
    /// Its score is published already, by whoever owned the partition before.
    pub(crate) muted: bool,
    /// Ingest time, ms.
    pub(crate) ingest: UnixMillis,
    /// None where nothing is known.
    pub(crate) query: Option<Query>,
}

impl Job {
    /// Writes the bytes of a score, as they stand in Kafka, over what is in `bytes`.
    pub(crate) fn score(
        &self,
        vehicle: &VehicleId,
        model: SmolStr,
        judgement: Judgement,
        bytes: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let score = Score {
            vehicle: vehicle.clone(),
            boot: self.boot,
            seq: self.seq,
            time: self.time,
            source: self.source,
            model,
            score: judgement.score,
            verdict: judgement.verdict,
            contributions: judgement.contributions,
            family: judgement.family.map(Cow::Borrowed),
            statistic: Some(Cow::Borrowed(judgement.statistic)),
            payload: Some(self.payload),
        };
        bytes.clear();
        score.write(bytes)
    }
}

/// Why a record went no further.
#[derive(Debug)]
pub(crate) enum Aside {
    Dropped(Dropped),
    /// The state that was found already covers it: it was scored before.
    Covered,
    Unreadable(Invalid),
}

/// Vehicles that were forgotten, and their readings that still waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) vehicles: u64,
    pub(crate) readings: u64,
}

impl Forgotten {
    pub(crate) fn add(&mut self, other: Self) {
        self.vehicles += other.vehicles;
        self.readings += other.readings;
    }
}

/// The vehicles of a partition.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) partition: i32,
    lateness_ms: i64,
    pub(crate) vehicles: Vehicles,
    /// The offset after the last record taken.
    pub(crate) next: i64,
    /// What comes of the records below this offset is published already. The readings that a record lets go follow from
    /// the partition up to there, so that it is the offset of that record which counts.
    pub(crate) scored: i64,
    /// The largest ingest time of the records taken, ms.
    clock: UnixMillis,
    /// Readings that wait for a missing seq.
    pub(crate) waiting: u64,
    /// Since it was last taken out of here.
    pub(crate) forgotten: Forgotten,
    released: Vec<Placed>,
    values: Values,
}

impl Lane {
    pub(crate) fn new(partition: i32, next: i64, lateness_ms: i64, vehicles: Vehicles) -> Self {
        let waiting = vehicles.iter().map(|(_, vehicle)| vehicle.order.waiting.len() as u64).sum();
        // Not what the states have heard: some may come from further on, where the clock has moved since.
        let clock = UnixMillis::MIN;
        let (forgotten, released, values) = (Forgotten::default(), Vec::new(), Values::default());
        Self { partition, lateness_ms, vehicles, next, scored: next, clock, waiting, forgotten, released, values }
    }

    /// Takes the partition's next record; appends the readings whose turn it is now.
    pub(crate) fn take(
        &mut self,
        record: &InRecord,
        layout_at: LayoutAt<'_>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Aside> {
        self.next = record.offset + 1;
        self.clock = self.clock.max(record.timestamp);
        let reading = read(record).map_err(Aside::Unreadable)?;
        let time = window_time(reading.time, record.timestamp).time;
        let fresh = || Vehicle::new(Arc::clone(layout_at(record.offset)), record.timestamp);
        let (place, vehicle) = self.vehicles.entry(&reading.vehicle, fresh);
        if record.offset < vehicle.covered {
            return Err(Aside::Covered);
        }
        vehicle.unwritten.get_or_insert(record.offset);
        if let Some(readings) = vehicle.hear(record.timestamp, || Arc::clone(layout_at(record.offset))) {
            self.forgotten.add(Forgotten { vehicles: 1, readings });
            self.waiting -= readings;
        }
        self.released.clear();
        let payload = PayloadHash::of(record.payload.as_deref().unwrap_or_default());
        let placed = Placed { record: reading, time, offset: record.offset, payload };
        let waited = vehicle.order.waiting.len() as u64;
        vehicle.order.take(placed, self.lateness_ms, &mut self.released).map_err(Aside::Dropped)?;
        self.waiting = self.waiting + vehicle.order.waiting.len() as u64 - waited;
        for placed in self.released.drain(..) {
            let layout = layout_at(placed.offset);
            if !Arc::ptr_eq(layout, vehicle.window.layout()) && layout.id() != vehicle.window.layout().id() {
                // A model of other signals: its windows begin where it does.
                vehicle.window = Window::new(Arc::clone(layout));
            }
            layout.extract(&placed.record.signals, &mut self.values);
            let query = vehicle.window.advance(&Reading::of(&placed.record, placed.time, &self.values));
            jobs.push(Job {
                place,
                life: vehicle.life(),
                boot: placed.record.boot,
                seq: placed.record.seq,
                time: placed.time,
                source: Source { partition: self.partition, offset: placed.offset },
                payload: placed.payload,
                muted: record.offset < self.scored,
                ingest: record.timestamp,
                query,
            });
        }
        Ok(())
    }

    /// Removes vehicles that were not heard of for long; of all that were forgotten, see [`Lane::forgotten`].
    pub(crate) fn evict(&mut self, is_turn: impl Fn(&VehicleId) -> bool) -> Vec<Evicted> {
        let evicted = self.vehicles.evict(self.clock, self.next, is_turn);
        for Evicted { waiting, is_news, .. } in &evicted {
            self.forgotten.add(Forgotten { vehicles: u64::from(*is_news), readings: *waiting });
            self.waiting -= waiting;
        }
        evicted
    }

    /// From here on the partition has to be read again after a kill: below it every record is in a written state.
    pub(crate) fn least_needed(&self) -> i64 {
        self.vehicles.iter().filter_map(|(_, vehicle)| vehicle.unwritten).fold(self.next, i64::min)
    }
}

fn read(record: &InRecord) -> Result<Record, Invalid> {
    let content_type = record.header(header::CONTENT_TYPE).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let encoding = Encoding::from_content_type(content_type)?;
    telemetry::decode(record.payload.as_deref().unwrap_or_default(), encoding, None)
}
