//! A vehicle's chunks as one sequence of readings.

use std::{fs::File, os::unix::fs::FileExt};

use detector::{Error, Reading};

use super::row::{Chunk, HEAD, Head, Key};

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// Reads chunks, merged by key. Late readings make neighbouring chunks overlap; then as many are open at once.
pub(super) struct Merge<'a> {
    rows: &'a File,
    lists: &'a [Vec<u16>],
    /// Ascending by their first keys.
    waiting: std::iter::Peekable<std::slice::Iter<'a, Chunk>>,
    open: Vec<Cursor>,
    /// Buffers of chunks that are through.
    spare: Vec<Vec<u8>>,
}

/// A place in a chunk; it stands on a row.
struct Cursor {
    head: Head,
    /// What was read and not yet passed.
    held: Vec<u8>,
    at: usize,
    /// What is not read yet, in the file.
    left: std::ops::Range<u64>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(rows: &'a File, lists: &'a [Vec<u16>], chunks: &'a [Chunk]) -> Self {
        Self { rows, lists, waiting: chunks.iter().peekable(), open: Vec::new(), spare: Vec::new() }
    }

    pub(super) fn read(mut self, visit: &mut dyn FnMut(&Reading<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut numbers: Vec<f32> = Vec::new();
        loop {
            let mut least = self.least();
            while let Some(chunk) = self.waiting.next_if(|chunk| least.is_none_or(|(_, key)| chunk.first < key)) {
                self.start(chunk)?;
                least = self.least();
            }
            let Some((index, _)) = least else { return Ok(()) };
            let cursor = &self.open[index];
            let Head { list, kind, boot, seq, time } = cursor.head;
            let at = &self.lists[list as usize][..];
            let bytes = &cursor.held[cursor.at + HEAD..cursor.at + HEAD + 4 * at.len()];
            numbers.clear();
            numbers.extend(bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)));
            visit(&Reading { boot, seq, time, kind, at, numbers: &numbers })?;
            self.pass(index)?;
        }
    }

    fn least(&self) -> Option<(usize, Key)> {
        let keys = self.open.iter().map(|cursor| cursor.head.key()).enumerate();
        keys.min_by_key(|(_, key)| *key)
    }

    fn start(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let mut held = self.spare.pop().unwrap_or_default();
        held.clear();
        let left = chunk.from..chunk.from + u64::from(chunk.bytes);
        let head = Head { list: 0, kind: telemetry::Kind::Full, boot: 0, seq: 0, time: 0 };
        let mut cursor = Cursor { head, held, at: 0, left };
        if self.fill(&mut cursor)? {
            self.open.push(cursor);
        }
        Ok(())
    }

    /// Goes on to the next row of an open chunk, or closes it.
    fn pass(&mut self, index: usize) -> Result<(), Error> {
        let mut cursor = self.open.swap_remove(index);
        cursor.at += HEAD + 4 * self.lists[cursor.head.list as usize].len();
        if self.fill(&mut cursor)? {
            self.open.push(cursor);
        } else {
            self.spare.push(cursor.held);
        }
        Ok(())
    }

    /// Sees to it that a whole row lies in memory; whether there is one.
    fn fill(&self, cursor: &mut Cursor) -> Result<bool, Error> {
        loop {
            if let Some(head) = Head::read(&cursor.held[cursor.at..]) {
                let list = self.lists.get(head.list as usize).ok_or_else(broken)?;
                if cursor.held.len() - cursor.at >= HEAD + 4 * list.len() {
                    cursor.head = head;
                    return Ok(true);
                }
            }
            if cursor.left.is_empty() {
                return if cursor.at == cursor.held.len() { Ok(false) } else { Err(broken()) };
            }
            cursor.held.drain(..cursor.at);
            cursor.at = 0;
            let before = cursor.held.len();
            let more = usize::try_from(cursor.left.end - cursor.left.start).unwrap_or(usize::MAX).min(BUFFER);
            cursor.held.resize(before + more, 0);
            let read = self.rows.read_exact_at(&mut cursor.held[before..], cursor.left.start);
            read.map_err(|error| Error::Unread(format!("read the spool: {error}")))?;
            cursor.left.start += more as u64;
        }
    }
}

fn broken() -> Error {
    Error::Unread("a row of the spool is broken: remove the spool and replay again".into())
}
