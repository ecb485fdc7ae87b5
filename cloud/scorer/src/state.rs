//! `scorer-state`: a vehicle's order, window and track as bytes, and their recovery.
//!
//! Of several states of a vehicle the one with the highest covered offset wins, not the last: a killed process
//! may write late. A vehicle that was removed ([`crate::vehicles`]) leaves a tombstone, which has the offset that it
//! covers in a header and obeys the same rule. Where the partition is read again from before that offset, the vehicle's
//! readings below it are passed over, as a state would have it.
//!
//! States are written in turn ([`Turn`]): each vehicle has its moment within an interval, so that what is written in a
//! second is bounded by the number of vehicles, whatever they send. The clock says when a state is written, never what
//! is in it.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result, bail};
use cloud_log::{Headers, History, InRecord, KafkaConfig, Marks, OutRecord, Watermarks};
use detector::{Layout, Track, Window};
use telemetry::{
    Encoding, PayloadHash, VehicleId,
    kafka_topic::{SCORER_STATE, header},
};

use crate::{
    lane::Lane,
    order::{Order, Placed},
    vehicles::{Vehicle, Vehicles},
};

const FORM: u8 = 4;

/// Whose turn it is to have its state written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everybody's: the process ends, the partition goes, or nothing else is to be done.
    Everybody,
    /// Those whose moment lies in `(from, to]`, ms on any clock that does not go back; each has one in an interval of
    /// `every` ms.
    Within { from: u64, to: u64, every: u64 },
}

impl Turn {
    /// The moment of it, ms on its clock.
    pub(crate) fn at(self) -> u64 {
        match self {
            Self::Everybody => 0,
            Self::Within { to, .. } => to,
        }
    }

    fn is_of(self, vehicle: &VehicleId) -> bool {
        match self {
            Self::Everybody => true,
            Self::Within { every: 0, .. } => true,
            Self::Within { from, to, every } => {
                let moment = PayloadHash::of(vehicle.as_str().as_bytes()).0 % every;
                // Moments that had passed by then: one more or not.
                let passed = |now: u64| (now + every - moment) / every;
                passed(to) > passed(from)
            }
        }
    }
}

/// A vehicle's state.
pub(crate) fn encode(vehicle: &Vehicle, covered: i64) -> Result<Vec<u8>> {
    let order = &vehicle.order;
    let mut bytes = vec![FORM, u8::from(order.last.is_some())];
    bytes.extend(covered.to_le_bytes());
    bytes.extend(vehicle.heard.to_le_bytes());
    bytes.extend(order.latest.to_le_bytes());
    let (boot, seq) = order.last.unwrap_or_default();
    put_place(&mut bytes, boot, seq);
    bytes.extend(u32::try_from(order.skipped.len())?.to_le_bytes());
    for (boot, from, to) in &order.skipped {
        put_place(&mut bytes, *boot, *from);
        bytes.extend(to.to_le_bytes());
    }
    bytes.extend(u32::try_from(order.waiting.len())?.to_le_bytes());
    for placed in order.waiting.values() {
        bytes.extend(placed.time.to_le_bytes());
        bytes.extend(placed.offset.to_le_bytes());
        bytes.extend(placed.payload.0.to_le_bytes());
        put_bytes(&mut bytes, &telemetry::encode(&placed.record, Encoding::Protobuf)?)?;
    }
    put_bytes(&mut bytes, &vehicle.window.to_bytes())?;
    put_bytes(&mut bytes, &vehicle.track_bytes())?;
    Ok(bytes)
}

