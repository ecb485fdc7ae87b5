//! Reading in sequence: a cursor into one segment, and large blocks whose records are handed on uncopied.

use std::{fmt, io, ops::Range, path::Path};

use bytes::Bytes;
use nix::errno::Errno;

use super::{
    disk::{Disk, DiskFile, read_block},
    frame::{self, HEAD, HEADER, Header, Parsed},
    segment::{BLOCK, Segment},
};

/// Read at once for who wants only a few bytes.
const SMALL_BLOCK: usize = 16 << 10;

/// What [`Store::read`](super::Store::read) found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Positions and bodies, in order. The bodies of one block share its memory: one that is kept alone keeps
    /// up to 256 KiB.
    pub records: Vec<(u64, Bytes)>,
    /// What is missing before, between and behind them. Each is reported once by a store.
    pub spoilt: Vec<Spoilt>,
    /// The position to go on from.
    pub next: u64,
}

/// Records that can't be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoilt {
    /// Theirs.
    pub positions: Range<u64>,
    /// Why.
    pub cause: Cause,
}

/// What is wrong with a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its header is spoilt, is another segment's, or is of a later version.
    Header,
    /// A frame's checksum, length or place is wrong.
    Frame,
    /// It ends too early.
    Cut,
    /// It is gone.
    Missing,
    /// The disk does not give it back.
    Unreadable(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => to.write_str("spoilt header"),
            Self::Frame => to.write_str("spoilt frame"),
            Self::Cut => to.write_str("cut off"),
            Self::Missing => to.write_str("missing file"),
            Self::Unreadable(error) => write!(to, "unreadable: {error}"),
        }
    }
}

/// Why nothing more came.
pub(super) enum Stop {
    /// `max_bytes` are reached.
    Enough,
    /// Nothing from this position on can be read in this segment.
    Spoilt(u64, Cause),
    /// The process can't just now.
    NotNow(io::Error),
}

/// A [`Reading`] that grows.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) reading: Reading,
    bytes: usize,
    max_bytes: usize,
}

impl Output {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { reading: Reading::default(), bytes: 0, max_bytes }
    }

    /// Heads count, so that many empty bodies have an end; a single record always fits.
    fn has_room(&self, body: usize) -> bool {
        self.reading.records.is_empty() || self.bytes + HEAD + body <= self.max_bytes
    }

    /// Whether there is nothing to hand on.
    pub(super) fn is_empty(&self) -> bool {
        self.reading.records.is_empty() && self.reading.spoilt.is_empty()
    }

    /// Where to go on: behind the last record, and not before `position`.
    pub(super) fn next(&self, position: u64) -> u64 {
        self.reading.records.last().map_or(position, |(last, _)| position.max(last + 1))
    }

    fn push(&mut self, position: u64, body: Bytes) {
        self.bytes += HEAD + body.len();
        self.reading.records.push((position, body));
    }
}

/// A place between two frames.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The first position of the segment.
    pub(super) first: u64,
    file: Box<dyn DiskFile>,
    position: u64,
    offset: u64,
}

impl Cursor {
    /// At the first record of a segment.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, segment: &Segment) -> Result<Self, Stop> {
        let spoilt = |cause| Stop::Spoilt(segment.first, cause);
        let file = disk.open(&segment.path(dir)).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            // Of the process or the machine, not of the file.
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EACCES | Errno::EPERM) => Stop::NotNow(error),
            Some(Errno::ENOENT) => spoilt(Cause::Missing),
            _ => spoilt(Cause::Unreadable(error.to_string())),
        })?;
        match read_block(&*file, 0, HEADER).map(|bytes| frame::read_header(&bytes)) {
            Ok(Header::First(first)) if first == segment.first => {}
            Ok(_) => return Err(spoilt(Cause::Header)),
            Err(error) => return Err(spoilt(Cause::Unreadable(error.to_string()))),
        }
        Ok(Self { first: segment.first, file, position: segment.first, offset: HEADER as u64 })
    }

    /// Whether it stands before this record of this segment.
    pub(super) fn is_at(&self, segment: &Segment, position: u64) -> bool {
        self.first == segment.first && self.position == position
    }

    /// Reads the records from `from` on into `output`, to the end of the segment or to damage that is known.
    pub(super) fn read(&mut self, segment: &Segment, from: u64, output: &mut Output) -> Result<(), Stop> {
        let mut needs = 0;
        while self.position < segment.readable() {
            let left = usize::try_from(segment.bytes.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let wanted = output.max_bytes.saturating_sub(output.bytes).clamp(SMALL_BLOCK, BLOCK).max(needs).min(left);
            let block = read_block(&*self.file, self.offset, wanted)
                .map_err(|error| Stop::Spoilt(self.position, Cause::Unreadable(error.to_string())))?;
            needs = self.take(&block, segment, from, output)?;
            // A block that is shorter than asked for went to the end of the file.
            if self.position < segment.readable()
                && (block.len() < wanted || self.offset.saturating_add(needs as u64) > segment.bytes)
            {
                return Err(Stop::Spoilt(self.position, Cause::Cut));
            }
        }
        Ok(())
    }

    /// Takes the whole frames of a block; returns how many bytes the next one needs.
    fn take(&mut self, block: &Bytes, segment: &Segment, from: u64, output: &mut Output) -> Result<usize, Stop> {
        let mut at = 0;
        while self.position < segment.readable() {
            let body = match frame::parse(&block[at..], self.position) {
                Parsed::Whole(body) => body,
                Parsed::Short(needs) => return Ok(needs),
                Parsed::Spoilt => return Err(Stop::Spoilt(self.position, Cause::Frame)),
            };
            if self.position >= from {
                if !output.has_room(body) {
                    return Err(Stop::Enough);
                }
                output.push(self.position, block.slice(at + HEAD..at + HEAD + body));
            }
            at += HEAD + body;
            self.offset += (HEAD + body) as u64;
            self.position += 1;
        }
        Ok(0)
    }
}
