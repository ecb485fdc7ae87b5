//! One partition of `telemetry`: order and windows of its vehicles. Pure; live scoring and verification share it.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use cloud_log::InRecord;
use detector::{Judgement, Layout, Query, Reading, Track, Values, Window};
use telemetry::{
    Encoding, Invalid, PayloadHash, Record, UnixMillis, VehicleId,
    event::{Score, Source},
    kafka_topic::header,
    time::window_time,
};

use crate::order::{Dropped, Order, Placed};

/// Order, window, track, and what they cover.
#[derive(Debug, Clone)]
pub(crate) struct Vehicle {
    pub(crate) order: Order,
    pub(crate) window: Window,
    pub(crate) track: Track,
    /// Every record below this offset is in here.
    pub(crate) covered: i64,
    /// The first record that is in here and not in the state that was last written. From it on the partition has to be
    /// read again after a kill.
    pub(crate) unwritten: Option<i64>,
}

impl Vehicle {
    fn new(layout: Arc<Layout>) -> Self {
        let (order, window) = (Order::default(), Window::new(layout));
        Self { order, window, track: Track::new(), covered: 0, unwritten: None }
    }
}

/// Vehicles, each with a place that stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vehicles {
    places: HashMap<VehicleId, usize>,
    rows: Vec<(VehicleId, Vehicle)>,
}

impl Vehicles {
    fn place(&mut self, id: &VehicleId, otherwise: impl FnOnce() -> Vehicle) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        self.insert(id.clone(), otherwise());
        self.rows.len() - 1
    }

    pub(crate) fn insert(&mut self, id: VehicleId, vehicle: Vehicle) {
        match self.places.get(&id) {
            Some(place) => self.rows[*place].1 = vehicle,
            None => {
                self.places.insert(id.clone(), self.rows.len());
                self.rows.push((id, vehicle));
            }
        }
    }

    /// The vehicle at a place that [`Lane::take`] named.
    pub(crate) fn at(&mut self, place: usize) -> (&VehicleId, &mut Vehicle) {
        let (id, vehicle) = &mut self.rows[place];
        (id, vehicle)
    }

    #[cfg(test)]
    pub(crate) fn get(&self, id: &VehicleId) -> Option<&Vehicle> {
        self.places.get(id).map(|place| &self.rows[*place].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&VehicleId, &Vehicle)> {
        self.rows.iter().map(|(id, vehicle)| (id, vehicle))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&VehicleId, &mut Vehicle)> {
        self.rows.iter_mut().map(|(id, vehicle)| (&*id, vehicle))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl FromIterator<(VehicleId, Vehicle)> for Vehicles {
    fn from_iter<I: IntoIterator<Item = (VehicleId, Vehicle)>>(rows: I) -> Self {
        let mut vehicles = Self::default();
        rows.into_iter().for_each(|(id, vehicle)| vehicles.insert(id, vehicle));
        vehicles
    }
}

/// The layout of the model that scores an offset.
pub(crate) type LayoutAt<'a> = &'a dyn Fn(i64) -> Arc<Layout>;

/// A reading whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The vehicle's place in its lane.
    pub(crate) place: usize,
    pub(crate) boot: u32,
    pub(crate) seq: u64,
    pub(crate) time: UnixMillis,
    pub(crate) source: Source,
    pub(crate) payload: PayloadHash,
    /// Ingest time, ms.
    pub(crate) ingest: UnixMillis,
    /// None where nothing is known.
    pub(crate) query: Option<Query>,
}

impl Job {
    pub(crate) fn score(&self, vehicle: &VehicleId, model: &str, judgement: Judgement) -> Score {
        Score {
            vehicle: vehicle.clone(),
            boot: self.boot,
            seq: self.seq,
            time: self.time,
            source: self.source,
            model: model.to_owned(),
            score: judgement.score,
            verdict: judgement.verdict,
            contributions: judgement.contributions,
            family: judgement.family.map(Cow::Borrowed),
            statistic: Some(Cow::Borrowed(judgement.statistic)),
            payload: Some(self.payload),
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
    pub(crate) vehicles: Vehicles,
    /// The offset after the last record taken.
    pub(crate) next: i64,
    /// Readings that wait for a missing seq.
    pub(crate) waiting: u64,
    released: Vec<Placed>,
    values: Values,
}

impl Lane {
    pub(crate) fn new(partition: i32, next: i64, lateness_ms: i64, vehicles: Vehicles) -> Self {
        let waiting = vehicles.iter().map(|(_, vehicle)| vehicle.order.waiting.len() as u64).sum();
        Self { partition, lateness_ms, vehicles, next, waiting, released: Vec::new(), values: Values::default() }
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
        let place = self.vehicles.place(&reading.vehicle, || Vehicle::new(layout_at(record.offset)));
        let (_, vehicle) = self.vehicles.at(place);
        if record.offset < vehicle.covered {
            return Err(Aside::Covered);
        }
        vehicle.unwritten.get_or_insert(record.offset);
        self.released.clear();
        let payload = PayloadHash::of(record.payload.as_deref().unwrap_or_default());
        let placed = Placed { record: reading, time, offset: record.offset, payload };
        let waited = vehicle.order.waiting.len() as u64;
        vehicle.order.take(placed, self.lateness_ms, &mut self.released).map_err(Aside::Dropped)?;
        self.waiting = self.waiting + vehicle.order.waiting.len() as u64 - waited;
        for placed in self.released.drain(..) {
            let layout = layout_at(placed.offset);
            if !Arc::ptr_eq(&layout, vehicle.window.layout()) && layout.id() != vehicle.window.layout().id() {
                // A model of other signals: its windows begin where it does.
                vehicle.window = Window::new(Arc::clone(&layout));
            }
            layout.extract(&placed.record.signals, &mut self.values);
            let query = vehicle.window.advance(&Reading::of(&placed.record, placed.time, &self.values));
            jobs.push(Job {
                place,
                boot: placed.record.boot,
                seq: placed.record.seq,
                time: placed.time,
                source: Source { partition: self.partition, offset: placed.offset },
                payload: placed.payload,
                ingest: record.timestamp,
                query,
            });
        }
        Ok(())
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
