//! What is counted and timed in a worker, and merged in the parent.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::outbox::{self, Resent};

/// Longer times count as an hour, µs.
const LONGEST_US: u64 = 3_600_000_000;
/// Reasons that are told apart; what comes beyond them is counted in one.
const MOST_REASONS: usize = 64;
const OTHERS: &str = "others";

/// A stage that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// From the attempt to connect to the SUBACK.
    Connect,
    /// From the time at which a reading was due until the kernel had it.
    Written,
    /// From the time at which a reading was due until the broker first answered it; where the broker judges, until it
    /// took it.
    Puback,
    /// From the time at which a reading was due until an ack of the edge named it.
    Ack,
    /// From the time at which a reading was due until it was given up, or the run or its step was over, and whoever
    /// judges had not acknowledged it. It would have taken longer than that.
    Unanswered,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Connect, Self::Written, Self::Puback, Self::Ack, Self::Unanswered];

    /// As figures name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Written => "schedule_to_written",
            Self::Puback => "schedule_to_puback",
            Self::Ack => "schedule_to_ack",
            Self::Unanswered => "unanswered_for",
        }
    }
}

/// Values of histograms, by stage: (µs, how often).
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Recorded([Vec<(u64, u64)>; Stage::ALL.len()]);

impl Recorded {
    pub(super) fn of(&self, stage: Stage) -> &[(u64, u64)] {
        &self.0[stage as usize]
    }
}

/// The histograms of all stages, to 3 digits.
#[derive(Debug)]
pub(super) struct Stages([Histogram<u64>; Stage::ALL.len()]);

impl Stages {
    pub(super) fn new() -> anyhow::Result<Self> {
        let new = || Histogram::new_with_bounds(1, LONGEST_US, 3);
        Ok(Self([new()?, new()?, new()?, new()?, new()?]))
    }

    pub(super) fn record(&mut self, stage: Stage, us: u64) {
        self.0[stage as usize].saturating_record(us);
    }

    /// What was recorded since the last call.
    pub(super) fn take(&mut self) -> Recorded {
        let mut recorded = Recorded::default();
        for (histogram, values) in self.0.iter_mut().zip(&mut recorded.0) {
            values.extend(histogram.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())));
            histogram.reset();
        }
        recorded
    }

    pub(super) fn add(&mut self, recorded: &Recorded) {
        for (histogram, values) in self.0.iter_mut().zip(&recorded.0) {
            for (value, count) in values {
                histogram.saturating_record_n(*value, *count);
            }
        }
    }

    pub(super) fn get(&self, stage: Stage) -> &Histogram<u64> {
        &self.0[stage as usize]
    }

    /// Counts what was never answered among the latencies of the stage that is judged, with the age that it had: a
    /// broker that hangs must not look as fast as it was before. Where nothing was answered at all, nothing was
    /// measured, and a condition fails for that.
    pub(super) fn count_unanswered(&mut self, judged: Stage) {
        let unanswered = self.0[Stage::Unanswered as usize].clone();
        let judged = &mut self.0[judged as usize];
        if !judged.is_empty() {
            for value in unanswered.iter_recorded() {
                judged.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
    }
}

/// What has happened: made = acked + unheard + given up + in the outboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Vehicles whose subscriptions stand, now.
    pub(super) connected: u64,
    /// Attempts to connect.
    pub(super) attempts: u64,
    /// Connections that stood.
    pub(super) connections: u64,
    /// Attempts that failed, by reason.
    pub(super) failed: BTreeMap<String, u64>,
    /// Connections that ended before the fleet left, by reason.
    pub(super) lost: BTreeMap<String, u64>,
    /// Connections that were cut on purpose, by why.
    pub(super) cut: BTreeMap<String, u64>,
    /// Readings that were published twice on purpose: each counts once as made.
    pub(super) duplicated: u64,
    /// Readings that were published after the next one on purpose.
    pub(super) reordered: u64,
    /// Readings of vehicles whose clocks are off.
    pub(super) skewed: u64,
    /// Full records of vehicles that report on change.
    pub(super) snapshots: u64,
    /// Readings made.
    pub(super) made: u64,
    /// Readings in the outboxes: counted there, not computed.
    pub(super) in_outbox: u64,
    /// Readings that whoever judges has acknowledged.
    pub(super) acked: u64,
    /// Readings that the broker took although nobody listens (0x10), where its word counts.
    pub(super) unheard: u64,
    /// Readings that left a full outbox.
    pub(super) given_up: u64,
    /// Transmissions.
    pub(super) published: u64,
    /// Those of what had been sent before, by [`Resent`].
    pub(super) resent: [u64; Resent::ALL.len()],
    /// PUBACKs by reason.
    pub(super) pubacks: BTreeMap<u8, u64>,
    /// PUBACKs of packet ids that were not out.
    pub(super) stray_pubacks: u64,
    /// Acks of the edge.
    pub(super) acks: u64,
    /// Ranges of acks above the last seq sent.
    pub(super) refused_ranges: u64,
    /// Acks that asked to slow down,
    pub(super) slow_downs: u64,
    /// transmissions that were held back for it, and
    pub(super) held_back: u64,
    /// for how long together, ms.
    pub(super) held_back_ms: u64,
    /// Acks that could not be read.
    pub(super) unreadable_acks: u64,
    /// Commands and other messages.
    pub(super) messages: u64,
    /// PINGREQs.
    pub(super) pings: u64,
    /// Bytes handed to the kernel.
    pub(super) bytes_out: u64,
    /// Bytes from the kernel.
    pub(super) bytes_in: u64,
    /// The most memory that vehicles have taken so far beside their outboxes, bytes. Of several workers: the sum, though
    /// each has its own time.
    pub(super) memory_bytes: u64,
    /// When the last reading was made, and until when this was counted, µs after the start of the load. Of a span: how
    /// long it was, both.
    pub(super) last_made_us: u64,
    pub(super) until_us: u64,
}

