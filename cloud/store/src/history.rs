//! Recent readings of a vehicle, in minute buckets, for plotting. The log is the archive; this expires.
//!
//! Document: `_id` = `vehicle|minute` (start of the minute, 14 digits, so that ids sort as time does), `x` = when
//! it expires, `d.<boot>_<seq>` = `{p, o, t, s: {<signal>: value}, g}`. Written with `$max` only: late and
//! duplicate records are no-ops. Minute and `t` are the window time, which is the event time unless the
//! vehicle's clock was not believed; the expiry counts from the ingest time, so that old event times live as
//! long as new ones.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use serde::{Deserialize, Serialize};
use telemetry::{Position, UnixMillis, VehicleId};

use crate::{
    SignalKey, SignalValue, Stamp, Store,
    connection::HISTORY,
    twin::{place, read_place, read_signals},
    value::append,
    write::{Statement, WriteFailure, Written, max},
};

/// The most points that one query gives.
pub const MAX_POINTS: usize = 10_000;

const MINUTE_MS: i64 = 60_000;

/// One reading, to be kept for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPoint {
    /// Its place in the order.
    pub stamp: Stamp,
    /// Window time, ms.
    pub time: UnixMillis,
    /// Values.
    pub signals: BTreeMap<SignalKey, SignalValue>,
    /// Where, if known.
    pub position: Option<Position>,
}

/// Readings of one vehicle in one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryUpdate {
    /// Whose.
    pub vehicle: VehicleId,
    /// When.
    pub minute: Minute,
    /// Expires at this time or later, ms.
    pub expires_at: UnixMillis,
    /// The readings, in any order.
    pub points: Vec<HistoryPoint>,
}

/// A minute since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

impl Minute {
    /// The minute that a time (ms) lies in.
    pub fn of(time: UnixMillis) -> Self {
        Self(time.div_euclid(MINUTE_MS))
    }
}

/// A reading as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Boot of the vehicle's unit.
    pub boot: u32,
    /// Sequence in the boot.
    pub seq: i64,
    /// Window time, ms.
    pub time: UnixMillis,
    /// Values by VSS path; of a `change` record only what changed.
    pub signals: BTreeMap<String, SignalValue>,
    /// Where, if known.
    pub position: Option<Position>,
}

impl Store {
    /// Writes readings, at most one update per vehicle and minute, acknowledged by a majority. May be repeated.
    ///
    /// # Errors
    /// If it was not acknowledged; see [`WriteFailure::passing`].
    pub async fn write_history(&self, updates: &[HistoryUpdate]) -> Result<Written, WriteFailure> {
        self.upsert(HISTORY, updates.iter().map(statement).collect()).await
    }

