//! The folder of a spool: one process at a time, removed at the end unless it was named.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use service::Error;
use telemetry::PayloadHash;
use tempfile::TempDir;

use super::checkpoint::{Checkpoint, Segment};
use crate::replay::Range;

const ROWS: &str = "rows";
const CHECKPOINT: &str = "checkpoint.json";
const LOCK: &str = "lock";

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    rows: File,
    /// Held as long as the folder is open.
    _lock: File,
    /// None where the folder was named: it stays.
    temporary: Option<TempDir>,
}

impl Folder {
    /// Opens or makes the folder; none: a temporary one, removed when it is dropped.
    ///
    /// # Errors
    /// [`Error::Usage`] if another process has it, or it is something else.
    pub fn open(named: Option<&Path>) -> Result<Self, Error> {
        let (path, temporary) = match named {
            Some(path) => (path.to_owned(), None),
            None => {
                let made = tempfile::Builder::new().prefix("motorcade-spool-").tempdir();
                let made = made.context("make a temporary folder for the spool; --spool names another")?;
                (made.path().to_owned(), Some(made))
            }
        };
        std::fs::create_dir_all(&path).map_err(|error| wrong(&path, &error))?;
        if !path.join(CHECKPOINT).exists() {
            let mut entries = std::fs::read_dir(&path).map_err(|error| wrong(&path, &error))?;
            let ours = |name: &std::ffi::OsStr| name == ROWS || name == LOCK;
            if entries.any(|entry| entry.is_ok_and(|entry| !ours(&entry.file_name()))) {
                return Err(wrong(&path, &"holds something else; name an empty folder"));
            }
        }
        let open = |name: &str| {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path.join(name));
            file.map_err(|error| wrong(&path, &error))
        };
        let (lock, rows) = (open(LOCK)?, open(ROWS)?);
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, rows, _lock: lock, temporary }),
            Err(TryLockError::WouldBlock) => Err(wrong(&path, &"another process replays into it")),
            Err(TryLockError::Error(error)) => Err(wrong(&path, &error)),
        }
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rows(&self) -> &File {
        &self.rows
    }

    /// The checkpoint, if one was written, of this range.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is of another range.
    pub fn checkpoint(&self, asked: &Range) -> Result<Option<Checkpoint>, Error> {
        let path = self.path.join(CHECKPOINT);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(&self.path, &error)),
        };
        let checkpoint: Checkpoint = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(&self.path, &format!("{CHECKPOINT}: {error}; remove the folder")))?;
        checkpoint.check(asked).map_err(|detail| wrong(&self.path, &detail))?;
        Ok(Some(checkpoint))
    }

    /// Appends rows behind the checkpoint's last segment, then writes the checkpoint with them.
    pub(super) fn append(&self, checkpoint: &mut Checkpoint, bytes: &[u8]) -> Result<u64, Error> {
        let at = checkpoint.segments.iter().map(|segment| segment.bytes).sum();
        let advice = || format!("write the spool {}; --spool names another folder", self.path.display());
        self.rows.write_all_at(bytes, at).with_context(advice)?;
        checkpoint.segments.push(Segment { bytes: bytes.len() as u64, hash: PayloadHash::of(bytes).0 });
        // Nobody can name a temporary folder again.
        if self.temporary.is_none() {
            let text = serde_json::to_vec(checkpoint).map_err(anyhow::Error::from)?;
            let beside = self.path.join("checkpoint.new");
            let written = File::create(&beside).and_then(|mut file| file.write_all(&text));
            written.and_then(|()| std::fs::rename(&beside, self.path.join(CHECKPOINT))).with_context(advice)?;
        }
        Ok(at)
    }

    /// A segment's bytes, as they were written.
    ///
    /// # Errors
    /// [`Error::BadInput`] if they are not.
    pub(super) fn segment(&self, at: u64, segment: &Segment) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(segment.bytes).unwrap_or(usize::MAX)];
        let read = self.rows.read_exact_at(&mut bytes, at);
        if read.is_err() || PayloadHash::of(&bytes).0 != segment.hash {
            return Err(self.damaged());
        }
        Ok(bytes)
    }

    pub(super) fn damaged(&self) -> Error {
        Error::BadInput(format!("the spool {} is damaged: remove it and replay again", self.path.display()))
    }

    /// Refuses a spool for its cluster.
    pub fn of_another_cluster(&self, theirs: &str, ours: &str) -> Error {
        let text = format!("it is a replay of cluster {theirs}, not of {ours}; take another folder, or remove it");
        wrong(&self.path, &text)
    }
}

fn wrong(path: &Path, detail: &dyn std::fmt::Display) -> Error {
    Error::Usage { flag: "spool", detail: format!("{}: {detail}", path.display()) }
}
