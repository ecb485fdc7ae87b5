//! However records arrive, the twin is the naive fold of the log.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use store::{Twin, TwinUpdate};
use telemetry::{
    Kind, Position, Record, SCHEMA, Signals, Value, VehicleId,
    event::{Status, StatusState},
};

use crate::{
    fold::{Fold, Place},
    naive::Log,
};

const RETENTION: Duration = Duration::from_secs(3_600);

/// A record at a place in the log. Time goes anywhere: it must not matter.
#[derive(Debug, Clone)]
struct Placed {
    record: Record,
    place: Place,
}

fn signals() -> impl Strategy<Value = Signals> {
    let value = prop_oneof![
        (-5_i32..5).prop_map(|n| Value::Number(f64::from(n) / 2.0)),
        any::<bool>().prop_map(Value::Boolean),
        "[a-c]{0,2}".prop_map(Value::Text),
    ];
    let path = prop_oneof![
        (1_u16..6).prop_map(|n| telemetry::signal::lookup(n).unwrap().path.to_owned()),
        "Vehicle\\.[AB$%]{1,2}",
    ];
    proptest::collection::btree_map(path, value, 0..5).prop_map(|values| {
        let mut signals = Signals::new();
        for (path, value) in values {
            signals.insert_path(&path, value).unwrap();
        }
        signals
    })
}

prop_compose! {
    fn record()(
        vehicle in 0_u8..3,
        boot in 1_u32..4,
        seq in 1_u64..8,
        time in 0_i64..10_000_000,
        full in any::<bool>(),
        signals in signals(),
        place in proptest::option::of((0_u8..90, 0_u8..90)),
        ingest in 0_i64..1_000,
    ) -> (Record, i64) {
        let position = place.map(|(latitude, longitude)| Position {
            latitude: f64::from(latitude), longitude: f64::from(longitude), heading: None,
        });
        let vehicle = VehicleId::parse(&format!("veh-{vehicle}")).unwrap();
        let kind = if full { Kind::Full } else { Kind::Change };
        (Record { schema: SCHEMA, vehicle, boot, seq, time, kind, signals, position }, ingest)
    }
}

/// A log: any records, also several with one identity and different content.
fn log() -> impl Strategy<Value = Vec<Placed>> {
    proptest::collection::vec(record(), 1..40).prop_map(|records| {
        let placed = records.into_iter().enumerate().map(|(at, (record, ingest))| {
            let offset = i64::try_from(at).unwrap();
            Placed { record, place: Place { partition: 0, offset, ingest } }
        });
        placed.collect()
    })
}

/// What the registers are after these batches.
fn written(batches: &[Vec<&Placed>]) -> BTreeMap<VehicleId, Twin> {
    let mut state: BTreeMap<VehicleId, TwinUpdate> = BTreeMap::new();
    for batch in batches {
        let mut fold = Fold::default();
        for placed in batch {
            fold.reading(&placed.record, placed.place, RETENTION).unwrap();
        }
        let updates = fold.finish();
        assert_eq!(updates.records.values().sum::<u64>(), batch.len() as u64);
        for update in updates.twins {
            state
                .entry(update.vehicle.clone())
                .or_insert_with(|| TwinUpdate::new(update.vehicle.clone()))
                .merge(update);
        }
    }
    state.into_iter().map(|(vehicle, registers)| (vehicle, registers.view())).collect()
}

proptest! {
    #[test]
    fn any_order_duplicates_and_batches_give_the_naive_fold(
        log in log(),
        arrivals in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        order in any::<u64>(),
        size in 1_usize..9,
    ) {
        let mut naive = Log::default();
        for Placed { record, place } in &log {
            naive.add(record.clone(), place.partition, place.offset, place.ingest);
        }
        let expected: BTreeMap<_, _> =
            naive.vehicles().map(|vehicle| (vehicle.clone(), naive.twin(vehicle).unwrap())).collect();
        // Everything once, some twice, in any order.
        let mut arriving: Vec<&Placed> = log.iter().chain(arrivals.iter().map(|index| index.get(&log))).collect();
        arriving.sort_by_key(|placed| (placed.place.offset as u64 + 1).wrapping_mul(order | 1).rotate_left(17));
        let batches: Vec<_> = arriving.chunks(size).map(<[_]>::to_vec).collect();
        prop_assert_eq!(&written(&batches), &expected);
        // In the order of the log, one batch: the same.
        prop_assert_eq!(&written(&[log.iter().collect()]), &expected);
    }
}

#[test]
fn a_will_ends_only_the_connection_that_it_belongs_to() {
    let vehicle = VehicleId::parse("veh-1").unwrap();
    let status = |time, state| Status { vehicle: vehicle.clone(), boot: 7, state, time, software: None };
    let events = [
        status(10, StatusState::Online),
        status(20, StatusState::Online),
        // Left at the first connection, published after the second began.
        status(10, StatusState::Offline),
    ];
    let mut fold = Fold::default();
    for (offset, event) in (0..).zip(events) {
        fold.status(event, Place { partition: 0, offset, ingest: 0 });
    }
    let online = fold.finish().twins.remove(0).view();
    assert!(online.is_online());
    let mut fold = Fold::default();
    fold.status(status(20, StatusState::Offline), Place { partition: 0, offset: 9, ingest: 0 });
    fold.status(status(20, StatusState::Online), Place { partition: 0, offset: 8, ingest: 0 });
    assert!(!fold.finish().twins.remove(0).view().is_online());
}

#[test]
fn history_stands_in_the_minute_of_the_believed_time() {
    let mut signals = Signals::new();
    signals.insert(telemetry::signal::SPEED, Value::Number(1.0)).unwrap();
    let ingest = 1_763_712_000_000;
    let record = |seq, time| Record {
        schema: SCHEMA,
        vehicle: VehicleId::parse("veh-1").unwrap(),
        boot: 1,
        seq,
        time,
        kind: Kind::Full,
        signals: signals.clone(),
        position: None,
    };
    let mut fold = Fold::default();
    // A day late, in time, and a day ahead, which is not believed.
    for (seq, time) in [(1, ingest - 86_400_000), (2, ingest), (3, ingest + 86_400_000)] {
        let place = Place { partition: 0, offset: 0, ingest };
        fold.reading(&record(seq, time), place, RETENTION).unwrap();
    }
    let history = fold.finish().history;
    let points: Vec<_> = history.iter().map(|bucket| bucket.points.len()).collect();
    assert_eq!(points, [1, 2]);
    assert!(history.iter().all(|bucket| bucket.expires_at == ingest + 3_600_000));
}