impl Counts {
    /// Takes over what the outboxes have counted together.
    pub(super) fn of_outboxes(&mut self, outboxes: &outbox::Counts) {
        self.made = outboxes.offered;
        self.given_up = outboxes.given_up;
        self.published = outboxes.sent + self.duplicated;
        self.resent = outboxes.resent;
        self.acks = outboxes.acks;
        self.refused_ranges = outboxes.refused_ranges;
        self.slow_downs = outboxes.slow_downs;
        self.held_back = outboxes.held_back;
        self.held_back_ms = outboxes.held_back_ms;
    }

    /// Whether every reading is accounted for.
    pub(super) fn balances(&self) -> bool {
        self.made == self.acked + self.unheard + self.given_up + self.in_outbox
    }

    /// Readings that whoever judges has taken.
    pub(super) fn settled(&self) -> u64 {
        self.acked + self.unheard
    }

    /// What has happened since `before`. What is told of now, not counted, stays: connected vehicles, outboxes, memory.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (own, before) in since.sums(before) {
            *own = own.saturating_sub(before);
        }
        // Rates are those of the whole time in between: what stood still for a while was not as fast as before.
        since.until_us = since.until_us.saturating_sub(before.until_us);
        since.last_made_us = since.until_us;
        for (own, before) in since.resent.iter_mut().zip(before.resent) {
            *own = own.saturating_sub(before);
        }
        let reasons =
            [(&mut since.failed, &before.failed), (&mut since.lost, &before.lost), (&mut since.cut, &before.cut)];
        for (own, before) in reasons {
            own.iter_mut().for_each(|(reason, n)| *n -= before.get(reason).copied().unwrap_or(0).min(*n));
        }
        since.pubacks.iter_mut().for_each(|(reason, n)| *n -= before.pubacks.get(reason).copied().unwrap_or(0).min(*n));
        since
    }

    /// What only grows, beside what another one has of it.
    fn sums(&mut self, other: &Self) -> [(&mut u64, u64); 22] {
        [
            (&mut self.attempts, other.attempts),
            (&mut self.connections, other.connections),
            (&mut self.duplicated, other.duplicated),
            (&mut self.reordered, other.reordered),
            (&mut self.skewed, other.skewed),
            (&mut self.snapshots, other.snapshots),
            (&mut self.made, other.made),
            (&mut self.acked, other.acked),
            (&mut self.unheard, other.unheard),
            (&mut self.given_up, other.given_up),
            (&mut self.published, other.published),
            (&mut self.stray_pubacks, other.stray_pubacks),
            (&mut self.acks, other.acks),
            (&mut self.refused_ranges, other.refused_ranges),
            (&mut self.slow_downs, other.slow_downs),
            (&mut self.held_back, other.held_back),
            (&mut self.held_back_ms, other.held_back_ms),
            (&mut self.unreadable_acks, other.unreadable_acks),
            (&mut self.messages, other.messages),
            (&mut self.pings, other.pings),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.bytes_in, other.bytes_in),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.in_outbox += other.in_outbox;
        self.memory_bytes += other.memory_bytes;
        for (own, other) in self.sums(other) {
            *own += other;
        }
        self.last_made_us = self.last_made_us.max(other.last_made_us);
        self.until_us = self.until_us.max(other.until_us);
        for (own, other) in self.resent.iter_mut().zip(other.resent) {
            *own += other;
        }
        for (own, other) in
            [(&mut self.failed, &other.failed), (&mut self.lost, &other.lost), (&mut self.cut, &other.cut)]
        {
            for (reason, n) in other {
                count(own, reason, *n);
            }
        }
        for (reason, n) in &other.pubacks {
            *self.pubacks.entry(*reason).or_default() += n;
        }
    }
}

