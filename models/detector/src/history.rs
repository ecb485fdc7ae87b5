//! History to learn from: the readings of many vehicles, each vehicle's in order of (boot, seq).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use telemetry::{Kind, Record, UnixMillis, VehicleId};

use crate::{
    Error, Span,
    layout::{Layout, Values},
    window::Reading,
};

/// Readings that can be gone through again and again, by several threads at once.
pub trait History: Sync {
    /// Where numbers have their places.
    fn layout(&self) -> &Arc<Layout>;

    /// The vehicles, always in the same order: the model depends on it.
    fn vehicles(&self) -> &[VehicleId];

    /// Shows the readings of a vehicle, in order of (boot, seq), without repetition.
    ///
    /// # Errors
    /// If they can't be read, or what `visit` says.
    fn read(&self, vehicle: usize, visit: &mut dyn FnMut(&Reading<'_>) -> Result<(), Error>) -> Result<(), Error>;

    /// Where the readings came from, for the card.
    fn spans(&self) -> &[Span];
}

/// Does the same for each of `count` vehicles, on several threads, each with a context of its own. The results are
/// in order of the vehicles, whatever thread did which.
///
/// # Errors
/// The first that a context or the work ends with; the others then end soon.
pub fn each<C, T: Send, E: Send>(
    count: usize,
    threads: usize,
    context: impl Fn() -> Result<C, E> + Sync,
    work: impl Fn(&mut C, usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                let run = || {
                    let mut context = context()?;
                    loop {
                        let vehicle = next.fetch_add(1, Ordering::Relaxed);
                        if vehicle >= count {
                            return Ok(());
                        }
                        let result = work(&mut context, vehicle)?;
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((vehicle, result));
                    }
                };
                if let Err(error) = run() {
                    // The others have nothing more to do.
                    next.store(count, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(vehicle, _)| *vehicle);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Readings of one vehicle, held as rows.
#[derive(Debug, Clone, Default)]
struct Rows {
    heads: Vec<(u32, u64, UnixMillis, Kind)>,
    /// Places of all rows; most rows share one list.
    lists: Vec<Vec<u16>>,
    /// Of each row: its list, and where its numbers begin.
    index: Vec<(u32, u32)>,
    numbers: Vec<f32>,
}

/// History in memory.
#[derive(Debug, Clone)]
pub struct Recorded {
    layout: Arc<Layout>,
    vehicles: Vec<VehicleId>,
    rows: Vec<Rows>,
    by_id: BTreeMap<VehicleId, usize>,
    spans: Vec<Span>,
    values: Values,
}

impl Recorded {
    /// No readings.
    pub fn new(layout: Arc<Layout>) -> Self {
        let values = Values::default();
        Self { layout, vehicles: Vec::new(), rows: Vec::new(), by_id: BTreeMap::new(), spans: Vec::new(), values }
    }

    /// Adds a vehicle's next reading; `time` is its window time, ms. Vehicles may be mixed.
    pub fn push(&mut self, record: &Record, time: UnixMillis) {
        let mut values = std::mem::take(&mut self.values);
        self.layout.extract(&record.signals, &mut values);
        self.push_reading(&record.vehicle, &Reading::of(record, time, &values));
        self.values = values;
    }

    /// Adds a vehicle's next reading, by places.
    pub fn push_reading(&mut self, vehicle: &VehicleId, reading: &Reading<'_>) {
        let at = match self.by_id.get(vehicle) {
            Some(at) => *at,
            None => {
                self.by_id.insert(vehicle.clone(), self.vehicles.len());
                self.vehicles.push(vehicle.clone());
                self.rows.push(Rows::default());
                self.vehicles.len() - 1
            }
        };
        let rows = &mut self.rows[at];
        let list = match rows.lists.iter().rposition(|list| list == reading.at) {
            Some(list) => list,
            None => {
                rows.lists.push(reading.at.to_vec());
                rows.lists.len() - 1
            }
        };
        rows.heads.push((reading.boot, reading.seq, reading.time, reading.kind));
        rows.index.push((list as u32, rows.numbers.len() as u32));
        rows.numbers.extend_from_slice(reading.numbers);
    }

    /// Adds the readings of vehicles that are not in here yet.
    pub fn append(&mut self, other: Self) {
        for (vehicle, rows) in other.vehicles.into_iter().zip(other.rows) {
            self.by_id.insert(vehicle.clone(), self.vehicles.len());
            self.vehicles.push(vehicle);
            self.rows.push(rows);
        }
    }

    /// Notes where readings came from, for the card.
    pub fn note_span(&mut self, span: Span) {
        self.spans.push(span);
    }

    /// Readings added.
    pub fn records(&self) -> u64 {
        self.rows.iter().map(|rows| rows.heads.len() as u64).sum()
    }
}

impl History for Recorded {
    fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn vehicles(&self) -> &[VehicleId] {
        &self.vehicles
    }

    fn read(&self, vehicle: usize, visit: &mut dyn FnMut(&Reading<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let Some(rows) = self.rows.get(vehicle) else { return Ok(()) };
        for ((boot, seq, time, kind), (list, from)) in rows.heads.iter().zip(&rows.index) {
            let (at, from) = (&rows.lists[*list as usize], *from as usize);
            let numbers = &rows.numbers[from..from + at.len()];
            visit(&Reading { boot: *boot, seq: *seq, time: *time, kind: *kind, at, numbers })?;
        }
        Ok(())
    }

    fn spans(&self) -> &[Span] {
        &self.spans
    }
}
