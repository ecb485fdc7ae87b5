//! A thread that owns a [`Store`], for a loop that must not block.
//!
//! Batches that were handed over while the last fsync ran are written and synced together. What is in hand is
//! bounded on both sides at once: a batch counts until its outcome is taken, and one reading is under way at a
//! time. Beyond that [`Spool::append`] and [`Spool::read`] say no.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use super::{Error, Level, Losses, Refusal, Settings, Spoilt, Store};

/// In hand at most,
const MAX_BATCHES: usize = 64;
/// and so many bytes of bodies; a single batch may have more.
const MAX_BYTES: usize = 16 << 20;

/// What became of what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A batch is durable. There is one of this or [`Self::Refused`] for each batch, in the order of batches.
    Appended(Range<u64>),
    /// Nothing of a batch is in the log. What comes later must not overtake it: every batch behind it comes back as well,
    /// until the outcomes of all of them have been taken. Except where it is too long for any log.
    Refused {
        /// As it was handed over.
        batch: Vec<Bytes>,
        /// Of the first one.
        why: Refusal,
    },
    /// These records were passed over by the reading whose outcome follows.
    Spoilt(Spoilt),
    /// What was read.
    Read {
        /// Positions and bodies, in order; see [`Reading::records`](super::Reading::records).
        records: Vec<(u64, Bytes)>,
        /// The position to go on from.
        next: u64,
    },
    /// Nothing can be read just now; nothing was passed over.
    ReadFailed(String),
    /// The last outcome after [`Spool::close`]: the folder is free. The error: a restart repeats more.
    Closed(Result<(), String>),
    /// The thread is gone; what it had in hand is answered by nobody.
    Dead,
}

#[derive(Debug, Default)]
struct State {
    /// Not yet taken by the thread.
    batches: Vec<Vec<Bytes>>,
    /// The bytes of each batch whose outcome nobody has taken, oldest first, and their sum.
    sizes: VecDeque<usize>,
    bytes: usize,
    /// A batch was refused, and outcomes behind it have not been taken.
    refusing: Option<Refusal>,
    read: Option<(u64, usize)>,
    reading: bool,
    delivered: Option<u64>,
    closing: bool,
    /// The thread has ended.
    ended: bool,
    outcomes: Vec<Outcome>,
    level: Level,
    losses: Losses,
}

impl State {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.sizes.is_empty() || (self.sizes.len() < MAX_BATCHES && self.bytes + bytes <= MAX_BYTES)
    }
}

/// Where the loop and the thread meet.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    asked: Condvar,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // A push or a take can't leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves outcomes for the loop, which looks for them while it spools.
    fn answer(&self, outcomes: impl IntoIterator<Item = Outcome>, store: Option<&Store>) {
        let mut state = self.state();
        if let Some(store) = store {
            (state.level, state.losses) = (store.level(), store.losses());
        }
        for outcome in outcomes {
            if let Outcome::Refused { why, .. } = &outcome
                && holds_up(why)
            {
                state.refusing.get_or_insert_with(|| why.clone());
            }
            state.outcomes.push(outcome);
        }
    }

    /// Waits for work, or for the time; takes all of it.
    fn wait(&self, until: Option<Instant>) -> Work {
        let mut state = self.state();
        loop {
            let work = Work {
                batches: std::mem::take(&mut state.batches),
                refusing: state.refusing.clone(),
                delivered: state.delivered.take(),
                read: state.read.take(),
                closing: state.closing,
            };
            if work.closing || work.delivered.is_some() || work.read.is_some() || !work.batches.is_empty() {
                return work;
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return work,
                Some(left) => self.asked.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.asked.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

struct Work {
    batches: Vec<Vec<Bytes>>,
    /// These are refused as one before them was.
    refusing: Option<Refusal>,
    delivered: Option<u64>,
    read: Option<(u64, usize)>,
    closing: bool,
}

/// An open log behind a thread. Dropping it is a [`Self::close`] whose outcome nobody waits for.
#[derive(Debug)]
pub struct Spool {
    desk: Arc<Desk>,
    delivered_below: u64,
}

impl Spool {
    /// Opens or creates the log in `dir`. Blocks.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, Error> {
        let store = Store::open(dir, settings)?;
        Self::start(store).map_err(|source| Error::Io { dir: dir.to_owned(), source })
    }

    pub(super) fn start(store: Store) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        desk.answer([], Some(&store));
        let spool = Self { desk: Arc::clone(&desk), delivered_below: store.delivered_below() };
        std::thread::Builder::new().name("spool".into()).spawn(move || run(store, &Farewell(desk)))?;
        Ok(spool)
    }

    /// Where reading begins: everything below this position was delivered before the log was opened.
    pub fn delivered_below(&self) -> u64 {
        self.delivered_below
    }

    /// Whether a batch of so many bytes would be taken now.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.desk.state().has_room_for(bytes)
    }

    /// Hands a batch over. Never waits.
    ///
    /// # Errors
    /// The batch, if too much is in hand or the spool is closed: try again when outcomes have been taken.
    pub fn append(&self, batch: Vec<Bytes>) -> Result<(), Vec<Bytes>> {
        let size = batch.iter().map(Bytes::len).sum();
        let mut state = self.desk.state();
        if !state.has_room_for(size) || state.closing || state.ended {
            return Err(batch);
        }
        state.sizes.push_back(size);
        state.bytes += size;
        state.batches.push(batch);
        drop(state);
        self.desk.asked.notify_one();
        Ok(())
    }

    /// Asks for the records from a position on, see [`Store::read`]. Never waits; returns whether it was asked:
    /// not while the outcome of another reading has not been taken, nor of a closed spool.
    pub fn read(&self, from: u64, max_bytes: usize) -> bool {
        let mut state = self.desk.state();
        if state.reading || state.closing || state.ended {
            return false;
        }
        state.reading = true;
        state.read = Some((from, max_bytes));
        drop(state);
        self.desk.asked.notify_one();
        true
    }

    /// Everything below this position is in Kafka.
    pub fn delivered(&self, below: u64) {
        let mut state = self.desk.state();
        state.delivered = state.delivered.max(Some(below));
        drop(state);
        self.desk.asked.notify_one();
    }

    /// Ends the thread after what was asked for. [`Outcome::Closed`] follows.
    pub fn close(&self) {
        self.desk.state().closing = true;
        self.desk.asked.notify_one();
    }

    /// Takes the outcomes that are there.
    pub fn take_outcomes(&self) -> Vec<Outcome> {
        let mut state = self.desk.state();
        let outcomes = std::mem::take(&mut state.outcomes);
        for outcome in &outcomes {
            match outcome {
                Outcome::Appended(_) | Outcome::Refused { .. } => {
                    let size = state.sizes.pop_front().unwrap_or_default();
                    state.bytes -= size;
                }
                Outcome::Read { .. } | Outcome::ReadFailed(_) => state.reading = false,
                Outcome::Spoilt(_) | Outcome::Closed(_) | Outcome::Dead => {}
            }
        }
        if state.sizes.is_empty() {
            state.refusing = None;
        }
        outcomes
    }

    /// How full the log is.
    pub fn level(&self) -> Level {
        self.desk.state().level
    }

    /// What was lost since it was opened.
    pub fn losses(&self) -> Losses {
        self.desk.state().losses
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Nobody waits for the thread: its last fsync may take a while.
        self.close();
    }
}

