//! Tests of faults in the extended vehicles: what they move, what they leave alone, and that they heal.

use std::collections::{BTreeMap, BTreeSet};

use telemetry::signal::*;

use super::*;
use crate::fault::{Bursts, Course, FaultKind};

/// Six in the morning, universal time, 15 January 2025: dark and cold.
const START: UnixMillis = 1_736_920_800_000;
const INTERVAL_MS: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;
const SEED: u64 = 12;

const WORLDS: [World; 2] = [
    World { drivetrains: Drivetrains::Electric, cycle: Cycle::Wltp },
    World { drivetrains: Drivetrains::Combustion, cycle: Cycle::Wltp },
];

fn vehicle(index: u32, world: World) -> Vehicle {
    Vehicle::of_world(FleetSeed { seed: SEED, start: START }, index, world)
}

/// A fault that grows within 10 min, stays until the third hour, and heals.
fn episode(kind: FaultKind, vehicle_index: u32, bursts: Option<Bursts>) -> Fault {
    let course = Course::Episode { grow_ms: 600_000, heal_ms: 300_000, bursts };
    Fault { kind, vehicle_index, from: START, to: START + 3 * HOUR_MS, course, percent: 100 }
}

/// The signals that ever differ between a vehicle with these faults and its healthy twin, with the largest
/// difference while the fault is there and in the last half hour of the six that are driven.
fn differences(index: u32, world: World, faults: &[Fault]) -> BTreeMap<Number, (f64, f64)> {
    let mut healthy = vehicle(index, world);
    let mut broken = vehicle(index, world);
    let mut moved = BTreeMap::<Number, (f64, f64)>::new();
    for n in 1..=6 * HOUR_MS / INTERVAL_MS {
        let time = START + n * INTERVAL_MS;
        let (expected, sample) = (healthy.step(time, &[]), broken.step(time, faults));
        assert_eq!(sample.position, expected.position, "{faults:?} changes the drive");
        for ((number, value), (_, expected)) in sample.signals.known().zip(expected.signals.known()) {
            if value == expected {
                continue;
            }
            let apart = value.as_number().zip(expected.as_number()).map_or(f64::NAN, |(is, was)| (is - was).abs());
            let entry = moved.entry(number).or_default();
            if time < START + 3 * HOUR_MS {
                entry.0 = entry.0.max(apart);
            }
            if time >= START + 11 * HOUR_MS / 2 {
                entry.1 = entry.1.max(apart);
            }
        }
    }
    moved
}

/// A vehicle that is on the road for most of the time, and neither looks for a charger nor for a pump.
fn driven(world: World) -> u32 {
    let on_the_road = |index: u32| {
        let mut vehicle = vehicle(index, world);
        let mut moving = 0;
        for n in 1..=6 * 60 {
            vehicle.step(START + n * 60_000, &[]);
            match vehicle.drive.activity {
                cycle::Activity::Trip => moving += i32::from(n <= 180) + i32::from(n > 330),
                cycle::Activity::Parked => {}
                cycle::Activity::Charging(_) | cycle::Activity::Refuelling => return -1,
            }
        }
        if vehicle.powertrain.energy() > 45.0 { moving } else { -1 }
    };
    (1..=120).max_by_key(|index| on_the_road(*index)).unwrap()
}

#[test]
fn a_fault_moves_its_signals_leaves_the_unrelated_ones_alone_and_heals() {
    for world in WORLDS {
        let index = driven(world);
        let model = world.model(index);
        for kind in FaultKind::ALL.into_iter().filter(|kind| kind.befalls(model)) {
            let severity = kind.severity();
            let fault = episode(kind, index, None);
            let moved = differences(index, world, &[fault]);
            let shown: BTreeSet<_> = fault.signals(model).into_iter().collect();
            let context = format!("seed {SEED} vehicle {index}: {kind} of {} moves {moved:?}", model.drivetrain);
            for number in moved.keys() {
                assert!(
                    severity.signals.contains(number) || severity.side_effects.contains(number),
                    "{number}: {context}"
                );
            }
            for number in &shown {
                let (ill, healed) = moved.get(number).copied().unwrap_or_default();
                let step = sensors::accuracy(*number).noise;
                assert!(ill > 3.0 * step, "{number} does not show it: {context}");
                // A battery that an alternator has left empty takes hours to fill.
                let left = if kind == FaultKind::Alternator { 0.45 } else { 0.12 };
                assert!(healed < left * ill + 3.0 * step, "{number} does not heal: {context}");
            }
        }
    }
}

#[test]
fn a_loose_plug_is_sound_between_the_bursts() {
    let world = WORLDS[1];
    let index = driven(world);
    let bursts = Bursts { period_ms: 600_000, on_ms: 100_000 };
    let fault = episode(FaultKind::IntermittentConnector, index, Some(bursts));
    let (mut healthy, mut broken) = (vehicle(index, world), vehicle(index, world));
    let mut loose = 0;
    for n in 1..=4 * 360 {
        let time = START + n * INTERVAL_MS;
        let (expected, sample) = (healthy.step(time, &[]), broken.step(time, &[fault]));
        if fault.strength(time) == 0.0 {
            assert_eq!(sample, expected, "{n}");
        } else if fault.strength(time) == 1.0 && expected.signals.number(ENGINE_COOLANT_TEMPERATURE).unwrap() > 80.0 {
            loose += 1;
            let apart = [&expected, &sample].map(|sample| sample.signals.number(ENGINE_COOLANT_TEMPERATURE).unwrap());
            assert!(apart[0] - apart[1] > 40.0, "{n}: {apart:?}");
        }
    }
    assert!(loose > 20, "{loose}");
}

#[test]
fn a_frozen_sensor_repeats_itself_and_goes_on() {
    for world in WORLDS {
        let index = driven(world);
        let frozen = sensors::freezing(world.model(index).drivetrain);
        let fault = episode(FaultKind::SensorFreeze, index, None);
        let (mut healthy, mut broken) = (vehicle(index, world), vehicle(index, world));
        let mut held = BTreeSet::new();
        for n in 1..=4 * 360 {
            let time = START + n * INTERVAL_MS;
            let (expected, sample) = (healthy.step(time, &[]), broken.step(time, &[fault]));
            let value = |sample: &Sample| sample.signals.number(frozen).unwrap();
            if fault.strength(time) > 0.0 {
                held.insert(value(&sample).to_bits());
            } else {
                assert_eq!(value(&sample), value(&expected), "{n}");
            }
        }
        assert_eq!(held.len(), 1, "one value for three hours");
    }
}
