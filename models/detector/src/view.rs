//! History as another layout sees it: the numbers that both have a place for.

use std::sync::Arc;

use telemetry::VehicleId;

use crate::{Error, History, Layout, Reading, Span, Values};

/// A history behind another layout; what that has no place for is left out.
pub struct View<'a> {
    history: &'a dyn History,
    layout: Arc<Layout>,
    /// Of each place of the history's layout.
    places: Vec<Option<u16>>,
}

impl<'a> View<'a> {
    /// Looks at a history through a layout.
    pub fn new(history: &'a dyn History, layout: Arc<Layout>) -> Self {
        let place = |path: &str| layout.places().iter().position(|place| place.path == path).map(|at| at as u16);
        let places = history.layout().places().iter().map(|theirs| place(&theirs.path)).collect();
        Self { history, layout, places }
    }
}

impl History for View<'_> {
    fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn vehicles(&self) -> &[VehicleId] {
        self.history.vehicles()
    }

    fn read(&self, vehicle: usize, visit: &mut dyn FnMut(&Reading<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut values = Values::default();
        self.history.read(vehicle, &mut |reading| {
            values.clear();
            for (at, number) in reading.at.iter().zip(reading.numbers) {
                if let Some(place) = self.places[usize::from(*at)] {
                    values.push(place, *number);
                }
            }
            visit(&Reading { at: &values.at, numbers: &values.numbers, ..*reading })
        })
    }

    fn spans(&self) -> &[Span] {
        self.history.spans()
    }
}

#[cfg(test)]
mod tests {
    use telemetry::Kind;

    use super::*;
    use crate::Recorded;

    #[test]
    fn numbers_find_their_places_by_path() {
        let layout =
            |paths: &[&str], step| Arc::new(Layout::new(paths.iter().map(|path| (*path).to_owned()), step).unwrap());
        let theirs = layout(&["a", "b"], 10);
        let base = theirs.len() as u16 - 2;
        let mut history = Recorded::new(Arc::clone(&theirs));
        let vehicle = VehicleId::parse("v").unwrap();
        let (at, numbers) = (&[0, base, base + 1][..], &[1.0, 2.0, 3.0][..]);
        history.push_reading(&vehicle, &Reading { boot: 1, seq: 1, time: 5, kind: Kind::Full, at, numbers });
        let view = View::new(&history, layout(&["0", "b"], 1_000));
        let mut seen = Vec::new();
        view.read(0, &mut |reading| {
            seen.push((reading.at.to_vec(), reading.numbers.to_vec(), reading.time));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(vec![0, base + 1], vec![1.0, 3.0], 5)]);
        assert_eq!(view.layout().step_ms(), 1_000);
    }
}
