//! History to learn from: the readings of many vehicles, each vehicle's in order of (boot, seq).

use std::collections::BTreeMap;

use telemetry::{Record, UnixMillis, VehicleId};

use crate::{Span, Window, features::Query};

/// Readings to learn from.
#[derive(Debug, Default)]
pub struct History {
    windows: BTreeMap<VehicleId, Window>,
    pub(crate) queries: BTreeMap<VehicleId, Vec<(UnixMillis, Query)>>,
    pub(crate) spans: Vec<Span>,
    pub(crate) records: u64,
    pub(crate) times: Option<(UnixMillis, UnixMillis)>,
}

impl History {
    /// No readings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vehicle's next reading; `time` is its window time, ms. Vehicles may be mixed.
    pub fn push(&mut self, record: &Record, time: UnixMillis) {
        self.records += 1;
        let (from, to) = self.times.unwrap_or((time, time));
        self.times = Some((from.min(time), to.max(time)));
        let window = self.windows.entry(record.vehicle.clone()).or_default();
        if let Some(query) = window.advance(record) {
            self.queries.entry(record.vehicle.clone()).or_default().push((time, query));
        }
    }

    /// Notes where readings came from, for the card.
    pub fn note_span(&mut self, span: Span) {
        self.spans.push(span);
    }

    /// Readings added.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Vehicles with at least one full window.
    pub fn vehicles(&self) -> usize {
        self.queries.len()
    }
}
