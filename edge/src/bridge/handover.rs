//! The Kafka side of the loop: handing records over, taking reports, trying again.

use std::time::{Duration, Instant};

use service::Error;
use telemetry::kafka_topic::DEAD_LETTER;

use super::{Edge, dead, unix_millis};
use crate::{
    delivery::Ticket,
    metrics::KAFKA_REFUSED,
    producer::{Fate, NotTaken},
    release::{Item, Release},
};

/// How soon a record that found the producer's queue full is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

impl<R: Release> Edge<R> {
    /// Gives a record to the producer, or keeps it for later; false if it has to wait for room.
    pub(super) fn hand_over(&mut self, ticket: Ticket) -> Result<bool, Error> {
        let Some(item) = self.books.tracker.get(ticket) else { return Ok(true) };
        let mut record = item.sorted.record();
        // A clock that was ahead when it came, and was put right: Kafka refuses what is too far in the future.
        record.timestamp = record.timestamp.min(unix_millis());
        match self.producer.send(ticket, &record) {
            Ok(()) => Ok(true),
            Err(NotTaken::Full) => {
                self.metrics.queue_full.increment(1);
                self.waiting.push_front(ticket);
                self.retry_at = Some(Instant::now() + QUEUE_FULL_PAUSE);
                Ok(false)
            }
            Err(NotTaken::Refused(error)) => {
                self.refused(ticket, error);
                Ok(true)
            }
            Err(NotTaken::Failed(error)) => {
                self.try_later(ticket, &error);
                Ok(true)
            }
            Err(NotTaken::Dead(error)) => Err(dead(&error)),
        }
    }

    /// Kafka never takes this record as it is: its dead letter goes in its place.
    fn refused(&mut self, ticket: Ticket, error: String) {
        let Some(Item { sorted, .. }) = self.books.tracker.get_mut(ticket) else { return };
        if sorted.kafka_topic == DEAD_LETTER {
            // Then only a person can help, for example by a larger limit of that topic. Until then it stays in
            // hand, and what came after it stays unacknowledged.
            tracing::error!(error, "Kafka refuses a dead letter; trying again");
            return self.try_later(ticket, &error);
        }
        tracing::warn!(error, kafka_topic = sorted.kafka_topic, "Kafka refuses a record");
        sorted.refused_by_kafka(KAFKA_REFUSED, error);
        self.failed.push_back((Instant::now(), ticket));
    }

    fn try_later(&mut self, ticket: Ticket, error: &str) {
        self.metrics.kafka_failures.increment(1);
        let pause = self.failed_backoff.next().max(Duration::from_millis(50));
        // One tells enough where a thousand fail: the metric counts them.
        if self.failed.is_empty() {
            tracing::warn!(error, ?pause, "a delivery failed; trying again");
        }
        self.failed.push_back((Instant::now() + pause, ticket));
    }

    /// Tries again what is due.
    pub(super) fn retry(&mut self, now: Instant) -> Result<(), Error> {
        if self.retry_at.is_none_or(|at| at <= now) {
            self.retry_at = None;
            while let Some(ticket) = self.waiting.pop_front() {
                if !self.hand_over(ticket)? {
                    break;
                }
            }
        }
        // As many as there are now: what fails again goes to the end.
        for _ in 0..self.failed.len() {
            let due = self.failed.front().is_some_and(|(at, _)| *at <= now) && self.waiting.is_empty();
            let Some((_, ticket)) = self.failed.pop_front_if(|_| due) else { break };
            self.hand_over(ticket)?;
        }
        Ok(())
    }

    /// Takes Kafka's reports; whether there were any.
    pub(super) fn settle(&mut self, now: Instant) -> Result<bool, Error> {
        let mut reports = std::mem::take(&mut self.reports);
        self.producer.take_reports(&mut reports);
        if let Some(error) = self.producer.death() {
            return Err(dead(&error));
        }
        let any = !reports.is_empty();
        self.progress.in_hand(self.books.tracker.in_hand(), now);
        for (ticket, fate) in reports.drain(..) {
            match fate {
                Fate::Delivered => self.delivered(ticket, now),
                Fate::Refused(error) => self.refused(ticket, error),
                Fate::Failed(error) => self.try_later(ticket, &error),
                Fate::Dead(error) => return Err(dead(&error)),
            }
        }
        self.reports = reports;
        Ok(any)
    }

    fn delivered(&mut self, ticket: Ticket, now: Instant) {
        self.failed_backoff.reset();
        self.progress.made(now);
        self.release.delivered(&mut self.books, ticket, now);
        let late = self.books.tracker.is_late(ticket);
        let Some(Item { sorted, position, arrival, .. }) = self.books.tracker.delivered(ticket) else { return };
        match (position, &mut self.spooling) {
            (Some(position), Some(spooling)) => spooling.delivered(position),
            _ => self.bytes_in_hand -= sorted.size(),
        }
        if arrival > 0 {
            self.late_reports += u64::from(late);
            self.qos0_in_hand -= usize::from(sorted.entry.qos0);
        }
        self.downlink.delivered(&sorted);
        match sorted.discarded() {
            None => self.tally.sent += 1,
            Some(reason) => self.count_discarded(reason),
        }
    }
}
