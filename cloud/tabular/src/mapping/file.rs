//! The mapping's TOML form. Every refusal is one line that says what to write instead.

use std::collections::BTreeMap;

use cloud_log::parse_moment;
use serde::Deserialize;
use telemetry::{
    VehicleId,
    signal::{self, CATALOGUE, FOREIGN},
    validation::{MAX_PATH_BYTES, MAX_SIGNALS},
};

use super::{BadValues, Form, LabelColumn, LabelRule, Mapping, SignalColumn, VehicleFrom, VehicleSource};
use crate::{
    moment::{TimeFormat, parse_offset, pattern_parts},
    unit::{Line, conversion},
};

/// Mappings for public data sets, with comments: examples to start from.
pub const EXAMPLES: [(&str, &str); 3] = [
    ("skab", include_str!("../../mappings/skab.toml")),
    ("cmapss", include_str!("../../mappings/cmapss.toml")),
    ("car-sensor", include_str!("../../mappings/car-sensor.toml")),
];

/// Cells that hold no value, where the mapping does not say it.
const MISSING: [&str; 7] = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    delimiter: Option<String>,
    #[serde(default)]
    decimal: Option<char>,
    #[serde(default)]
    columns: Option<Vec<String>>,
    #[serde(default)]
    missing: Option<Vec<String>>,
    #[serde(default)]
    bad_values: BadValues,
    vehicle: VehicleTable,
    time: TimeTable,
    signals: BTreeMap<String, toml::Value>,
    #[serde(default)]
    labels: Vec<LabelTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VehicleTable {
    column: Option<String>,
    constant: Option<String>,
    file_parts: Option<usize>,
    #[serde(default)]
    prefix: String,
    replace: Option<char>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeTable {
    column: String,
    format: String,
    utc_offset: Option<String>,
    start: Option<String>,
    step_ms: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalTable {
    path: String,
    unit: Option<String>,
    to: Option<String>,
    scale: Option<f64>,
    offset: Option<f64>,
    #[serde(rename = "type")]
    form: Option<Form>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelTable {
    column: String,
    kind: Option<String>,
    at_most: Option<f64>,
    equals: Option<String>,
    #[serde(default)]
    signals: Vec<String>,
    #[serde(default)]
    optional: bool,
}

impl Mapping {
    /// Reads the text of a mapping file.
    ///
    /// # Errors
    /// What is wrong and what is accepted, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| one_line(text, &error))?;
        if file.signals.is_empty() {
            return Err("[signals] is empty: name at least one column and its path".into());
        }
        let signals = file.signals.iter().map(|(column, value)| signal_column(column, value));
        let signals = signals.collect::<Result<Vec<_>, _>>()?;
        if signals.len() > MAX_SIGNALS {
            return Err(format!("[signals] names {} columns; a reading holds at most {MAX_SIGNALS}", signals.len()));
        }
        for (at, one) in signals.iter().enumerate() {
            if let Some(other) = signals[at + 1..].iter().find(|other| other.path == one.path) {
                return Err(format!("the columns {:?} and {:?} are both {}", one.column, other.column, one.path));
            }
        }
        let decimal = file.decimal.unwrap_or('.');
        let delimiter = delimiter(file.delimiter.as_deref().unwrap_or(","))?;
        if u32::from(decimal) == u32::from(delimiter) || !matches!(decimal, '.' | ',') {
            return Err(format!("decimal = {decimal:?} is neither '.' nor ',', or it is the delimiter too"));
        }
        Ok(Self {
            delimiter,
            decimal,
            columns: file.columns,
            missing: file.missing.unwrap_or_else(|| MISSING.map(str::to_owned).to_vec()),
            bad_values: file.bad_values,
            vehicle: vehicle(file.vehicle)?,
            time: time(&file.time)?,
            time_column: file.time.column,
            signals,
            labels: file.labels.into_iter().map(label).collect::<Result<_, _>>()?,
        })
    }
}

/// toml's message spans lines and draws the place; ours is one line with its number.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            format!("line {}: {message}", before.lines().count().max(1) + usize::from(before.ends_with('\n')))
        }
        None => message,
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("tab", _) => Ok(b'\t'),
        (_, [one]) if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => Ok(*one),
        _ => Err(format!("delimiter = {text:?} is not one character, such as \",\", \";\" or \"tab\"")),
    }
}

