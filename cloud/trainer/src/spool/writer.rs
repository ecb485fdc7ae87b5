//! Writing a spool: records in the order of the log become rows, each vehicle's together.

use std::collections::HashMap;

use cloud_log::{InRecord, Seen};
use detector::{Layout, layout::MAX_FOREIGN};
use service::Error;
use telemetry::{Record, UnixMillis, VehicleId};

use super::{
    Folder, Spool,
    checkpoint::{Chain, Checkpoint, Source},
    row::{CHUNK_HEAD, Chunk, HEAD, Head, Key},
};
use crate::replay;

/// Rows that wait in memory are written from so many bytes on.
const SEGMENT_BYTES: usize = 32 * 1024 * 1024;
/// Or when so many records were read, whatever became of them: an interruption costs no more than these.
const SEGMENT_RECORDS: u64 = 1_000_000;

/// A row that waits: vehicle, key, and where its bytes are.
type Waiting = (u32, Key, u32);

/// Collects records into a spool.
#[derive(Debug)]
pub struct Spooler {
    folder: Folder,
    checkpoint: Checkpoint,
    within: std::ops::Range<UnixMillis>,
    chunks: Vec<Vec<Chunk>>,
    seen: Seen,
    layout: Layout,
    numbers: HashMap<VehicleId, u32>,
    foreign: HashMap<String, u16>,
    lists: HashMap<Vec<u16>, u32>,
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    /// Records read since the last segment.
    unsaved: u64,
    segment_bytes: usize,
    list: Vec<u16>,
    values: Vec<f32>,
}

impl Spooler {
    /// Begins a spool.
    pub fn new(folder: Folder, source: Source) -> Self {
        Self::of(folder, Checkpoint::new(source))
    }

    /// Goes on where a checkpoint left off.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the rows are not those that it tells of.
    pub fn resume(folder: Folder, checkpoint: Checkpoint) -> Result<Self, Error> {
        let mut spooler = Self::of(folder, checkpoint);
        let mut at = 0;
        for segment in spooler.checkpoint.segments.clone() {
            let bytes = spooler.folder.segment(at, &segment)?;
            spooler.take_back(at, &bytes).ok_or_else(|| spooler.folder.damaged())?;
            at += segment.bytes;
        }
        Ok(spooler)
    }

    fn of(folder: Folder, checkpoint: Checkpoint) -> Self {
        let (layout, catalogued) = (Layout::default(), Layout::default().len() as u16);
        let numbered = |(n, list): (u32, &Vec<u16>)| (list.clone(), n);
        Self {
            within: checkpoint.source.within(),
            chunks: vec![Vec::new(); checkpoint.vehicles.len()],
            seen: Seen::default(),
            numbers: (0..).zip(&checkpoint.vehicles).map(|(n, vehicle)| (vehicle.clone(), n)).collect(),
            foreign: (catalogued..).zip(&checkpoint.foreign).map(|(n, path)| (path.clone(), n)).collect(),
            lists: (0..).zip(&checkpoint.lists).map(numbered).collect(),
            folder,
            checkpoint,
            layout,
            bytes: Vec::new(),
            waiting: Vec::new(),
            unsaved: 0,
            segment_bytes: SEGMENT_BYTES,
            list: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Learns from a segment what was seen and where it lies.
    fn take_back(&mut self, segment_at: u64, bytes: &[u8]) -> Option<()> {
        let mut at = 0;
        while at < bytes.len() {
            let (vehicle, chunk) = Chunk::read(&bytes[at..], segment_at + at as u64)?;
            let rows = bytes.get(at + CHUNK_HEAD..at + CHUNK_HEAD + chunk.bytes as usize)?;
            let id = self.checkpoint.vehicles.get(vehicle as usize)?;
            let mut row = 0;
            while row < rows.len() {
                let head = Head::read(&rows[row..])?;
                self.seen.note(id, head.boot, head.seq);
                row += HEAD + 4 * self.checkpoint.lists.get(head.list as usize)?.len();
            }
            self.chunks[vehicle as usize].push(chunk);
            at += CHUNK_HEAD + chunk.bytes as usize;
        }
        Some(())
    }

    /// What it holds so far.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    #[cfg(test)]
    pub(super) fn with_segments_of(mut self, bytes: usize) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Takes a record of `telemetry`, in the order of its partition.
    ///
    /// # Errors
    /// If the disk is full, or the readings name too many signals that the catalogue lacks.
    pub fn take(&mut self, record: &InRecord) -> Result<(), Error> {
        self.checkpoint.received += 1;
        self.unsaved += 1;
        self.chain(record).to = record.offset + 1;
        match replay::read(record) {
            Err(_) => self.discard("unreadable"),
            Ok(reading) if !self.within.contains(&reading.time) => self.discard("out_of_range"),
            Ok(reading) => {
                let replay::Reading { record: decoded, time } = reading;
                if self.seen.note(&decoded.vehicle, decoded.boot, decoded.seq) {
                    self.chain(record).link(record.payload.as_deref().unwrap_or_default());
                    self.push(&decoded, time)?;
                } else {
                    self.discard("duplicate");
                }
            }
        }
        if self.bytes.len() >= self.segment_bytes || self.unsaved >= SEGMENT_RECORDS {
            self.save()?;
        }
        Ok(())
    }

    fn chain(&mut self, record: &InRecord) -> &mut Chain {
        self.checkpoint.chains.entry(record.partition).or_insert_with(|| Chain::new(record.offset))
    }

    fn discard(&mut self, reason: &str) {
        match self.checkpoint.discarded.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.checkpoint.discarded.insert(reason.to_owned(), 1);
            }
        }
    }

