//! The outbox of a vehicle: which readings are not known to be in Kafka, and when to send which. Pure: the
//! clock (monotonic, ms) and the randomness are given.
//!
//! A reading leaves the outbox only when an ack of the edge names it, or as the oldest of a full outbox; where the
//! broker's word counts instead, with its PUBACK ([`Outbox::settle`]). It is sent again, oldest first:
//! 1. when the process starts or the broker knows no session ([`Outbox::session`]);
//! 2. when two successive acks left it out while they showed that something sent after it had arrived ([`shown`]);
//! 3. the oldest only, as a probe, when no ack came for a while ([`Times::probe_ms`]);
//! 4. when the broker refused it ([`Outbox::puback`]);
//! 5. when a connection ended before the broker had taken it: as MQTT asks of a client with a session, whose
//!    state this outbox is;
//! 6. when an ack that asks to slow down leaves it out: the edge discards some of what it was sent.
//!
//! Everything is sent at the pace that the edge asked for, if it did ([`Ack::slow_down_ms`]): later, not less.

mod broker;
mod entry;
#[cfg(test)]
pub(crate) mod model;
mod restraint;
mod shown;
#[cfg(test)]
mod slow_down;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use telemetry::{PayloadHash, event::Ack};

use self::entry::Entry;
pub use self::entry::{Counts, Key, Record, Resent, Settings, Times, Transmission};
pub(crate) use self::{
    entry::{Quiet, doubled},
    restraint::{NEXT_WORD_MS, Restraint},
    shown::Shown,
};

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    settings: Settings,
    rng: ChaCha8Rng,
    /// By ordinal: the order in which they were offered.
    entries: BTreeMap<u64, Entry>,
    by_seq: BTreeMap<(u32, u64), u64>,
    by_hash: HashMap<PayloadHash, Vec<u64>>,
    next_ordinal: u64,
    /// Ordinals below it are sent, those from it on wait.
    cursor: u64,
    in_flight: usize,
    /// Counts transmissions; tells which of two was later.
    order: u64,
    /// Sent ones that are to be sent again, by time.
    due: BTreeSet<(u64, u64)>,
    /// Sent ones that are to be sent again now.
    ready: BTreeSet<u64>,
    /// The last seq sent in each boot that this outbox knows.
    last_sent: BTreeMap<u32, u64>,
    boot: u32,
    /// What acks have shown to have arrived.
    shown: Shown<Key, u64>,
    connected: bool,
    quiet: Quiet,
    restraint: Restraint,
    counts: Counts,
}

impl Outbox {
    /// An empty outbox of a unit that runs in `boot`.
    pub fn new(settings: Settings, boot: u32, rng: ChaCha8Rng) -> Self {
        Self {
            quiet: Quiet::new(settings.times.probe_ms),
            settings,
            rng,
            entries: BTreeMap::new(),
            by_seq: BTreeMap::new(),
            by_hash: HashMap::new(),
            next_ordinal: 0,
            cursor: 0,
            in_flight: 0,
            order: 0,
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            last_sent: BTreeMap::from([(boot, 0)]),
            boot,
            shown: Shown::default(),
            connected: false,
            restraint: Restraint::default(),
            counts: Counts::default(),
        }
    }

    /// Takes over what an earlier process left, oldest first, before anything else is offered. `last_seqs` is the
    /// last seq of each boot that may have been sent.
    ///
    /// Returns what does not fit: the oldest, given up.
    pub fn restore(&mut self, records: Vec<Record>, last_seqs: &BTreeMap<u32, u64>) -> Vec<Record> {
        for (boot, seq) in last_seqs {
            let last = self.last_sent.entry(*boot).or_insert(0);
            *last = (*last).max(*seq);
        }
        self.counts.restored += records.len() as u64;
        records.into_iter().filter_map(|record| self.insert(record, true)).collect()
    }

    /// The unit begins another boot: what is in hand is sent again (rule 1).
    pub fn reboot(&mut self, boot: u32) {
        self.boot = boot;
        self.last_sent.retain(|boot, _| self.by_seq.range((*boot, 0)..=(*boot, u64::MAX)).next().is_some());
        self.last_sent.insert(boot, 0);
        self.session(false);
    }

