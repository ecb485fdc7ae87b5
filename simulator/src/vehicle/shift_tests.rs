//! Measures the faults of the workshop, as `severity_tests` measures those of the demo: by how much the clearest signal
//! shifts at full strength, against the sensor's noise and against what is left unexplained when the rest of the
//! vehicle is known. In vehicles that are driven in trips, in a winter's day, while they move.

use std::io::Write;

use telemetry::signal::*;

use super::{
    severity_tests::{deviation, fit, root_mean_square},
    *,
};
use crate::fault::{Course, FaultKind};

/// Six in the morning, universal time, 15 January 2025.
const START: UnixMillis = 1_736_920_800_000;
const INTERVAL_MS: i64 = 10_000;
const STEPS: i64 = 8 * 360;
const FITTED: u32 = 30;
const JUDGED: u32 = 12;
const FIRST_JUDGED: u32 = 1_000;

/// One reading, by the place of a signal in its vehicle's list; the last one says whether it moves.
type Row = Vec<f64>;

fn world(drivetrain: Drivetrain) -> World {
    let drivetrains = match drivetrain {
        Drivetrain::Electric => Drivetrains::Electric,
        Drivetrain::Combustion => Drivetrains::Combustion,
    };
    World { drivetrains, cycle: Cycle::Wltp }
}

/// The numeric signals that such a vehicle measures.
fn numbers(drivetrain: Drivetrain) -> Vec<Number> {
    let measured = |signal: &&Signal| {
        matches!(signal.domain, Domain::Number { .. })
            && sensors::reports(world(drivetrain).model(1), signal.number)
            && ![TRAVELED_DISTANCE, GEAR, BATTERY_HEALTH].contains(&signal.number)
    };
    CATALOGUE.iter().filter(measured).map(|signal| signal.number).collect()
}

fn drive(drivetrain: Drivetrain, index: u32, faults: &[Fault]) -> Vec<Row> {
    let mut vehicle = Vehicle::of_world(FleetSeed { seed: 21, start: START }, index, world(drivetrain));
    let numbers = numbers(drivetrain);
    let step = |n| {
        let sample = vehicle.step(START + n * INTERVAL_MS, faults);
        let mut row: Row = numbers.iter().map(|number| sample.signals.number(*number).unwrap()).collect();
        row.push(f64::from(u8::from(vehicle.drive.moving())));
        row
    };
    (1..=STEPS).map(step).collect()
}

/// What is known about one signal in every reading from the others.
fn features(readings: &[Row], numbers: &[Number], target: usize) -> Vec<Row> {
    let at = |number: Number| numbers.iter().position(|n| *n == number);
    let keep = |place: &usize| *place != target;
    let load = [SPEED, ACCELERATOR, MOTOR_SPEED, MOTOR_TORQUE, BATTERY_CURRENT, ENGINE_SPEED, ENGINE_TORQUE, AIR_FLOW];
    let load: Vec<_> = load.into_iter().filter_map(at).filter(keep).collect();
    let slow = [0.1, 0.03, 0.01];
    let mut means = vec![vec![0.0; load.len() + 1]; slow.len()];
    let mut rows = Vec::with_capacity(readings.len());
    for x in readings {
        let mut row = vec![1.0];
        row.extend((0..numbers.len()).filter(keep).map(|place| x[place]));
        for (i, a) in load.iter().enumerate() {
            row.extend(load[i..].iter().map(|b| x[*a] * x[*b] * 1e-3));
        }
        // Heat lags behind load, and standing cools.
        for (mean, share) in means.iter_mut().zip(slow) {
            let loads = load.iter().map(|place| x[*place].abs()).chain([x[numbers.len()]]);
            for (mean, load) in mean.iter_mut().zip(loads) {
                *mean += share * (load - *mean);
            }
            row.extend_from_slice(mean);
        }
        rows.push(row);
    }
    rows
}

/// One fault seen in one signal.
struct Shift {
    kind: FaultKind,
    drivetrain: Drivetrain,
    signal: Number,
    /// Root mean square of broken minus healthy twin, in the signal's unit.
    effect: f64,
    /// Standard deviation of the healthy fleet, and of its residual.
    marginal: f64,
    conditional: f64,
    /// Shift of the residual.
    residual: f64,
}

