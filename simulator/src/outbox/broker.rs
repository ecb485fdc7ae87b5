//! What the broker does to an outbox: connections that come and end, sessions, and PUBACKs.

use rand::RngExt;

use super::{
    Key, Outbox,
    entry::{Entry, Resent, Times, doubled},
};

impl Outbox {
    /// The broker accepted a connection. Without a session everything unacknowledged is sent again (rule 1).
    pub fn session(&mut self, present: bool) {
        if present {
            return;
        }
        self.cursor = self.entries.keys().next().copied().unwrap_or(self.next_ordinal);
        self.in_flight = 0;
        self.due.clear();
        self.ready.clear();
        self.entries.values_mut().for_each(Entry::forget_session);
    }

    /// The acks are subscribed to: sending may begin.
    pub fn connected(&mut self, now: u64) {
        self.connected = true;
        self.quiet.resume(now);
    }

    /// The connection has ended: what the broker has not taken is sent again on the next one.
    pub fn disconnected(&mut self, now: u64) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.quiet.pause(now);
        for (ordinal, entry) in self.entries.range_mut(..self.cursor).filter(|(_, entry)| !entry.taken) {
            if let Some(when) = entry.resend_at.take() {
                self.due.remove(&(when, *ordinal));
            }
            entry.why = Resent::ConnectionLost;
            self.ready.insert(*ordinal);
        }
    }

    /// The broker answered a transmission: it took the reading, or refused it (reason 0x10, or 0x80 and above; rule 4).
    pub fn puback(&mut self, ordinal: u64, taken: bool, now: u64) {
        let Some(entry) = self.entries.get_mut(&ordinal) else { return };
        entry.taken = true;
        if taken {
            entry.refusals = 0;
            return;
        }
        self.counts.refused += 1;
        if ordinal >= self.cursor || entry.resend_at.is_some() || self.ready.contains(&ordinal) {
            return;
        }
        let Times { refused_ms, refused_max_ms, .. } = self.settings.times;
        let when = now + self.rng.random_range(0..=doubled(refused_ms, refused_max_ms, entry.refusals));
        entry.refusals += 1;
        entry.resend_at = Some(when);
        entry.why = Resent::Refused;
        self.due.insert((when, ordinal));
    }

    /// The broker took a reading, and its word ends it (`--judge puback`). What left the outbox; none if it has left
    /// before.
    pub fn settle(&mut self, ordinal: u64, now: u64) -> Option<Key> {
        self.quiet.restart(now, self.settings.times.probe_ms);
        let entry = self.remove(ordinal)?;
        self.counts.acked += 1;
        Some(entry.record.key)
    }
}
