//! Opening a log: what a kill or a bad disk left is judged by the last segment alone, however long the log is.
//! Damage in the others is found when they are read.

use std::{
    collections::VecDeque,
    fs::{File, TryLockError},
    path::Path,
    time::Instant,
};

use super::{Losses, Store};
use crate::spool::{
    Error, Settings,
    aside::Aside,
    checkpoint::Checkpoint,
    disk::{Disk, FileSystem},
    frame::{HEADER, Header},
    segment::{Extent, Listing, Segment},
};

impl Store {
    /// Opens or creates the log in `dir`, and removes what a kill left half done.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process uses it, [`Error::Version`] if a later program wrote it, otherwise
    /// [`Error::Io`].
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, Error> {
        Self::open_on(Box::new(FileSystem), dir, settings)
    }

    pub(in crate::spool) fn open_on(disk: Box<dyn Disk>, dir: &Path, settings: Settings) -> Result<Self, Error> {
        let failed = |source| Error::Io { dir: dir.to_owned(), source };
        let lock = lock(&*disk, dir)?;
        let Listing { segments, aside, unfinished } = Listing::of(dir).map_err(failed)?;
        for path in unfinished {
            disk.remove(&path).map_err(failed)?;
        }
        let checkpoint = Checkpoint::read(&*disk, dir).unwrap_or(Checkpoint::START);
        // Names of what was set aside tell positions, too.
        let next_at_least = aside.last().map_or(checkpoint.next, |segment| segment.first.max(checkpoint.next));
        let mut closed = VecDeque::from(segments);
        let found = closed.pop_back();
        let last = found.unwrap_or_else(|| Segment { bytes: 0, ..Segment::empty(next_at_least) });
        let mut store = Self {
            aside: Aside::of(dir, aside, settings.limit_bytes),
            disk,
            dir: dir.to_owned(),
            settings,
            _lock: lock,
            closed,
            last,
            active: None,
            cursor: None,
            delivered: 0,
            checkpoint,
            checkpointed: Instant::now(),
            losses: Losses::default(),
            frames: Vec::new(),
        };
        if found.is_none() {
            store.begin_segment().map_err(failed)?;
        }
        store.judge_last(next_at_least)?;
        // Segments are removed before a checkpoint says so; what stands before the first was delivered.
        store.delivered = checkpoint.delivered.max(store.first()).min(store.next());
        store.remove_delivered().map_err(failed)?;
        Ok(store)
    }

    /// Finds out where the last segment ends, and cuts off what was being written when its process died.
    fn judge_last(&mut self, next_at_least: u64) -> Result<(), Error> {
        let dir = self.dir.clone();
        let failed = |source| Error::Io { dir: dir.clone(), source };
        let on_disk = self.last.bytes;
        let extent = Extent::of(&*self.disk, &self.dir, &self.last).map_err(failed)?;
        let whole_header = match extent.header {
            Header::Version(version) => return Err(Error::Version { dir: self.dir.clone(), version }),
            Header::First(first) => first == self.last.first,
            Header::Spoilt => false,
        };
        // Whole frames behind a spoilt one had positions, too.
        let end = extent.end + if extent.behind > 0 { 1 + extent.behind } else { 0 };
        self.last.end = end.max(next_at_least);
        if on_disk <= HEADER as u64 && !whole_header {
            // It was being created. Its name still says the position, and the next append puts a whole one there.
            self.losses.torn_bytes += on_disk;
        } else if whole_header && extent.behind == 0 && extent.bytes < on_disk {
            let file = self.disk.open(&self.last.path(&self.dir)).map_err(failed)?;
            file.set_len(extent.bytes).and_then(|()| file.sync()).map_err(failed)?;
            self.last.bytes = extent.bytes;
            self.losses.torn_bytes += on_disk - extent.bytes;
        } else if !whole_header && !self.last.has_records() {
            // Nothing in it can be named, and its name is wanted for the next records.
            self.losses.spoilt_segments += 1;
            let spoilt = self.last;
            self.set_aside(&spoilt).map_err(failed)?;
            self.last.bytes = 0;
            self.begin_segment().map_err(failed)?;
        }
        Ok(())
    }
}

/// Creates the folder if need be, and locks it.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::Io { dir: dir.to_owned(), source };
    if !dir.is_dir() {
        std::fs::create_dir_all(dir).map_err(failed)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(failed)?;
        }
    }
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