/// Counts by reason.
pub(super) fn count(counts: &mut BTreeMap<String, u64>, reason: &str, n: u64) {
    if let Some(count) = counts.get_mut(reason) {
        *count += n;
    } else {
        // Brokers choose some of the words, and may choose others each time.
        let reason = if counts.len() < MOST_REASONS { reason } else { OTHERS };
        *counts.entry(reason.to_owned()).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_without_end_are_counted_together() {
        let mut counts = BTreeMap::new();
        (0..1_000).for_each(|n| count(&mut counts, &format!("reason {n}"), 1));
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (MOST_REASONS + 1, 1_000));
    }

    #[test]
    fn a_missing_reading_unbalances_the_counts() {
        let mut counts = Counts { made: 10, acked: 5, unheard: 1, given_up: 2, in_outbox: 1, ..Counts::default() };
        assert!(!counts.balances());
        counts.in_outbox = 2;
        assert!(counts.balances());
        let mut sum = counts.clone();
        count(&mut counts.lost, "closed", 3);
        sum.add(&counts);
        assert!(sum.balances() && sum.made == 20 && sum.lost["closed"] == 3);
    }

    #[test]
    fn what_has_happened_since_is_the_difference() {
        let before = Counts { made: 3, acked: 2, in_outbox: 1, resent: [1; Resent::ALL.len()], ..Counts::default() };
        let before = Counts { last_made_us: 5, until_us: 9, ..before };
        let mut after =
            Counts { connected: 7, last_made_us: 12, until_us: 19, made: 10, acked: 9, in_outbox: 1, ..before.clone() };
        count(&mut after.lost, "closed", 3);
        after.pubacks.insert(0, 9);
        let since = after.since(&before);
        assert_eq!((since.connected, since.made, since.settled(), since.in_outbox), (7, 7, 7, 1));
        assert_eq!((since.resent, since.lost["closed"], since.pubacks[&0]), ([0; Resent::ALL.len()], 3, 9));
        let mut sum = before;
        assert_eq!(
            (since.last_made_us, since.until_us),
            (10, 10),
            "whatever happened last in it, a span has its length"
        );
        sum.add(&Counts { in_outbox: 0, last_made_us: 12, until_us: 19, ..since });
        assert_eq!(sum, after, "nothing that is counted was left out");
    }

    #[test]
    fn what_a_worker_records_arrives_in_the_parent() {
        let (mut worker, mut parent) = (Stages::new().unwrap(), Stages::new().unwrap());
        for us in [0, 1, 900, 1_000_000, u64::MAX] {
            worker.record(Stage::Ack, us);
        }
        parent.add(&worker.take());
        parent.add(&worker.take());
        let histogram = parent.get(Stage::Ack);
        assert_eq!(histogram.len(), 5);
        assert!(histogram.max() >= LONGEST_US && histogram.value_at_quantile(0.5).abs_diff(900) <= 1);
        assert_eq!(parent.get(Stage::Written).len(), 0);
    }

    #[test]
    fn what_was_never_answered_is_slow_and_where_nothing_was_there_is_no_latency() {
        let mut stages = Stages::new().unwrap();
        (0..90).for_each(|_| stages.record(Stage::Puback, 1_000));
        (0..10).for_each(|_| stages.record(Stage::Unanswered, 9_000_000));
        stages.count_unanswered(Stage::Puback);
        let judged = stages.get(Stage::Puback);
        assert_eq!((judged.len(), judged.value_at_quantile(0.5) / 10), (100, 100));
        assert!(judged.value_at_quantile(0.99) >= 9_000_000);
        stages.count_unanswered(Stage::Ack);
        assert!(stages.get(Stage::Ack).is_empty());
    }
}
