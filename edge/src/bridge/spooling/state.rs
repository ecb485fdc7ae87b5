//! What the loop knows of its spool: where what is in hand stands, and what may be asked of it now.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;
use service::Error;

use crate::{
    catch_up::CatchUp,
    config::Config,
    delivery::Ticket,
    spool::{Level, Outcome, Settings, Spool},
};

/// Above this nothing more is read back until some of it is with the producer, bytes.
pub(super) const MOST_BACK: usize = 8 << 20;
/// A disk that has taken so long is said to take nothing,
const SLOW: Duration = Duration::from_secs(3);
/// and after this time it is not waited for.
pub(super) const HUNG: Duration = Duration::from_secs(30);
/// Delivered records behind an undelivered one, at most; then reading waits.
const MAX_SPREAD: usize = 1 << 20;

/// What the loop knows of its spool.
pub(in crate::bridge) struct Spooling {
    pub(super) spool: Spool,
    pub(super) after: Duration,
    /// Arrivals go to the spool.
    pub(super) on: bool,
    /// To be written, in order.
    pub(super) pending: VecDeque<Ticket>,
    /// Batches that the spool has, oldest first.
    pub(super) writing: VecDeque<Vec<Ticket>>,
    pub(super) written_later: usize,
    /// Of batches that came back while others are still with the spool, in order.
    pub(super) refused: VecDeque<Ticket>,
    /// When the refused batch is tried again. It holds up no reading: a full spool gets room by being read.
    pub(super) retry_at: Option<Instant>,
    /// When the spool may be read again after it could not be.
    pub(super) read_retry_at: Option<Instant>,
    pub(super) refusing: bool,
    /// It was asked for records.
    pub(super) reading: bool,
    /// For how long it has been asked for something and answered nothing, and when that was last looked at.
    pub(super) silent: Duration,
    pub(super) looked_at: Instant,
    pub(super) catch_up: CatchUp,
    /// Reads that were asked for end where `cursor` of `catch_up` will be; these came and wait for room.
    pub(super) came_back: VecDeque<(u64, Bytes)>,
    pub(super) bytes_back: usize,
    pub(super) told_below: u64,
    /// Found at the start.
    pub(in crate::bridge) restored: u64,
    pub(in crate::bridge) spooled: u64,
}

impl Spooling {
    /// Opens the spool; none without `--spool`.
    pub(in crate::bridge) fn open(config: &Config) -> Result<Option<Self>, Error> {
        let Some(dir) = &config.spool else { return Ok(None) };
        let spool = Spool::open(dir, Settings::new(config.spool_limit_mib << 20))
            .map_err(|error| Error::Usage { flag: "spool", detail: error.to_string() })?;
        let (from, Level { records, bytes, .. }, losses) = (spool.delivered_below(), spool.level(), spool.losses());
        if records > 0 || losses.torn_bytes > 0 || losses.spoilt_segments > 0 {
            tracing::info!(records, bytes, ?losses, "the spool was left by an earlier process");
        }
        Ok(Some(Self::new(spool, Duration::from_millis(config.spool_after_ms), from..from + records)))
    }

    /// Of a spool that holds these positions, none of them read.
    pub(super) fn new(spool: Spool, after: Duration, held: Range<u64>) -> Self {
        let restored = held.end - held.start;
        Self {
            spool,
            after,
            on: restored > 0,
            pending: VecDeque::new(),
            writing: VecDeque::new(),
            written_later: 0,
            refused: VecDeque::new(),
            retry_at: None,
            read_retry_at: None,
            refusing: false,
            reading: false,
            silent: Duration::ZERO,
            looked_at: Instant::now(),
            catch_up: CatchUp::new(held.clone()),
            came_back: VecDeque::new(),
            bytes_back: 0,
            told_below: held.start,
            restored,
            spooled: 0,
        }
    }

    pub(in crate::bridge) fn is_on(&self) -> bool {
        self.on
    }

    /// Taken in, and not yet safe.
    pub(in crate::bridge) fn unsafe_yet(&self) -> usize {
        self.pending.len() + self.written_later + self.refused.len()
    }

    /// Records that only the spool answers for, or that it answers for, too.
    pub(in crate::bridge) fn undelivered(&self) -> u64 {
        self.catch_up.undelivered()
    }

    /// The spool took nothing when it was last asked, or does not answer.
    pub(in crate::bridge) fn is_refusing(&self) -> bool {
        self.refusing || self.silent >= SLOW
    }

    pub(in crate::bridge) fn level(&self) -> Level {
        self.spool.level()
    }

    pub(in crate::bridge) fn take(&mut self, ticket: Ticket) {
        self.pending.push_back(ticket);
    }

    /// Kafka has the record of this position.
    pub(in crate::bridge) fn delivered(&mut self, position: u64) {
        self.catch_up.delivered(position);
    }

    /// Where the spool is to be read from now on, if there is room for more.
    pub(super) fn reads_from(&self, window: usize, now: Instant) -> Option<u64> {
        let may_read = self.came_back.len() < window
            && self.bytes_back < MOST_BACK
            && self.catch_up.spread() < MAX_SPREAD
            && self.read_retry_at.is_none_or(|at| at <= now);
        self.catch_up.to_read().filter(|_| may_read)
    }

    /// Whether the producer has room for more of what came back. What waits for the spool does not take it: a full spool
    /// gets room only in this way.
    pub(super) fn may_hand_back(&self, in_hand: usize, window: usize) -> bool {
        in_hand.saturating_sub(self.unsafe_yet()) < 2 * window
    }

    /// Less than a window is to be handed to the producer: nothing more is written, so that it comes to its end however
    /// much arrives.
    pub(super) fn is_nearly_through(&self, window: usize) -> bool {
        let left = usize::try_from(self.catch_up.left()).unwrap_or(usize::MAX);
        left.saturating_add(self.came_back.len() + self.written_later) < window
    }

    /// Everything of the spool is with the producer, and nothing is on its way into it.
    pub(super) fn holds_nothing(&self) -> bool {
        self.on && self.catch_up.to_read().is_none() && self.came_back.is_empty() && self.writing.is_empty()
    }

    /// The oldest batch, answered.
    pub(super) fn written(&mut self) -> Vec<Ticket> {
        let tickets = self.writing.pop_front().unwrap_or_default();
        self.written_later -= tickets.len();
        tickets
    }

    /// Whether the spool has `answered` anything since the last look.
    pub(super) fn heard(&mut self, answered: bool, now: Instant) {
        // A process that stood still for longer did not listen meanwhile.
        let passed = now.saturating_duration_since(self.looked_at).min(Duration::from_secs(1));
        self.looked_at = now;
        let asked = self.reading || !self.writing.is_empty();
        self.silent = if answered || !asked { Duration::ZERO } else { self.silent + passed };
    }

    /// Whether the disk has not answered for longer than is waited. What it has can't go to Kafka without it, for
    /// older readings of the same vehicles may stand in it.
    pub(super) fn hangs(&self) -> bool {
        self.silent >= HUNG
    }

    pub(in crate::bridge) fn close(&self) {
        self.spool.close();
    }

    /// Whether the last outcome has come.
    pub(in crate::bridge) fn is_closed(&self) -> bool {
        self.spool.take_outcomes().iter().any(|outcome| matches!(outcome, Outcome::Closed(_) | Outcome::Dead))
    }
}
