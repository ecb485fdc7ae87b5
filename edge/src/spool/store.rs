//! The log itself: one owner, who blocks. What is appended and synced counts; nothing else does.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind},
    ops::Range,
    path::PathBuf,
    time::Instant,
};

use super::{
    Settings,
    aside::Aside,
    checkpoint::Checkpoint,
    disk::{Disk, DiskFile},
    frame::{self, HEADER, MAX_BODY},
    reader::{Cursor, Output, Reading, Spoilt, Stop},
    segment::Segment,
};

mod recovery;

/// The buffer of a batch that was larger is given back, bytes.
const KEPT_BUFFER: usize = 1 << 20;

/// How full the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Of all its files, those set aside included.
    pub bytes: u64,
    /// No batch takes `bytes` above it.
    pub limit_bytes: u64,
    /// Not yet delivered; damage that nobody has met while reading is among them.
    pub records: u64,
}

/// What was lost since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Cut off the end at the start: the write during which the last process died.
    pub torn_bytes: u64,
    /// Met while reading, or at the start.
    pub spoilt_segments: u64,
    /// In them, not delivered.
    pub records_set_aside: u64,
    /// Spoilt segments that were removed because there were too many, or records needed their room.
    pub spoilt_files_removed: u64,
}

/// Why a batch was not taken. Nothing of it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would exceed the limit.
    #[error("the spool is full")]
    Full,
    /// A body is longer than [`MAX_BODY`].
    #[error("a record of {0} bytes is longer than the spool takes")]
    TooLong(usize),
    /// The disk is full, or fails. The next batch may succeed.
    #[error("writing to the spool: {0}")]
    Failed(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An open log.
#[derive(Debug)]
pub struct Store {
    disk: Box<dyn Disk>,
    dir: PathBuf,
    settings: Settings,
    /// Held while the store lives: two writers would spoil the log.
    _lock: File,
    /// All segments but the last. Each ends where the next begins.
    closed: VecDeque<Segment>,
    last: Segment,
    /// The last segment's, if it may be appended to: this process began it, and no fsync of it has failed.
    active: Option<Box<dyn DiskFile>>,
    aside: Aside,
    cursor: Option<Cursor>,
    /// Everything below it is.
    delivered: u64,
    /// As it stands on the disk.
    checkpoint: Checkpoint,
    checkpointed: Instant,
    losses: Losses,
    frames: Vec<u8>,
}

impl Store {
    /// The position after the last record that counts; the next one gets it.
    pub fn next(&self) -> u64 {
        self.last.end
    }

    /// Everything below this position is delivered: reading begins here.
    pub fn delivered_below(&self) -> u64 {
        self.delivered
    }

    /// How full it is.
    pub fn level(&self) -> Level {
        let segments: u64 = self.closed.iter().chain([&self.last]).map(|segment| segment.bytes).sum();
        Level {
            bytes: segments + self.aside.bytes(),
            limit_bytes: self.settings.limit_bytes,
            records: self.next() - self.delivered,
        }
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    fn first(&self) -> u64 {
        self.closed.front().unwrap_or(&self.last).first
    }

    /// Appends a batch with one write and one fsync; returns the positions of its bodies, in order.
    ///
    /// # Errors
    /// See [`Refusal`]. After a kill or a failed cut, a refused batch may be found in the log all the same: a
    /// repeat, since whoever handed it over was told to try again.
    pub fn append<'a>(&mut self, bodies: impl IntoIterator<Item = &'a [u8]>) -> Result<Range<u64>, Refusal> {
        let first = self.next();
        let mut end = first;
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let mut too_long = None;
        for body in bodies {
            too_long = too_long.or_else(|| Some(body.len()).filter(|length| *length > MAX_BODY));
            if too_long.is_none() {
                frame::append(&mut frames, end, body);
                end += 1;
            }
        }
        let written = match too_long {
            Some(length) => Err(Refusal::TooLong(length)),
            None if frames.is_empty() => Ok(()),
            None => self.write(&frames),
        };
        frames.clear();
        frames.shrink_to(KEPT_BUFFER);
        self.frames = frames;
        written?;
        self.last.end = end;
        Ok(first..end)
    }

    /// Makes frames durable at the end of the last segment, or of a new one.
    fn write(&mut self, frames: &[u8]) -> Result<(), Refusal> {
        let added = frames.len() as u64;
        let grown = self.last.bytes.saturating_add(added);
        let begins = self.active.is_none() || (self.last.has_records() && grown > self.settings.segment_bytes);
        let cost = added + if begins { HEADER as u64 } else { 0 };
        while self.level().bytes.saturating_add(cost) > self.settings.limit_bytes {
            // What nobody can read yields to what somebody waits for.
            if !self.aside.remove_oldest(&*self.disk)? {
                return Err(Refusal::Full);
            }
            self.losses.spoilt_files_removed += 1;
        }
        if begins {
            self.begin_segment()?;
        }
        let Some(file) = self.active.take() else { return Err(io::Error::from(io::ErrorKind::NotFound).into()) };
        let before = self.last.bytes;
        let written = file.write_all_at(frames, before);
        let syncing = written.is_ok();
        let outcome = written.and_then(|()| file.sync());
        if outcome.is_ok() {
            self.last.bytes = before + added;
            self.active = Some(file);
            return Ok(());
        }
        // After a failed fsync the kernel may hold as clean what the disk does not have: what is read back proves
        // nothing, and the segment gets no further record. A reader stops at its end even if it can't be cut.
        match file.set_len(before) {
            Ok(()) if !syncing => self.active = Some(file),
            Ok(()) => {}
            Err(_) => self.last.bytes = file.len().unwrap_or(before + added),
        }
        Ok(outcome?)
    }

    /// Puts a new segment behind the last; in its place, if that one has no records.
    fn begin_segment(&mut self) -> io::Result<()> {
        let segment = Segment::empty(self.next());
        let new = self.dir.join("segment.new");
        let file = self.disk.create(&new)?;
        file.write_all_at(&frame::write_header(segment.first), 0)?;
        file.sync()?;
        // Whether or not the rest succeeds: where a segment of this name is found, the one before it ends.
        self.active = None;
        self.disk.rename(&new, &segment.path(&self.dir))?;
        self.disk.sync_dir(&self.dir)?;
        let before = std::mem::replace(&mut self.last, segment);
        if before.has_records() {
            self.closed.push_back(before);
        }
        self.active = Some(file);
        Ok(())
    }

    /// Reads from a position on, at most about `max_bytes` (frames count) and at least one record if there is
    /// one. What is spoilt is reported and passed over.
    ///
    /// # Errors
    /// Where the process can't read just now, for want of file descriptors for example; nothing is passed over.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> io::Result<Reading> {
        let mut position = from.max(self.first());
        let mut output = Output::new(max_bytes);
        while position < self.next() {
            let segment = *self.segment_of(position);
            if position >= segment.readable() {
                position = segment.end;
                continue;
            }
            let read = self.read_segment(&segment, position, &mut output);
            position = output.next(position);
            match read {
                Ok(()) => position = segment.readable(),
                Err(Stop::Enough) => break,
                Err(Stop::Spoilt(at, cause)) => {
                    let positions = position.max(at)..segment.readable();
                    self.mark_spoilt(&positions);
                    position = segment.end;
                    output.reading.spoilt.push(Spoilt { positions, cause });
                }
                Err(Stop::NotNow(error)) if output.is_empty() => return Err(error),
                Err(Stop::NotNow(_)) => break,
            }
        }
        output.reading.next = position;
        Ok(output.reading)
    }

    fn read_segment(&mut self, segment: &Segment, from: u64, output: &mut Output) -> Result<(), Stop> {
        let cursor = match self.cursor.take().filter(|cursor| cursor.is_at(segment, from)) {
            Some(cursor) => cursor,
            None => Cursor::open(&*self.disk, &self.dir, segment)?,
        };
        self.cursor.insert(cursor).read(segment, from, output)
    }

    fn segment_of(&self, position: u64) -> &Segment {
        self.closed.get(self.index_of(position)).unwrap_or(&self.last)
    }

    /// Of the closed segment; beyond them for the last.
    fn index_of(&self, position: u64) -> usize {
        self.closed.partition_point(|segment| segment.end <= position)
    }

    /// Remembers that these can't be read: a later reading passes over them without a word, and meets those
    /// before them itself.
    fn mark_spoilt(&mut self, lost: &Range<u64>) {
        let index = self.index_of(lost.start);
        if index == self.closed.len() {
            // Nobody could read what is appended behind it.
            self.active = None;
        }
        let segment = self.closed.get_mut(index).unwrap_or(&mut self.last);
        self.losses.spoilt_segments += u64::from(segment.spoilt.is_none());
        self.losses.records_set_aside += lost.end - lost.start;
        segment.spoilt = Some(lost.start);
    }

    /// Everything below this position is in Kafka. Whole segments below it are removed.
    ///
    /// # Errors
    /// If one can't be; [`Self::tend`] tries again.
    pub fn delivered(&mut self, below: u64) -> io::Result<()> {
        self.delivered = self.delivered.max(below.min(self.next()));
        self.remove_delivered()
    }

    fn remove_delivered(&mut self) -> io::Result<()> {
        let mut removed = false;
        let mut outcome = Ok(());
        while let Some(segment) = self.closed.front().copied().filter(|segment| segment.end <= self.delivered) {
            outcome = match segment.spoilt {
                Some(_) => self.set_aside(&segment),
                None => self.disk.remove(&segment.path(&self.dir)),
            };
            // One that is gone already has been missed by the reader.
            if outcome.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                break;
            }
            outcome = Ok(());
            removed = true;
            self.closed.pop_front();
            self.cursor.take_if(|cursor| cursor.first == segment.first);
        }
        if removed { outcome.and(self.disk.sync_dir(&self.dir)) } else { outcome }
    }

    /// Whether nothing but delivered records are in the last segment.
    fn is_delivered_whole(&self) -> bool {
        self.delivered == self.next() && self.last.has_records()
    }

    fn set_aside(&mut self, segment: &Segment) -> io::Result<()> {
        self.losses.spoilt_files_removed += self.aside.take(&*self.disk, segment)?;
        Ok(())
    }

    /// When [`Self::tend`] is wanted next.
    pub fn next_tending(&self) -> Option<Instant> {
        let removable = self.closed.front().is_some_and(|segment| segment.end <= self.delivered);
        (self.delivered != self.checkpoint.delivered || removable || self.is_delivered_whole())
            .then(|| self.checkpointed + self.settings.checkpoint_every)
    }

    /// Writes the checkpoint if it is time, and gives the disk back if everything is delivered.
    ///
    /// # Errors
    /// If the disk fails; it is tried again at [`Self::next_tending`]. Until then a restart repeats more.
    pub fn tend(&mut self, now: Instant) -> io::Result<()> {
        if self.next_tending().is_none_or(|due| now < due) {
            return Ok(());
        }
        self.checkpointed = now;
        self.settle()
    }

    /// Writes the checkpoint and frees the folder for the next process. To drop a store costs repeats only.
    ///
    /// # Errors
    /// If the checkpoint can't be written.
    pub fn close(mut self) -> io::Result<()> {
        self.settle()
    }

    /// Puts an empty segment behind the last one, all of which is delivered.
    fn empty_last(&mut self) -> io::Result<()> {
        let begun = self.begin_segment();
        let full = |error: &io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if !begun.as_ref().is_err_and(full) {
            return begun;
        }
        // There is room for it only when the last one yields, which nobody reads any more. To die here costs a wrong
        // count: what is delivered, and no checkpoint says so, is taken for lost.
        self.active = None;
        self.disk.open(&self.last.path(&self.dir))?.set_len(HEADER as u64)?;
        self.last.bytes = HEADER as u64;
        self.begin_segment()
    }

    fn settle(&mut self) -> io::Result<()> {
        // The last segment is what holds the position, so an empty one takes its place first.
        let emptied = if self.is_delivered_whole() { self.empty_last() } else { Ok(()) };
        let removed = self.remove_delivered();
        let checkpoint = Checkpoint { delivered: self.delivered, next: self.next() };
        if checkpoint != self.checkpoint {
            checkpoint.write(&*self.disk, &self.dir)?;
            self.checkpoint = checkpoint;
        }
        emptied.and(removed)
    }
}

#[cfg(test)]
mod tests;
