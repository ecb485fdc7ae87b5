//! What happened over time: lines of values at the same times.

use serde::{Deserialize, Serialize};

/// Lines over one axis. It draws itself: lines of one panel stand in one plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What `at` counts, `<name>_<unit>`, for example `time_s`.
    pub axis: String,
    /// Where on the axis each value stands, growing.
    pub at: Vec<f64>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One value for each place on the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// `<name>_<unit>`.
    pub name: String,
    /// The plot that it stands in.
    pub panel: String,
    /// Unit of the values, for people.
    pub unit: String,
    /// None where nothing was measured.
    pub values: Vec<Option<f64>>,
}

impl Series {
    /// An axis without lines.
    pub fn new(axis: &str, at: Vec<f64>) -> Self {
        Self { axis: axis.to_owned(), at, lines: Vec::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, panel: &str, unit: &str, name: &str, values: Vec<Option<f64>>) {
        let (name, panel, unit) = (name.to_owned(), panel.to_owned(), unit.to_owned());
        self.lines.push(Line { name, panel, unit, values });
    }

    /// The panels in the order in which they were first named, each with its lines.
    pub fn panels(&self) -> Vec<(&str, Vec<&Line>)> {
        let mut panels: Vec<(&str, Vec<&Line>)> = Vec::new();
        for line in &self.lines {
            match panels.iter_mut().find(|(panel, _)| *panel == line.panel) {
                Some((_, lines)) => lines.push(line),
                None => panels.push((&line.panel, vec![line])),
            }
        }
        panels
    }
}