fn vehicle(table: VehicleTable) -> Result<VehicleSource, String> {
    let from = match (table.column, table.constant, table.file_parts) {
        (Some(column), None, None) => VehicleFrom::Column(column),
        (None, Some(constant), None) => VehicleFrom::Constant(constant),
        (None, None, Some(parts @ 1..)) => VehicleFrom::FileParts(parts),
        _ => {
            return Err("[vehicle] needs one of column = \"…\", constant = \"…\", file_parts = 1 (or more)".into());
        }
    };
    let is_fine = |c: char| VehicleId::parse(c.encode_utf8(&mut [0; 4])).is_ok();
    if table.replace.is_some_and(|c| !is_fine(c)) {
        return Err("[vehicle] replace is not one of A-Z a-z 0-9 _ -".into());
    }
    if !table.prefix.replace("{file}", "f").chars().all(is_fine) {
        return Err(format!("[vehicle] prefix {:?} holds more than A-Z a-z 0-9 _ - and {{file}}", table.prefix));
    }
    if let VehicleFrom::Constant(constant) = &from {
        VehicleId::parse(constant).map_err(|error| format!("[vehicle] constant {constant:?}: {error}"))?;
    }
    Ok(VehicleSource { from, prefix: table.prefix, replace: table.replace })
}

fn time(table: &TimeTable) -> Result<TimeFormat, String> {
    let TimeTable { format, utc_offset, start, step_ms, .. } = table;
    let is_counter = format == "counter";
    if !is_counter && (start.is_some() || step_ms.is_some()) {
        return Err(format!("[time] start and step_ms go with format = \"counter\", not with {format:?}"));
    }
    let format = match format.as_str() {
        "rfc3339" => TimeFormat::Rfc3339,
        "unix-s" => TimeFormat::UnixSeconds,
        "unix-ms" => TimeFormat::UnixMillis,
        "counter" => {
            let (Some(start), Some(step_ms)) = (start, *step_ms) else {
                return Err("[time] a counter needs start = \"2024-01-01T00:00:00Z\" and step_ms = 1000".into());
            };
            if !(step_ms.is_finite() && step_ms > 0.0) {
                return Err(format!("[time] step_ms = {step_ms} is not above 0"));
            }
            let start = parse_moment(start).map_err(|error| format!("[time] start: {error}"))?;
            TimeFormat::Counter { start, step_ms }
        }
        pattern => {
            let parts = pattern_parts(pattern).map_err(|error| format!("[time] format: {error}"))?;
            let text = utc_offset.as_deref().unwrap_or("Z");
            let offset = parse_offset(text)
                .ok_or_else(|| format!("[time] utc_offset {text:?} is neither \"Z\" nor like \"+01:00\""))?;
            return Ok(TimeFormat::Pattern { pattern: pattern.to_owned(), parts, offset });
        }
    };
    if utc_offset.is_some() {
        return Err("[time] utc_offset goes with a pattern that has none of its own".into());
    }
    Ok(format)
}

