//! A real file system that fails where a test wants it to, and remembers what was done. It syncs nothing: a
//! kill needs no sync to be survived, and tests need time.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use nix::errno::Errno;

use crate::spool::disk::{Disk, DiskFile, FileSystem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Open,
    Read,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
}

#[derive(Debug, Default)]
struct State {
    /// Each fails one operation of its kind.
    faults: Vec<(Operation, Errno)>,
    done: Vec<Operation>,
}

/// Its clones share faults and memory.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    /// The next operations of these kinds fail, each once for each time that it is named.
    pub(super) fn fail(&self, operations: &[Operation], errno: Errno) {
        self.0.lock().unwrap().faults.extend(operations.iter().map(|operation| (*operation, errno)));
    }

    pub(super) fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    /// What was done since the last call.
    pub(super) fn take_done(&self) -> Vec<Operation> {
        std::mem::take(&mut self.0.lock().unwrap().done)
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.done.push(operation);
        match state.faults.iter().position(|(fails, _)| *fails == operation) {
            Some(at) => Err(state.faults.remove(at).1.into()),
            None => Ok(()),
        }
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { disk: self.clone(), file })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(Operation::Create)?;
        Ok(self.wrap(FileSystem.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(Operation::Open)?;
        Ok(self.wrap(FileSystem.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename)?;
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove)?;
        FileSystem.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: Box<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check(Operation::Write).inspect_err(|_| {
            // A disk that fills up takes a part.
            self.file.write_all_at(&bytes[..bytes.len() * 2 / 3], offset).unwrap();
        })?;
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.check(Operation::Read)?;
        self.file.read_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.check(Operation::Sync)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.check(Operation::SetLen)?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
