//! Spoilt segments, kept for whoever wants to know what happened to them: few, and never at the cost of records.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use super::{disk::Disk, segment::Segment};

/// So many are kept,
const MAX_FILES: usize = 4;
/// and so much of the log's limit: one part in this many.
const SHARE_OF_LIMIT: u64 = 8;

/// The files that are set aside.
#[derive(Debug)]
pub(super) struct Aside {
    dir: PathBuf,
    /// Oldest first.
    files: VecDeque<Segment>,
    max_bytes: u64,
}

impl Aside {
    pub(super) fn of(dir: &Path, files: Vec<Segment>, limit_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), files: files.into(), max_bytes: limit_bytes / SHARE_OF_LIMIT }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Renames a segment; returns how many files had to go for it.
    pub(super) fn take(&mut self, disk: &dyn Disk, segment: &Segment) -> io::Result<u64> {
        disk.rename(&segment.path(&self.dir), &segment.spoilt_path(&self.dir))?;
        // One of the same name was replaced.
        self.files.retain(|file| file.first != segment.first);
        self.files.push_back(*segment);
        let mut removed = 0;
        while self.files.len() > MAX_FILES || self.bytes() > self.max_bytes {
            self.remove_oldest(disk)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Returns whether there was one.
    pub(super) fn remove_oldest(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        let Some(oldest) = self.files.front() else { return Ok(false) };
        match disk.remove(&oldest.spoilt_path(&self.dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.files.pop_front();
                Ok(true)
            }
        }
    }
}