    fn push(&mut self, record: &Record, time: UnixMillis) -> Result<(), Error> {
        self.list.clear();
        self.values.clear();
        for (number, value) in record.signals.known() {
            if let (Some(at), Some(value)) = (self.layout.of_number(number), value.as_number()) {
                self.list.push(at);
                self.values.push(value as f32);
            }
        }
        for (path, value) in record.signals.unknown() {
            let Some(value) = value.as_number() else { continue };
            let at = match self.foreign.get(path) {
                Some(at) => *at,
                None => self.number_foreign(path)?,
            };
            self.list.push(at);
            self.values.push(value as f32);
        }
        let list = match self.lists.get(&self.list) {
            Some(list) => *list,
            None => {
                let list = self.checkpoint.lists.len() as u32;
                self.checkpoint.lists.push(self.list.clone());
                self.lists.insert(self.list.clone(), list);
                list
            }
        };
        let vehicle = match self.numbers.get(&record.vehicle) {
            Some(vehicle) => *vehicle,
            None => {
                let vehicle = self.checkpoint.vehicles.len() as u32;
                self.checkpoint.vehicles.push(record.vehicle.clone());
                self.numbers.insert(record.vehicle.clone(), vehicle);
                self.chunks.push(Vec::new());
                vehicle
            }
        };
        let head = Head { list, kind: record.kind, boot: record.boot, seq: record.seq, time };
        self.waiting.push((vehicle, head.key(), self.bytes.len() as u32));
        head.write(&mut self.bytes);
        self.bytes.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        Ok(())
    }

    fn number_foreign(&mut self, path: &str) -> Result<u16, Error> {
        if self.checkpoint.foreign.len() >= MAX_FOREIGN {
            let text = format!("more than {MAX_FOREIGN} signals that the catalogue lacks: {path} is one too many");
            return Err(Error::VerdictFailed(text));
        }
        let at = (self.layout.len() + self.checkpoint.foreign.len()) as u16;
        self.checkpoint.foreign.push(path.to_owned());
        self.foreign.insert(path.to_owned(), at);
        Ok(at)
    }

    /// Writes what waits, and how far that got.
    fn save(&mut self) -> Result<(), Error> {
        self.waiting.sort_unstable_by_key(|(vehicle, key, _)| (*vehicle, *key));
        let mut out = Vec::with_capacity(self.bytes.len() + CHUNK_HEAD * 1_024);
        let mut chunks: Vec<(u32, Chunk)> = Vec::new();
        for own in self.waiting.chunk_by(|a, b| a.0 == b.0) {
            let (vehicle, first, _) = own[0];
            let head_at = out.len();
            out.extend([0; CHUNK_HEAD]);
            for (_, _, from) in own {
                let row = &self.bytes[*from as usize..];
                let list = Head::read(row).map_or(0, |head| head.list);
                out.extend(&row[..HEAD + 4 * self.checkpoint.lists[list as usize].len()]);
            }
            let bytes = (out.len() - head_at - CHUNK_HEAD) as u32;
            let chunk = Chunk { from: (head_at + CHUNK_HEAD) as u64, bytes, rows: own.len() as u32, first };
            let mut head = Vec::with_capacity(CHUNK_HEAD);
            chunk.write(vehicle, &mut head);
            out[head_at..head_at + CHUNK_HEAD].copy_from_slice(&head);
            chunks.push((vehicle, chunk));
        }
        let at = self.folder.append(&mut self.checkpoint, &out)?;
        for (vehicle, chunk) in chunks {
            self.chunks[vehicle as usize].push(Chunk { from: chunk.from + at, ..chunk });
        }
        self.waiting.clear();
        self.bytes.clear();
        self.unsaved = 0;
        Ok(())
    }

    /// The whole, to learn from.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn finish(mut self) -> Result<(Spool, Checkpoint), Error> {
        if self.unsaved > 0 {
            self.save()?;
        }
        let Self { folder, checkpoint, chunks, .. } = self;
        Ok((Spool::open(folder, &checkpoint, chunks)?, checkpoint))
    }
}