fn signal_column(column: &str, value: &toml::Value) -> Result<SignalColumn, String> {
    let wrong = |detail: String| format!("[signals] {column:?}: {detail}");
    let table = match value {
        toml::Value::String(path) => SignalTable { path: path.clone(), ..SignalTable::default() },
        toml::Value::Table(table) => {
            SignalTable::deserialize(table.clone()).map_err(|error| wrong(error.message().to_owned()))?
        }
        _ => return Err(wrong("write a path, or { path = \"…\", unit = \"…\" }".into())),
    };
    let SignalTable { path, unit, to, scale, offset, form, optional } = table;
    let catalogued = signal::by_path(&path);
    if catalogued.is_none() {
        check_foreign(&path).map_err(wrong)?;
    }
    let form = match (catalogued.map(Form::of), form) {
        (Some(given), Some(asked)) if given != asked => {
            return Err(wrong(format!("{path} is of another type in the catalogue; leave type out")));
        }
        (given, asked) => given.or(asked).unwrap_or(Form::Number),
    };
    if form != Form::Number && (unit.is_some() || to.is_some() || scale.is_some() || offset.is_some()) {
        return Err(wrong("unit, to, scale and offset are for numbers".into()));
    }
    if catalogued.is_some() && to.is_some() {
        return Err(wrong("the catalogue says what it becomes; leave `to` out".into()));
    }
    let target = catalogued.map(|signal| signal.unit.to_owned()).filter(|unit| !unit.is_empty()).or(to);
    let converted = match (&unit, &target) {
        (Some(unit), Some(target)) => conversion(unit, target).map_err(wrong)?,
        (None, Some(_)) if catalogued.is_none() => return Err(wrong("`to` needs `unit`".into())),
        _ => Line::IDENTITY,
    };
    let own = Line { scale: scale.unwrap_or(1.0), offset: offset.unwrap_or(0.0) };
    if !(own.scale.is_finite() && own.offset.is_finite()) || own.scale == 0.0 {
        return Err(wrong("scale and offset are numbers, scale is not 0".into()));
    }
    let line = if own == Line::IDENTITY { converted } else { own.then(converted) };
    let unit = target.or(unit).unwrap_or_default();
    Ok(SignalColumn { column: column.to_owned(), path, form, line, unit, optional })
}

/// A path outside the catalogue stands below [`FOREIGN`]: elsewhere it is most likely a slip of the pen.
fn check_foreign(path: &str) -> Result<(), String> {
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match path.strip_prefix(FOREIGN) {
        Some(rest) if rest.split('.').all(is_name) && path.len() <= MAX_PATH_BYTES => Ok(()),
        Some(_) => {
            Err(format!("{path:?} is not {FOREIGN}Name.Name… of letters, digits and _, at most {MAX_PATH_BYTES} bytes"))
        }
        None => {
            let nearest = nearest(path, CATALOGUE.iter().map(|signal| signal.path));
            let meant = nearest.map(|path| format!("; did you mean {path}?")).unwrap_or_default();
            Err(format!("{path:?} is not in the catalogue; a signal of your own stands below {FOREIGN}{meant}"))
        }
    }
}

/// The candidate that shares the longest end or is the same but for case; none where nothing is near.
pub(super) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let shared = |candidate: &str| {
        let pairs = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
            a.zip(b).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
        };
        let end = pairs(&mut wanted.chars().rev(), &mut candidate.chars().rev());
        let start = pairs(&mut wanted.chars(), &mut candidate.chars());
        end + start
    };
    let best = candidates.map(|candidate| (shared(candidate), candidate)).max_by_key(|(shared, _)| *shared)?;
    (best.0 * 2 >= wanted.chars().count().max(2)).then_some(best.1)
}

fn label(table: LabelTable) -> Result<LabelColumn, String> {
    let LabelTable { column, kind, at_most, equals, signals, optional } = table;
    let rule = match (at_most, equals) {
        (None, None) => LabelRule::NotZero,
        (Some(most), None) => LabelRule::AtMost(most),
        (None, Some(text)) => LabelRule::Equals(text),
        (Some(_), Some(_)) => return Err(format!("[[labels]] {column:?}: either at_most or equals, not both")),
    };
    Ok(LabelColumn { kind: kind.unwrap_or_else(|| column.clone()), column, rule, signals, optional })
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
