//! Measures the severities: how large each fault is against what is left unexplained when the rest of the
//! vehicle is known (conditional), and against what the healthy fleet shows anyway (marginal).
//!
//! The yardstick of the conditional size is a linear regression of the signal on the other signals of the same
//! reading, on a few products of them, and on running means, fitted on other vehicles than those it judges. It
//! stands for what a good detector can know; a detector that learns each vehicle's own offsets knows more.

use telemetry::signal::*;

use super::*;
use crate::fault::{Course, FaultKind};

const START: UnixMillis = 1_760_000_000_000;
const INTERVAL_MS: i64 = 10_000;
const NUMERIC: usize = 20;

/// The numeric signals but the odometer, by catalogue number.
fn numbers(sample: &Sample) -> [f64; NUMERIC] {
    std::array::from_fn(|at| sample.signals.number(at as Number + 1).unwrap())
}

fn drive(seed: u64, index: u32, steps: i64, faults: &[Fault]) -> Vec<[f64; NUMERIC]> {
    let mut vehicle = Vehicle::new(FleetSeed { seed, start: START }, index);
    (1..=steps).map(|n| numbers(&vehicle.step(START + n * INTERVAL_MS, faults))).collect()
}

/// What is known about signal `target` in every reading from the others.
fn features(readings: &[[f64; NUMERIC]], target: usize) -> Vec<Vec<f64>> {
    let tyres = usize::from(TYRE_FRONT_LEFT) - 1..usize::from(TYRE_REAR_RIGHT);
    let keep = |at: &usize| *at != target;
    let of = |number: Number| usize::from(number) - 1;
    let mut means = [[0.0; 3]; 2];
    let mut rows = Vec::with_capacity(readings.len());
    for (n, x) in readings.iter().enumerate() {
        let mut row = vec![1.0];
        row.extend((0..NUMERIC).filter(keep).map(|at| x[at]));
        let before = readings[n.saturating_sub(1)];
        // Products of signals other than the target: powers, drag, losses, heat.
        let driving =
            [SPEED, ACCELERATOR, BRAKE, MOTOR_SPEED, MOTOR_TORQUE, BATTERY_CURRENT, ACCELERATION_LONGITUDINAL];
        for (i, a) in driving.into_iter().map(of).enumerate().filter(|(_, at)| *at != target) {
            for b in driving.into_iter().map(of).skip(i).filter(keep) {
                row.push(x[a] * x[b] * 1e-3);
            }
            if tyres.contains(&target) {
                continue;
            }
            row.push(before[a]);
        }
        for at in [MOTOR_TORQUE, BATTERY_CURRENT, SPEED].into_iter().map(of).filter(keep) {
            row.push(x[at].abs());
        }
        // The sag of the battery: current with temperature.
        if target != of(BATTERY_CURRENT) {
            row.push(x[of(BATTERY_CURRENT)] * x[of(BATTERY_TEMPERATURE)] * 1e-2);
        }
        // Heat lags behind load.
        let load = [x[of(MOTOR_TORQUE)].powi(2) * 1e-2, x[of(MOTOR_SPEED)] * 1e-2, x[of(SPEED)]];
        for (mean, share) in means.iter_mut().zip([0.05, 0.02]) {
            for (mean, load) in mean.iter_mut().zip(load) {
                *mean = if n == 0 { load } else { *mean + share * (load - *mean) };
            }
            row.extend(*mean);
        }
        rows.push(row);
    }
    rows
}

/// Least squares by normal equations with a touch of ridge.
pub(super) fn fit(rows: &[Vec<f64>], targets: &[f64]) -> Vec<f64> {
    let width = rows[0].len();
    let scale: Vec<f64> = (0..width)
        .map(|at| (rows.iter().map(|row| row[at] * row[at]).sum::<f64>() / rows.len() as f64).sqrt().max(1e-9))
        .collect();
    let mut system = vec![vec![0.0; width + 1]; width];
    for (row, target) in rows.iter().zip(targets) {
        for i in 0..width {
            for j in i..width {
                system[i][j] += row[i] * row[j] / (scale[i] * scale[j]);
            }
            system[i][width] += row[i] * target / scale[i];
        }
    }
    // The matrix is symmetric and stays so: only its upper half is filled and eliminated.
    for (i, row) in system.iter_mut().enumerate() {
        row[i] += rows.len() as f64 * 1e-7;
    }
    for i in 0..width {
        let pivot = system[i].clone();
        for (below, row) in system.iter_mut().enumerate().skip(i + 1) {
            let share = pivot[below] / pivot[i];
            for (cell, above) in row.iter_mut().zip(&pivot).skip(below) {
                *cell -= share * above;
            }
        }
    }
    let mut weights = vec![0.0; width];
    for i in (0..width).rev() {
        let known: f64 = (i + 1..width).map(|j| system[i][j] * weights[j]).sum();
        weights[i] = (system[i][width] - known) / system[i][i];
    }
    weights.iter().zip(scale).map(|(weight, scale)| weight / scale).collect()
}

pub(super) fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

