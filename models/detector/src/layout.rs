//! The layout of a vehicle's numbers: which signals have a place, in which order, and how long a step is.
//!
//! It holds every numeric signal of the catalogue that can say something about health, and behind them foreign
//! signals by path. It does not depend on what a model learnt, so a window goes on when the model is replaced by
//! another of the same layout.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use telemetry::{PayloadHash, Signals, signal};

use crate::Error;

/// What a signal is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is expected from the others, and judged.
    Judged,
    /// It helps to expect the others but is no fault itself: weather, how full or how warm a store is.
    Context,
}

/// Context among the catalogued signals. The slow heat of a battery pack follows from hours that a short history lacks.
const CONTEXT: [signal::Number; 4] =
    [signal::BATTERY_CHARGE, signal::BATTERY_TEMPERATURE, signal::AIR_TEMPERATURE, signal::FUEL_LEVEL];
/// Catalogued numbers that only grow or fall over a vehicle's life: they say how old it is, not how well.
const NO_PLACE: [signal::Number; 2] = [signal::TRAVELED_DISTANCE, signal::BATTERY_HEALTH];
/// Foreign signals at most.
pub const MAX_FOREIGN: usize = 64;
/// The step where nothing else is known, ms.
pub const STEP_MS: i64 = 10_000;
/// Raised whenever the same readings would give other features.
const REVISION: u32 = 2;

/// A place in the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// VSS path, overlay path, or any other.
    pub path: SmolStr,
    /// Its unit; empty where there is none or it is not known.
    pub unit: &'static str,
    /// What it is good for.
    pub role: Role,
}

/// Which signals have a place, and the step of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    places: Vec<Place>,
    by_number: Vec<Option<u16>>,
    foreign: HashMap<String, u16>,
    step_ms: i64,
    id: String,
}

/// A layout as a card says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Paths of the foreign signals.
    pub foreign: Vec<String>,
    /// The step, ms.
    pub step_ms: i64,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new(std::iter::empty(), STEP_MS).expect("no foreign signal and a positive step")
    }
}

impl Layout {
    /// The catalogue's signals and these foreign ones, sorted and without repetition; `step_ms` is how far apart
    /// readings usually are, in event time.
    ///
    /// # Errors
    /// [`Error::Malformed`] for more than [`MAX_FOREIGN`] foreign signals, or a step that is not above 0.
    pub fn new(foreign: impl IntoIterator<Item = String>, step_ms: i64) -> Result<Self, Error> {
        let mut paths: Vec<String> = foreign.into_iter().collect();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() > MAX_FOREIGN {
            let text = format!("{} signals that the catalogue lacks, at most {MAX_FOREIGN} fit", paths.len());
            return Err(Error::Malformed(text));
        }
        if step_ms <= 0 {
            return Err(Error::Malformed(format!("a step of {step_ms} ms")));
        }
        let mut places = Vec::new();
        let mut by_number = vec![None; signal::CATALOGUE.len() + 1];
        for row in signal::CATALOGUE {
            if matches!(row.domain, signal::Domain::Number { .. }) && !NO_PLACE.contains(&row.number) {
                by_number[usize::from(row.number)] = Some(places.len() as u16);
                let role = if CONTEXT.contains(&row.number) { Role::Context } else { Role::Judged };
                places.push(Place { path: SmolStr::new_static(row.path), unit: row.unit, role });
            }
        }
        let mut by_path = HashMap::new();
        for path in paths {
            by_path.insert(path.clone(), places.len() as u16);
            places.push(Place { path: path.into(), unit: "", role: Role::Judged });
        }
        let names: Vec<&str> = places.iter().map(|place| place.path.as_str()).collect();
        let id = PayloadHash::of(format!("r{REVISION} {step_ms} {}", names.join(",")).as_bytes()).to_string();
        Ok(Self { places, by_number, foreign: by_path, step_ms, id })
    }

    /// The layout that a card says.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn read(written: &Written) -> Result<Self, Error> {
        Self::new(written.foreign.iter().cloned(), written.step_ms)
    }

    /// What a card says of it.
    pub fn write(&self) -> Written {
        let mut foreign: Vec<String> = self.foreign.keys().cloned().collect();
        foreign.sort_unstable();
        Written { foreign, step_ms: self.step_ms }
    }

    /// Its identity: windows of equal identity hold equal numbers in equal places.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far apart readings usually are, ms of event time.
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// The places, in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no place; never so.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The place of a catalogued signal.
    pub fn of_number(&self, number: signal::Number) -> Option<u16> {
        self.by_number.get(usize::from(number)).copied().flatten()
    }

    /// The place of a signal that the catalogue lacks.
    pub fn of_path(&self, path: &str) -> Option<u16> {
        self.foreign.get(path).copied()
    }

    /// Writes the numbers among signals, with their places, over what is in `values`.
    pub fn extract(&self, signals: &Signals, values: &mut Values) {
        values.clear();
        for (number, value) in signals.known() {
            if let (Some(at), Some(number)) = (self.of_number(number), value.as_number()) {
                values.push(at, number as f32);
            }
        }
        if self.foreign.is_empty() {
            return;
        }
        for (path, value) in signals.unknown() {
            if let (Some(at), Some(number)) = (self.of_path(path), value.as_number()) {
                values.push(at, number as f32);
            }
        }
    }
}

/// Numbers and their places.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// Places.
    pub at: Vec<u16>,
    /// As many numbers; NaN and infinite ones count as unknown.
    pub numbers: Vec<f32>,
}

impl Values {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.at.clear();
        self.numbers.clear();
    }

    /// Adds one.
    pub fn push(&mut self, at: u16, number: f32) {
        self.at.push(at);
        self.numbers.push(number);
    }
}

#[cfg(test)]
mod tests {
    use telemetry::Value;

    use super::*;

    #[test]
    fn foreign_signals_come_behind_the_catalogue_in_any_order() {
        let layout = Layout::new(["b.y".into(), "a.x".into(), "b.y".into()], 1_000).unwrap();
        let catalogued = Layout::default().len();
        assert_eq!((layout.len(), layout.of_path("a.x")), (catalogued + 2, Some(catalogued as u16)));
        assert_eq!(layout, Layout::new(["a.x".into(), "b.y".into()], 1_000).unwrap());
        assert_eq!(layout, Layout::read(&layout.write()).unwrap());
        assert_ne!(layout.id(), Layout::new(["a.x".into()], 1_000).unwrap().id());
        assert_ne!(layout.id(), Layout::new(["a.x".into(), "b.y".into()], 2_000).unwrap().id());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Layout::new((0..=MAX_FOREIGN).map(|n| n.to_string()), 1_000).is_err());
        assert!(Layout::new(std::iter::empty(), 0).is_err());
    }

    #[test]
    fn numbers_are_taken_texts_and_ages_are_not() {
        let mut signals = Signals::new();
        signals.insert(signal::SPEED, Value::Number(50.0)).unwrap();
        signals.insert(signal::TRAVELED_DISTANCE, Value::Number(9e6)).unwrap();
        signals.insert(signal::IS_MOVING, Value::Boolean(true)).unwrap();
        signals.insert_path("pump.flow", Value::Number(3.0)).unwrap();
        signals.insert_path("pump.name", Value::Text("x".into())).unwrap();
        let layout = Layout::new(["pump.flow".into()], 1_000).unwrap();
        let mut values = Values::default();
        layout.extract(&signals, &mut values);
        assert_eq!(values.at, [0, layout.len() as u16 - 1]);
        assert_eq!(values.numbers, [50.0, 3.0]);
    }
}
