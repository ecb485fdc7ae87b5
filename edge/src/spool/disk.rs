//! The file operations of the spool: the seam at which tests let a disk fill up and fail.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, path::Path};

use bytes::{Bytes, BytesMut};

/// A file system.
pub(super) trait Disk: fmt::Debug + Send {
    /// Creates a file to write and read, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens one that is there, to write and read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes durable what was created, renamed and removed in a folder.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub(super) trait DiskFile: fmt::Debug + Send {
    /// What was written when it failed is not known.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` as far as the file goes; returns how far.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// fdatasync: when it returns, what was written is durable.
    fn sync(&self) -> io::Result<()>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Bytes.
    fn len(&self) -> io::Result<u64>;
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().create(true).truncate(true).read(true).write(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match FileExt::read_at(self, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Up to `bytes` of a file from `offset` on; fewer only where it ends.
pub(super) fn read_block(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Bytes> {
    let mut block = BytesMut::zeroed(bytes);
    let filled = file.read_at(&mut block, offset)?;
    block.truncate(filled);
    Ok(block.freeze())
}