pub(super) fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// One fault seen in one signal.
#[derive(Debug)]
struct Size {
    kind: FaultKind,
    signal: Number,
    /// Root mean square of broken minus healthy twin at full strength, in the signal's unit.
    effect: f64,
    /// Standard deviation of the healthy fleet.
    marginal: f64,
    /// Standard deviation of the healthy residual of unseen vehicles.
    conditional: f64,
    /// Shift of the residual by the fault, root mean square.
    shift: f64,
}

/// Standing vehicles are easy to know; the yardstick is the moving ones.
fn moving(reading: &[f64; NUMERIC]) -> bool {
    reading[usize::from(MOTOR_SPEED) - 1] > 0.0
}

const FITTED: u32 = 60;
const JUDGED: u32 = 24;

fn sizes() -> Vec<Size> {
    let steps = 540;
    // Full strength is reached after 12 min at the latest; faults begin with the drive.
    let settled = 120;
    let motor_speed = usize::from(MOTOR_SPEED) - 1;
    let fleet: Vec<_> = (1..=FITTED).map(|index| drive(11, index, steps, &[])).collect();
    let judged: Vec<_> = (1001..=1000 + JUDGED).map(|index| drive(11, index, steps, &[])).collect();
    let mut sizes = Vec::new();
    for kind in FaultKind::DEMO {
        let full = kind.severity().onset;
        let broken: Vec<_> = (1001..=1000 + JUDGED)
            .map(|index| {
                let fault = Fault {
                    kind,
                    vehicle_index: index,
                    from: START,
                    to: i64::MAX,
                    course: Course::Onset,
                    percent: 100,
                };
                drive(11, index, steps, &[fault])
            })
            .collect();
        // A dragging brake moves torque, pedal and current together; what contradicts them is the motion.
        let motion: &[Number] = if kind == FaultKind::BrakeDrag { &[ACCELERATION_LONGITUDINAL] } else { &[] };
        let shown = kind.severity().signals.iter().chain(motion);
        for &signal in shown.filter(|number| usize::from(**number) <= NUMERIC) {
            let target = usize::from(signal) - 1;
            let mut rows = Vec::new();
            let mut targets = Vec::new();
            for readings in &fleet {
                let known = features(readings, target).into_iter().zip(readings);
                for (row, reading) in known.filter(|(_, reading)| moving(reading)) {
                    rows.push(row);
                    targets.push(reading[target]);
                }
            }
            let weights = fit(&rows, &targets);
            let residuals = |readings: &[[f64; NUMERIC]]| -> Vec<f64> {
                let known = features(readings, target);
                let of = |row: &Vec<f64>| row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
                known.iter().zip(readings).map(|(row, reading)| reading[target] - of(row)).collect()
            };
            let mut healthy_residuals = Vec::new();
            let mut shifts = Vec::new();
            let mut effects = Vec::new();
            for (number, (healthy, broken)) in judged.iter().zip(&broken).enumerate() {
                if kind == FaultKind::TyreLeak && TYRES[weak_wheel(1001 + number as u32)] != signal {
                    continue;
                }
                let before = residuals(healthy);
                let after = residuals(broken);
                for n in settled..steps as usize {
                    if !moving(&healthy[n]) {
                        continue;
                    }
                    healthy_residuals.push(before[n]);
                    // A broken vehicle may need the charger earlier: from there on the twins go separate ways.
                    let together = healthy[n][motor_speed] == broken[n][motor_speed];
                    if together && full.strength((n as i64 + 1) * INTERVAL_MS) >= 1.0 {
                        shifts.push(after[n] - before[n]);
                        effects.push(broken[n][target] - healthy[n][target]);
                    }
                }
            }
            sizes.push(Size {
                kind,
                signal,
                effect: root_mean_square(&effects),
                marginal: deviation(&targets),
                conditional: root_mean_square(&healthy_residuals),
                shift: root_mean_square(&shifts),
            });
        }
    }
    sizes
}

/// Prints the table with `cargo test -p motorcade-simulator severities -- --nocapture`.
#[test]
fn severities_are_conditional_not_marginal() {
    use std::io::Write;
    let sizes = sizes();
    let mut table = String::from("fault | signal | effect | effect/marginal | residual shift/conditional\n");
    for size in &sizes {
        table += &format!(
            "{} | {} | {:.3} | {:.2} (sd {:.3}) | {:.1} (sd {:.3})\n",
            size.kind,
            lookup(size.signal).unwrap().path,
            size.effect,
            size.effect / size.marginal,
            size.marginal,
            size.shift / size.conditional,
            size.conditional,
        );
    }
    writeln!(std::io::stdout(), "{table}").unwrap();
    for kind in FaultKind::DEMO {
        let of_kind = || sizes.iter().filter(|size| size.kind == kind);
        assert!(of_kind().all(|size| size.effect < 2.5 * size.marginal), "{kind} stands out by size\n{table}");
        let clearest = of_kind().map(|size| size.shift / size.conditional).fold(0.0, f64::max);
        assert!((3.0..10.0).contains(&clearest), "{kind} is {clearest:.1} times the residual\n{table}");
    }
}
