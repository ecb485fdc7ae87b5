//! The fold of the log as the guarantee words it, for comparison: per vehicle in order of (boot, sequence) the
//! last `full` record, then later `change` records per signal. It shares nothing with [`crate::fold`] and the
//! registers of `store` but the type that readers see.

use std::collections::BTreeMap;

use store::{
    Twin,
    twin::{LastReading, TwinPosition, TwinSignal},
};
use telemetry::{Kind, Record, UnixMillis, VehicleId, signal};

/// Boot, sequence; of a resend the later one in the log: partition, offset.
type Order = (u32, u64, i32, i64);

/// Every vehicle's records that still matter.
#[derive(Debug, Default)]
pub(crate) struct Log {
    vehicles: BTreeMap<VehicleId, BTreeMap<Order, (Record, UnixMillis)>>,
}

impl Log {
    /// Adds a record, in any order.
    pub(crate) fn add(&mut self, record: Record, partition: i32, offset: i64, ingest: UnixMillis) {
        let records = self.vehicles.entry(record.vehicle.clone()).or_default();
        records.insert((record.boot, record.seq, partition, offset), (record, ingest));
        // What stands before the last full record is overwritten by it: forgotten, so that memory is bounded
        // by what changed since.
        let last_full = records.iter().rev().find(|(_, (record, _))| record.kind == Kind::Full);
        if let Some(order) = last_full.map(|(order, _)| *order) {
            *records = records.split_off(&order);
        }
    }

    /// Whose records were added.
    pub(crate) fn vehicles(&self) -> impl Iterator<Item = &VehicleId> {
        self.vehicles.keys()
    }

    /// Whether a full record of the vehicle was added.
    pub(crate) fn has_full(&self, vehicle: &VehicleId) -> bool {
        let first = self.vehicles.get(vehicle).and_then(|records| records.values().next());
        first.is_some_and(|(record, _)| record.kind == Kind::Full)
    }

    /// The twin that the records make, without the connection's status.
    pub(crate) fn twin(&self, vehicle: &VehicleId) -> Option<Twin> {
        let records = self.vehicles.get(vehicle)?;
        let mut twin =
            Twin { vehicle: vehicle.clone(), last: None, signals: BTreeMap::new(), position: None, status: None };
        for ((boot, seq, partition, offset), (record, ingest)) in records {
            if record.kind == Kind::Full {
                twin.signals.clear();
                twin.position = None;
            }
            let time = record.time;
            for (number, value) in record.signals.known() {
                let path = signal::lookup(number).map_or_else(|| format!("#{number}"), |signal| signal.path.into());
                twin.signals.insert(path, TwinSignal { value: value.into(), time });
            }
            for (path, value) in record.signals.unknown() {
                twin.signals.insert(path.into(), TwinSignal { value: value.into(), time });
            }
            if let Some(position) = record.position {
                twin.position = Some(TwinPosition { position, time });
            }
            twin.last = Some(LastReading {
                boot: *boot,
                seq: i64::try_from(*seq).unwrap_or(i64::MAX),
                time,
                ingest: *ingest,
                partition: *partition,
                offset: *offset,
            });
        }
        Some(twin)
    }
}
