//! What a spool holds and how far it got: the file `checkpoint.json`.

use std::collections::BTreeMap;

use detector::Span;
use serde::{Deserialize, Serialize};
use telemetry::{PayloadHash, UnixMillis, VehicleId, kafka_topic::TELEMETRY};

use crate::replay::Range;

/// Form of rows and checkpoint.
pub(super) const FORM: u32 = 1;

/// What a spool is a replay of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The cluster that offsets belong to.
    pub cluster: String,
    /// What was asked for.
    pub asked: Range,
    /// The offsets that this meant when it was asked first.
    pub offsets: BTreeMap<i32, std::ops::Range<i64>>,
}

impl Source {
    /// Window time to keep.
    pub fn within(&self) -> std::ops::Range<UnixMillis> {
        match self.asked {
            Range::Time { from, to } => from..to,
            Range::Offsets(_) => UnixMillis::MIN..UnixMillis::MAX,
        }
    }
}

/// How far a partition was read, and what was learnt from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) count: u64,
    pub(super) hash: u64,
}

impl Chain {
    pub(super) fn new(offset: i64) -> Self {
        Self { from: offset, to: offset, count: 0, hash: 0 }
    }

    pub(super) fn link(&mut self, payload: &[u8]) {
        self.count += 1;
        let mut link = self.hash.to_le_bytes().to_vec();
        link.extend(payload);
        self.hash = PayloadHash::of(&link).0;
    }
}

/// Rows that were appended at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) bytes: u64,
    pub(super) hash: u64,
}

/// What `rows` holds up to its last segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(super) form: u32,
    /// Of what.
    pub source: Source,
    pub(super) segments: Vec<Segment>,
    pub(super) chains: BTreeMap<i32, Chain>,
    /// Records read.
    pub received: u64,
    /// Records put aside, by reason.
    pub discarded: BTreeMap<String, u64>,
    /// By their numbers.
    pub(super) vehicles: Vec<VehicleId>,
    /// Foreign signals, in the order of their appearance; they are numbered behind the catalogue's places.
    pub(super) foreign: Vec<String>,
    /// Places that the numbers of a row have.
    pub(super) lists: Vec<Vec<u16>>,
}

impl Checkpoint {
    pub(super) fn new(source: Source) -> Self {
        Self {
            form: FORM,
            source,
            segments: Vec::new(),
            chains: BTreeMap::new(),
            received: 0,
            discarded: BTreeMap::new(),
            vehicles: Vec::new(),
            foreign: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// What is still to be read.
    pub fn left(&self) -> BTreeMap<i32, std::ops::Range<i64>> {
        let left = |(partition, range): (&i32, &std::ops::Range<i64>)| {
            let from = self.chains.get(partition).map_or(range.start, |chain| chain.to.max(range.start));
            (from < range.end).then_some((*partition, from..range.end))
        };
        self.source.offsets.iter().filter_map(left).collect()
    }

    /// Where readings came from, for the card.
    pub(super) fn spans(&self) -> Vec<Span> {
        let span = |(partition, chain): (&i32, &Chain)| {
            let hash = PayloadHash(chain.hash).to_string();
            let Chain { from, to, count, .. } = *chain;
            Span { kafka_topic: TELEMETRY.into(), partition: *partition, from, to, count, hash }
        };
        self.chains.iter().map(span).collect()
    }

    /// Whether it is of this range, and of a form that is read here.
    ///
    /// # Errors
    /// Says what it is of, and what to do.
    pub(super) fn check(&self, asked: &Range) -> Result<(), String> {
        if self.form != FORM {
            return Err(format!("form {}, this program reads form {FORM}; remove it", self.form));
        }
        if self.source.asked != *asked {
            let theirs = &self.source.asked;
            return Err(format!("it is a replay of {theirs}, not of {asked}; take another folder, or remove it"));
        }
        Ok(())
    }
}
