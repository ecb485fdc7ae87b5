//! What the metrics show of the loop.

use std::time::{Duration, Instant};

use super::{Edge, spooling::Mode};
use crate::{limit::Limit, release::Release};

/// Kafka confirms nothing, and the spool takes nothing either.
const WITHHELD: &str = "Kafka is away and the spool takes nothing: PUBACKs are withheld";

/// Kafka confirms nothing, and there is no spool.
const UNCONFIRMED: &str = "Kafka confirms nothing and there is no spool: PUBACKs are withheld";
/// Without a spool, a shorter pause of Kafka's hinders nobody.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the metrics know of the tally.
#[derive(Default)]
pub(super) struct Shown {
    received: u64,
    sent: u64,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
    forgotten_early: u64,
    hindrance: Option<&'static str>,
}

impl<R: Release> Edge<R> {
    pub(super) fn count_discarded(&mut self, reason: &'static str) {
        self.tally.discard(reason, 1);
        self.metrics.discarded(reason, 1);
    }

    /// Brings the metrics up to date: once in a step, not once for each message.
    #[expect(clippy::cast_precision_loss, reason = "gauges; far below 2^53")]
    pub(super) fn show(&mut self, now: Instant) {
        let forgotten = self.limit.as_ref().map_or(0, Limit::forgotten_early);
        let Shown { received, sent, pubacks, acks_sent, late_reports, forgotten_early, .. } = &mut self.shown;
        for (counter, shown, now) in [
            (&self.metrics.received, received, self.tally.received),
            (&self.metrics.sent, sent, self.tally.sent),
            (&self.metrics.pubacks_released, pubacks, self.pubacks),
            (&self.metrics.acks_sent, acks_sent, self.acks_sent),
            (&self.metrics.late_reports, late_reports, self.late_reports),
            (&self.metrics.forgotten_early, forgotten_early, forgotten),
        ] {
            counter.increment(now - *shown);
            *shown = now;
        }
        self.downlink.show();
        self.metrics.in_flight.set(self.books.tracker.in_hand() as f64);
        self.metrics.vehicles.set(self.books.acks.vehicles() as f64);
        let active = self.watch.is_none() || self.session.connected();
        self.metrics.active.set(f64::from(u8::from(active)));
        if let Some(spooling) = &self.spooling {
            self.metrics.spool_mode.set(f64::from(self.mode(now) as u8));
            self.metrics.spool_bytes.set(spooling.level().bytes as f64);
            self.metrics.spool_records.set(spooling.undelivered() as f64);
        }
        let hindrance = match &self.spooling {
            Some(spooling) => hindrance(self.mode(now), spooling.is_refusing()),
            None => {
                let after = Duration::from_millis(self.config.spool_after_ms).max(SHORTEST);
                unconfirmed(self.books.tracker.in_hand(), self.progress.stands_for(after, now))
            }
        };
        if hindrance != self.shown.hindrance {
            self.shown.hindrance = hindrance;
            self.readiness.hindered_by(hindrance);
        }
    }
}

/// Why an edge without a spool is not ready, if it is not.
fn unconfirmed(in_hand: usize, stands: bool) -> Option<&'static str> {
    (in_hand > 0 && stands).then_some(UNCONFIRMED)
}

/// Why an edge with a spool is not ready, if it is not. A spool that refuses while Kafka takes what arrives hinders nobody.
fn hindrance(mode: Mode, refusing: bool) -> Option<&'static str> {
    (mode == Mode::Spooling && refusing).then_some(WITHHELD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_spool_the_edge_is_hindered_while_kafka_leaves_something_in_hand() {
        for (in_hand, stands, hindered) in [(0, false, false), (0, true, false), (1, false, false), (1, true, true)] {
            assert_eq!(unconfirmed(in_hand, stands).is_some(), hindered, "{in_hand} {stands}");
        }
    }

    #[test]
    fn the_edge_is_hindered_only_where_neither_kafka_nor_the_spool_takes_anything() {
        for (mode, refusing, hindered) in [
            (Mode::Live, false, false),
            (Mode::Live, true, false),
            (Mode::Spooling, false, false),
            (Mode::Spooling, true, true),
            (Mode::CatchingUp, false, false),
            (Mode::CatchingUp, true, false),
        ] {
            assert_eq!(hindrance(mode, refusing).is_some(), hindered, "{mode:?} {refusing}");
        }
    }
}
