//! The broker's side of the loop: what is taken in, and when nothing is.

use std::time::Instant;

use service::Error;
use telemetry::mqtt_topic::{self, Channel};

use super::Edge;
use crate::{
    intake,
    limit::Admission,
    metrics::{QOS0_OVERFLOW, RATE_LIMITED},
    release::{Item, Release},
    spool::Entry,
};

/// With a broker that keeps to Receive Maximum at most two windows are in hand: one of a lost connection and one
/// of this one.
const MOST_WINDOWS: usize = 3;

impl<R: Release> Edge<R> {
    /// Whether more may be taken in. Three cases say no, and all end when Kafka confirms or the spool has fsynced:
    /// - the connection is gone and more than a window is in hand, for the next one brings another;
    /// - the broker does not keep to Receive Maximum. mosquitto 2.0.11 sends a whole window of what it has queued
    ///   for every PUBACK. Then the socket is not read, and TCP holds the broker up; pings go on;
    /// - what is in hand takes as much memory as it may.
    pub(super) fn may_listen(&self) -> bool {
        let in_hand = match &self.spooling {
            // What is safe there, and still with the producer, holds nobody up.
            Some(spooling) if spooling.is_on() => spooling.unsafe_yet(),
            _ => self.books.tracker.in_hand(),
        };
        let windows = if self.session.connected() { MOST_WINDOWS } else { 1 };
        in_hand <= windows * usize::from(self.config.receive_maximum)
            && self.bytes_in_hand <= 1024 * self.config.in_hand_kib as usize
    }

    pub(super) fn watch_window(&mut self) {
        let (unacknowledged, window) = (self.books.tracker.unacknowledged(), usize::from(self.config.receive_maximum));
        if unacknowledged > window && !self.exceeded {
            tracing::warn!(unacknowledged, window, "the MQTT broker sends more ahead than Receive Maximum allows");
            self.metrics.window_exceeded.increment(1);
        }
        // Warned of again only after it has been half empty.
        self.exceeded = if self.exceeded { unacknowledged > window / 2 } else { unacknowledged > window };
    }

    pub(super) fn take_in(&mut self, packet_id: Option<u16>, entry: Entry, now: Instant) -> Result<(), Error> {
        if self.stopping {
            // Not taken in, not acknowledged: the broker keeps it.
            return Ok(());
        }
        self.arrivals += 1;
        self.tally.received += 1;
        if entry.qos0 {
            if self.qos0_in_hand >= usize::from(self.config.receive_maximum) {
                self.count_discarded(QOS0_OVERFLOW);
                return Ok(());
            }
            self.qos0_in_hand += 1;
        }
        if let Some(pause) = self.over_the_limit(&entry, now) {
            self.slow_down(packet_id, entry, pause, now);
            return Ok(());
        }
        let sorted = intake::sort(entry);
        self.bytes_in_hand += sorted.size();
        if let Some(reason) = sorted.discarded() {
            tracing::debug!(reason, vehicle = sorted.vehicle(), "refused");
        }
        self.downlink.arrived(&sorted, now);
        self.progress.in_hand(self.books.tracker.in_hand(), now);
        let spooling = self.spooling.as_mut().filter(|spooling| spooling.is_on());
        let item = Item { sorted, arrival: self.arrivals, with_producer: spooling.is_none(), position: None };
        let ticket = self.books.tracker.arrived(packet_id, item);
        self.release.arrived(&mut self.books, ticket, now);
        match spooling {
            Some(spooling) => spooling.take(ticket),
            None if self.waiting.is_empty() => {
                self.hand_over(ticket)?;
            }
            None => self.waiting.push_back(ticket),
        }
        Ok(())
    }

    /// The pause that a vehicle should keep, if it sends more than it may.
    fn over_the_limit(&mut self, entry: &Entry, now: Instant) -> Option<u64> {
        let limit = self.limit.as_mut()?;
        let mqtt_topic = std::str::from_utf8(&entry.mqtt_topic).ok()?;
        let (vehicle, Channel::Telemetry) = mqtt_topic::split(mqtt_topic)? else { return None };
        match limit.admit(vehicle, now) {
            Admission::Yes => None,
            Admission::No { retry_after_ms } => Some(retry_after_ms),
        }
    }

    /// The broker may forget it; the vehicle still has it, and sends it again when it has slowed down.
    fn slow_down(&mut self, packet_id: Option<u16>, entry: Entry, pause_ms: u64, now: Instant) {
        self.count_discarded(RATE_LIMITED);
        self.qos0_in_hand -= usize::from(entry.qos0);
        let sorted = intake::unchecked(entry);
        if let Some(vehicle) = sorted.vehicle() {
            self.books.acks.slow_down(vehicle, pause_ms, now);
        }
        if packet_id.is_none() {
            // Nobody waits for a PUBACK.
            return;
        }
        let item = Item { sorted, arrival: self.arrivals, with_producer: false, position: None };
        let ticket = self.books.tracker.arrived(packet_id, item);
        self.books.tracker.settle(ticket);
        self.books.tracker.delivered(ticket);
    }
}
