//! What an import says at its end.

use std::{collections::BTreeMap, fmt};

use anyhow::Context;
use serde::Serialize;
use service::Error;
use telemetry::UnixMillis;

use crate::{intake::Counts, mapping::Mapping};

/// The end of an import. Received = sent + discarded + in hand: a dry run keeps in hand what it would send.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    dry_run: bool,
    tables: usize,
    vehicles: usize,
    received: u64,
    sent: u64,
    discarded: &'a BTreeMap<&'static str, u64>,
    in_hand: u64,
    /// Values left out of rows that went on.
    values_dropped: &'a BTreeMap<&'static str, u64>,
    labels: u64,
    unreadable_labels: u64,
    /// First and last event time, ms since the epoch.
    from: Option<UnixMillis>,
    to: Option<UnixMillis>,
    signals: Vec<Signal<'a>>,
}

#[derive(Debug, Serialize)]
struct Signal<'a> {
    path: &'a str,
    column: &'a str,
    unit: &'a str,
    values: u64,
    missing: u64,
    dropped: u64,
    min: Option<f64>,
    max: Option<f64>,
}

impl<'a> Summary<'a> {
    pub(super) fn new(mapping: &'a Mapping, tables: usize, counts: &'a Counts, vehicles: usize, dry_run: bool) -> Self {
        let signals = mapping.signals.iter().zip(&counts.signals).map(|(signal, count)| Signal {
            path: &signal.path,
            column: &signal.column,
            unit: &signal.unit,
            values: count.values,
            missing: count.missing,
            dropped: count.dropped,
            min: count.range.map(|(min, _)| min),
            max: count.range.map(|(_, max)| max),
        });
        Self {
            dry_run,
            tables,
            vehicles,
            received: counts.received,
            sent: if dry_run { 0 } else { counts.taken },
            discarded: &counts.discarded,
            in_hand: if dry_run { counts.taken } else { 0 },
            values_dropped: &counts.dropped,
            labels: counts.labels,
            unreadable_labels: counts.unreadable_labels,
            from: counts.times.map(|(from, _)| from),
            to: counts.times.map(|(_, to)| to),
            signals: signals.collect(),
        }
    }

    pub(super) fn json(&self) -> Result<String, Error> {
        Ok(serde_json::to_string(self).context("write JSON")? + "\n")
    }
}

fn reasons(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "none".into();
    }
    counts.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", ")
}

/// A moment for people.
pub(super) fn moment(time: UnixMillis) -> String {
    chrono::DateTime::from_timestamp_millis(time)
        .map_or_else(|| format!("{time} ms"), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.6}"));
        let (verb, n) = if self.dry_run { ("would be sent", self.in_hand) } else { ("sent", self.sent) };
        writeln!(
            f,
            "{} rows of {} tables: {n} {verb}; discarded: {}",
            self.received,
            self.tables,
            reasons(self.discarded)
        )?;
        if let (Some(from), Some(to)) = (self.from, self.to) {
            writeln!(f, "{} vehicles, {} to {}", self.vehicles, moment(from), moment(to))?;
        }
        writeln!(
            f,
            "values left out: {}; labels: {}, unreadable: {}",
            reasons(self.values_dropped),
            self.labels,
            self.unreadable_labels
        )?;
        let width = self.signals.iter().map(|signal| signal.path.len()).max().unwrap_or_default();
        writeln!(
            f,
            "{:width$}  {:>9} {:>8} {:>8} {:>14} {:>14}",
            "signal", "values", "missing", "left out", "min", "max"
        )?;
        for signal in &self.signals {
            let (path, unit) = (signal.path, signal.unit);
            write!(f, "{path:width$}  {:>9} {:>8} {:>8}", signal.values, signal.missing, signal.dropped)?;
            let cells = format!(" {:>14} {:>14} {unit}", number(signal.min), number(signal.max));
            writeln!(f, "{}", cells.trim_end())?;
        }
        Ok(())
    }
}
