//! One partition of `telemetry`: order and windows of its vehicles. Pure; live scoring and verification share it.

use std::{collections::HashMap, sync::Arc};

use cloud_log::InRecord;
use detector::{Judgement, Layout, Query, Reading, Track, Values, Window};
use telemetry::{
    Encoding, Invalid, Record, UnixMillis, VehicleId,
    event::{Score, Source},
    kafka_topic::header,
    time::window_time,
};

use crate::{
    judging::Tracks,
    order::{Dropped, Order, Placed},
};

/// Order, window, track, and what they cover.
#[derive(Debug, Clone)]
pub(crate) struct Vehicle {
    pub(crate) order: Order,
    pub(crate) window: Window,
    /// Lent while readings are judged.
    pub(crate) track: Track,
    /// Every record below this offset is in here.
    pub(crate) covered: i64,
    /// Changed since the state was last written.
    pub(crate) dirty: bool,
}

impl Vehicle {
    fn new(layout: Arc<Layout>) -> Self {
        let (order, window) = (Order::default(), Window::new(layout));
        Self { order, window, track: Track::new(), covered: 0, dirty: false }
    }
}

/// The layout of the model that scores an offset.
pub(crate) type LayoutAt<'a> = &'a dyn Fn(i64) -> Arc<Layout>;

/// A reading whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) vehicle: VehicleId,
    pub(crate) boot: u32,
    pub(crate) seq: u64,
    pub(crate) time: UnixMillis,
    pub(crate) source: Source,
    /// Ingest time, ms.
    pub(crate) ingest: UnixMillis,
    /// None where nothing is known.
    pub(crate) query: Option<Query>,
}

impl Job {
    pub(crate) fn score(self, model: &str, judgement: Judgement) -> Score {
        Score {
            vehicle: self.vehicle,
            boot: self.boot,
            seq: self.seq,
            time: self.time,
            source: self.source,
            model: model.to_owned(),
            score: judgement.score,
            verdict: judgement.verdict,
            contributions: judgement.contributions,
        }
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

/// The vehicles of a partition.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) partition: i32,
    lateness_ms: i64,
    pub(crate) vehicles: HashMap<VehicleId, Vehicle>,
    /// The offset after the last record taken.
    pub(crate) next: i64,
    released: Vec<Placed>,
    values: Values,
}

impl Lane {
    pub(crate) fn new(partition: i32, next: i64, lateness_ms: i64, vehicles: HashMap<VehicleId, Vehicle>) -> Self {
        Self { partition, lateness_ms, vehicles, next, released: Vec::new(), values: Values::default() }
    }

    /// Takes the partition's next record; appends the readings whose turn it is now.
    pub(crate) fn take(
        &mut self,
        record: &InRecord,
        layout_at: LayoutAt<'_>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Aside> {
        self.next = record.offset + 1;
        let reading = read(record).map_err(Aside::Unreadable)?;
        let time = window_time(reading.time, record.timestamp).time;
        let id = reading.vehicle.clone();
        let vehicle = self.vehicles.entry(id).or_insert_with(|| Vehicle::new(layout_at(record.offset)));
        if record.offset < vehicle.covered {
            return Err(Aside::Covered);
        }
        vehicle.dirty = true;
        self.released.clear();
        let placed = Placed { record: reading, time, offset: record.offset };
        vehicle.order.take(placed, self.lateness_ms, &mut self.released).map_err(Aside::Dropped)?;
        for placed in self.released.drain(..) {
            let layout = layout_at(placed.offset);
            if layout.id() != vehicle.window.layout().id() {
                // A model of other signals: its windows begin where it does.
                vehicle.window = Window::new(Arc::clone(&layout));
            }
            layout.extract(&placed.record.signals, &mut self.values);
            let query = vehicle.window.advance(&Reading::of(&placed.record, placed.time, &self.values));
            jobs.push(Job {
                vehicle: placed.record.vehicle,
                boot: placed.record.boot,
                seq: placed.record.seq,
                time: placed.time,
                source: Source { partition: self.partition, offset: placed.offset },
                ingest: record.timestamp,
                query,
            });
        }
        Ok(())
    }

    /// Lends the tracks of these vehicles.
    pub(crate) fn lend<'a>(&mut self, vehicles: impl Iterator<Item = &'a VehicleId>, tracks: &mut Tracks) {
        for id in vehicles {
            if let Some(vehicle) = self.vehicles.get_mut(id).filter(|_| !tracks.contains_key(id)) {
                tracks.insert(id.clone(), std::mem::take(&mut vehicle.track));
            }
        }
    }

    /// Takes tracks back; those of other lanes stay.
    pub(crate) fn take_back(&mut self, tracks: &mut Tracks) {
        tracks.retain(|id, track| match self.vehicles.get_mut(id) {
            Some(vehicle) => {
                vehicle.track = std::mem::take(track);
                false
            }
            None => true,
        });
    }

    /// Readings that wait for a missing seq.
    pub(crate) fn waiting(&self) -> u64 {
        self.vehicles.values().map(|vehicle| vehicle.order.waiting.len() as u64).sum()
    }
}

fn read(record: &InRecord) -> Result<Record, Invalid> {
    let content_type = record.header(header::CONTENT_TYPE).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let encoding = Encoding::from_content_type(content_type)?;
    telemetry::decode(record.payload.as_deref().unwrap_or_default(), encoding, None)
}
