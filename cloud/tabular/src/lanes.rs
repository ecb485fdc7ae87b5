//! The order of each vehicle's readings, and with it their identities.
//!
//! Rows may come a little out of order: each vehicle has a window of rows that are held back. What is older than a row
//! that has left already is refused. The same rows give the same identities, whenever and how often they are read.

use std::collections::BTreeMap;

use telemetry::{UnixMillis, VehicleId};

use crate::rows::Row;

/// The most rows held back for all vehicles together, about: more vehicles get smaller windows.
const HELD: usize = 100_000;

/// A lane for each vehicle.
#[derive(Debug)]
pub struct Lanes {
    window: usize,
    boot: Option<u32>,
    lanes: BTreeMap<VehicleId, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    held: BTreeMap<(UnixMillis, u64), Row>,
    boot: u32,
    seq: u64,
    /// Event time of the last row that left.
    last: Option<UnixMillis>,
    /// The table that the boot began in has ended.
    ended: bool,
}

impl Lanes {
    /// No vehicles yet. Without a boot each vehicle's is the second of its first reading in a table.
    pub fn new(window: usize, boot: Option<u32>) -> Self {
        Self { window, boot, lanes: BTreeMap::new() }
    }

    /// Takes a row; gives the one that has to leave its window for it, with its identity.
    ///
    /// # Errors
    /// What is out of order, and what to do.
    pub fn push(&mut self, row: Row) -> Result<Option<Row>, String> {
        let window = self.window.min(HELD / self.lanes.len().max(1));
        let vehicle = row.record.vehicle.clone();
        let lane = self.lanes.entry(vehicle).or_default();
        if lane.ended && self.boot.is_none() {
            lane.begin_again(&row)?;
        }
        let time = row.record.time;
        if let Some(last) = lane.last.filter(|last| time < *last) {
            let vehicle = &row.record.vehicle;
            return Err(format!(
                "line {}: {vehicle} goes back in time by {} ms, further than a window of {window} rows mends; sort the \
                 table by time, or give a larger --sort-window",
                row.line,
                last - time
            ));
        }
        lane.held.insert((time, row.line), row);
        let leaves = lane.held.len() > window;
        Ok(leaves.then(|| lane.leave(self.boot)).flatten())
    }

    /// The table ends: gives what is still held back.
    pub fn end_table(&mut self) -> Vec<Row> {
        let mut rest = Vec::new();
        for lane in self.lanes.values_mut() {
            rest.extend(std::iter::from_fn(|| lane.leave(self.boot)));
            lane.ended = true;
        }
        rest
    }

    /// How many vehicles there were.
    pub fn vehicles(&self) -> usize {
        self.lanes.len()
    }
}

impl Lane {
    fn leave(&mut self, boot: Option<u32>) -> Option<Row> {
        let ((time, _), mut row) = self.held.pop_first()?;
        if self.seq == 0 {
            // The contract's times begin in 2000 and end in 2100: the second fits.
            self.boot = boot.unwrap_or_else(|| second(time));
        }
        self.seq += 1;
        self.last = Some(time);
        row.record.boot = self.boot;
        row.record.seq = self.seq;
        Some(row)
    }

    /// A further table about the same vehicle is a further boot, which has to be a later one.
    fn begin_again(&mut self, row: &Row) -> Result<(), String> {
        if second(row.record.time) <= self.boot {
            return Err(format!(
                "line {}: {} was in a table before this one that began no earlier; name the tables in the order of \
                 their times, or give each its own vehicles (file_parts, or prefix = \"{{file}}-\")",
                row.line, row.record.vehicle
            ));
        }
        *self = Self::default();
        Ok(())
    }
}

