//! Folds a batch of records into at most one update per vehicle, and one of the history per vehicle and minute.
//! Pure.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use store::{
    SignalKey, Stamp, TwinUpdate,
    history::{HistoryPoint, HistoryUpdate, Minute, expires_at},
    twin::{Changed, Full, Newest, StatusRegister},
};
use telemetry::{Kind, Record, UnixMillis, VehicleId, event::Status, time};

/// Where a record stands in the log, and when the edge took it in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) ingest: UnixMillis,
}

/// A batch in the making.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    twins: BTreeMap<VehicleId, TwinUpdate>,
    history: BTreeMap<(VehicleId, Minute), HistoryUpdate>,
    /// Records per vehicle, so that the tally knows what a refused update stood for.
    records: BTreeMap<VehicleId, u64>,
}

/// The updates of a batch.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    pub(crate) twins: Vec<TwinUpdate>,
    pub(crate) history: Vec<HistoryUpdate>,
    pub(crate) records: BTreeMap<VehicleId, u64>,
}

impl Fold {
    /// Adds a reading. Fails on a sequence that no document can hold, which no vehicle ever reaches.
    pub(crate) fn reading(&mut self, record: &Record, place: Place, retention: Duration) -> Result<(), String> {
        let Some(stamp) = Stamp::of(record, place.partition, place.offset) else {
            return Err(format!("sequence {} is beyond {}", record.seq, i64::MAX));
        };
        let (time, ingest) = (record.time, place.ingest);
        let signals: BTreeMap<_, _> = SignalKey::all(&record.signals).collect();
        let mut update = TwinUpdate::new(record.vehicle.clone());
        match record.kind {
            Kind::Full => {
                update.full = Some(Full { stamp, time, ingest, signals: signals.clone(), position: record.position });
            }
            Kind::Change => {
                let changed = |(key, value)| (key, Changed { stamp, time, value });
                update.signals = signals.clone().into_iter().map(changed).collect();
                update.position = record.position.map(|value| Changed { stamp, time, value });
                update.change = Some(Newest { stamp, time, ingest });
            }
        }
        self.add(update);

        let time = time::window_time(record.time, ingest).time;
        let expires_at = expires_at(ingest, retention);
        let (vehicle, minute) = (record.vehicle.clone(), Minute::of(time));
        let bucket = self.history.entry((vehicle.clone(), minute)).or_insert_with(|| HistoryUpdate {
            vehicle,
            minute,
            expires_at,
            points: Vec::new(),
        });
        bucket.expires_at = bucket.expires_at.max(expires_at);
        bucket.points.push(HistoryPoint { stamp, time, signals, position: record.position });
        Ok(())
    }

    /// Adds a status.
    pub(crate) fn status(&mut self, status: Status, place: Place) {
        let mut update = TwinUpdate::new(status.vehicle);
        update.status = Some(StatusRegister {
            boot: status.boot,
            time: status.time,
            state: status.state,
            partition: place.partition,
            offset: place.offset,
            software: status.software,
        });
        self.add(update);
    }

    fn add(&mut self, update: TwinUpdate) {
        *self.records.entry(update.vehicle.clone()).or_default() += 1;
        match self.twins.entry(update.vehicle.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(update);
            }
            Entry::Occupied(mut entry) => entry.get_mut().merge(update),
        }
    }

    /// The updates, without what no reader would ever see.
    pub(crate) fn finish(self) -> Updates {
        let mut twins: Vec<_> = self.twins.into_values().collect();
        twins.iter_mut().for_each(TwinUpdate::prune);
        Updates { twins, history: self.history.into_values().collect(), records: self.records }
    }
}
