//! What the metrics show of the loop.

use std::time::Instant;

use super::Edge;
use crate::release::Release;

/// What the metrics know of the tally.
#[derive(Default)]
pub(super) struct Shown {
    received: u64,
    sent: u64,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
}

impl<R: Release> Edge<R> {
    pub(super) fn count_discarded(&mut self, reason: &'static str) {
        self.tally.discard(reason, 1);
        self.metrics.discarded(reason, 1);
    }

    /// Brings the metrics up to date: once in a step, not once for each message.
    #[expect(clippy::cast_precision_loss, reason = "gauges; far below 2^53")]
    pub(super) fn show(&mut self, now: Instant) {
        let Shown { received, sent, pubacks, acks_sent, late_reports } = &mut self.shown;
        for (counter, shown, now) in [
            (&self.metrics.received, received, self.tally.received),
            (&self.metrics.sent, sent, self.tally.sent),
            (&self.metrics.pubacks_released, pubacks, self.pubacks),
            (&self.metrics.acks_sent, acks_sent, self.acks_sent),
            (&self.metrics.late_reports, late_reports, self.late_reports),
        ] {
            counter.increment(now - *shown);
            *shown = now;
        }
        self.downlink.show();
        self.metrics.in_flight.set(self.books.tracker.in_hand() as f64);
        self.metrics.vehicles.set(self.books.acks.vehicles() as f64);
        let standing_by = self.watch.as_ref().is_some_and(|watch| watch.is_standing_by());
        self.metrics.active.set(f64::from(u8::from(!standing_by)));
        if let Some(spooling) = &self.spooling {
            self.metrics.spool_mode.set(f64::from(self.mode(now) as u8));
            self.metrics.spool_bytes.set(spooling.level().bytes as f64);
            self.metrics.spool_records.set(spooling.undelivered() as f64);
        }
    }
}