/// Tells the loop when the thread ends, however it does.
struct Farewell(Arc<Desk>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let closed = std::mem::replace(&mut state.ended, true);
        drop(state);
        if !closed {
            self.0.answer([Outcome::Dead], None);
        }
    }
}

fn run(mut store: Store, farewell: &Farewell) {
    let desk = &*farewell.0;
    let mut healthy = true;
    loop {
        let work = desk.wait(store.next_tending());
        if !work.batches.is_empty() {
            let answers = match work.refusing {
                None => commit(&mut store, work.batches),
                Some(why) => refuse(work.batches, &why),
            };
            desk.answer(answers, Some(&store));
        }
        let removed = work.delivered.map_or(Ok(()), |below| store.delivered(below));
        if let Some((from, max_bytes)) = work.read {
            desk.answer(read(&mut store, from, max_bytes), Some(&store));
        }
        if work.closing {
            let closed = store.close().map_err(|error| error.to_string());
            desk.state().ended = true;
            return desk.answer([Outcome::Closed(closed)], None);
        }
        let tended = removed.and(store.tend(Instant::now()));
        desk.answer([], Some(&store));
        // Tried again every second.
        if let Err(error) = &tended
            && healthy
        {
            tracing::warn!(%error, "the spool can't write its checkpoint or remove what is delivered");
        }
        healthy = tended.is_ok();
    }
}

/// Appends batches with one fsync. If that is refused for what they hold, each by itself.
fn commit(store: &mut Store, batches: Vec<Vec<Bytes>>) -> Vec<Outcome> {
    match store.append(batches.iter().flatten().map(|body| &body[..])) {
        Ok(positions) => {
            let mut first = positions.start;
            let lengths = batches.iter().map(|batch| batch.len() as u64);
            let ranges = lengths.map(|length| {
                first += length;
                first - length..first
            });
            ranges.map(Outcome::Appended).collect()
        }
        Err(why @ Refusal::Failed(_)) => refuse(batches, &why),
        Err(Refusal::Full | Refusal::TooLong(_)) => {
            let mut refusing: Option<Refusal> = None;
            let mut alone = |batch: Vec<Bytes>| match &refusing {
                Some(why) => Outcome::Refused { batch, why: why.clone() },
                None => match store.append(batch.iter().map(|body| &body[..])) {
                    Ok(positions) => Outcome::Appended(positions),
                    Err(why) => {
                        refusing = holds_up(&why).then(|| why.clone());
                        Outcome::Refused { batch, why }
                    }
                },
            };
            batches.into_iter().map(&mut alone).collect()
        }
    }
}

/// Whether what comes behind has to wait: not for what will never be taken.
fn holds_up(why: &Refusal) -> bool {
    !matches!(why, Refusal::TooLong(_))
}

fn refuse(batches: Vec<Vec<Bytes>>, why: &Refusal) -> Vec<Outcome> {
    batches.into_iter().map(|batch| Outcome::Refused { batch, why: why.clone() }).collect()
}

fn read(store: &mut Store, from: u64, max_bytes: usize) -> Vec<Outcome> {
    match store.read(from, max_bytes) {
        Ok(reading) => {
            let spoilt = reading.spoilt.into_iter().map(Outcome::Spoilt);
            spoilt.chain([Outcome::Read { records: reading.records, next: reading.next }]).collect()
        }
        Err(error) => vec![Outcome::ReadFailed(error.to_string())],
    }
}

#[cfg(test)]
mod tests;