fn second(time: UnixMillis) -> u32 {
    u32::try_from(time / 1_000).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use telemetry::{Kind, Record, SCHEMA, Signals, Value, signal};

    use super::*;

    pub(crate) const START: UnixMillis = 1_700_000_000_000;

    pub(crate) fn row(vehicle: &str, line: u64, time: UnixMillis) -> Row {
        let mut signals = Signals::new();
        signals.insert(signal::SPEED, Value::Number(line as f64)).unwrap();
        let vehicle = VehicleId::parse(vehicle).unwrap();
        let record =
            Record { schema: SCHEMA, vehicle, boot: 1, seq: 1, time, kind: Kind::Full, signals, position: None };
        Row { line, record, labels: Vec::new() }
    }

    fn through(lanes: &mut Lanes, rows: &[(&str, i64)]) -> Result<Vec<(String, u32, u64, u64)>, String> {
        let mut out = Vec::new();
        for (at, (vehicle, second)) in rows.iter().enumerate() {
            out.extend(lanes.push(row(vehicle, at as u64 + 2, START + second * 1_000))?);
        }
        out.extend(lanes.end_table());
        Ok(out
            .into_iter()
            .map(|row| (row.record.vehicle.to_string(), row.record.boot, row.record.seq, row.line))
            .collect())
    }

    fn own(vehicle: &str, boot: u32, seq: u64, line: u64) -> (String, u32, u64, u64) {
        (vehicle.to_owned(), boot, seq, line)
    }

    #[test]
    fn each_vehicle_counts_from_one_in_the_order_of_time() {
        let first = 1_700_000_000;
        let rows = [("a", 2), ("b", 9), ("a", 1), ("a", 3), ("a", 3), ("b", 8)];
        let got = through(&mut Lanes::new(2, None), &rows).unwrap();
        let of = |vehicle: &str| got.iter().filter(|row| row.0 == vehicle).cloned().collect::<Vec<_>>();
        let a = first + 1;
        assert_eq!(of("a"), [own("a", a, 1, 4), own("a", a, 2, 2), own("a", a, 3, 5), own("a", a, 4, 6)]);
        assert_eq!(of("b"), [own("b", first + 8, 1, 7), own("b", first + 8, 2, 3)]);
        assert_eq!(through(&mut Lanes::new(2, None), &rows).unwrap(), got, "the same rows, the same identities");
        let fixed = through(&mut Lanes::new(2, Some(5)), &rows).unwrap();
        assert!(fixed.iter().all(|row| row.1 == 5));
    }

    #[test]
    fn what_no_window_mends_is_refused_with_what_to_do() {
        let rows = [("a", 5), ("a", 6), ("a", 7), ("a", 1)];
        let error = through(&mut Lanes::new(2, None), &rows).unwrap_err();
        for part in ["line 5", "4000 ms", "--sort-window"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(through(&mut Lanes::new(3, None), &rows).is_ok());
        assert!(through(&mut Lanes::new(0, None), &[("a", 1), ("a", 1), ("a", 2)]).is_ok());
    }

    #[test]
    fn a_further_table_is_a_later_boot_or_refused() {
        let mut lanes = Lanes::new(0, None);
        through(&mut lanes, &[("a", 1), ("a", 90)]).unwrap();
        let later = through(&mut lanes, &[("a", 60)]).unwrap();
        assert_eq!(later, [own("a", 1_700_000_060, 1, 2)]);
        let error = through(&mut lanes, &[("a", 60)]).unwrap_err();
        assert!(error.contains("order of their times") && error.contains("{file}"), "{error}");
        // One boot for all: the count goes on.
        let mut lanes = Lanes::new(0, Some(9));
        through(&mut lanes, &[("a", 1)]).unwrap();
        assert_eq!(through(&mut lanes, &[("a", 2)]).unwrap(), [own("a", 9, 2, 2)]);
        assert!(through(&mut lanes, &[("a", 1)]).is_err());
    }

    #[test]
    fn many_vehicles_get_smaller_windows() {
        let mut lanes = Lanes::new(1_000, None);
        for n in 0..2 * HELD {
            lanes.push(row(&format!("veh-{n}"), n as u64, START)).unwrap();
        }
        let held: usize = lanes.lanes.values().map(|lane| lane.held.len()).sum();
        assert!(held <= HELD + 1, "{held}");
    }
}
