//! Tests of the physics: same seed, same bytes; possible values; relations that a healthy vehicle keeps.

use std::collections::BTreeSet;

use telemetry::{Encoding, Kind, Record, SCHEMA, codec, signal::*, validation};

use super::*;
use crate::fault::{Course, FaultKind};

const START: UnixMillis = 1_760_000_000_000;

fn fleet(seed: u64) -> FleetSeed {
    FleetSeed { seed, start: START }
}

fn drive(seed: u64, index: u32, steps: i64, interval_ms: i64) -> Vec<Sample> {
    let mut vehicle = Vehicle::new(fleet(seed), index);
    (0..steps).map(|n| vehicle.step(START + n * interval_ms, &[])).collect()
}

fn record(index: u32, seq: u64, time: UnixMillis, sample: Sample) -> Record {
    Record {
        schema: SCHEMA,
        vehicle: vehicle_id(index),
        boot: 1,
        seq,
        time,
        kind: Kind::Full,
        signals: sample.signals,
        position: sample.position,
    }
}

fn value(sample: &Sample, number: Number) -> f64 {
    sample.signals.number(number).unwrap()
}

#[test]
fn vehicles_are_named_by_index() {
    assert_eq!(vehicle_id(1).as_str(), "veh-00001");
    assert_eq!(vehicle_id(u32::MAX).as_str(), "veh-4294967295");
}

#[test]
fn a_vehicle_is_small() {
    assert!(size_of::<Vehicle>() <= 1_100, "{} bytes", size_of::<Vehicle>());
}

#[test]
fn same_seed_same_samples_and_other_seeds_other_samples() {
    let one = drive(5, 3, 200, 10_000);
    assert_eq!(one, drive(5, 3, 200, 10_000));
    assert_ne!(one, drive(6, 3, 200, 10_000));
    assert_ne!(one, drive(5, 4, 200, 10_000));
}

#[test]
fn a_vehicle_does_not_depend_on_its_neighbours() {
    let alone = drive(5, 3, 100, 10_000);
    let mut vehicles: Vec<_> = (1..=5).map(|index| Vehicle::new(fleet(5), index)).collect();
    for (n, expected) in alone.iter().enumerate() {
        let samples: Vec<_> = vehicles.iter_mut().map(|v| v.step(START + n as i64 * 10_000, &[])).collect();
        assert_eq!(&samples[2], expected, "step {n}");
    }
}

#[test]
fn a_day_on_the_road_stays_possible_and_complete() {
    for (seed, index, interval_s) in [(1, 1, 10), (1, 2, 60), (2, 1, 7), (3, 77, 10), (4, 5, 60), (9, 100_000, 30)] {
        let mut vehicle = Vehicle::new(fleet(seed), index);
        let (mut moved, mut charged, mut roads) = (0, 0, BTreeSet::new());
        let steps = 86_400 / interval_s;
        for n in 0..steps {
            let time = START + n * interval_s * 1_000;
            let sample = vehicle.step(time, &[]);
            assert_eq!(sample.signals.known().count(), 23);
            let speed = value(&sample, SPEED);
            assert!(speed <= 151.0, "seed {seed} vehicle {index} step {n}: {speed} km/h");
            moved += i64::from(speed > 0.0);
            charged += i64::from(value(&sample, BATTERY_CURRENT) > 150.0);
            roads.insert((speed / 30.0) as i64);
            let record = record(index, n as u64 + 1, time, sample);
            validation::validate(&record, Some(&record.vehicle)).unwrap_or_else(|invalid| {
                panic!("seed {seed} vehicle {index} step {n}: {invalid}");
            });
        }
        assert!(moved * 10 > steps * 6, "seed {seed} vehicle {index} moves {moved} of {steps}");
        assert!(charged * 10 < steps * 4, "seed {seed} vehicle {index} charges {charged} of {steps}");
        assert!((0..=4).all(|band| roads.contains(&band)), "seed {seed} vehicle {index} drives at {roads:?} × 30 km/h");
    }
}

#[test]
fn odd_times_neither_go_back_nor_run_away() {
    let mut vehicle = Vehicle::new(fleet(1), 1);
    let first = vehicle.step(START, &[]);
    let again = vehicle.step(START - 5_000, &[]);
    assert_eq!(value(&first, TRAVELED_DISTANCE), value(&again, TRAVELED_DISTANCE));
    let late = vehicle.step(i64::MAX, &[]);
    assert!(value(&late, TRAVELED_DISTANCE) - value(&first, TRAVELED_DISTANCE) < 42.0 * LONGEST_STEP_S as f64);
}

