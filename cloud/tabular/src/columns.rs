//! The wide table of an export: which columns it has, and rows on their way into it.

use std::collections::{BTreeMap, BTreeSet};

use telemetry::{Record, UnixMillis, Value, signal};

use crate::mapping::Form;

/// Columns beside the signals, in the order of the table. Those of the position are there if a record has one.
pub const FIXED: [&str; 12] = [
    "partition",
    "offset",
    "vehicle",
    "boot",
    "seq",
    "kind",
    "event_time",
    "ingest_time",
    "latitude",
    "longitude",
    "heading",
    "label",
];

/// The most signals of one table: paths that the catalogue lacks are the senders' choice.
pub const MAX_COLUMNS: usize = 2_000;

/// Which signals are in some records, and as what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    signals: BTreeMap<String, BTreeSet<u8>>,
    position: bool,
}

impl Found {
    /// Looks at a record.
    ///
    /// # Errors
    /// If there are more signals than a table has room for.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        for (path, value) in values(record) {
            let rank = match value {
                Value::Number(_) => 0,
                Value::Boolean(_) => 1,
                Value::Text(_) => 2,
            };
            match self.signals.get_mut(path) {
                Some(ranks) => {
                    ranks.insert(rank);
                }
                None => {
                    self.signals.insert(path.to_owned(), BTreeSet::from([rank]));
                }
            }
        }
        self.position |= record.position.is_some();
        if self.signals.len() > MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} signals; name those that you want with --signals"));
        }
        Ok(())
    }

    /// The signals that were seen, by path.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.signals.keys().map(String::as_str)
    }

    /// Whether this one was seen.
    pub fn has(&self, path: &str) -> bool {
        self.signals.contains_key(path)
    }

    /// The columns for them. A signal that comes in several types is what is first of number, boolean, text.
    pub fn columns(&self, with_labels: bool) -> Columns {
        let form = |ranks: &BTreeSet<u8>| match ranks.first() {
            Some(1) => Form::Boolean,
            Some(2) => Form::Text,
            _ => Form::Number,
        };
        let signals = self.signals.iter().map(|(path, ranks)| (path.clone(), form(ranks)));
        Columns::new(signals, self.position, with_labels)
    }
}

/// A record's values, catalogued or not, by path.
fn values(record: &Record) -> impl Iterator<Item = (&str, &Value)> {
    let path = |number| signal::lookup(number).map_or("", |signal| signal.path);
    record.signals.known().map(move |(number, value)| (path(number), value)).chain(record.signals.unknown())
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Path and type of each signal.
    pub(crate) signals: Vec<(String, Form)>,
    pub(crate) position: bool,
    pub(crate) labels: bool,
    places: BTreeMap<String, usize>,
}

impl Columns {
    fn new(signals: impl Iterator<Item = (String, Form)>, position: bool, labels: bool) -> Self {
        let signals: Vec<_> = signals.collect();
        let places = signals.iter().enumerate().map(|(at, (path, _))| (path.clone(), at)).collect();
        Self { signals, position, labels, places }
    }

    /// Exactly these signals, and a position: the types are the catalogue's, and numbers otherwise.
    pub fn named(paths: &[String], with_labels: bool) -> Self {
        let mut paths = paths.to_vec();
        paths.sort();
        paths.dedup();
        let form = |path: &String| signal::by_path(path).map_or(Form::Number, Form::of);
        let signals: Vec<_> =
            paths.into_iter().map(|path| (form(&path), path)).map(|(form, path)| (path, form)).collect();
        Self::new(signals.into_iter(), true, with_labels)
    }

    /// How many cells a row has.
    pub(crate) fn width(&self) -> usize {
        FIXED.len() + self.signals.len()
    }

    /// The name of a signal's column: its path, out of the way of the columns beside the signals.
    pub(crate) fn name(path: &str) -> String {
        if FIXED.contains(&path) { format!("signal.{path}") } else { path.to_owned() }
    }
}

/// A column whose cells may be empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sparse<T> {
    pub(crate) values: Vec<T>,
    /// 1 where the row has a value.
    pub(crate) levels: Vec<i16>,
}

impl<T> Sparse<T> {
    pub(crate) fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

/// A signal's cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    Numbers(Sparse<f64>),
    Booleans(Sparse<bool>),
    Texts(Sparse<String>),
}

/// Where a record stood in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Ingest time, ms since the epoch.
    pub ingest_time: UnixMillis,
}

/// Rows that wait to be written, column by column.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) partition: Vec<i32>,
    pub(crate) offset: Vec<i64>,
    pub(crate) vehicle: Vec<String>,
    pub(crate) boot: Vec<i64>,
    pub(crate) seq: Vec<i64>,
    pub(crate) kind: Vec<String>,
    pub(crate) event_time: Vec<i64>,
    pub(crate) ingest_time: Vec<i64>,
    /// Latitude, longitude, heading.
    pub(crate) position: [Sparse<f64>; 3],
    pub(crate) signals: Vec<Cells>,
    pub(crate) label: Sparse<String>,
}

