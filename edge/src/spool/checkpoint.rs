//! Where a restart begins: a small file that is replaced as a whole. Lost or torn, it costs repeats.

use std::{io, path::Path};

use super::disk::Disk;

const FILE: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const MAGIC: [u8; 8] = *b"MCCHECK\n";
const BYTES: usize = 28;

/// What is known of the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Every record below it is delivered.
    pub(super) delivered: u64,
    /// No record below it is still to be written: a position is not used twice, also where the end of the log
    /// was destroyed.
    pub(super) next: u64,
}

impl Checkpoint {
    /// Of a folder that has none.
    pub(super) const START: Self = Self { delivered: 1, next: 1 };

    fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.delivered.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let checkpoint = Self { delivered: number(8)?, next: number(16)? };
        // Magic and checksum with it.
        (bytes == checkpoint.encode()).then_some(checkpoint)
    }

    /// The one in the folder; none where there is none, or none that is whole.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Option<Self> {
        let mut bytes = [0; BYTES + 1];
        let count = disk.open(&dir.join(FILE)).ok()?.read_at(&mut bytes, 0).ok()?;
        Self::decode(&bytes[..count])
    }

    /// Replaces the one in the folder.
    pub(super) fn write(self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let new = dir.join(NEW);
        let file = disk.create(&new)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync()?;
        disk.rename(&new, &dir.join(FILE))?;
        disk.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::FileSystem;

    #[test]
    fn it_survives_its_file_and_a_spoilt_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::read(&FileSystem, dir.path()), None);
        for delivered in [1, 1 << 50] {
            let checkpoint = Checkpoint { delivered, next: delivered + 9 };
            checkpoint.write(&FileSystem, dir.path()).unwrap();
            assert_eq!(Checkpoint::read(&FileSystem, dir.path()), Some(checkpoint));
        }
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let spoilt = (0..8 * whole.len()).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in spoilt.chain(cut).chain([[&whole[..], b"x"].concat()]) {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Checkpoint::read(&FileSystem, dir.path()), None, "{bytes:?}");
        }
    }
}
