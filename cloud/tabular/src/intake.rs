//! What becomes of a table's rows, from the first to the last: readings with identities, labels, rejections, and a sum
//! that holds. It opens nothing.

use std::collections::BTreeMap;

use telemetry::UnixMillis;

use crate::{
    labels::{Label, LabelRuns},
    lanes::Lanes,
    mapping::{Bound, Mapping},
    rows::{Rejection, Row, SignalCount},
};

/// How rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Rows of a vehicle that are held back, to put them in order.
    pub window: usize,
    /// One boot for all readings, instead of the second of each vehicle's first one.
    pub boot: Option<u32>,
}

/// What came of some rows.
#[derive(Debug, Default)]
pub struct Yield {
    /// Readings, each vehicle's in order, with their identities.
    pub rows: Vec<Row>,
    /// Labels whose run has ended.
    pub labels: Vec<Label>,
    /// Rows and values that were put aside.
    pub rejections: Vec<Rejection>,
}

/// Counts of all tables together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Rows read.
    pub received: u64,
    /// Rows that became readings and have left their window.
    pub taken: u64,
    /// Rows put aside, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
    /// Values left out of rows that went on, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Label cells that nothing can be told from.
    pub unreadable_labels: u64,
    /// Labels.
    pub labels: u64,
    /// Of each signal of the mapping, in its order.
    pub signals: Vec<SignalCount>,
    /// First and last event time.
    pub times: Option<(UnixMillis, UnixMillis)>,
}

impl Counts {
    /// Received = taken + discarded: at the end of a table nothing is held back.
    pub fn balances(&self) -> bool {
        self.received == self.taken + self.discarded.values().sum::<u64>()
    }
}

/// Takes rows of one table after the other.
#[derive(Debug)]
pub struct Intake<'m> {
    lanes: Lanes,
    runs: LabelRuns<'m>,
    counts: Counts,
}

impl<'m> Intake<'m> {
    /// Nothing taken yet.
    pub fn new(mapping: &'m Mapping, rules: Rules) -> Self {
        Self {
            lanes: Lanes::new(rules.window, rules.boot),
            runs: LabelRuns::new(&mapping.labels),
            counts: Counts { signals: vec![SignalCount::default(); mapping.signals.len()], ..Counts::default() },
        }
    }

    /// Takes a row; one that is none is put aside.
    ///
    /// # Errors
    /// What makes the whole table unusable, and what to do.
    pub fn take(
        &mut self,
        bound: &Bound<'_>,
        line: u64,
        cells: Result<&[&str], Rejection>,
        out: &mut Yield,
    ) -> Result<(), String> {
        self.counts.received += 1;
        let aside = out.rejections.len();
        let row = cells.and_then(|cells| bound.row(line, cells, &mut self.counts.signals, &mut out.rejections));
        match row {
            Ok(row) => {
                for rejection in &out.rejections[aside..] {
                    match rejection.reason {
                        "unreadable_label" => self.counts.unreadable_labels += 1,
                        reason => *self.counts.dropped.entry(reason).or_default() += 1,
                    }
                }
                if let Some(row) = self.lanes.push(row)? {
                    self.leave(row, out);
                }
            }
            Err(rejection) => {
                // Values of a row that is out altogether were not left out one by one.
                out.rejections.truncate(aside);
                *self.counts.discarded.entry(rejection.reason).or_default() += 1;
                out.rejections.push(rejection);
            }
        }
        Ok(())
    }

    /// The table ends: nothing is held back any longer.
    pub fn end_table(&mut self, out: &mut Yield) {
        for row in self.lanes.end_table() {
            self.leave(row, out);
        }
        let ended = self.runs.end_table();
        self.counts.labels += ended.len() as u64;
        out.labels.extend(ended);
    }

    fn leave(&mut self, row: Row, out: &mut Yield) {
        let time = row.record.time;
        let (first, last) = self.counts.times.unwrap_or((time, time));
        self.counts.times = Some((first.min(time), last.max(time)));
        self.counts.taken += 1;
        let ended = self.runs.take(&row);
        self.counts.labels += ended.len() as u64;
        out.labels.extend(ended);
        out.rows.push(row);
    }

    /// So far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many vehicles there were.
    pub fn vehicles(&self) -> usize {
        self.lanes.vehicles()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_row_is_a_reading_or_counted_by_reason() {
        let mapping = Mapping::parse(
            "bad_values = \"drop-value\"\n[vehicle]\ncolumn = \"car\"\n[time]\ncolumn = \"t\"\nformat = \"unix-s\"\n\
             [signals]\nv = \"Vehicle.Speed\"\nw = \"Motorcade.Foreign.W\"\n[[labels]]\ncolumn = \"bad\"",
        )
        .unwrap();
        let header = ["t", "car", "v", "w", "bad"].map(str::to_owned);
        let bound = mapping.bind(&header, Path::new("x.csv")).unwrap();
        let mut intake = Intake::new(&mapping, Rules { window: 1, boot: Some(3) });
        let mut out = Yield::default();
        for (line, cells) in [
            ["1700000001", "a", "1", "1", "0"],
            ["1700000000", "a", "2", "", "0"],
            ["1700000002", "a", "-5", "1", "1"],
            ["1700000002", "a/b", "-5", "1", "1"],
            ["1700000003", "a", "-5", "", "1"],
            ["1700000004", "b", "4", "x", "?"],
            ["never", "b", "4", "x", "?"],
        ]
        .into_iter()
        .enumerate()
        {
            intake.take(&bound, line as u64 + 2, Ok(&cells), &mut out).unwrap();
        }
        let shape = Rejection { line: 9, column: None, reason: "row_shape", detail: "2 cells".into(), row: true };
        intake.take(&bound, 9, Err(shape), &mut out).unwrap();
        intake.end_table(&mut out);
        let counts = intake.counts();
        assert!(counts.balances(), "{counts:?}");
        assert_eq!((counts.received, counts.taken, out.rows.len()), (8, 4, 4));
        let discarded = [("bad_time", 1), ("bad_vehicle", 1), ("no_signals", 1), ("row_shape", 1)];
        assert_eq!(counts.discarded, BTreeMap::from(discarded));
        assert_eq!(counts.dropped, BTreeMap::from([("out_of_range", 1), ("wrong_type", 1)]));
        assert_eq!((counts.unreadable_labels, counts.labels, intake.vehicles()), (1, 1, 2));
        assert_eq!(out.rejections.len(), 4 + 2 + 1);
        assert_eq!((out.labels[0].from, out.labels[0].to), (1_700_000_002_000, 1_700_000_003_000));
        assert_eq!(counts.times, Some((1_700_000_000_000, 1_700_000_004_000)));
        let order: Vec<_> =
            out.rows.iter().map(|row| (row.record.vehicle.as_str(), row.record.seq, row.line)).collect();
        assert_eq!(order, [("a", 1, 3), ("a", 2, 2), ("a", 3, 4), ("b", 1, 7)]);
    }
}
