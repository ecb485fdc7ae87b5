//! The scorer's state survives as bytes, and a lane restored in the middle goes on with the same bits.

use std::sync::{Arc, LazyLock};

use cloud_log::InRecord;
use detector::Layout;
use telemetry::{Encoding, Kind, Record, Signals, Value, VehicleId, signal};

use crate::{
    lane::{Aside, Job, Lane},
    order::Dropped,
    state,
    vehicles::Vehicles,
};

const START: i64 = 1_763_700_000_000;

pub(crate) fn record(offset: i64, vehicle: &str, seq: u64) -> InRecord {
    let mut signals = Signals::new();
    for row in signal::CATALOGUE {
        if let signal::Domain::Number { min, max } = row.domain {
            let share = 0.3 + 0.1 * ((seq * 31 + u64::from(row.number) * 7) % 11) as f64 / 11.0;
            signals.insert(row.number, Value::Number(min + (max - min) * share)).unwrap();
        }
    }
    let record = Record {
        schema: telemetry::SCHEMA,
        vehicle: VehicleId::parse(vehicle).unwrap(),
        boot: 1,
        seq,
        time: START + seq as i64 * 10_000,
        kind: Kind::Full,
        signals,
        position: None,
    };
    let payload = Some(telemetry::encode(&record, Encoding::Json).unwrap().into());
    InRecord { timestamp: START, payload, ..InRecord::at("telemetry", 2, offset) }
}

/// Two vehicles with a hole, a duplicate and a late reading.
fn log() -> Vec<InRecord> {
    let seqs = [1, 2, 3, 5, 4, 6, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 8, 17, 18, 19, 21, 22, 20, 23];
    let places = seqs.iter().flat_map(|seq| [("veh-a", *seq), ("veh-b", seq + 1)]);
    (0_i64..).zip(places).map(|(offset, (vehicle, seq))| record(offset, vehicle, seq)).collect()
}

fn layouts() -> Vec<Arc<Layout>> {
    vec![Arc::clone(catalogued(0))]
}

fn catalogued(_: i64) -> &'static Arc<Layout> {
    static LAYOUT: LazyLock<Arc<Layout>> = LazyLock::new(|| Arc::new(Layout::default()));
    &LAYOUT
}

fn shape(jobs: &[Job]) -> Vec<(usize, u64, i64, bool)> {
    jobs.iter().map(|j| (j.place, j.seq, j.source.offset, j.query.is_some())).collect()
}

#[test]
fn a_lane_restored_at_any_offset_goes_on_the_same() {
    let log = log();
    let mut whole = Lane::new(2, 0, 60_000, Vehicles::default());
    let mut expected = Vec::new();
    let mut asides = 0;
    for record in &log {
        asides += u64::from(whole.take(record, &catalogued, &mut expected).is_err());
    }
    assert_eq!(log.len() as u64, expected.len() as u64 + asides + whole.waiting);
    assert!(expected.iter().any(|job| job.query.is_some()));
    for cut in 0..log.len() {
        let mut first = Lane::new(2, 0, 60_000, Vehicles::default());
        let mut jobs = Vec::new();
        for record in &log[..cut] {
            first.take(record, &catalogued, &mut jobs).ok();
        }
        let vehicles = first.vehicles.iter().map(|(id, vehicle)| {
            (id.clone(), state::decode(&layouts(), &state::encode(vehicle, first.next).unwrap()).unwrap())
        });
        // The commit may lie far behind the state: everything comes again.
        let mut second = Lane::new(2, 0, 60_000, vehicles.collect());
        for (at, record) in log.iter().enumerate() {
            let taken = second.take(record, &catalogued, &mut jobs);
            let known =
                first.vehicles.get(&VehicleId::parse(if at % 2 == 0 { "veh-a" } else { "veh-b" }).unwrap()).is_some();
            assert_eq!(matches!(taken, Err(Aside::Covered)), at < cut && known, "cut {cut}, record {at}");
        }
        assert_eq!(shape(&jobs), shape(&expected), "cut {cut}");
        for (id, vehicle) in whole.vehicles.iter() {
            assert_eq!(vehicle.window.to_bytes(), second.vehicles.get(id).unwrap().window.to_bytes(), "cut {cut}");
        }
    }
}

#[test]
fn what_is_put_aside_is_named() {
    let mut lane = Lane::new(2, 0, 60_000, Vehicles::default());
    let mut jobs = Vec::new();
    lane.take(&record(0, "veh-a", 1), &catalogued, &mut jobs).unwrap();
    let again = lane.take(&record(1, "veh-a", 1), &catalogued, &mut jobs);
    assert!(matches!(again, Err(Aside::Dropped(Dropped::Duplicate))));
    let mut broken = record(2, "veh-a", 2);
    broken.payload = Some(b"{}"[..].into());
    assert!(matches!(lane.take(&broken, &catalogued, &mut jobs), Err(Aside::Unreadable(_))));
    assert_eq!((jobs.len(), lane.next), (1, 3));
}

#[test]
fn a_state_cut_short_is_refused() {
    let mut lane = Lane::new(2, 0, 60_000, Vehicles::default());
    lane.take(&record(0, "veh-a", 5), &catalogued, &mut Vec::new()).unwrap();
    let bytes = state::encode(lane.vehicles.iter().next().unwrap().1, 1).unwrap();
    assert_eq!(state::decode(&layouts(), &bytes).unwrap().order.waiting.len(), 1);
    for end in 0..bytes.len() {
        assert!(state::decode(&layouts(), &bytes[..end]).is_err(), "{end}");
    }
}
