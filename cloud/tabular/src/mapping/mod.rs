//! The mapping file: which column is what, checked as far as that is possible without the table.

pub(crate) mod bind;
mod file;

use telemetry::signal::{Domain, Signal};

use crate::{moment::TimeFormat, unit::Line};

pub use bind::{Bound, file_vehicle_name};
pub use file::EXAMPLES;

/// What a table's columns mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Between two cells.
    pub(crate) delimiter: u8,
    /// Between a number's whole part and its fraction.
    pub(crate) decimal: char,
    /// The names of the columns, where the table has no header line.
    pub(crate) columns: Option<Vec<String>>,
    /// Cells that hold no value.
    pub(crate) missing: Vec<String>,
    pub(crate) bad_values: BadValues,
    pub(crate) vehicle: VehicleSource,
    pub(crate) time_column: String,
    pub(crate) time: TimeFormat,
    pub(crate) signals: Vec<SignalColumn>,
    pub(crate) labels: Vec<LabelColumn>,
}

/// What becomes of a row with a value that can't be a reading's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadValues {
    /// The whole row is refused, as the edge would refuse it.
    #[default]
    RejectRow,
    /// The value is left out and counted; the rest of the row goes on.
    DropValue,
}

/// Where a row's vehicle comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VehicleSource {
    pub(crate) from: VehicleFrom,
    /// Before the name; `{file}` stands for the file's name.
    pub(crate) prefix: String,
    /// In the place of each character that a vehicle's name can't have.
    pub(crate) replace: Option<char>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum VehicleFrom {
    Column(String),
    Constant(String),
    /// So many last parts of the file's path, without its extension.
    FileParts(usize),
}

/// A column that is a signal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SignalColumn {
    pub(crate) column: String,
    pub(crate) path: String,
    pub(crate) form: Form,
    /// From the cell's number to the signal's.
    pub(crate) line: Line,
    /// The unit that the value has after the conversion, as far as it is known.
    pub(crate) unit: String,
    /// A table without this column is fine.
    pub(crate) optional: bool,
}

/// What a cell is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    Number,
    Boolean,
    Text,
}

impl Form {
    pub(crate) fn of(signal: &Signal) -> Self {
        match signal.domain {
            Domain::Number { .. } => Self::Number,
            Domain::Boolean => Self::Boolean,
            Domain::Text => Self::Text,
        }
    }
}

/// A column that says what was wrong, for the judge only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelColumn {
    pub(crate) column: String,
    pub(crate) kind: String,
    pub(crate) rule: LabelRule,
    /// The VSS paths of the signals that show it, where that is known.
    pub(crate) signals: Vec<String>,
    pub(crate) optional: bool,
}

/// When a row counts as labelled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LabelRule {
    /// Any number but 0.
    NotZero,
    /// A number of at most so much: a remaining useful life.
    AtMost(f64),
    /// Exactly this text.
    Equals(String),
}

impl LabelRule {
    /// Whether the cell labels its row; none where that can't be told.
    pub(crate) fn judge(&self, cell: &str) -> Option<bool> {
        let number = || cell.parse::<f64>().ok().filter(|number| number.is_finite());
        match self {
            Self::NotZero => match cell {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => number().map(|number| number != 0.0),
            },
            Self::AtMost(most) => number().map(|number| number <= *most),
            Self::Equals(text) => Some(cell == text),
        }
    }
}

impl std::fmt::Display for LabelRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotZero => f.write_str("is not 0"),
            Self::AtMost(most) => write!(f, "is at most {most}"),
            Self::Equals(text) => write!(f, "is {text:?}"),
        }
    }
}
