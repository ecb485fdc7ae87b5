//! The outbox of a load vehicle: the rules of [`crate::outbox`] for readings of one boot, in 24 bytes a reading.
//!
//! A payload of the load is a pure function of what stands in [`Plan`](super::Plan), the vehicle, its seq and
//! the time at which the reading was due: so only seq and time are kept, and a resend makes the same bytes again.
//! What a whole worker has in common (settings, randomness, counts) is handed in. A test drives both outboxes
//! through the same world and wants the same answers.

mod broker;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::event::{Ack, AckedRange};

use self::slot::{GONE, NEVER, READY, REPEATED, SENT_BEFORE, Slot, TAKEN, WRITTEN, moment};
use super::plan::{Manners, Plan};
use crate::outbox::{Counts, NEXT_WORD_MS, Quiet, Resent, Restraint, Settings, Shown, Times, doubled};

/// What the outboxes of a worker have in common.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) settings: Settings,
    pub(super) boot: u32,
    pub(super) rng: ChaCha8Rng,
    pub(super) counts: Counts,
}

impl Rules {
    /// Those of this plan's vehicles.
    pub(super) fn of(plan: &Plan) -> Self {
        let Manners { window, outbox_records, resend_ms, probe_ms, refused_ms, heedless, .. } = plan.manners;
        let times = Times {
            left_out_ms: resend_ms.0,
            left_out_max_ms: resend_ms.1,
            probe_ms: probe_ms.0,
            probe_max_ms: probe_ms.1,
            refused_ms: refused_ms.0,
            refused_max_ms: refused_ms.1,
        };
        Self {
            settings: Settings { window, capacity: outbox_records, times, obeys: !heedless },
            boot: plan.boot,
            rng: ChaCha8Rng::seed_from_u64(plan.seed ^ (u64::from(plan.worker) << 48)),
            counts: Counts::default(),
        }
    }
}

/// A reading that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transmission {
    pub(super) seq: u32,
    /// When it was due, µs after the start of the load.
    pub(super) due_us: u64,
    /// Why it is sent again, if it is.
    pub(super) again: Option<Resent>,
}

/// A reading that has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) seq: u32,
    /// When it was due, µs after the start of the load.
    pub(super) due_us: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Ascending by seq, with gaps.
    slots: VecDeque<Slot>,
    next_seq: u32,
    /// Seqs below it are sent, those from it on wait.
    cursor: u32,
    in_flight: u32,
    /// Counts transmissions; tells which of two was later.
    order: u32,
    last_sent: u32,
    /// How many are to be sent again now.
    ready: u32,
    /// The earliest planned resend, ms.
    next_due: u32,
    /// What acks have shown to have arrived.
    shown: Shown<u32, u32>,
    connected: bool,
    quiet: Quiet,
    restraint: Restraint,
}