/// The state that [`encode`] wrote. A window of a layout that is not among these begins anew.
pub(crate) fn decode(layouts: &[Arc<Layout>], bytes: &[u8]) -> Result<Vehicle> {
    let mut rest = bytes;
    let [form, present] = take(&mut rest)?;
    check_form(form)?;
    let covered = i64::from_le_bytes(take(&mut rest)?);
    let heard = i64::from_le_bytes(take(&mut rest)?);
    let latest = i64::from_le_bytes(take(&mut rest)?);
    let last = take_place(&mut rest)?;
    let mut order = Order { last: (present == 1).then_some(last), latest, ..Order::default() };
    for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
        let (boot, from) = take_place(&mut rest)?;
        order.skipped.push((boot, from, u64::from_le_bytes(take(&mut rest)?)));
    }
    for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
        let time = i64::from_le_bytes(take(&mut rest)?);
        let offset = i64::from_le_bytes(take(&mut rest)?);
        let payload = PayloadHash(u64::from_le_bytes(take(&mut rest)?));
        let record = telemetry::decode(take_bytes(&mut rest)?, Encoding::Protobuf, None)?;
        order.waiting.insert((record.boot, record.seq), Placed { record, time, offset, payload });
    }
    let window = take_bytes(&mut rest)?;
    let id = Window::layout_id(window)?;
    let layout = layouts.iter().find(|layout| layout.id() == id).or(layouts.first()).context("no layout at all")?;
    let window = Window::from_bytes(Arc::clone(layout), window)?;
    let track = Track::from_bytes(take_bytes(&mut rest)?)?;
    if !rest.is_empty() {
        bail!("{} bytes too many", rest.len());
    }
    Ok(Vehicle::restored(order, window, track, covered, heard))
}

fn check_form(form: u8) -> Result<()> {
    if form != FORM {
        bail!(
            "a state of form {form}, this is a scorer of form {FORM}: run the version that wrote it, or delete the records \
             of {SCORER_STATE}; then every vehicle's window fills anew"
        );
    }
    Ok(())
}

/// The offset that a state covers.
fn covered(bytes: &[u8]) -> Result<i64> {
    let mut rest = bytes;
    let [form, _] = take(&mut rest)?;
    check_form(form)?;
    Ok(i64::from_le_bytes(take(&mut rest)?))
}

/// What is to be written of a lane.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) records: Vec<OutRecord>,
    /// Places whose vehicle was removed.
    pub(crate) evicted: Vec<usize>,
    /// Of the states.
    pub(crate) bytes: usize,
    /// Whether nobody's has to wait for the next time.
    pub(crate) is_all: bool,
}

/// States of the vehicles that changed and whose turn it is, and tombstones of those who are removed now; they cover
/// everything below the lane's next offset. After so many bytes of states the others have to wait.
pub(crate) fn changed(lane: &mut Lane, turn: Turn, most_bytes: usize) -> Result<Changed> {
    let (partition, covered) = (lane.partition, lane.next);
    let evicted = lane.evict(|id| turn.is_of(id));
    let mut records: Vec<_> =
        evicted.iter().filter(|gone| gone.is_news).map(|gone| tombstone(partition, &gone.id, covered)).collect();
    let changed = lane.vehicles.iter_mut().filter(|(id, vehicle)| vehicle.unwritten.is_some() && turn.is_of(id));
    let (mut bytes, mut is_all) = (0, true);
    for (id, vehicle) in changed {
        if bytes >= most_bytes {
            is_all = false;
            break;
        }
        vehicle.unwritten = None;
        let payload = encode(vehicle, covered.max(vehicle.covered))?;
        bytes += payload.len();
        let record = OutRecord::new(SCORER_STATE, id.as_str().as_bytes(), payload);
        records.push(OutRecord { partition: Some(partition), ..record });
    }
    let evicted = evicted.into_iter().map(|gone| gone.place).collect();
    Ok(Changed { records, evicted, bytes, is_all })
}

fn tombstone(partition: i32, vehicle: &VehicleId, covered: i64) -> OutRecord {
    let headers = Headers::from([(header::COVERED, covered.to_string())]);
    let record = OutRecord::new(SCORER_STATE, vehicle.as_str().as_bytes(), Vec::new());
    OutRecord { partition: Some(partition), payload: None, headers, ..record }
}

/// The last that was written of a vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Last {
    State(Vec<u8>),
    /// It was removed.
    Removed,
}

/// Of every vehicle the record that counts, with the offset that it covers.
#[derive(Debug, Default)]
pub(crate) struct Found(HashMap<VehicleId, (i64, Last)>);

