//! The table of faults as it is told: a line each for people, objects for programs.

use std::fmt;

use serde::Serialize;
use telemetry::signal;

use super::{SEVERITIES, Severity, prevalence};
use crate::vehicle::{Cycle, Drivetrain, Model, sensors::accuracy};

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its name.
    pub fault: &'static str,
    /// What it is, in a sentence's part.
    pub text: &'static str,
    /// Whom it befalls: `all`, `electric` or `combustion`.
    pub befalls: &'static str,
    /// Its size at full strength, and the unit of that.
    pub magnitude: f64,
    /// For example `kPa lost`.
    pub unit: &'static str,
    /// The signal that shows it most clearly.
    pub clearest_signal: &'static str,
    /// By how much, at full strength and in the usual circumstances, in the signal's unit.
    pub shift: f64,
    /// The signal's unit.
    pub signal_unit: &'static str,
    /// Standard deviation of the noise of the signal's sensor, in the signal's unit.
    pub noise: f64,
    /// `shift` / `noise`.
    pub ratio: f64,
    /// All signals that show it.
    pub signals: Vec<&'static str>,
    /// How it comes and goes where faults are as rare as in life; empty where it does not occur there.
    pub goes: String,
}

/// Every fault.
pub fn listed() -> Vec<Listed> {
    SEVERITIES.iter().map(list).collect()
}

fn list(row: &Severity) -> Listed {
    let befalls = |burns: bool| {
        let drivetrain = if burns { Drivetrain::Combustion } else { Drivetrain::Electric };
        row.kind.befalls(Model { drivetrain, cycle: Cycle::Wltp })
    };
    let befalls = match (befalls(false), befalls(true)) {
        (true, true) => "all",
        (true, false) => "electric",
        _ => "combustion",
    };
    let (magnitude, unit) = row.effect.magnitude();
    let (number, shift) = row.shift;
    let named = |number| signal::lookup(number).map_or(("", ""), |signal| (signal.path, signal.unit));
    let (clearest_signal, signal_unit) = named(number);
    let noise = accuracy(number).noise;
    Listed {
        fault: row.kind.as_str(),
        text: row.text,
        befalls,
        magnitude,
        unit,
        clearest_signal,
        shift,
        signal_unit,
        noise,
        ratio: shift / noise,
        signals: row.signals.iter().map(|number| named(*number).0).collect(),
        goes: prevalence::goes(row.kind).unwrap_or_default(),
    }
}

/// For people, one line a fault.
pub(super) struct Table;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [fault, whom, size, shift, unit] = ["fault", "befalls", "at full strength", "shift", "unit"];
        let [noise, ratio, goes] = ["noise", "ratio", "how it goes where faults are as rare as in life"];
        writeln!(
            f,
            "{fault:<23}{whom:<12}{size:<43}{shift:>6} {unit:<9}{noise:>7}{ratio:>7}  {goes:<50}clearest signal"
        )?;
        for row in listed() {
            let at_full = format!("{} {}", row.magnitude, row.unit);
            let Listed { fault, befalls, shift, signal_unit, noise, ratio, goes, clearest_signal, .. } = row;
            writeln!(
                f,
                "{fault:<23}{befalls:<12}{at_full:<43}{shift:>6} {signal_unit:<9}{noise:>7}{ratio:>7.0}  {goes:<50}{clearest_signal}",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn every_fault_is_listed_with_its_signals_for_people_and_for_programs() {
        let (rows, text) = (listed(), Table.to_string());
        assert_eq!((rows.len(), text.lines().count()), (FaultKind::ALL.len(), FaultKind::ALL.len() + 1));
        for (row, line) in rows.iter().zip(text.lines().skip(1)) {
            assert!(line.starts_with(row.fault) && line.ends_with(row.clearest_signal), "{line}");
            assert!(!row.signals.is_empty() && row.signals.iter().all(|path| !path.is_empty()), "{row:?}");
            assert!(row.ratio.is_finite() && row.ratio > 0.0, "{row:?}");
        }
    }
}
