//! The labelled truth: which vehicle has which fault, and when. JSON Lines, one line per fault.
//!
//! It leaves the simulator in a file of its own and is read by the judge only, after everything else has
//! been decided. No reading, metric or log line carries a label.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use telemetry::{UnixMillis, VehicleId, signal};

use crate::{
    fault::{self, Course, Fault, FaultPlan},
    vehicle::{World, vehicle_id},
};

/// One line: one fault of one vehicle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The broken vehicle.
    pub vehicle: VehicleId,
    /// The name of the fault, see [`crate::fault::FaultKind::as_str`].
    pub kind: String,
    /// When it begins, event time, ms since the epoch.
    pub from: UnixMillis,
    /// When it ends (exclusive), event time, ms since the epoch.
    pub to: UnixMillis,
    /// When it has reached its full strength, event time, ms since the epoch.
    pub full_from: UnixMillis,
    /// How strong it gets, for people, with units.
    pub severity: String,
    /// How strong it is over time: corners of straight lines, ascending by time; of two at one moment the second
    /// one holds from there on. A fault that comes and goes is told for its first 1,000 bursts.
    #[serde(default)]
    pub course: Vec<Corner>,
    /// Unit of the corners' magnitudes.
    #[serde(default)]
    pub unit: String,
    /// The VSS paths of the signals that show it.
    pub signals: Vec<String>,
}

/// How strong a fault is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corner {
    /// Event time, ms since the epoch.
    pub time: UnixMillis,
    /// 0 to 1.
    pub strength: f64,
    /// The same in physical terms, see [`Truth::unit`].
    pub magnitude: f64,
}

impl Truth {
    /// The line of one fault in a fleet of a world.
    pub fn of(fault: &Fault, world: World) -> Self {
        let severity = fault.kind.severity();
        let (of_table, unit) = severity.effect.magnitude();
        let largest = of_table * fault.size();
        let corners = fault.corners().into_iter();
        let course =
            corners.map(|fault::Corner { time, strength }| Corner { time, strength, magnitude: strength * largest });
        let signals = fault.signals(world.model(fault.vehicle_index));
        let paths = signals.into_iter().filter_map(signal::lookup).map(|signal| signal.path.to_owned());
        Self {
            vehicle: vehicle_id(fault.vehicle_index),
            kind: fault.kind.as_str().to_owned(),
            from: fault.from,
            to: fault.to,
            full_from: fault.full_from(),
            severity: match fault.course {
                Course::Onset if fault.percent == 100 => severity.text.to_owned(),
                // It takes its own time, or has its own size, not that of the table.
                _ => format!("{largest} {unit}"),
            },
            course: course.collect(),
            unit: unit.to_owned(),
            signals: paths.collect(),
        }
    }

    /// The strength at a moment, by interpolation between the corners.
    pub fn strength(&self, time: UnixMillis) -> f64 {
        let next = self.course.partition_point(|corner| corner.time <= time);
        match (next.checked_sub(1).map(|at| self.course[at]), self.course.get(next)) {
            (Some(before), Some(after)) => {
                let share = (time - before.time) as f64 / (after.time - before.time) as f64;
                before.strength + share * (after.strength - before.strength)
            }
            (Some(last), None) => last.strength,
            (None, _) => 0.0,
        }
    }
}

/// Writes the whole plan of a fleet of a world.
pub fn write(plan: &FaultPlan, world: World, to: &mut impl Write) -> io::Result<()> {
    for fault in plan.faults() {
        serde_json::to_writer(&mut *to, &Truth::of(fault, world))?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads what [`write`] wrote; a line that is not one of its lines is [`io::ErrorKind::InvalidData`].
pub fn read(from: impl BufRead) -> io::Result<Vec<Truth>> {
    from.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::FaultKind, vehicle::FleetSeed};

    #[test]
    fn the_truth_survives_its_file() {
        let start = 1_760_000_000_000;
        let plan = FaultPlan::demo(FleetSeed { seed: 7, start }, 1..51, start, start + 2_100_000);
        let mut bytes = Vec::new();
        write(&plan, World::default(), &mut bytes).unwrap();
        let lines = read(bytes.as_slice()).unwrap();
        assert_eq!(lines, plan.faults().iter().map(|fault| Truth::of(fault, World::default())).collect::<Vec<_>>());
        assert_eq!(lines.len(), 2 * FaultKind::DEMO.len());
        for line in &lines {
            line.kind.parse::<FaultKind>().unwrap();
            assert!(!line.signals.is_empty() && line.signals.iter().all(|path| signal::by_path(path).is_some()));
        }
        let leaks: Vec<_> = lines.iter().filter(|line| line.kind == "tyre_leak").collect();
        assert!(leaks.iter().all(|leak| leak.signals.len() == 1), "a leak names its wheel: {leaks:?}");
    }

    #[test]
    fn a_torn_line_is_bad_input() {
        let error = read(&b"{\"vehicle\":\"veh-00001\",\"ki"[..]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{error}");
    }
}
