//! The files of a ledger: one for each process, read together.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use telemetry::UnixMillis;

use super::{Entry, Ledger, batch::Batch};
use crate::frame::Frames;

/// Creates the file of this process below `dir`.
pub(crate) fn create(dir: &Path, wall: UnixMillis) -> io::Result<File> {
    std::fs::create_dir_all(dir)?;
    // Named by time first, so that files sort by age; two processes of one moment differ.
    File::options()
        .append(true)
        .create_new(true)
        .open(dir.join(format!("ledger-{wall:013}-{}.bin", std::process::id())))
}

/// Bytes read at once.
pub(super) const BLOCK: usize = 1 << 20;

/// Reads every ledger file of a folder, oldest first. A torn end is counted; an entry that can't be read, and damage
/// with entries behind it, is [`io::ErrorKind::InvalidData`].
pub fn read(dir: &Path) -> io::Result<Ledger> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    files.sort();
    let mut ledger = Ledger::default();
    for path in files {
        ledger.files += 1;
        let file = File::open(&path)?;
        let mut batch = Batch::default();
        // In blocks: a long run leaves more than one would want in memory at once.
        let mut bytes = Vec::with_capacity(2 * BLOCK);
        loop {
            let read = (&file).take(BLOCK as u64).read_to_end(&mut bytes)?;
            let mut frames = Frames::of(&bytes);
            for fields in frames.by_ref() {
                let taken = match Entry::decode(fields) {
                    Some(entry) => {
                        ledger.add(entry);
                        Some(())
                    }
                    None => batch.take(fields, &mut ledger),
                };
                if taken.is_none() {
                    return Err(invalid(&path, "holds an entry of another version"));
                }
            }
            let torn = frames.torn();
            // No entry is longer than a block: more than two blocks without one are no cut either.
            if torn > 2 * BLOCK || (read == 0 && frames.whole_frame_behind()) {
                return Err(invalid(&path, "is damaged in the middle, not torn at its end"));
            }
            if read == 0 {
                ledger.torn_bytes += torn as u64;
                break;
            }
            bytes.drain(..bytes.len() - torn);
        }
    }
    Ok(ledger)
}

fn invalid(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
}

/// The open file of this process.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(file: File) -> Self {
        Self { file, buffer: Vec::with_capacity(64 * 1024) }
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        entry.encode(&mut self.buffer);
    }

    /// Hands everything to the kernel.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub(crate) fn close(mut self) -> io::Result<()> {
        self.write()?;
        self.file.sync_all()
    }
}
