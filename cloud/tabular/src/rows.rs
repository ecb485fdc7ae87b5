//! One row of a table, as a reading without its place in the order yet, or why it can't be one.

use telemetry::{
    Kind, Record, SCHEMA, Signals, Value, VehicleId, encode,
    signal::{self, Domain},
    validation::{MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES, validate},
};

use crate::mapping::{BadValues, Bound, Form, SignalColumn, bind::BoundVehicle};

/// A row that is a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its line in the table.
    pub line: u64,
    /// The reading. Boot and sequence are 1 until its place in the order is known.
    pub record: Record,
    /// What each label of the mapping says; none where it can't be told.
    pub(crate) labels: Vec<Option<bool>>,
}

/// A row or a value that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rejection {
    /// The line in the table.
    pub line: u64,
    /// The column, where one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Why: a closed set, the contract's names where the contract refuses.
    pub reason: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// Whether the whole row is out.
    pub row: bool,
}

/// What was seen of a signal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignalCount {
    /// Cells with a value that went on.
    pub values: u64,
    /// Cells that hold no value.
    pub missing: u64,
    /// Values left out because they can't be.
    pub dropped: u64,
    /// Least and largest number, after the conversion.
    pub range: Option<(f64, f64)>,
}

type Refusal = (&'static str, String);

impl Bound<'_> {
    /// Reads a row. `aside` takes values that are left out; `counts` has a place for each signal of the mapping and
    /// counts what goes on.
    ///
    /// # Errors
    /// Why the whole row is refused.
    pub(crate) fn row(
        &self,
        line: u64,
        cells: &[&str],
        counts: &mut [SignalCount],
        aside: &mut Vec<Rejection>,
    ) -> Result<Row, Rejection> {
        let reject = |column: Option<&str>, (reason, detail): Refusal, row: bool| Rejection {
            line,
            column: column.map(str::to_owned),
            reason,
            detail,
            row,
        };
        let cell = |position: usize| cells.get(position).copied().unwrap_or_default();
        let vehicle = self.vehicle_of(cell).map_err(|refusal| reject(None, refusal, true))?;
        let time = self.mapping.time.parse(cell(self.time));
        let time = time.map_err(|detail| reject(Some(&self.mapping.time_column), ("bad_time", detail), true))?;
        let mut signals = Signals::with_capacity(self.signals.len());
        let mut seen = Vec::with_capacity(self.signals.len());
        for (position, at, signal) in &self.signals {
            let text = cell(*position).trim();
            if self.mapping.missing.iter().any(|missing| missing == text) {
                counts[*at].missing += 1;
                continue;
            }
            match self.value(signal, text) {
                Ok(value) => {
                    seen.push((*at, value.as_number()));
                    // A mapping names no path twice.
                    signals.insert_path(&signal.path, value).ok();
                }
                Err(refusal) => {
                    let row = self.mapping.bad_values == BadValues::RejectRow;
                    let rejection = reject(Some(&signal.column), refusal, row);
                    if row {
                        return Err(rejection);
                    }
                    counts[*at].dropped += 1;
                    aside.push(rejection);
                }
            }
        }
        let record =
            Record { schema: SCHEMA, vehicle, boot: 1, seq: 1, time, kind: Kind::Full, signals, position: None };
        validate(&record, None).map_err(|invalid| reject(None, (invalid.reason.as_str(), invalid.detail), true))?;
        check_size(&record).map_err(|refusal| reject(None, refusal, true))?;
        for (at, number) in seen {
            counts[at].take(number);
        }
        let mut labels = vec![None; self.mapping.labels.len()];
        for (position, at) in &self.labels {
            let label = &self.mapping.labels[*at];
            let text = cell(*position).trim();
            labels[*at] = label.rule.judge(text);
            if labels[*at].is_none() && !text.is_empty() {
                aside.push(reject(Some(&label.column), ("unreadable_label", format!("{text:?} is no number")), false));
            }
        }
        Ok(Row { line, record, labels })
    }

    fn vehicle_of<'c>(&self, cell: impl Fn(usize) -> &'c str) -> Result<VehicleId, Refusal> {
        match &self.vehicle {
            BoundVehicle::Fixed(vehicle) => Ok(vehicle.clone()),
            BoundVehicle::Column { position, prefix } => {
                let name = format!("{prefix}{}", self.mapping.clean(cell(*position).trim()));
                VehicleId::parse(&name)
                    .map_err(|error| ("bad_vehicle", format!("{name:?}: {error}; replace = \"_\" in [vehicle] helps")))
            }
        }
    }

    fn value(&self, signal: &SignalColumn, text: &str) -> Result<Value, Refusal> {
        match signal.form {
            Form::Text if text.len() > MAX_TEXT_BYTES => {
                Err(("limit_exceeded", format!("a text of {} bytes, above {MAX_TEXT_BYTES}", text.len())))
            }
            Form::Text => Ok(Value::Text(text.to_owned())),
            Form::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "1.0" | "yes" | "on" => Ok(Value::Boolean(true)),
                "false" | "0" | "0.0" | "no" | "off" => Ok(Value::Boolean(false)),
                _ => Err(("wrong_type", format!("{text:?} is neither true nor false"))),
            },
            Form::Number => {
                let parsed = if self.mapping.decimal == ',' { text.replace(',', ".").parse() } else { text.parse() };
                let number: f64 = parsed.map_err(|_| ("wrong_type", format!("{text:?} is no number")))?;
                let number = signal.line.apply(number);
                if !number.is_finite() {
                    return Err(("not_finite", format!("{text} is not finite")));
                }
                check_range(&signal.path, number)?;
                Ok(Value::Number(number))
            }
        }
    }
}

