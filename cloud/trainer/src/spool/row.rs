//! A reading as bytes, and where rows of one vehicle lie together.

use telemetry::{Kind, UnixMillis};

/// Bytes before a row's numbers.
pub(super) const HEAD: usize = 24;
/// Bytes before a chunk's rows.
pub(super) const CHUNK_HEAD: usize = 24;
/// In the number of a list: the row is a change.
const CHANGE: u32 = 1 << 31;

/// Order of a vehicle's rows.
pub(super) type Key = (u32, u64);

/// A row without its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Head {
    /// The list that says what places the numbers have.
    pub(super) list: u32,
    pub(super) kind: Kind,
    pub(super) boot: u32,
    pub(super) seq: u64,
    pub(super) time: UnixMillis,
}

impl Head {
    pub(super) fn key(&self) -> Key {
        (self.boot, self.seq)
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let change = if self.kind == Kind::Change { CHANGE } else { 0 };
        to.extend((self.list | change).to_le_bytes());
        to.extend(self.boot.to_le_bytes());
        to.extend(self.seq.to_le_bytes());
        to.extend(self.time.to_le_bytes());
    }

    /// None of too few bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (list, rest) = bytes.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let list = u32::from_le_bytes(*list);
        Some(Self {
            list: list & !CHANGE,
            kind: if list & CHANGE == 0 { Kind::Full } else { Kind::Change },
            boot: u32::from_le_bytes(*boot),
            seq: u64::from_le_bytes(*seq),
            time: UnixMillis::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

/// Rows of one vehicle that lie one behind the other, ascending.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chunk {
    /// Where its rows begin in the file.
    pub(super) from: u64,
    /// Bytes of its rows.
    pub(super) bytes: u32,
    pub(super) rows: u32,
    /// The least key.
    pub(super) first: Key,
}

impl Chunk {
    pub(super) fn write(&self, vehicle: u32, to: &mut Vec<u8>) {
        to.extend(vehicle.to_le_bytes());
        to.extend(self.rows.to_le_bytes());
        to.extend(self.bytes.to_le_bytes());
        to.extend(self.first.0.to_le_bytes());
        to.extend(self.first.1.to_le_bytes());
    }

    /// The chunk that begins here and its vehicle; `at` is where these bytes lie in the file.
    pub(super) fn read(bytes: &[u8], at: u64) -> Option<(u32, Self)> {
        let (words, rest) = bytes.split_first_chunk::<16>()?;
        let word = |n: usize| u32::from_le_bytes([words[n], words[n + 1], words[n + 2], words[n + 3]]);
        let seq = u64::from_le_bytes(*rest.first_chunk()?);
        let from = at + CHUNK_HEAD as u64;
        Some((word(0), Self { from, rows: word(4), bytes: word(8), first: (word(12), seq) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for kind in [Kind::Full, Kind::Change] {
            let head = Head { list: 7, kind, boot: u32::MAX, seq: u64::MAX - 1, time: -5 };
            let mut bytes = Vec::new();
            head.write(&mut bytes);
            assert_eq!(bytes.len(), HEAD);
            assert_eq!(Head::read(&bytes), Some(head));
            assert_eq!(Head::read(&bytes[1..]), None);
        }
        let chunk = Chunk { from: 124, bytes: 5_000, rows: 50, first: (3, u64::MAX) };
        let mut bytes = Vec::new();
        chunk.write(9, &mut bytes);
        assert_eq!(bytes.len(), CHUNK_HEAD);
        assert_eq!(Chunk::read(&bytes, 100), Some((9, chunk)));
        assert_eq!(Chunk::read(&bytes[..20], 100), None);
    }
}
