//! The labelled truth: which vehicle has which fault, and when. JSON Lines, one line per fault.
//!
//! It leaves the simulator in a file of its own and is read by the judge only, after everything else has
//! been decided. No reading, metric or log line carries a label.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use telemetry::{UnixMillis, VehicleId, signal};

use crate::{
    fault::{Fault, FaultPlan},
    vehicle::vehicle_id,
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
    /// The VSS paths of the signals that show it.
    pub signals: Vec<String>,
}

impl Truth {
    /// The line of one fault.
    pub fn of(fault: &Fault) -> Self {
        let severity = fault.kind.severity();
        let paths = fault.signals().into_iter().filter_map(signal::lookup).map(|signal| signal.path.to_owned());
        Self {
            vehicle: vehicle_id(fault.vehicle_index),
            kind: fault.kind.as_str().to_owned(),
            from: fault.from,
            to: fault.to,
            full_from: fault.from + severity.onset.full_after_ms(),
            severity: severity.text.to_owned(),
            signals: paths.collect(),
        }
    }
}

/// Writes the whole plan.
pub fn write(plan: &FaultPlan, to: &mut impl Write) -> io::Result<()> {
    for fault in plan.faults() {
        serde_json::to_writer(&mut *to, &Truth::of(fault))?;
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
        write(&plan, &mut bytes).unwrap();
        let lines = read(bytes.as_slice()).unwrap();
        assert_eq!(lines, plan.faults().iter().map(Truth::of).collect::<Vec<_>>());
        assert_eq!(lines.len(), 2 * FaultKind::ALL.len());
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