    /// Takes a new reading. If the outbox is full, the oldest goes, is counted and returned.
    pub fn offer(&mut self, record: Record) -> Option<Record> {
        self.counts.offered += 1;
        self.insert(record, false)
    }

    fn insert(&mut self, record: Record, restored: bool) -> Option<Record> {
        let oldest = (self.entries.len() >= self.settings.capacity).then(|| self.entries.keys().next().copied());
        let given_up = oldest.flatten().and_then(|ordinal| self.remove(ordinal)).map(|entry| entry.record);
        self.counts.given_up += u64::from(given_up.is_some());
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        match record.key {
            Key::Seq { boot, seq } => {
                self.by_seq.insert((boot, seq), ordinal);
            }
            Key::Hash(hash) => self.by_hash.entry(hash).or_default().push(ordinal),
        }
        self.entries.insert(ordinal, Entry::new(record, restored));
        given_up
    }

    fn remove(&mut self, ordinal: u64) -> Option<Entry> {
        let entry = self.entries.remove(&ordinal)?;
        match entry.record.key {
            Key::Seq { boot, seq } => {
                self.by_seq.remove(&(boot, seq));
            }
            Key::Hash(hash) => {
                if let Some(ordinals) = self.by_hash.get_mut(&hash) {
                    ordinals.retain(|other| *other != ordinal);
                    if ordinals.is_empty() {
                        self.by_hash.remove(&hash);
                    }
                }
            }
        }
        self.ready.remove(&ordinal);
        if let Some(when) = entry.resend_at {
            self.due.remove(&(when, ordinal));
        }
        self.in_flight -= usize::from(ordinal < self.cursor);
        Some(entry)
    }

