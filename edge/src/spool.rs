//! The spool: a bounded log on disk that takes what arrives while Kafka is away.
//!
//! A record that is [appended](Store::append) and fsynced is safe from a kill, so the MQTT broker's PUBACK may
//! leave. Its vehicle is not told before Kafka has it: to lose a spooled record costs a resend. To crash, to
//! loop or to pass something over in silence would be a defect.
//!
//! [`Entry`] is what one record holds, [`Store`] the log of such records as bytes, [`Spool`] a thread that owns
//! a store, for a loop that must not block.
//!
//! # On disk
//!
//! Records have consecutive positions from 1 for the whole life of the folder. A segment
//! (`00000000000000000001.segment`) is named by the position of its first record and ends where the next one
//! begins; there is always one, so that the position survives when everything is delivered. `checkpoint` says
//! what is delivered; without it more is repeated. A segment that could not be read to its end becomes
//! `….spoilt` when what stands before the damage is delivered; at most four are kept, within an eighth of the
//! limit, and they yield to records. `lock` is locked by the process that uses the folder.
//!
//! Nothing of a segment is believed behind the first frame that is spoilt; later segments go on. A segment
//! that another process began is never appended to: after a failed fsync, even of another process, the kernel
//! may show bytes that the disk does not have.
//!
//! Positions are not used twice, with one exception: where the end of the last segment is destroyed and no
//! checkpoint remembers it, new records get the positions of some that nobody can read any more.

mod aside;
mod checkpoint;
mod disk;
mod entry;
mod frame;
mod reader;
mod segment;
mod store;
mod worker;

use std::{io, path::PathBuf, time::Duration};

pub use entry::{BadEntry, Entry, FieldTooLong};
pub use frame::MAX_BODY;
pub use reader::{Cause, Reading, Spoilt};
pub use store::{Level, Losses, Refusal, Store};
pub use worker::{Outcome, Spool};

/// How large a log may become, and how it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of all files in the folder. Disk is given back by segments, so it should be a few of them.
    pub limit_bytes: u64,
    /// A segment that would become larger is followed by another one. A batch is never divided.
    pub segment_bytes: u64,
    /// A restart repeats at most what was delivered in this time.
    pub checkpoint_every: Duration,
}

impl Settings {
    /// Segments of 16 MiB, a checkpoint a second.
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, segment_bytes: 16 << 20, checkpoint_every: Duration::from_secs(1) }
    }
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// By another process, or by this one.
    #[error("the spool {} is in use by another process", dir.display())]
    Locked {
        /// Its folder.
        dir: PathBuf,
    },
    /// A later program wrote it.
    #[error("the spool {} is of version {version}, which this program does not know", dir.display())]
    Version {
        /// Its folder.
        dir: PathBuf,
        /// Of its last segment.
        version: u32,
    },
    /// The folder can't be used.
    #[error("the spool {}: {source}", dir.display())]
    Io {
        /// Its folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}