    /// The readings of a vehicle with a time in `from..=to` (ms), ascending by time; where there are more than
    /// `limit` (at most [`MAX_POINTS`]), the newest of them.
    ///
    /// # Errors
    /// If MongoDB can't be reached or a document is none of ours.
    pub async fn history(
        &self,
        vehicle: &VehicleId,
        from: UnixMillis,
        to: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Reading>> {
        let limit = limit.clamp(1, MAX_POINTS);
        let (first, last) = (id(vehicle, Minute::of(from.max(0))), id(vehicle, Minute::of(to.max(0))));
        let filter = doc! { "_id": { "$gte": first, "$lte": last } };
        let mut cursor =
            self.collection(HISTORY).find(filter).sort(doc! { "_id": -1 }).await.context("read the history")?;
        let mut readings = Vec::new();
        while readings.len() < limit {
            let Some(bucket) = cursor.try_next().await.context("read the history")? else { break };
            let mut minute = read(&bucket).context("a bucket of the history can't be read")?;
            minute.retain(|reading| (from..=to).contains(&reading.time));
            readings.append(&mut minute);
        }
        // A resend after a change of judgement on the clock may stand in two buckets.
        readings.sort_by_key(|reading| (reading.boot, reading.seq, reading.time));
        readings.dedup_by_key(|reading| (reading.boot, reading.seq));
        readings.sort_by_key(|reading| (reading.time, reading.boot, reading.seq));
        Ok(readings.split_off(readings.len().saturating_sub(limit)))
    }
}

/// When readings of this ingest time expire.
pub fn expires_at(ingest: UnixMillis, retention: Duration) -> UnixMillis {
    ingest.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

fn id(vehicle: &VehicleId, Minute(minute): Minute) -> String {
    format!("{vehicle}|{:014}", minute.saturating_mul(MINUTE_MS))
}

fn statement(update: &HistoryUpdate) -> Statement {
    let mut fields = RawDocumentBuf::new();
    append(&mut fields, "x", DateTime::from_millis(update.expires_at));
    // One field may stand in an update only once: of a resend within the batch the later one.
    let mut points: Vec<_> = update.points.iter().collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.stamp));
    points.dedup_by_key(|point| (point.stamp.boot, point.stamp.seq));
    for point in points {
        let Stamp { boot, seq, partition, offset } = point.stamp;
        let mut register = RawDocumentBuf::new();
        append(&mut register, "p", i64::from(partition));
        append(&mut register, "o", offset);
        append(&mut register, "t", point.time);
        let mut signals = RawDocumentBuf::new();
        for (key, value) in &point.signals {
            value.append_to(&mut signals, &key.field());
        }
        append(&mut register, "s", signals);
        if let Some(position) = &point.position {
            append(&mut register, "g", place(position));
        }
        append(&mut fields, &format!("d.{boot}_{seq}"), register);
    }
    Statement { id: id(&update.vehicle, update.minute), update: max(fields) }
}

fn read(bucket: &Document) -> Option<Vec<Reading>> {
    let point = |(name, register): (&String, &mongodb::bson::Bson)| {
        let (boot, seq) = name.split_once('_')?;
        let register = register.as_document()?;
        let signals = read_signals(register.get_document("s").ok()?)?;
        Some(Reading {
            boot: boot.parse().ok()?,
            seq: seq.parse().ok()?,
            time: register.get_i64("t").ok()?,
            signals: signals.into_iter().map(|(key, value)| (key.path(), value)).collect(),
            position: register.get_document("g").ok().and_then(read_place),
        })
    };
    bucket.get_document("d").ok()?.iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_vehicle_sort_as_time_does() {
        let vehicle = VehicleId::parse("veh-1").unwrap();
        let times = [0, 946_684_800_000, 1_763_712_345_678, 4_102_444_800_000];
        let ids: Vec<_> = times.iter().map(|time| id(&vehicle, Minute::of(*time))).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids[2], "veh-1|01763712300000");
    }

    #[test]
    fn a_resend_within_a_batch_stands_once() {
        let point = |offset: i64| HistoryPoint {
            stamp: Stamp { boot: 7, seq: 1, partition: 0, offset },
            time: 60_001,
            signals: [(SignalKey::Known(1), SignalValue::Number(offset as f64))].into(),
            position: None,
        };
        let update = HistoryUpdate {
            vehicle: VehicleId::parse("veh-1").unwrap(),
            minute: Minute::of(60_001),
            expires_at: 5,
            points: vec![point(3), point(9), point(4)],
        };
        let written = Document::try_from(&*statement(&update).update).unwrap();
        let fields = written.get_document("$max").unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x", "d.7_1"]);
        assert_eq!(fields.get_document("d.7_1").unwrap().get_i64("o").unwrap(), 9);
        let bucket = doc! { "d": { "7_1": fields.get_document("d.7_1").unwrap().clone() } };
        let readings = read(&bucket).unwrap();
        assert_eq!((readings[0].boot, readings[0].seq, readings[0].time), (7, 1, 60_001));
        assert_eq!(readings[0].signals["Vehicle.Speed"], SignalValue::Number(9.0));
    }
}