fn shifts(drivetrain: Drivetrain) -> Vec<Shift> {
    let numbers = numbers(drivetrain);
    let moves = |row: &Row| row[numbers.len()] > 0.0;
    let fleet: Vec<_> = (1..=FITTED).map(|index| drive(drivetrain, index, &[])).collect();
    let judged: Vec<_> = (0..JUDGED).map(|n| drive(drivetrain, FIRST_JUDGED + n, &[])).collect();
    let mut shifts = Vec::new();
    for kind in FaultKind::WORKSHOP.into_iter().filter(|kind| kind.befalls(world(drivetrain).model(1))) {
        let course = Course::Episode { grow_ms: 0, heal_ms: 0, bursts: None };
        let fault = |vehicle_index| Fault { kind, vehicle_index, from: START, to: i64::MAX, course, percent: 100 };
        let broken: Vec<_> =
            (FIRST_JUDGED..FIRST_JUDGED + JUDGED).map(|index| drive(drivetrain, index, &[fault(index)])).collect();
        let mut signals = kind.severity().signals.to_vec();
        // One wheel is like the other.
        signals
            .retain(|number| numbers.contains(number) && !TYRES[1..].contains(number) && !HUBS[1..].contains(number));
        for signal in signals {
            let target = numbers.iter().position(|number| *number == signal).unwrap();
            let (mut rows, mut targets) = (Vec::new(), Vec::new());
            for readings in &fleet {
                let known = features(readings, &numbers, target).into_iter().zip(readings);
                for (row, reading) in known.filter(|(_, reading)| moves(reading)).step_by(4) {
                    rows.push(row);
                    targets.push(reading[target]);
                }
            }
            let weights = fit(&rows, &targets);
            let residuals = |readings: &[Row]| -> Vec<f64> {
                let of = |row: &Row| row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
                let known = features(readings, &numbers, target);
                known.iter().zip(readings).map(|(row, reading)| reading[target] - of(row)).collect()
            };
            let (mut healthy_residuals, mut residual_shifts, mut effects) = (Vec::new(), Vec::new(), Vec::new());
            for (n, (healthy, broken)) in judged.iter().zip(&broken).enumerate() {
                if !fault(FIRST_JUDGED + n as u32).signals(world(drivetrain).model(1)).contains(&signal) {
                    continue;
                }
                let (before, after) = (residuals(healthy), residuals(broken));
                // An hour settles the heat; where one twin needs a charger earlier, they go separate ways.
                for at in (360..STEPS as usize).filter(|at| moves(&healthy[*at]) && healthy[*at][0] == broken[*at][0]) {
                    healthy_residuals.push(before[at]);
                    residual_shifts.push(after[at] - before[at]);
                    effects.push(broken[at][target] - healthy[at][target]);
                }
            }
            shifts.push(Shift {
                kind,
                drivetrain,
                signal,
                effect: root_mean_square(&effects),
                marginal: deviation(&targets),
                conditional: root_mean_square(&healthy_residuals),
                residual: root_mean_square(&residual_shifts),
            });
        }
    }
    shifts
}

/// Prints the table with `cargo test -p motorcade-simulator workshop -- --nocapture`.
#[test]
fn the_faults_of_the_workshop_have_the_sizes_of_the_table() {
    let mut shifts = shifts(Drivetrain::Electric);
    shifts.extend(self::shifts(Drivetrain::Combustion));
    let mut table = format!("{}\n", crate::fault::table());
    table += "fault | drivetrain | signal | effect | effect/noise | effect/marginal | residual shift/conditional\n";
    for shift in &shifts {
        table += &format!(
            "{} | {} | {} | {:.3} | {:.0} | {:.2} (sd {:.3}) | {:.1} (sd {:.3})\n",
            shift.kind,
            shift.drivetrain,
            lookup(shift.signal).unwrap().path,
            shift.effect,
            shift.effect / sensors::accuracy(shift.signal).noise,
            shift.effect / shift.marginal,
            shift.marginal,
            shift.residual / shift.conditional,
            shift.conditional,
        );
    }
    writeln!(std::io::stdout(), "{table}").unwrap();
    for kind in FaultKind::WORKSHOP {
        let (signal, declared) = kind.severity().shift;
        let of_kind = || shifts.iter().filter(|shift| shift.kind == kind);
        let measured = of_kind().find(|shift| shift.signal == signal).map(|shift| shift.effect);
        let measured = measured.unwrap_or_else(|| panic!("{kind} was not seen\n{table}"));
        assert!((0.6..1.6).contains(&(measured / declared)), "{kind}: {measured:.3}, not {declared}\n{table}");
        let clearest = of_kind().map(|shift| shift.residual / shift.conditional).fold(0.0, f64::max);
        assert!(clearest > 1.9, "{kind} is only {clearest:.1} times the residual\n{table}");
    }
}
