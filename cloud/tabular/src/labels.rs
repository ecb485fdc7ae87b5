//! Labels of tables: runs of labelled rows become lines of [`Label`], and moments are held against such lines.

use std::{collections::BTreeMap, io::BufRead};

pub use evaluation::labels::Label;
use telemetry::{UnixMillis, VehicleId};

use crate::{mapping::LabelColumn, rows::Row};

/// Turns labelled rows, in each vehicle's order, into runs.
#[derive(Debug)]
pub(crate) struct LabelRuns<'m> {
    columns: &'m [LabelColumn],
    vehicles: BTreeMap<VehicleId, Runs>,
}

#[derive(Debug)]
struct Runs {
    last: UnixMillis,
    /// Between the last two readings of different times.
    step: i64,
    /// Where each column's run began, if one is open.
    open: Vec<Option<UnixMillis>>,
}

impl<'m> LabelRuns<'m> {
    pub(crate) fn new(columns: &'m [LabelColumn]) -> Self {
        Self { columns, vehicles: BTreeMap::new() }
    }

    /// Takes a vehicle's next row; gives the runs that end with it.
    pub(crate) fn take(&mut self, row: &Row) -> Vec<Label> {
        if self.columns.is_empty() {
            return Vec::new();
        }
        let (vehicle, time) = (&row.record.vehicle, row.record.time);
        let nothing = || Runs { last: time, step: 1, open: vec![None; self.columns.len()] };
        let runs = self.vehicles.entry(vehicle.clone()).or_insert_with(nothing);
        let mut ended = Vec::new();
        for ((column, open), is_labelled) in self.columns.iter().zip(&mut runs.open).zip(&row.labels) {
            match (*open, is_labelled) {
                (None, Some(true)) => *open = Some(time),
                (Some(from), None | Some(false)) => {
                    // Two readings at one moment: a run is at least a millisecond long.
                    ended.push(label(column, vehicle, from, time.max(runs.last + 1)));
                    *open = None;
                }
                (None, None | Some(false)) | (Some(_), Some(true)) => {}
            }
        }
        if time > runs.last {
            runs.step = time - runs.last;
        }
        runs.last = time;
        ended
    }

    /// The table ends: a run that is open ends a step after its last reading.
    pub(crate) fn end_table(&mut self) -> Vec<Label> {
        let mut ended = Vec::new();
        for (vehicle, runs) in std::mem::take(&mut self.vehicles) {
            for (column, from) in self.columns.iter().zip(runs.open) {
                ended.extend(from.map(|from| label(column, &vehicle, from, runs.last + runs.step)));
            }
        }
        ended
    }
}

fn label(column: &LabelColumn, vehicle: &VehicleId, from: UnixMillis, to: UnixMillis) -> Label {
    Label {
        vehicle: vehicle.clone(),
        kind: column.kind.clone(),
        from,
        to,
        full_from: from,
        severity: format!("column {:?} {}", column.column, column.rule),
        signals: column.signals.clone(),
    }
}

/// Labels by vehicle, to be asked for a moment.
#[derive(Debug, Default)]
pub struct LabelIndex {
    /// Each vehicle's, ascending by `from`, each with the latest end of all up to it.
    vehicles: BTreeMap<VehicleId, Vec<(Label, UnixMillis)>>,
}

