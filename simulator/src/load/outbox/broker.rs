//! What the broker does to the outbox of a load vehicle: connections that come and end, sessions, and PUBACKs.

use rand::RngExt;

use super::{
    Outbox, Rules, Settled,
    slot::{ANSWERED, NEVER, READY, SENT_BEFORE, Slot, State, TAKEN, WRITTEN, moment},
};
use crate::outbox::{Resent, Times, doubled};

impl Outbox {
    /// The broker accepted a connection. Without a session everything unacknowledged is sent again (rule 1).
    pub(in crate::load) fn session(&mut self, present: bool) {
        if present {
            return;
        }
        self.cursor = self.slots.front().map_or(self.next_seq, |slot| slot.seq);
        (self.in_flight, self.ready, self.next_due) = (0, 0, NEVER);
        for slot in &mut self.slots {
            let mut state = State::default();
            for kept in [SENT_BEFORE, ANSWERED, WRITTEN] {
                state.set(kept, slot.state.is(kept));
            }
            *slot = Slot { state, ..Slot::new(slot.seq, slot.due_us) };
        }
    }

    /// The acks are subscribed to: sending may begin.
    pub(in crate::load) fn connected(&mut self, now: u64) {
        self.connected = true;
        self.quiet.resume(now);
    }

    /// The connection has ended: what the broker has not taken is sent again on the next one.
    pub(in crate::load) fn disconnected(&mut self, now: u64) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.quiet.pause(now);
        let sent = self.sent();
        for slot in self.slots.range_mut(..sent).filter(|slot| !slot.state.is(TAKEN)) {
            slot.resend_at = NEVER;
            slot.state.because(Resent::ConnectionLost);
            self.ready += u32::from(!slot.state.is(READY));
            slot.state.set(READY, true);
        }
        self.plan_resend();
    }

    /// The broker answered a transmission: it took the reading, or refused it (rule 4). Whether it is the broker's
    /// first answer to this reading; none if the reading has left.
    pub(in crate::load) fn puback(&mut self, rules: &mut Rules, seq: u32, taken: bool, now: u64) -> Option<bool> {
        let at = self.find(seq)?;
        let (cursor, slot) = (self.cursor, &mut self.slots[at]);
        let first = !slot.state.is(ANSWERED);
        slot.state.set(TAKEN | ANSWERED, true);
        if taken {
            slot.refusals = 0;
            return Some(first);
        }
        rules.counts.refused += 1;
        if seq >= cursor || slot.resend_at != NEVER || slot.state.is(READY) {
            return Some(first);
        }
        let Times { refused_ms, refused_max_ms, .. } = rules.settings.times;
        let pause = rules.rng.random_range(0..=doubled(refused_ms, refused_max_ms, u32::from(slot.refusals)));
        slot.refusals = slot.refusals.saturating_add(1);
        slot.resend_at = moment(now + pause);
        slot.state.because(Resent::Refused);
        self.next_due = self.next_due.min(slot.resend_at);
        Some(first)
    }

    /// The broker's word ends it (`--judge puback`). None if it has left before.
    pub(in crate::load) fn settle(&mut self, rules: &mut Rules, seq: u32, now: u64) -> Option<Settled> {
        self.quiet.restart(now, rules.settings.times.probe_ms);
        let at = self.find(seq)?;
        let slot = self.slots.remove(at)?;
        rules.counts.acked += 1;
        self.forget(slot);
        if slot.resend_at != NEVER {
            self.plan_resend();
        }
        self.shrink();
        Some(Settled { seq, due_us: slot.due_us })
    }
}