impl Rows {
    pub(crate) fn new(columns: &Columns) -> Self {
        let signals = columns.signals.iter().map(|(_, form)| match form {
            Form::Number => Cells::Numbers(Sparse::default()),
            Form::Boolean => Cells::Booleans(Sparse::default()),
            Form::Text => Cells::Texts(Sparse::default()),
        });
        Self {
            partition: Vec::new(),
            offset: Vec::new(),
            vehicle: Vec::new(),
            boot: Vec::new(),
            seq: Vec::new(),
            kind: Vec::new(),
            event_time: Vec::new(),
            ingest_time: Vec::new(),
            position: Default::default(),
            signals: signals.collect(),
            label: Sparse::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.offset.len()
    }

    /// Adds a record; gives how many of its values have no place in the table.
    pub(crate) fn push(&mut self, columns: &Columns, place: Place, record: &Record, label: Option<String>) -> u64 {
        self.partition.push(place.partition);
        self.offset.push(place.offset);
        self.vehicle.push(record.vehicle.to_string());
        self.boot.push(i64::from(record.boot));
        // Nobody counts that far: the largest stands for what is above.
        self.seq.push(i64::try_from(record.seq).unwrap_or(i64::MAX));
        self.kind.push(record.kind.as_str().to_owned());
        self.event_time.push(record.time);
        self.ingest_time.push(place.ingest_time);
        let position = record.position;
        let parts = [position.map(|p| p.latitude), position.map(|p| p.longitude), position.and_then(|p| p.heading)];
        for (column, part) in self.position.iter_mut().zip(parts) {
            column.push(part);
        }
        self.label.push(label);
        let mut left_out = 0;
        let rows = self.len();
        for (path, value) in values(record) {
            match (columns.places.get(path).map(|at| &mut self.signals[*at]), value) {
                (Some(Cells::Numbers(cells)), Value::Number(number)) => cells.push(Some(*number)),
                (Some(Cells::Booleans(cells)), Value::Boolean(truth)) => cells.push(Some(*truth)),
                (Some(Cells::Texts(cells)), Value::Text(text)) => cells.push(Some(text.clone())),
                _ => left_out += 1,
            }
        }
        for cells in &mut self.signals {
            match cells {
                Cells::Numbers(cells) if cells.levels.len() < rows => cells.push(None),
                Cells::Booleans(cells) if cells.levels.len() < rows => cells.push(None),
                Cells::Texts(cells) if cells.levels.len() < rows => cells.push(None),
                _ => {}
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use telemetry::Position;

    use super::*;
    use crate::lanes::tests::{START, row};

    fn record(values: &[(&str, Value)]) -> Record {
        let mut record = row("veh-1", 1, START).record;
        record.signals = telemetry::Signals::new();
        for (path, value) in values {
            record.signals.insert_path(path, value.clone()).unwrap();
        }
        record
    }

    const PLACE: Place = Place { partition: 2, offset: 40, ingest_time: START + 5 };

    #[test]
    fn every_signal_that_is_seen_has_a_column_and_every_row_a_cell() {
        let mut found = Found::default();
        let first = record(&[("Vehicle.Speed", Value::Number(5.0)), ("odd", Value::Text("x".into()))]);
        let mut second = record(&[("odd", Value::Number(1.0)), ("Vehicle.IsMoving", Value::Boolean(true))]);
        second.position = Some(Position { latitude: 1.0, longitude: 2.0, heading: None });
        found.take(&first).unwrap();
        found.take(&second).unwrap();
        let columns = found.columns(true);
        let expected = [("Vehicle.IsMoving", Form::Boolean), ("Vehicle.Speed", Form::Number), ("odd", Form::Number)];
        assert_eq!(columns.signals, expected.map(|(path, form)| (path.to_owned(), form)));
        assert!(columns.position && columns.labels);
        let mut rows = Rows::new(&columns);
        assert_eq!(rows.push(&columns, PLACE, &first, Some("hot".into())), 1, "a text among numbers");
        assert_eq!(rows.push(&columns, PLACE, &second, None), 0);
        assert_eq!(rows.signals[1], Cells::Numbers(Sparse { values: vec![5.0], levels: vec![1, 0] }));
        assert_eq!(rows.signals[2], Cells::Numbers(Sparse { values: vec![1.0], levels: vec![0, 1] }));
        assert_eq!(rows.signals[0], Cells::Booleans(Sparse { values: vec![true], levels: vec![0, 1] }));
        assert_eq!(rows.label, Sparse { values: vec!["hot".to_owned()], levels: vec![1, 0] });
        assert_eq!(
            (rows.position[0].levels.as_slice(), rows.position[2].levels.as_slice()),
            (&[0, 1][..], &[0, 0][..])
        );
    }

    #[test]
    fn named_signals_are_the_only_ones() {
        let paths = ["Vehicle.Speed", "Motorcade.Foreign.A", "Vehicle.IsMoving", "Vehicle.Speed"].map(str::to_owned);
        let columns = Columns::named(&paths, false);
        let forms: Vec<_> = columns.signals.iter().map(|(_, form)| *form).collect();
        assert_eq!(forms, [Form::Number, Form::Boolean, Form::Number]);
        let mut rows = Rows::new(&columns);
        let one = record(&[("Motorcade.Foreign.A", Value::Number(1.0)), ("Motorcade.Foreign.B", Value::Number(2.0))]);
        assert_eq!(rows.push(&columns, PLACE, &one, None), 1);
        assert_eq!(
            (Columns::name("offset"), Columns::name("Vehicle.Speed")),
            ("signal.offset".into(), "Vehicle.Speed".into())
        );
    }

    #[test]
    fn senders_can_not_make_a_table_grow_for_ever() {
        let mut found = Found::default();
        let outcome =
            (0..=MAX_COLUMNS).try_for_each(|n| found.take(&record(&[(&format!("x{n}"), Value::Number(1.0))])));
        assert!(outcome.unwrap_err().contains("--signals"));
    }
}