impl Found {
    /// Takes the topic's next record.
    pub(crate) fn take(&mut self, record: InRecord) -> Result<()> {
        let Some(key) = &record.key else { return Ok(()) };
        let id = VehicleId::parse(std::str::from_utf8(key)?)?;
        let (covered, last) = if let Some(payload) = record.payload {
            (covered(&payload)?, Last::State(payload.into()))
        } else {
            // One that somebody else wrote says nothing.
            let Some(covered) = record.headers.get(header::COVERED) else { return Ok(()) };
            (std::str::from_utf8(covered)?.parse()?, Last::Removed)
        };
        let wins = |held: &i64| covered > *held || covered == *held && last == Last::Removed;
        if self.0.get(&id).is_none_or(|(held, _)| wins(held)) {
            self.0.insert(id, (covered, last));
        }
        Ok(())
    }

    /// The vehicles, for a lane that begins at this offset.
    pub(crate) fn restore(&self, layouts: &[Arc<Layout>], next: i64) -> Result<Vehicles> {
        let vehicles = self.0.iter().filter_map(|(id, (covered, last))| {
            let vehicle = match last {
                Last::State(bytes) => decode(layouts, bytes).with_context(|| format!("the state of {id}")),
                // Nothing of what it covers is read again.
                Last::Removed if *covered <= next => return None,
                Last::Removed => {
                    let layout = layouts.first().context("no layout at all");
                    layout.map(|layout| Vehicle::removed(Arc::clone(layout), *covered))
                }
            };
            Some(vehicle.map(|vehicle| (id.clone(), vehicle)))
        });
        vehicles.collect()
    }
}

/// Where the states of partitions begin and end whose offsets were asked for before: all that these offsets are covered
/// by stands there.
pub(crate) async fn marks(kafka: &KafkaConfig, partitions: &[i32]) -> Result<Marks> {
    Ok(Watermarks::new(kafka)?.settled(SCORER_STATE, partitions).await?)
}

/// What was last written of every vehicle of a partition, within [`marks`].
pub(crate) async fn read(kafka: &KafkaConfig, partition: i32, marks: &Marks) -> Result<Found> {
    let (low, high) = *marks.get(&partition).with_context(|| format!("{SCORER_STATE} has no partition {partition}"))?;
    let mut found = Found::default();
    let mut log = History::open(kafka, SCORER_STATE, [(partition, low..high)].into()).await?;
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            let offset = record.offset;
            found.take(record).with_context(|| format!("{SCORER_STATE}/{partition}/{offset}"))?;
        }
    }
    Ok(found)
}

fn put_place(bytes: &mut Vec<u8>, boot: u32, seq: u64) {
    bytes.extend(boot.to_le_bytes());
    bytes.extend(seq.to_le_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) -> Result<()> {
    bytes.extend(u32::try_from(part.len())?.to_le_bytes());
    bytes.extend(part);
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk().context("a state cut short")?;
    *rest = tail;
    Ok(*head)
}

fn take_place(rest: &mut &[u8]) -> Result<(u32, u64)> {
    Ok((u32::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?)))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length).context("a state cut short")?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vehicle_has_one_turn_in_an_interval_and_they_are_spread() {
        let every = 60_000;
        let vehicles: Vec<_> = (0..600).map(|n| VehicleId::parse(&format!("veh-{n}")).unwrap()).collect();
        let mut turns = vec![0; vehicles.len()];
        let mut most = 0;
        // Ten intervals, looked at every 2 s, from any moment on.
        for from in (1_234..1_234 + 10 * every).step_by(2_000) {
            let turn = Turn::Within { from, to: from + 2_000, every };
            let now: Vec<_> = (0..vehicles.len()).filter(|at| turn.is_of(&vehicles[*at])).collect();
            most = most.max(now.len());
            now.into_iter().for_each(|at| turns[at] += 1);
        }
        assert!(turns.iter().all(|turns| *turns == 10), "{turns:?}");
        // 20 on average.
        assert!((20..50).contains(&most), "{most}");
        // Looked at seldom, nobody is passed over; without an interval it is everybody's turn.
        assert!(vehicles.iter().all(|id| Turn::Within { from: 5, to: 5 + every, every }.is_of(id)));
        assert!(vehicles.iter().all(|id| Turn::Within { from: 5, to: 5, every: 0 }.is_of(id)));
        assert!(!vehicles.iter().any(|id| Turn::Within { from: 5, to: 5, every }.is_of(id)));
    }
}