impl LabelIndex {
    /// Reads lines of labels, as the import or the simulator wrote them.
    ///
    /// # Errors
    /// Which line is none, and why.
    pub fn read(from: impl BufRead) -> Result<Self, String> {
        let vehicles = evaluation::labels::read(from)?;
        let with_ends = |labels: Vec<Label>| {
            let ends = labels.iter().scan(UnixMillis::MIN, |end, label| {
                *end = label.to.max(*end);
                Some(*end)
            });
            let ends: Vec<_> = ends.collect();
            labels.into_iter().zip(ends).collect()
        };
        Ok(Self { vehicles: vehicles.into_iter().map(|(vehicle, labels)| (vehicle, with_ends(labels))).collect() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.vehicles.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.vehicles.is_empty()
    }

    /// Whether a label is of this vehicle.
    pub fn names(&self, vehicle: &VehicleId) -> bool {
        self.vehicles.contains_key(vehicle)
    }

    /// What was wrong with the vehicle at that moment: kinds in alphabetical order, joined by commas.
    pub fn at(&self, vehicle: &VehicleId, time: UnixMillis) -> Option<String> {
        let labels = self.vehicles.get(vehicle)?;
        let begun = labels.partition_point(|(label, _)| label.from <= time);
        // From the last one that has begun, back to where all before have ended.
        let may_hold = labels[..begun].iter().rev().take_while(|(_, latest_end)| time < *latest_end);
        let mut kinds: Vec<_> =
            may_hold.filter(|(label, _)| time < label.to).map(|(label, _)| label.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        (!kinds.is_empty()).then(|| kinds.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lanes::tests::{START, row},
        mapping::LabelRule,
    };

    fn column(name: &str, rule: LabelRule) -> LabelColumn {
        LabelColumn { column: name.into(), kind: name.into(), rule, signals: vec![], optional: false }
    }

    #[test]
    fn cells_are_judged_by_their_rule() {
        for (rule, cell, judged) in [
            (LabelRule::NotZero, "1.0", Some(true)),
            (LabelRule::NotZero, "0.0", Some(false)),
            (LabelRule::NotZero, "true", Some(true)),
            (LabelRule::NotZero, "", None),
            (LabelRule::AtMost(30.0), "30", Some(true)),
            (LabelRule::AtMost(30.0), "31", Some(false)),
            (LabelRule::AtMost(30.0), "x", None),
            (LabelRule::Equals("broken".into()), "broken", Some(true)),
            (LabelRule::Equals("broken".into()), "fine", Some(false)),
        ] {
            assert_eq!(rule.judge(cell), judged, "{rule} {cell:?}");
        }
    }

    #[test]
    fn runs_of_labelled_rows_become_labels() {
        let columns = [column("a", LabelRule::NotZero), column("b", LabelRule::NotZero)];
        let mut runs = LabelRuns::new(&columns);
        let mut found = Vec::new();
        for (second, a, b) in [
            (0, Some(false), Some(true)),
            (1, Some(true), Some(true)),
            (2, Some(true), None),
            (5, Some(false), Some(false)),
            (7, Some(false), Some(true)),
        ] {
            let mut row = row("veh-1", 1, START + second * 1_000);
            row.labels = vec![a, b];
            found.extend(runs.take(&row));
        }
        found.extend(runs.end_table());
        let found: Vec<_> = found.iter().map(|l| (l.kind.as_str(), l.from - START, l.to - START)).collect();
        // The last one ends a step after its only reading.
        assert_eq!(found, [("b", 0, 2_000), ("a", 1_000, 5_000), ("b", 7_000, 9_000)]);
        assert!(runs.end_table().is_empty());
    }

    #[test]
    fn labels_are_found_by_vehicle_and_moment() {
        let line = |vehicle: &str, kind: &str, from: i64, to: i64| {
            format!("{{\"vehicle\":\"{vehicle}\",\"kind\":\"{kind}\",\"from\":{from},\"to\":{to},\"course\":[]}}\n")
        };
        let text = line("a", "worn", 20, 30) + &line("a", "hot", 10, 25) + "\n" + &line("b", "worn", 0, 5);
        let index = LabelIndex::read(text.as_bytes()).unwrap();
        let (a, b) = (VehicleId::parse("a").unwrap(), VehicleId::parse("b").unwrap());
        for (vehicle, time, expected) in [
            (&a, 9, None),
            (&a, 10, Some("hot")),
            (&a, 22, Some("hot,worn")),
            (&a, 25, Some("worn")),
            (&a, 30, None),
            (&b, 4, Some("worn")),
            (&VehicleId::parse("c").unwrap(), 4, None),
        ] {
            assert_eq!(index.at(vehicle, time).as_deref(), expected, "{vehicle} {time}");
        }
        assert_eq!(index.len(), 3);
        assert!(index.names(&b) && !index.names(&VehicleId::parse("c").unwrap()));
        assert!(LabelIndex::read(&b"{}"[..]).unwrap_err().starts_with("line 1 "));
        assert!(LabelIndex::read(line("a", "x", 5, 5).as_bytes()).unwrap_err().contains("before"));
    }
}
