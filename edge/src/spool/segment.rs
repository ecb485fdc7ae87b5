//! One file of the log: what is known of it, its name, and how far the last one of a folder can be trusted.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    disk::{Disk, DiskFile, read_block},
    frame::{self, HEAD, HEADER, Header, Parsed},
};

/// Read at once, bytes.
pub(super) const BLOCK: usize = 256 << 10;

const SEGMENT: &str = "segment";
const SPOILT: &str = "spoilt";
/// No log comes so far, and positions above it can be counted.
const MAX_FIRST: u64 = u64::MAX / 2;

/// The records of one file. The next segment begins where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The position of its first record, and its name.
    pub(super) first: u64,
    /// The position after its last one. Frames of later positions may stand in the file: a batch that failed.
    pub(super) end: u64,
    /// Of the file.
    pub(super) bytes: u64,
    /// The first position that can't be read, once somebody has tried.
    pub(super) spoilt: Option<u64>,
}

impl Segment {
    /// One that holds its header.
    pub(super) fn empty(first: u64) -> Self {
        Self { first, end: first, bytes: HEADER as u64, spoilt: None }
    }

    pub(super) fn has_records(&self) -> bool {
        self.first < self.end
    }

    /// The position after the last one that may be readable.
    pub(super) fn readable(&self) -> u64 {
        self.spoilt.unwrap_or(self.end)
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        named(dir, self.first, SEGMENT)
    }

    /// Its name when it is set aside.
    pub(super) fn spoilt_path(&self, dir: &Path) -> PathBuf {
        named(dir, self.first, SPOILT)
    }
}

fn named(dir: &Path, first: u64, extension: &str) -> PathBuf {
    // All have 20 digits, so that names sort as positions do.
    dir.join(format!("{first:020}.{extension}"))
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By position. Each ends where the next begins, the last one where it begins: it has not been looked into.
    pub(super) segments: Vec<Segment>,
    /// Set aside earlier; by position.
    pub(super) aside: Vec<Segment>,
    /// Left by a process that died before it put them in their places.
    pub(super) unfinished: Vec<PathBuf>,
}

impl Listing {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let segment = || {
                let first = path.file_stem()?.to_str()?.parse().ok()?;
                let bytes = entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
                // Whatever else has such a name is not ours.
                (named(dir, first, extension) == path && (1..=MAX_FIRST).contains(&first)).then_some(Segment {
                    first,
                    end: first,
                    bytes,
                    spoilt: None,
                })
            };
            match extension {
                SEGMENT => listing.segments.extend(segment()),
                SPOILT => listing.aside.extend(segment()),
                "new" => listing.unfinished.push(path),
                _ => {}
            }
        }
        listing.segments.sort_unstable_by_key(|segment| segment.first);
        listing.aside.sort_unstable_by_key(|segment| segment.first);
        for at in 1..listing.segments.len() {
            listing.segments[at - 1].end = listing.segments[at].first;
        }
        Ok(listing)
    }
}

/// How far the last segment of a folder, which its process may not have ended, can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) header: Header,
    /// The position after the last whole frame.
    pub(super) end: u64,
    /// Where it ends in the file, bytes.
    pub(super) bytes: u64,
    /// Whole frames of the following positions that stand behind one that is spoilt. A kill leaves none; a power
    /// cut may, and then they are reported as lost though they never counted.
    pub(super) behind: u64,
}

impl Extent {
    /// Reads the file block by block.
    pub(super) fn of(disk: &dyn Disk, dir: &Path, segment: &Segment) -> io::Result<Self> {
        let file = disk.open(&segment.path(dir))?;
        let header = frame::read_header(&read_block(&*file, 0, HEADER)?);
        let (end, bytes) = walk(&*file, segment.bytes, segment.first, HEADER as u64);
        let behind = match skip(&*file, bytes) {
            Some(next) => walk(&*file, segment.bytes, end + 1, next).0 - (end + 1),
            None => 0,
        };
        Ok(Self { header, end, bytes, behind })
    }
}

/// Follows whole frames; returns the position and the offset behind the last.
fn walk(file: &dyn DiskFile, length: u64, mut position: u64, mut offset: u64) -> (u64, u64) {
    let mut wanted = BLOCK;
    // What can't be read is no whole frame.
    while let Ok(block) = read_block(file, offset, wanted) {
        let mut at = 0;
        let needs = loop {
            match frame::parse(&block[at..], position) {
                Parsed::Whole(body) => {
                    at += HEAD + body;
                    position += 1;
                }
                Parsed::Short(needs) => break needs,
                Parsed::Spoilt => return (position, offset + at as u64),
            }
        };
        offset += at as u64;
        if block.len() < wanted || offset + needs as u64 > length {
            break;
        }
        wanted = needs.max(BLOCK);
    }
    (position, offset)
}

/// Where the frame behind the one at `offset` would begin, if that one's length can be believed.
fn skip(file: &dyn DiskFile, offset: u64) -> Option<u64> {
    let head = read_block(file, offset, HEAD).ok()?;
    let body = frame::claimed_length(head.first_chunk()?)?;
    Some(offset + (HEAD + body) as u64)
}