/// The catalogue's range, value by value: `validate` tells only the first one that is outside.
fn check_range(path: &str, number: f64) -> Result<(), Refusal> {
    let Some(signal) = signal::by_path(path) else { return Ok(()) };
    match signal.domain {
        Domain::Number { min, max } if !(min..=max).contains(&number) => {
            Err(("out_of_range", format!("{path} = {number} {} is outside {min}..{max}", signal.unit)))
        }
        _ => Ok(()),
    }
}

/// Only texts can make a reading too large: without them 256 signals fit.
fn check_size(record: &Record) -> Result<(), Refusal> {
    let text = |value: &Value| matches!(value, Value::Text(_));
    let has_text =
        record.signals.unknown().any(|(_, value)| text(value)) || record.signals.known().any(|(_, v)| text(v));
    if record.signals.len() < 32 || !has_text {
        return Ok(());
    }
    // As long as an identity gets.
    let longest = Record { boot: u32::MAX, seq: u64::MAX, ..record.clone() };
    match encode(&longest, telemetry::Encoding::Json) {
        Ok(payload) if payload.len() > MAX_PAYLOAD_BYTES => {
            Err(("oversize", format!("{} of at most {MAX_PAYLOAD_BYTES} bytes", payload.len())))
        }
        _ => Ok(()),
    }
}