#[test]
fn a_healthy_vehicle_keeps_the_relations_of_physics() {
    for index in 1..=20 {
        let samples = drive(3, index, 600, 10_000);
        for (n, sample) in samples.iter().enumerate() {
            let of = |number| value(sample, number);
            let context = || format!("seed 3 vehicle {index} step {n}: {sample:?}");
            // Gear: 9 turns per turn of a wheel of 0.33 m, give or take wear.
            let rpm = of(SPEED) / 3.6 / 0.33 * 9.0 * 30.0 / std::f64::consts::PI;
            assert!((of(MOTOR_SPEED) - rpm).abs() < 60.0 + 0.03 * rpm, "{}", context());
            // Energy: what flows out of the battery is mechanical power plus losses.
            let electrical = -of(BATTERY_CURRENT) * of(BATTERY_VOLTAGE);
            let mechanical = of(MOTOR_TORQUE) * of(MOTOR_SPEED) * std::f64::consts::PI / 30.0;
            if of(MOTOR_SPEED) > 0.0 {
                assert!((-1_000.0..14_000.0).contains(&(electrical - mechanical)), "{}", context());
            }
            // Heat flows from motor to coolant to air.
            assert!(of(COOLANT_TEMPERATURE) > of(AIR_TEMPERATURE) - 1.0, "{}", context());
            assert!(of(MOTOR_TEMPERATURE) > of(COOLANT_TEMPERATURE) - 8.0, "{}", context());
            // Only one foot.
            assert!(of(ACCELERATOR) == 0.0 || of(BRAKE) == 0.0, "{}", context());
        }
        // The four tyres warm and cool together.
        let drift = |number| value(&samples[599], number) - value(&samples[0], number);
        let drifts = TYRES.map(drift);
        assert!(drifts.iter().all(|d| (d - drifts[0]).abs() < 8.0), "seed 3 vehicle {index}: {drifts:?}");
    }
}

#[test]
fn the_first_minutes_are_like_any_other() {
    let mean =
        |samples: &[Sample], number| samples.iter().map(|s| value(s, number)).sum::<f64>() / samples.len() as f64;
    let fleet: Vec<_> = (1..=200).map(|index| drive(8, index, 361, 10_000)).collect();
    for (number, tolerance) in [
        (SPEED, 9.0),
        (COOLANT_TEMPERATURE, 2.5),
        (MOTOR_TEMPERATURE, 3.5),
        (TYRE_REAR_LEFT, 8.0),
        (BATTERY_VOLTAGE, 15.0),
    ] {
        let [early, late] = [0..30, 331..361].map(|span| {
            fleet.iter().map(|samples| mean(&samples[span.clone()], number)).sum::<f64>() / fleet.len() as f64
        });
        assert!((early - late).abs() < tolerance, "signal {number}: {early} early, {late} late");
    }
}

#[test]
fn a_fault_moves_its_signals_and_leaves_the_unrelated_ones_alone() {
    for kind in FaultKind::DEMO {
        let severity = kind.severity();
        let index = 21;
        let mut healthy = Vehicle::new(fleet(2), index);
        let mut broken = healthy.clone();
        let mut moved = BTreeSet::new();
        let fault =
            Fault { kind, vehicle_index: index, from: START, to: i64::MAX, course: Course::Onset, percent: 100 };
        for n in 1..=180 {
            let time = START + n * 10_000;
            let expected = healthy.step(time, &[]);
            let sample = broken.step(time, &[fault]);
            assert_eq!(sample.position, expected.position, "{kind} changes the drive");
            for ((number, value), (_, expected)) in sample.signals.known().zip(expected.signals.known()) {
                if value != expected {
                    moved.insert(number);
                }
            }
        }
        let allowed: BTreeSet<_> = severity.signals.iter().chain(severity.side_effects).copied().collect();
        assert!(moved.is_subset(&allowed), "{kind} moves {moved:?}, its row says {allowed:?}");
        let shown = fault.signals(Model::default());
        assert!(shown.iter().all(|number| moved.contains(number)), "{kind} moves {moved:?}, not all of {shown:?}");
    }
}

#[test]
fn readings_stay_short() {
    let samples = drive(1, 1, 100, 10_000);
    for (n, sample) in samples.into_iter().enumerate() {
        let record = record(1, n as u64 + 1, START + n as i64 * 10_000, sample);
        let json = codec::encode(&record, Encoding::Json).unwrap();
        assert!(json.len() < 1_700, "{} bytes: {}", json.len(), String::from_utf8_lossy(&json));
    }
}
