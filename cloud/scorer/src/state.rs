//! `scorer-state`: a vehicle's order, window and track as bytes, and their recovery.
//!
//! Of several states of a vehicle the one with the highest covered offset wins, not the last: a killed process
//! may write late.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result, bail};
use cloud_log::{History, KafkaConfig, OutRecord};
use detector::{Layout, Track, Window};
use telemetry::{Encoding, VehicleId, kafka_topic::SCORER_STATE};

use crate::{
    lane::{Lane, Vehicle},
    order::{Order, Placed},
};

const FORM: u8 = 2;

/// A vehicle's state.
pub(crate) fn encode(vehicle: &Vehicle, covered: i64) -> Result<Vec<u8>> {
    let order = &vehicle.order;
    let mut bytes = vec![FORM, u8::from(order.last.is_some())];
    bytes.extend(covered.to_le_bytes());
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
        put_bytes(&mut bytes, &telemetry::encode(&placed.record, Encoding::Protobuf)?)?;
    }
    put_bytes(&mut bytes, &vehicle.window.to_bytes())?;
    put_bytes(&mut bytes, &vehicle.track.to_bytes())?;
    Ok(bytes)
}

/// The state that [`encode`] wrote. A window of a layout that is not among these begins anew.
pub(crate) fn decode(layouts: &[Arc<Layout>], bytes: &[u8]) -> Result<Vehicle> {
    let mut rest = bytes;
    let [form, present] = take(&mut rest)?;
    if form != FORM {
        bail!("a state of form {form}");
    }
    let covered = i64::from_le_bytes(take(&mut rest)?);
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
        let record = telemetry::decode(take_bytes(&mut rest)?, Encoding::Protobuf, None)?;
        order.waiting.insert((record.boot, record.seq), Placed { record, time, offset });
    }
    let window = take_bytes(&mut rest)?;
    let id = Window::layout_id(window)?;
    let layout = layouts.iter().find(|layout| layout.id() == id).or(layouts.first()).context("no layout at all")?;
    let window = Window::from_bytes(Arc::clone(layout), window)?;
    let track = Track::from_bytes(take_bytes(&mut rest)?)?;
    if !rest.is_empty() {
        bail!("{} bytes too many", rest.len());
    }
    Ok(Vehicle { order, window, track, covered, dirty: false })
}

/// States of all vehicles that changed; they cover everything below the lane's next offset.
pub(crate) fn changed(lane: &mut Lane) -> Result<Vec<OutRecord>> {
    let (partition, covered) = (lane.partition, lane.next);
    let mut records = Vec::new();
    for (id, vehicle) in lane.vehicles.iter_mut().filter(|(_, vehicle)| vehicle.dirty) {
        vehicle.dirty = false;
        let payload = encode(vehicle, covered.max(vehicle.covered))?;
        let record = OutRecord::new(SCORER_STATE, id.as_str().as_bytes(), payload);
        records.push(OutRecord { partition: Some(partition), ..record });
    }
    Ok(records)
}

/// The vehicles of a partition as they were last written.
pub(crate) async fn restore(
    kafka: &KafkaConfig,
    layouts: &[Arc<Layout>],
    partition: i32,
) -> Result<HashMap<VehicleId, Vehicle>> {
    let marks = History::watermarks(kafka, SCORER_STATE).await?;
    let (low, high) = *marks.get(&partition).with_context(|| format!("{SCORER_STATE} has no partition {partition}"))?;
    let mut vehicles: HashMap<VehicleId, Vehicle> = HashMap::new();
    let mut log = History::open(kafka, SCORER_STATE, [(partition, low..high)].into()).await?;
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            let (Some(key), Some(payload)) = (&record.key, &record.payload) else { continue };
            let id = VehicleId::parse(std::str::from_utf8(key)?)?;
            let found =
                decode(layouts, payload).with_context(|| format!("{SCORER_STATE}/{partition}/{}", record.offset))?;
            if vehicles.get(&id).is_none_or(|held| found.covered > held.covered) {
                vehicles.insert(id, found);
            }
        }
    }
    Ok(vehicles)
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