    /// The next reading to send now, if any; it counts as sent from here on.
    pub fn next(&mut self, now: u64) -> Option<Transmission<'_>> {
        if !self.connected {
            return None;
        }
        self.probe(now);
        while let Some((when, ordinal)) = self.due.first().copied().filter(|(when, _)| *when <= now) {
            self.due.remove(&(when, ordinal));
            self.ready.insert(ordinal);
            if let Some(entry) = self.entries.get_mut(&ordinal) {
                entry.resend_at = None;
            }
        }
        if !self.has_some() || self.restraint.holds_back(now) {
            return None;
        }
        let ordinal = match self.ready.pop_first() {
            Some(ordinal) => ordinal,
            None => {
                let ordinal = *self.entries.range(self.cursor..).next()?.0;
                self.cursor = ordinal + 1;
                if self.in_flight == 0 {
                    // Nothing was out that an ack could have named.
                    self.quiet.restart(now, self.settings.times.probe_ms);
                }
                self.in_flight += 1;
                ordinal
            }
        };
        self.order += 1;
        if let Some(ms) = self.restraint.sent(now) {
            self.counts.held_back += 1;
            self.counts.held_back_ms += ms;
        }
        let entry = self.entries.get_mut(&ordinal)?;
        let again = (entry.sent_before).then_some(entry.why);
        entry.transmit(self.order);
        if let Key::Seq { boot, seq } = entry.record.key {
            let last = self.last_sent.entry(boot).or_insert(0);
            *last = (*last).max(seq);
        }
        self.counts.sent += 1;
        if let Some(why) = again {
            self.counts.resent[why as usize] += 1;
        }
        Some(Transmission { ordinal, record: &entry.record, again })
    }

    /// Whether [`Self::next`] would have something, were it not for the clock.
    fn has_some(&self) -> bool {
        !self.ready.is_empty()
            || (self.in_flight < self.settings.window && self.entries.range(self.cursor..).next().is_some())
    }

    /// Rule 3.
    fn probe(&mut self, now: u64) {
        if self.in_flight == 0 || now < self.quiet.ends() {
            return;
        }
        self.quiet.double(now, self.settings.times.probe_max_ms);
        if let Some((ordinal, entry)) = self.entries.range_mut(..self.cursor).next() {
            if let Some(when) = entry.resend_at.take() {
                self.due.remove(&(when, *ordinal));
            }
            entry.why = Resent::Probe;
            self.ready.insert(*ordinal);
        }
    }

    /// Applies an ack of the edge and returns what left the outbox.
    ///
    /// A range above the last seq sent in its boot is refused whole and counted. Boots before this outbox's
    /// memory are not its business.
    pub fn ack(&mut self, ack: &Ack, now: u64) -> Vec<Key> {
        self.counts.acks += 1;
        self.quiet.restart(now, self.settings.times.probe_ms);
        let mut covered = Vec::new();
        let mut spans = Vec::with_capacity(ack.ranges.len());
        for range in &ack.ranges {
            match self.last_sent.get(&range.boot) {
                Some(last) if range.to <= *last => {}
                None if range.boot < self.boot => continue,
                _ => {
                    self.counts.refused_ranges += 1;
                    continue;
                }
            }
            let span = (range.boot, range.from)..=(range.boot, range.to);
            covered.extend(self.by_seq.range(span.clone()).map(|(_, ordinal)| *ordinal));
            spans.push(span);
        }
        for hash in &ack.hashes {
            let ordinals = self.by_hash.get(hash).into_iter().flatten();
            // Identical bytes may wait here that were never sent.
            covered.extend(ordinals.filter(|ordinal| self.entries[*ordinal].sent_before));
        }
        let mut proof = self.shown.proof(|key| match key {
            Key::Seq { boot, seq } => spans.iter().any(|span| span.contains(&(boot, seq))),
            Key::Hash(hash) => ack.hashes.contains(&hash),
        });
        let mut removed = Vec::with_capacity(covered.len());
        for entry in covered.into_iter().filter_map(|ordinal| self.remove(ordinal)).collect::<Vec<_>>() {
            self.shown.leaves(&mut proof, entry.record.key, entry.order, entry.repeated);
            removed.push(entry.record.key);
        }
        self.counts.acked += removed.len() as u64;
        if let Some(pause) = ack.slow_down_ms {
            self.slow_down(pause, now);
        }
        if self.entries.is_empty() {
            self.restraint.end();
        }
        self.strike(proof.latest(), now);
        removed
    }

    /// Rule 6.
    fn slow_down(&mut self, pause: u64, now: u64) {
        self.counts.slow_downs += 1;
        if self.settings.obeys {
            self.restraint.ask(pause, now);
        }
        for (ordinal, entry) in self.entries.range_mut(..self.cursor) {
            if entry.resend_at.is_none() && !self.ready.contains(ordinal) {
                let when = now + NEXT_WORD_MS + self.rng.random_range(0..=self.settings.times.left_out_ms);
                entry.resend_at = Some(when);
                entry.why = Resent::SlowedDown;
                self.due.insert((when, *ordinal));
            }
        }
    }

    /// Rule 2: this ack shows that transmission `latest` arrived, and left out what is still here.
    fn strike(&mut self, latest: u64, now: u64) {
        let Times { left_out_ms, left_out_max_ms, .. } = self.settings.times;
        for (ordinal, entry) in self.entries.range_mut(..self.cursor) {
            if entry.resend_at.is_some() || self.ready.contains(ordinal) {
                continue;
            }
            entry.strikes = if entry.order < latest { entry.strikes + 1 } else { 0 };
            if entry.strikes >= 2 {
                let when = now + self.rng.random_range(0..=doubled(left_out_ms, left_out_max_ms, entry.left_out));
                entry.left_out += 1;
                entry.resend_at = Some(when);
                entry.why = Resent::LeftOut;
                self.due.insert((when, *ordinal));
            }
        }
    }

    /// When [`Self::next`] may have something that it does not have now, by the clock alone.
    pub fn wake_at(&self) -> Option<u64> {
        if !self.connected {
            return None;
        }
        let opens_at = self.restraint.opens_at();
        let held = (opens_at > 0 && self.has_some()).then_some(opens_at);
        let probe = (self.in_flight > 0).then(|| self.quiet.ends());
        let due = self.due.first().map(|(when, _)| *when);
        probe.into_iter().chain(due).chain(held).min().map(|at| at.max(opens_at))
    }

    /// How many readings are in hand.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every reading has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are sent and unacknowledged: never more than the window.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What has happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is in hand, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.values().map(|entry| &entry.record)
    }
}
