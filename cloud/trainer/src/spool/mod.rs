//! Replayed history on disk: written once, in the log's order, read again and again, vehicle by vehicle.
//!
//! ```text
//! records ─▶ [`Spooler`]: decode, drop duplicates, collect rows ─▶ every 32 MiB, sorted by vehicle, onto `rows`
//!            `checkpoint.json` says how far that got       ─▶ [`Spool`]: each vehicle's chunks, merged by (boot, seq)
//! ```
//!
//! Memory holds the rows that wait, one entry for each chunk, and the runs of sequence numbers that were seen. A spool
//! that was interrupted goes on from its checkpoint and reads back exactly as one that was not: where rows were cut
//! into chunks does not show.

mod checkpoint;
mod folder;
mod merge;
mod row;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::BTreeMap, sync::Arc};

use detector::{History, Layout, Reading, Span, history, layout::STEP_MS};
use service::Error;
use telemetry::VehicleId;

pub use self::{
    checkpoint::{Checkpoint, Source},
    folder::Folder,
    writer::Spooler,
};
use self::{merge::Merge, row::Chunk};

/// History that lies in a folder.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    layout: Arc<Layout>,
    /// Ascending: the model depends on their order.
    vehicles: Vec<VehicleId>,
    /// Of each vehicle, ascending by their first rows.
    chunks: Vec<Vec<Chunk>>,
    /// Places in the layout of each list that rows name.
    lists: Vec<Vec<u16>>,
    spans: Vec<Span>,
    records: u64,
}

impl Spool {
    /// Reads back what a checkpoint tells of; chunks are by the numbers of its vehicles.
    fn open(folder: Folder, checkpoint: &Checkpoint, chunks: Vec<Vec<Chunk>>) -> Result<Self, Error> {
        let mut order: Vec<(VehicleId, Vec<Chunk>)> = checkpoint.vehicles.iter().cloned().zip(chunks).collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        let (vehicles, mut chunks): (Vec<_>, Vec<_>) = order.into_iter().unzip();
        for own in &mut chunks {
            own.sort_by_key(|chunk| chunk.first);
        }
        let records = chunks.iter().flatten().map(|chunk| u64::from(chunk.rows)).sum();
        let mut spool = Self {
            folder,
            layout: Arc::new(Layout::default()),
            vehicles,
            chunks,
            lists: checkpoint.lists.clone(),
            spans: checkpoint.spans(),
            records,
        };
        let step_ms = spool.step_ms().map_err(|error| Error::Internal(error.into()))?;
        let layout = Layout::new(checkpoint.foreign.iter().cloned(), step_ms);
        let layout = layout.map_err(|error| Error::VerdictFailed(error.to_string()))?;
        // Rows number foreign signals in the order of their appearance, the layout by path.
        let catalogued = Layout::default().len();
        let place = |at: &u16| match checkpoint.foreign.get(usize::from(*at).wrapping_sub(catalogued)) {
            Some(path) => layout.of_path(path).unwrap_or(*at),
            None => *at,
        };
        spool.lists = checkpoint.lists.iter().map(|list| list.iter().map(place).collect()).collect();
        spool.layout = Arc::new(layout);
        Ok(spool)
    }

    /// Readings in it.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How far apart the readings of a vehicle usually are, in two digits, ms: a little more or less must not make
    /// another layout.
    fn step_ms(&self) -> Result<i64, detector::Error> {
        let of_vehicle = |(): &mut (), vehicle: usize| {
            let (mut gaps, mut last) = (BTreeMap::<i64, u64>::new(), None);
            self.read(vehicle, &mut |reading| {
                if let Some(gap) = last.replace(reading.time).map(|last| reading.time - last).filter(|gap| *gap > 0) {
                    *gaps.entry(digits(gap, 3)).or_default() += 1;
                }
                Ok(())
            })?;
            Ok::<_, detector::Error>(gaps)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut all = BTreeMap::<i64, u64>::new();
        for gaps in history::each(self.vehicles.len(), threads, || Ok(()), of_vehicle)? {
            for (gap, count) in gaps {
                *all.entry(gap).or_default() += count;
            }
        }
        let middle = all.values().sum::<u64>() / 2;
        let mut passed = 0;
        let median = all.iter().find(|(_, count)| {
            passed += **count;
            passed > middle
        });
        Ok(median.map_or(STEP_MS, |(gap, _)| {
            let unit = digits_unit(*gap, 2);
            (gap + unit / 2) / unit * unit
        }))
    }
}

fn digits_unit(number: i64, digits: u32) -> i64 {
    10_i64.pow((number.ilog10() + 1).saturating_sub(digits))
}

/// The first digits of a number above 0; the others become 0.
fn digits(number: i64, digits: u32) -> i64 {
    let unit = digits_unit(number, digits);
    number / unit * unit
}

impl History for Spool {
    fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn vehicles(&self) -> &[VehicleId] {
        &self.vehicles
    }

    fn read(
        &self,
        vehicle: usize,
        visit: &mut dyn FnMut(&Reading<'_>) -> Result<(), detector::Error>,
    ) -> Result<(), detector::Error> {
        let Some(chunks) = self.chunks.get(vehicle) else { return Ok(()) };
        Merge::new(self.folder.rows(), &self.lists, chunks).read(visit)
    }

    fn spans(&self) -> &[Span] {
        &self.spans
    }
}