impl SignalCount {
    fn take(&mut self, number: Option<f64>) {
        self.values += 1;
        if let Some(number) = number {
            let (min, max) = self.range.unwrap_or((number, number));
            self.range = Some((min.min(number), max.max(number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::mapping::Mapping;

    fn mapping(more: &str) -> Mapping {
        let text = format!(
            "{more}\n[vehicle]\ncolumn = \"car\"\n[time]\ncolumn = \"t\"\nformat = \"unix-s\"\n[signals]\n\
             a = {{ path = \"Vehicle.Speed\", unit = \"mph\" }}\nb = \"Motorcade.Foreign.B\"\n\
             c = \"Vehicle.IsMoving\"\nd = {{ path = \"Motorcade.Foreign.D\", type = \"text\" }}\n\
             [[labels]]\ncolumn = \"bad\"\n"
        );
        Mapping::parse(&text).unwrap()
    }

    fn read(mapping: &Mapping, cells: &[&str]) -> (Result<Row, Rejection>, Vec<SignalCount>, Vec<Rejection>) {
        let header = ["t", "car", "a", "b", "c", "d", "bad"].map(str::to_owned);
        let bound = mapping.bind(&header, Path::new("x.csv")).unwrap();
        let (mut counts, mut aside) = (vec![SignalCount::default(); 4], Vec::new());
        let row = bound.row(7, cells, &mut counts, &mut aside);
        (row, counts, aside)
    }

    #[test]
    fn a_row_becomes_a_reading_and_its_label_stays_outside() {
        let mapping = mapping("");
        let (row, counts, aside) = read(&mapping, &["1700000000", " car-1 ", "10", "-1e3", "TRUE", "NA", "1.0"]);
        let row = row.unwrap();
        assert_eq!((row.record.vehicle.as_str(), row.record.time), ("car-1", 1_700_000_000_000));
        assert_eq!(row.record.signals.number(signal::SPEED), Some(16.093_44));
        assert_eq!(row.record.signals.get(signal::IS_MOVING), Some(&Value::Boolean(true)));
        assert_eq!(row.record.signals.len(), 3);
        assert_eq!(row.labels, [Some(true)]);
        assert!(aside.is_empty());
        assert_eq!(
            counts.iter().map(|count| (count.values, count.missing)).collect::<Vec<_>>(),
            [(1, 0), (1, 0), (1, 0), (0, 1)]
        );
        let payload = String::from_utf8(encode(&row.record, telemetry::Encoding::Json).unwrap()).unwrap();
        assert!(!payload.contains("bad"), "{payload}");
    }

    #[test]
    fn what_can_not_be_a_reading_is_refused_by_reason() {
        let long = "x".repeat(257);
        for (cells, column, reason) in [
            (["soon", "car-1", "10", "1", "1", "x", "0"], Some("t"), "bad_time"),
            (["1", "car-1", "10", "1", "1", "x", "0"], None, "bad_time"),
            (["1700000000", "car 1", "10", "1", "1", "x", "0"], None, "bad_vehicle"),
            (["1700000000", "", "10", "1", "1", "x", "0"], None, "bad_vehicle"),
            (["1700000000", "car-1", "ten", "1", "1", "x", "0"], Some("a"), "wrong_type"),
            (["1700000000", "car-1", "1000", "1", "1", "x", "0"], Some("a"), "out_of_range"),
            (["1700000000", "car-1", "10", "inf", "1", "x", "0"], Some("b"), "not_finite"),
            (["1700000000", "car-1", "10", "1", "maybe", "x", "0"], Some("c"), "wrong_type"),
            (["1700000000", "car-1", "10", "1", "1", &long, "0"], Some("d"), "limit_exceeded"),
            (["1700000000", "car-1", "", "", "", "", "0"], None, "no_signals"),
        ] {
            let (row, counts, aside) = read(&mapping(""), &cells);
            let rejection = row.unwrap_err();
            assert_eq!((rejection.column.as_deref(), rejection.reason, rejection.row), (column, reason, true));
            assert_eq!((rejection.line, aside.len()), (7, 0));
            assert!(counts.iter().all(|count| count.values == 0), "a refused row has no values: {counts:?}");
        }
    }

    #[test]
    fn a_bad_value_may_be_left_out_alone() {
        let mapping = mapping("bad_values = \"drop-value\"\ndecimal = \",\"\ndelimiter = \";\"");
        let (row, counts, aside) = read(&mapping, &["1700000000", "car-1", "1000", "1,5", "1", "x", "perhaps"]);
        let row = row.unwrap();
        assert_eq!(row.record.signals.number(signal::SPEED), None);
        assert_eq!(row.record.signals.len(), 3);
        assert_eq!((counts[0].values, counts[0].dropped, counts[1].range), (0, 1, Some((1.5, 1.5))));
        let reasons: Vec<_> = aside.iter().map(|one| (one.reason, one.row)).collect();
        assert_eq!(reasons, [("out_of_range", false), ("unreadable_label", false)]);
        assert_eq!(row.labels, [None]);
    }
}
