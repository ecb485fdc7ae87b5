//! The spool's side of the loop: where arrivals go while Kafka is away, and how they come back.
//!
//! *Live*: arrivals go to the producer. When nothing was delivered for a while everything in hand is written to
//! the spool, and so is what arrives from then on: *spooling*. The broker gets its PUBACKs once a batch is
//! fsynced, the vehicle hears of nothing. When deliveries begin again the spool is read back in its order:
//! *catching up*. Arrivals still go to its end, so that no reading overtakes an earlier one of its vehicle. When
//! it is nearly empty what arrives waits a moment, until all of it has been handed to the producer, and then arrivals
//! go there directly again. A spool that takes nothing, because its
//! disk is full or broken, holds that up only as long as Kafka is away; one that
//! does not answer at all ends the edge.

mod state;
#[cfg(test)]
mod tests;

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;
use service::Error;

use super::Edge;
use crate::{
    delivery::Ticket,
    intake,
    metrics::{SPOOL_SPOILT, SPOOL_UNREADABLE},
    release::{Item, Release},
    spool::{BadEntry, Entry, Outcome, Refusal},
};
use state::HUNG;
pub(super) use state::Spooling;

/// Records in one batch, and bytes.
const BATCH: usize = 2_048;
const BATCH_BYTES: usize = 1 << 20;
/// Read back at once, bytes.
const READ_BYTES: usize = 1 << 20;
/// What the spool refused, or could not read, is tried again after this time.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// Where arrivals go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Live,
    Spooling,
    CatchingUp,
}

/// What came back as it is kept, in memory of its own: a slice would keep the whole block that it was read with for as
/// long as Kafka takes.
fn restored(body: &Bytes) -> Result<Entry, BadEntry> {
    Entry::decode(Bytes::copy_from_slice(body))
}

impl<R: Release> Edge<R> {
    pub(super) fn mode(&self, now: Instant) -> Mode {
        match &self.spooling {
            Some(spooling) if spooling.on => {
                let stands = self.progress.stands_for(spooling.after, now);
                if stands { Mode::Spooling } else { Mode::CatchingUp }
            }
            _ => Mode::Live,
        }
    }

    /// Begins spooling if nothing has been delivered for too long, writes, reads back, ends it.
    pub(super) fn tend_spool(&mut self, now: Instant) -> Result<(), Error> {
        let Some(mut spooling) = self.spooling.take() else { return Ok(()) };
        let result = self.tend(&mut spooling, now);
        self.spooling = Some(spooling);
        result
    }

    fn tend(&mut self, spooling: &mut Spooling, now: Instant) -> Result<(), Error> {
        let stands = self.books.tracker.in_hand() > 0 && self.progress.stands_for(spooling.after, now);
        if !spooling.on && stands {
            self.begin(spooling);
        }
        let refused = self.outcomes(spooling, now)?;
        if spooling.hangs() {
            // The next process, or the standby, gets everything from the broker again.
            let detail = format!("the disk of --spool has not answered for {HUNG:?}; nothing unsafe was acknowledged");
            return Err(anyhow::anyhow!(detail).into());
        }
        if spooling.holds_nothing() {
            match (refused, stands) {
                (true, stands) if !stands || !self.tries() => {
                    let waiting = spooling.pending.len();
                    tracing::warn!(waiting, "arrivals go to Kafka, as the spool does not take them");
                    // Kafka is given its time.
                    self.progress.made(now);
                    self.go_live(spooling)?;
                }
                (false, false) if !self.stopping || spooling.pending.is_empty() => {
                    tracing::info!("caught up: arrivals go to Kafka again");
                    self.go_live(spooling)?;
                }
                _ => {}
            }
        }
        if stands || self.stopping || !spooling.is_nearly_through(usize::from(self.config.receive_maximum)) {
            self.write(spooling, now);
        }
        if spooling.on && !self.stopping {
            self.read_back(spooling, now)?;
        }
        if spooling.catch_up.base() > spooling.told_below {
            spooling.told_below = spooling.catch_up.base();
            spooling.spool.delivered(spooling.told_below);
        }
        Ok(())
    }

