//! The vehicles of a partition: what is kept of each, and when one is forgotten. Pure.
//!
//! A vehicle that was not heard of for [`FORGET_MS`] of ingest time, which stands in the log, begins anew with its next
//! reading: a function of its own records, the same in every replay. Whether what was kept of it lay in memory until
//! then, or had been removed long before ([`Vehicles::evict`]), nobody can tell.

use std::sync::Arc;

use detector::{Layout, Track, Window};
use hashbrown::HashMap;
use telemetry::{UnixMillis, VehicleId};

use crate::order::Order;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Who was not heard of for so long begins anew; longer than what any usual score reaches back.
pub(crate) const FORGET_MS: i64 = 7 * DAY_MS;
/// So much later it is removed. Stamps of a partition are not in order where several edges write it: what lies in an
/// edge's spool keeps its first one. An edge that delivers what it has spooled for longer than this is the condition under
/// which a vehicle that was removed begins anew where one that is still there would go on.
pub(crate) const SLACK_MS: i64 = 7 * DAY_MS;
/// [`Vehicle::heard`] of a vehicle that was removed before.
const NEVER: i64 = i64::MIN;

/// Order, window, track, and what they cover.
#[derive(Debug, Clone)]
pub(crate) struct Vehicle {
    pub(crate) order: Order,
    pub(crate) window: Window,
    track: Track,
    /// Every record below this offset is in here.
    pub(crate) covered: i64,
    /// The first record that is in here and not in the state that was last written. From it on the partition has to be
    /// read again after a kill.
    pub(crate) unwritten: Option<i64>,
    /// The largest ingest time of its records, ms.
    pub(crate) heard: UnixMillis,
    /// How often it began anew; and the life that its track is of. Readings are taken in before they are judged, so
    /// that a track may be a life behind.
    life: u32,
    track_life: u32,
}

impl Vehicle {
    /// One that nothing is known of, with its first record.
    pub(crate) fn new(layout: Arc<Layout>, heard: UnixMillis) -> Self {
        Self::restored(Order::default(), Window::new(layout), Track::new(), 0, heard)
    }

    /// One that was removed when everything below this offset had been read. What stands there is not to be read as its
    /// beginning.
    pub(crate) fn removed(layout: Arc<Layout>, covered: i64) -> Self {
        Self::restored(Order::default(), Window::new(layout), Track::new(), covered, NEVER)
    }

    /// One out of its state.
    pub(crate) fn restored(order: Order, window: Window, track: Track, covered: i64, heard: UnixMillis) -> Self {
        Self { order, window, track, covered, unwritten: None, heard, life: 0, track_life: 0 }
    }

    /// Notes a record's ingest time. Where it comes too late, everything begins anew; then the number of readings that
    /// waited, which are lost.
    pub(crate) fn hear(&mut self, at: UnixMillis, layout: impl FnOnce() -> Arc<Layout>) -> Option<u64> {
        let (silence, is_known) = (at.saturating_sub(self.heard), self.heard != NEVER);
        self.heard = self.heard.max(at);
        if silence < FORGET_MS {
            return None;
        }
        let waited = self.order.waiting.len() as u64;
        (self.order, self.window) = (Order::default(), Window::new(layout()));
        self.life += 1;
        is_known.then_some(waited)
    }

    /// The life that readings taken in now belong to.
    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// The track of a life; lives come in their order.
    pub(crate) fn track(&mut self, life: u32) -> &mut Track {
        if self.track_life != life {
            (self.track, self.track_life) = (Track::new(), life);
        }
        &mut self.track
    }

    /// The track as the next reading will find it.
    pub(crate) fn track_bytes(&self) -> Vec<u8> {
        if self.track_life == self.life { self.track.to_bytes() } else { Track::new().to_bytes() }
    }

    /// Whether it may be removed where the partition has come to this time and offset. What a state from further on
    /// covers has to be passed over first.
    fn is_gone(&self, clock: UnixMillis, next: i64) -> bool {
        self.covered <= next && self.heard.saturating_add(FORGET_MS + SLACK_MS) <= clock
    }
}

/// A vehicle that was removed.
#[derive(Debug)]
pub(crate) struct Evicted {
    pub(crate) id: VehicleId,
    /// The place it had, which the next new vehicle gets.
    pub(crate) place: usize,
    /// Its readings that waited, which are lost.
    pub(crate) waiting: u64,
    /// Whether a state of it may stand in the log.
    pub(crate) is_news: bool,
}

/// Vehicles, each with a place that stays for as long as it is here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vehicles {
    places: HashMap<VehicleId, usize>,
    rows: Vec<Option<(VehicleId, Vehicle)>>,
    /// Places that nobody has.
    free: Vec<usize>,
}

impl Vehicles {
    /// The vehicle and its place; where it is not here, it is made.
    pub(crate) fn entry(&mut self, id: &VehicleId, otherwise: impl FnOnce() -> Vehicle) -> (usize, &mut Vehicle) {
        let place = match self.places.get(id) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.rows.push(None);
                    self.rows.len() - 1
                });
                self.places.insert(id.clone(), place);
                place
            }
        };
        let (_, vehicle) = self.rows[place].get_or_insert_with(|| (id.clone(), otherwise()));
        (place, vehicle)
    }

    /// The vehicle at a place that a reading was taken in for and that nobody was removed from since.
    pub(crate) fn at(&mut self, place: usize) -> Option<(&VehicleId, &mut Vehicle)> {
        self.rows.get_mut(place)?.as_mut().map(|(id, vehicle)| (&*id, vehicle))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, id: &VehicleId) -> Option<&Vehicle> {
        self.places.get(id).and_then(|place| self.rows[*place].as_ref()).map(|(_, vehicle)| vehicle)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&VehicleId, &Vehicle)> {
        self.rows.iter().flatten().map(|(id, vehicle)| (id, vehicle))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&VehicleId, &mut Vehicle)> {
        self.rows.iter_mut().flatten().map(|(id, vehicle)| (&*id, vehicle))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Removes those who were not heard of for so long that their next reading begins anew, where the partition has come
    /// to this time and offset; only such as `is_turn` names. The others keep their places.
    pub(crate) fn evict(&mut self, clock: UnixMillis, next: i64, is_turn: impl Fn(&VehicleId) -> bool) -> Vec<Evicted> {
        let mut evicted = Vec::new();
        for (place, row) in self.rows.iter_mut().enumerate() {
            let gone = row.take_if(|(id, vehicle)| vehicle.is_gone(clock, next) && is_turn(id));
            let Some((id, vehicle)) = gone else { continue };
            self.places.remove(&id);
            self.free.push(place);
            let (waiting, is_news) = (vehicle.order.waiting.len() as u64, vehicle.heard != NEVER);
            evicted.push(Evicted { id, place, waiting, is_news });
        }
        evicted
    }
}

impl FromIterator<(VehicleId, Vehicle)> for Vehicles {
    fn from_iter<I: IntoIterator<Item = (VehicleId, Vehicle)>>(rows: I) -> Self {
        let mut vehicles = Self::default();
        for (id, vehicle) in rows {
            vehicles.entry(&id, || vehicle);
        }
        vehicles
    }
}