impl Outbox {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            slots: VecDeque::new(),
            next_seq: 1,
            cursor: 1,
            in_flight: 0,
            order: 0,
            last_sent: 0,
            ready: 0,
            next_due: NEVER,
            shown: Shown::default(),
            connected: false,
            quiet: Quiet::new(rules.settings.times.probe_ms),
            restraint: Restraint::default(),
        }
    }

    /// Takes a new reading; it gets the next seq. If the outbox is full, the oldest goes, is counted and returned.
    pub(super) fn offer(&mut self, rules: &mut Rules, due_us: u64) -> Option<Settled> {
        rules.counts.offered += 1;
        let full = self.slots.len() >= rules.settings.capacity;
        let given_up = if full { self.slots.pop_front() } else { None };
        if let Some(slot) = given_up {
            rules.counts.given_up += 1;
            self.forget(slot);
            self.plan_resend();
        }
        self.slots.push_back(Slot::new(self.next_seq, due_us));
        self.next_seq += 1;
        given_up.map(|slot| Settled { seq: slot.seq, due_us: slot.due_us })
    }

    /// Takes a slot that is out of the queue out of the sums.
    fn forget(&mut self, slot: Slot) {
        self.ready -= u32::from(slot.state.is(READY));
        self.in_flight -= u32::from(slot.seq < self.cursor);
    }

    fn plan_resend(&mut self) {
        self.next_due = self.slots.iter().map(|slot| slot.resend_at).min().unwrap_or(NEVER);
    }

    fn find(&self, seq: u32) -> Option<usize> {
        self.slots.binary_search_by_key(&seq, |slot| slot.seq).ok()
    }

    /// How many are sent: they stand first.
    fn sent(&self) -> usize {
        self.slots.partition_point(|slot| slot.seq < self.cursor)
    }

    /// The next reading to send now, if any; it counts as sent from here on.
    pub(super) fn next(&mut self, rules: &mut Rules, now: u64) -> Option<Transmission> {
        if !self.connected {
            return None;
        }
        self.probe(&rules.settings.times, now);
        self.fall_due(now);
        if !self.has_some(&rules.settings) || self.restraint.holds_back(now) {
            return None;
        }
        let at = if self.ready > 0 {
            self.slots.iter().position(|slot| slot.state.is(READY))?
        } else {
            let at = self.sent();
            if self.in_flight == 0 {
                // Nothing was out that an ack could have named.
                self.quiet.restart(now, rules.settings.times.probe_ms);
            }
            self.cursor = self.slots[at].seq + 1;
            self.in_flight += 1;
            at
        };
        self.order += 1;
        if let Some(ms) = self.restraint.sent(now) {
            rules.counts.held_back += 1;
            rules.counts.held_back_ms += ms;
        }
        let slot = &mut self.slots[at];
        let again = slot.state.is(SENT_BEFORE).then(|| slot.state.why());
        self.ready -= u32::from(slot.state.is(READY));
        slot.state.set(REPEATED, slot.order > 0);
        slot.state.set_strikes(0);
        slot.order = self.order;
        slot.state.set(TAKEN | READY, false);
        slot.state.set(SENT_BEFORE, true);
        self.last_sent = self.last_sent.max(slot.seq);
        rules.counts.sent += 1;
        if let Some(why) = again {
            rules.counts.resent[why as usize] += 1;
        }
        Some(Transmission { seq: slot.seq, due_us: slot.due_us, again })
    }

    /// The kernel has a transmission of this reading. Whether it is the first that it has; none if the reading has left.
    pub(super) fn written(&mut self, seq: u32) -> Option<bool> {
        let at = self.find(seq)?;
        let state = &mut self.slots[at].state;
        let first = !state.is(WRITTEN);
        state.set(WRITTEN, true);
        Some(first)
    }

    /// Whether [`Self::next`] would have something, were it not for the clock.
    fn has_some(&self, settings: &Settings) -> bool {
        self.ready > 0
            || ((self.in_flight as usize) < settings.window
                && self.slots.back().is_some_and(|slot| slot.seq >= self.cursor))
    }

    fn fall_due(&mut self, now: u64) {
        if self.next_due == NEVER || u64::from(self.next_due) > now {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.resend_at != NEVER && u64::from(slot.resend_at) <= now) {
            slot.resend_at = NEVER;
            self.ready += u32::from(!slot.state.is(READY));
            slot.state.set(READY, true);
        }
        self.plan_resend();
    }

    /// Rule 3.
    fn probe(&mut self, times: &Times, now: u64) {
        if self.in_flight == 0 || now < self.quiet.ends() {
            return;
        }
        self.quiet.double(now, times.probe_max_ms);
        if let Some(slot) = self.slots.front_mut().filter(|slot| slot.seq < self.cursor) {
            slot.resend_at = NEVER;
            slot.state.because(Resent::Probe);
            self.ready += u32::from(!slot.state.is(READY));
            slot.state.set(READY, true);
            self.plan_resend();
        }
    }

    /// Applies an ack of the edge; `left` is told what left the outbox, ascending.
    ///
    /// A range above the last seq sent is refused whole and counted, and so is a later boot; earlier boots are not
    /// this vehicle's business.
    pub(super) fn ack(&mut self, rules: &mut Rules, ack: &Ack, now: u64, mut left: impl FnMut(Settled)) {
        rules.counts.acks += 1;
        self.quiet.restart(now, rules.settings.times.probe_ms);
        let (boot, last_sent) = (rules.boot, u64::from(self.last_sent));
        let ours = |range: &&AckedRange| range.boot == boot && range.to <= last_sent;
        let strange = |range: &&AckedRange| range.boot >= boot && !ours(range);
        rules.counts.refused_ranges += ack.ranges.iter().filter(strange).count() as u64;
        let ranges = || ack.ranges.iter().filter(ours);
        let mut proof = self.shown.proof(|seq| ranges().any(|range| (range.from..=range.to).contains(&u64::from(seq))));
        let mut removed = 0;
        for range in ranges() {
            let first = self.slots.partition_point(|slot| u64::from(slot.seq) < range.from);
            for slot in self.slots.range_mut(first..).take_while(|slot| u64::from(slot.seq) <= range.to) {
                if !slot.state.is(GONE) {
                    removed += 1;
                    self.shown.leaves(&mut proof, slot.seq, slot.order, slot.state.is(REPEATED));
                }
                slot.state.set(GONE, true);
            }
        }
        rules.counts.acked += removed;
        if removed > 0 {
            self.remove_gone(&mut left);
        }
        if let Some(pause) = ack.slow_down_ms {
            self.slow_down(rules, pause, now);
        }
        if self.slots.is_empty() {
            self.restraint.end();
        }
        self.strike(rules, proof.latest(), now);
    }

    fn remove_gone(&mut self, left: &mut impl FnMut(Settled)) {
        let (mut ready, mut in_flight) = (self.ready, self.in_flight);
        let cursor = self.cursor;
        self.slots.retain(|slot| {
            let gone = slot.state.is(GONE);
            if gone {
                ready -= u32::from(slot.state.is(READY));
                in_flight -= u32::from(slot.seq < cursor);
                left(Settled { seq: slot.seq, due_us: slot.due_us });
            }
            !gone
        });
        (self.ready, self.in_flight) = (ready, in_flight);
        if self.next_due != NEVER {
            self.plan_resend();
        }
        self.shrink();
    }

    /// A backlog is rare, and its memory would stay with each vehicle that once had one.
    fn shrink(&mut self) {
        if self.slots.is_empty() {
            self.slots.shrink_to(16);
        }
    }

    /// Rule 6.
    fn slow_down(&mut self, rules: &mut Rules, pause: u64, now: u64) {
        rules.counts.slow_downs += 1;
        if rules.settings.obeys {
            self.restraint.ask(pause, now);
        }
        let sent = self.sent();
        for slot in self.slots.range_mut(..sent) {
            if slot.resend_at == NEVER && !slot.state.is(READY) {
                let pause = NEXT_WORD_MS + rules.rng.random_range(0..=rules.settings.times.left_out_ms);
                slot.resend_at = moment(now + pause);
                slot.state.because(Resent::SlowedDown);
                self.next_due = self.next_due.min(slot.resend_at);
            }
        }
    }

    /// Rule 2: this ack shows that transmission `latest` arrived, and left out what is still here.
    fn strike(&mut self, rules: &mut Rules, latest: u32, now: u64) {
        let Times { left_out_ms, left_out_max_ms, .. } = rules.settings.times;
        let sent = self.sent();
        for slot in self.slots.range_mut(..sent) {
            if slot.resend_at != NEVER || slot.state.is(READY) {
                continue;
            }
            slot.state.set_strikes(if slot.order < latest { slot.state.strikes() + 1 } else { 0 });
            if slot.state.strikes() >= 2 {
                let most = doubled(left_out_ms, left_out_max_ms, u32::from(slot.left_out));
                slot.resend_at = moment(now + rules.rng.random_range(0..=most));
                slot.left_out = slot.left_out.saturating_add(1);
                slot.state.because(Resent::LeftOut);
                self.next_due = self.next_due.min(slot.resend_at);
            }
        }
    }

    /// When [`Self::next`] may have something that it does not have now, by the clock alone, ms.
    pub(super) fn wake_at(&self, settings: &Settings) -> Option<u64> {
        if !self.connected {
            return None;
        }
        let opens_at = self.restraint.opens_at();
        let held = (opens_at > 0 && self.has_some(settings)).then_some(opens_at);
        let probe = (self.in_flight > 0).then(|| self.quiet.ends());
        let due = (self.next_due != NEVER).then(|| u64::from(self.next_due));
        probe.into_iter().chain(due).chain(held).min().map(|at| at.max(opens_at))
    }

    /// When the readings in hand were due, µs after the start of the load, ascending.
    pub(super) fn due_us(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().map(|slot| slot.due_us)
    }

    /// How many readings are in hand.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The memory that it has for its readings, bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.slots.capacity() * size_of::<Slot>()) as u64
    }

    /// Readings that were never sent, or whose turn has come again.
    pub(super) fn waits(&self) -> bool {
        self.ready > 0 || self.slots.back().is_some_and(|slot| slot.seq >= self.cursor)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight as usize
    }
}