    /// What is in hand goes to the spool first, oldest first: its PUBACKs stand before all others.
    fn begin(&mut self, spooling: &mut Spooling) {
        let mut in_hand: Vec<(u64, Ticket)> = self
            .books
            .tracker
            .iter()
            .filter(|(_, item)| item.position.is_none())
            .map(|(ticket, item)| (item.arrival, ticket))
            .collect();
        in_hand.sort_unstable();
        tracing::warn!(in_hand = in_hand.len(), "nothing was delivered for a while: arrivals go to the spool");
        // What the producer had no room for comes back in its turn, unless it has come out of the spool before.
        let tracker = &mut self.books.tracker;
        self.waiting.retain(|ticket| match tracker.get_mut(*ticket) {
            Some(item) if item.position.is_none() => {
                item.with_producer = false;
                false
            }
            Some(_) => true,
            None => false,
        });
        spooling.pending.extend(in_hand.into_iter().map(|(_, ticket)| ticket));
        spooling.on = true;
    }

    /// Hands batches to the spool.
    fn write(&mut self, spooling: &mut Spooling, now: Instant) {
        if spooling.retry_at.is_some_and(|at| at > now) || !spooling.refused.is_empty() {
            return;
        }
        spooling.retry_at = None;
        while !spooling.pending.is_empty() && spooling.spool.has_room_for(BATCH_BYTES) {
            let (mut tickets, mut bodies, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(ticket) = spooling.pending.front().copied()
                && tickets.len() < BATCH
                && bytes < BATCH_BYTES
            {
                spooling.pending.pop_front();
                // What Kafka has by now needs no copy.
                let Some(item) = self.books.tracker.get(ticket) else { continue };
                match item.sorted.entry.encode() {
                    Ok(body) => {
                        bytes += body.len();
                        bodies.push(body);
                        tickets.push(ticket);
                    }
                    // MQTT's own limits are the same; it stays unacknowledged.
                    Err(error) => tracing::error!(%error, "a publish that the spool can't hold"),
                }
            }
            if tickets.is_empty() {
                continue;
            }
            if spooling.spool.append(bodies).is_err() {
                // It has enough to do.
                for ticket in tickets.into_iter().rev() {
                    spooling.pending.push_front(ticket);
                }
                return;
            }
            spooling.written_later += tickets.len();
            spooling.writing.push_back(tickets);
        }
    }

    /// Takes what the spool answers; whether it has refused something.
    fn outcomes(&mut self, spooling: &mut Spooling, now: Instant) -> Result<bool, Error> {
        let outcomes = spooling.spool.take_outcomes();
        spooling.heard(!outcomes.is_empty(), now);
        for outcome in outcomes {
            match outcome {
                Outcome::Appended(positions) => {
                    let tickets = spooling.written();
                    spooling.spooled += tickets.len() as u64;
                    if mem::take(&mut spooling.refusing) {
                        tracing::info!("the spool takes records again");
                    }
                    for (ticket, position) in tickets.into_iter().zip(positions) {
                        self.spooled(spooling, ticket, position, now);
                    }
                }
                Outcome::Refused { why, .. } => {
                    let tickets = spooling.written();
                    spooling.refused.extend(tickets);
                    self.spool_refuses(spooling, &why, now);
                }
                Outcome::Spoilt(spoilt) => {
                    let lost = spooling.catch_up.pass(spoilt.positions.clone());
                    tracing::error!(lost, cause = %spoilt.cause, "spooled records can't be read; vehicles send them again");
                    self.tally.discard(SPOOL_SPOILT, lost);
                    self.metrics.discarded(SPOOL_SPOILT, lost);
                }
                Outcome::Read { records, next } => {
                    spooling.reading = false;
                    spooling.catch_up.read(next);
                    spooling.bytes_back += records.iter().map(|(_, body)| body.len()).sum::<usize>();
                    spooling.came_back.extend(records);
                }
                Outcome::ReadFailed(error) => {
                    spooling.reading = false;
                    tracing::warn!(error, "the spool can't be read just now");
                    spooling.read_retry_at = Some(now + REFUSED_PAUSE);
                }
                Outcome::Closed(_) => {}
                Outcome::Dead => {
                    return Err(anyhow::anyhow!("the spool's thread has died; nothing unsafe was acknowledged").into());
                }
            }
        }
        if !spooling.writing.is_empty() || spooling.refused.is_empty() {
            return Ok(false);
        }
        // All of them have come back: in front of what has arrived since, in their order.
        while let Some(ticket) = spooling.refused.pop_back() {
            spooling.pending.push_front(ticket);
        }
        Ok(true)
    }

    /// Whether Kafka is asked to take anything. If not, nothing tells whether it is there.
    fn tries(&self) -> bool {
        self.books.tracker.iter().any(|(_, item)| item.with_producer)
    }

    /// Arrivals go to Kafka again; first those that wait for the spool.
    fn go_live(&mut self, spooling: &mut Spooling) -> Result<(), Error> {
        spooling.on = false;
        spooling.retry_at = None;
        while let Some(ticket) = spooling.pending.pop_front() {
            let Some(item) = self.books.tracker.get_mut(ticket) else { continue };
            let has_it = mem::replace(&mut item.with_producer, true);
            match self.waiting.is_empty() {
                _ if has_it => {}
                true => {
                    self.hand_over(ticket)?;
                }
                false => self.waiting.push_back(ticket),
            }
        }
        Ok(())
    }

    fn spool_refuses(&self, spooling: &mut Spooling, why: &Refusal, now: Instant) {
        spooling.retry_at = Some(now + REFUSED_PAUSE);
        self.metrics.spool_refusals.increment(1);
        if !mem::replace(&mut spooling.refusing, true) {
            tracing::error!(%why, "the spool takes nothing more: PUBACKs wait until it does, or Kafka takes what arrives");
        }
    }

    /// It is safe: the broker may hear of it.
    fn spooled(&mut self, spooling: &mut Spooling, ticket: Ticket, position: u64, now: Instant) {
        let with_producer = self.books.tracker.get(ticket).map(|item| item.with_producer);
        // Kafka was quicker: nobody waits for it.
        spooling.catch_up.appended(position, with_producer != Some(false));
        let Some(with_producer) = with_producer else {
            spooling.catch_up.delivered(position);
            return;
        };
        self.release.spooled(&mut self.books, ticket, now);
        let gone = if with_producer {
            let item = self.books.tracker.get_mut(ticket);
            item.map(|item| {
                item.position = Some(position);
                item.sorted.size()
            })
        } else {
            let item = self.books.tracker.delivered(ticket);
            item.map(|item| {
                self.qos0_in_hand -= usize::from(item.sorted.entry.qos0);
                item.sorted.size()
            })
        };
        self.bytes_in_hand -= gone.unwrap_or_default();
    }

    /// Reads the spool back, as much as the producer has room for.
    fn read_back(&mut self, spooling: &mut Spooling, now: Instant) -> Result<(), Error> {
        let window = usize::from(self.config.receive_maximum);
        if let Some(from) = spooling.reads_from(window, now) {
            // Not while another reading is under way.
            spooling.reading |= spooling.spool.read(from, READ_BYTES);
        }
        while self.waiting.is_empty()
            && spooling.may_hand_back(self.books.tracker.in_hand(), window)
            && let Some((position, body)) = spooling.came_back.pop_front()
        {
            spooling.bytes_back -= body.len();
            let entry = match restored(&body) {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::error!(%error, position, "a spooled record of another program");
                    spooling.catch_up.delivered(position);
                    self.tally.discard(SPOOL_UNREADABLE, 1);
                    self.metrics.discarded(SPOOL_UNREADABLE, 1);
                    continue;
                }
            };
            let sorted = intake::sort(entry);
            let item = Item { sorted, arrival: 0, with_producer: true, position: Some(position) };
            let ticket = self.books.tracker.restored(item);
            self.hand_over(ticket)?;
        }
        Ok(())
    }
}
