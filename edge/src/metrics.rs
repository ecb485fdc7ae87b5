//! Every metric of the edge, by name. Labels come from closed sets, never from what a vehicle sent.

use std::collections::HashMap;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use telemetry::Reason;

use crate::downlink::Counts;

/// Kafka would not take the record, however often: too large, or against a policy of the topic.
pub(crate) const KAFKA_REFUSED: &str = "kafka_refused";
/// A publish of QoS 0, which nobody sends again, when there was no room for it.
pub(crate) const QOS0_OVERFLOW: &str = "qos0_overflow";

/// The vehicle sends more than it may; it keeps the reading and sends it again.
pub(crate) const RATE_LIMITED: &str = "rate_limited";
/// Spooled, and spoilt on the disk; not acknowledged to its vehicle, which sends it again.
pub(crate) const SPOOL_SPOILT: &str = "spool_spoilt";
/// Spooled by a program that this one does not understand; as above.
pub(crate) const SPOOL_UNREADABLE: &str = "spool_unreadable";

/// Handles, looked up once.
pub(crate) struct Metrics {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    discarded: HashMap<&'static str, Counter>,
    pub(crate) in_flight: Gauge,
    pub(crate) acks_sent: Counter,
    pub(crate) pubacks_released: Counter,
    pub(crate) reconnects: Counter,
    pub(crate) queue_full: Counter,
    pub(crate) kafka_failures: Counter,
    pub(crate) late_reports: Counter,
    pub(crate) window_exceeded: Counter,
    pub(crate) vehicles: Gauge,
    pub(crate) connected: Gauge,
    pub(crate) active: Gauge,
    pub(crate) spool_mode: Gauge,
    pub(crate) spool_bytes: Gauge,
    pub(crate) spool_records: Gauge,
    pub(crate) spool_refusals: Counter,
    pub(crate) forgotten_early: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_counter!("edge_records_received_total", "Publishes taken in from the MQTT broker, repeats included");
        describe_counter!("edge_records_sent_total", "Records and statuses that Kafka confirmed");
        describe_counter!("edge_records_discarded_total", "Publishes put aside, by reason");
        describe_gauge!("edge_in_flight_records", "Publishes taken in that Kafka has not confirmed");
        describe_counter!("edge_acks_sent_total", "Acknowledgements of our own sent to vehicles");
        describe_counter!("edge_pubacks_released_total", "PUBACKs sent to the MQTT broker");
        describe_counter!("edge_reconnects_total", "Connections to the MQTT broker after the first");
        describe_counter!("edge_kafka_queue_full_total", "Times that the producer's queue had no room");
        describe_counter!("edge_kafka_failures_total", "Deliveries that failed and were tried again");
        describe_counter!(
            "edge_late_reports_total",
            "Deliveries whose connection was gone: the broker sends them again"
        );
        describe_counter!(
            "edge_receive_maximum_exceeded_total",
            "Times that the MQTT broker sent more ahead than allowed"
        );
        describe_gauge!("edge_vehicles", "Vehicles whose acknowledged ranges are remembered");
        describe_gauge!("edge_mqtt_connected", "1 while connected to the MQTT broker");
        describe_gauge!("edge_active", "Of a hot standby: 1 while this one of the two bridges");
        describe_gauge!("edge_spool_mode", "0 live, 1 spooling, 2 catching up");
        describe_gauge!("edge_spool_bytes", "Bytes of the spool's files");
        describe_gauge!("edge_spool_records", "Spooled records that Kafka has not confirmed");
        describe_counter!("edge_spool_refusals_total", "Batches that the spool did not take: full, or the disk is");
        describe_counter!(
            "edge_limit_forgotten_early_total",
            "Vehicles that the rate limit forgot for want of room, though their allowance was perhaps used up"
        );
        let reasons = Reason::ALL.into_iter().map(Reason::as_str).chain([
            KAFKA_REFUSED,
            QOS0_OVERFLOW,
            RATE_LIMITED,
            SPOOL_SPOILT,
            SPOOL_UNREADABLE,
        ]);
        Self {
            received: counter!("edge_records_received_total"),
            sent: counter!("edge_records_sent_total"),
            discarded: reasons
                .map(|reason| (reason, counter!("edge_records_discarded_total", "reason" => reason)))
                .collect(),
            in_flight: gauge!("edge_in_flight_records"),
            acks_sent: counter!("edge_acks_sent_total"),
            pubacks_released: counter!("edge_pubacks_released_total"),
            reconnects: counter!("edge_reconnects_total"),
            queue_full: counter!("edge_kafka_queue_full_total"),
            kafka_failures: counter!("edge_kafka_failures_total"),
            late_reports: counter!("edge_late_reports_total"),
            window_exceeded: counter!("edge_receive_maximum_exceeded_total"),
            vehicles: gauge!("edge_vehicles"),
            connected: gauge!("edge_mqtt_connected"),
            active: gauge!("edge_active"),
            spool_mode: gauge!("edge_spool_mode"),
            spool_bytes: gauge!("edge_spool_bytes"),
            spool_records: gauge!("edge_spool_records"),
            spool_refusals: counter!("edge_spool_refusals_total"),
            forgotten_early: counter!("edge_limit_forgotten_early_total"),
        }
    }

    pub(crate) fn discarded(&self, reason: &'static str, n: u64) {
        match self.discarded.get(reason) {
            Some(counter) => counter.increment(n),
            // Not shown from the start on, but never dropped.
            None => counter!("edge_records_discarded_total", "reason" => reason).increment(n),
        }
    }
}

/// Metrics of the way down.
pub(crate) struct CommandMetrics {
    open: Gauge,
    paused: Gauge,
    read: Counter,
    answered: Counter,
    expired: Counter,
    refused: HashMap<Reason, Counter>,
    given_back: Counter,
    published: Counter,
    repeated: Counter,
}

impl CommandMetrics {
    pub(crate) fn new() -> Self {
        describe_gauge!("edge_open_commands", "Records of vehicle-commands that are neither answered nor expired");
        describe_gauge!(
            "edge_commands_paused",
            "1 while no commands are read, as the open ones take all of their memory"
        );
        describe_counter!("edge_commands_read_total", "Records of vehicle-commands taken in, repeats included");
        describe_counter!("edge_commands_answered_total", "Those whose vehicle's reply is in Kafka");
        describe_counter!("edge_commands_expired_total", "Those whose life has ended without a reply");
        describe_counter!(
            "edge_commands_refused_total",
            "Those that can't be read or published; Kafka confirmed their dead letters"
        );
        describe_counter!("edge_commands_given_back_total", "Those whose partition went to another edge of this id");
        describe_counter!("edge_commands_published_total", "Publishes of commands to the MQTT broker");
        describe_counter!("edge_commands_repeated_total", "Those of commands that had been published before");
        let refused = |reason: Reason| counter!("edge_commands_refused_total", "reason" => reason.as_str());
        Self {
            open: gauge!("edge_open_commands"),
            paused: gauge!("edge_commands_paused"),
            read: counter!("edge_commands_read_total"),
            answered: counter!("edge_commands_answered_total"),
            expired: counter!("edge_commands_expired_total"),
            refused: Reason::ALL.into_iter().map(|reason| (reason, refused(reason))).collect(),
            given_back: counter!("edge_commands_given_back_total"),
            published: counter!("edge_commands_published_total"),
            repeated: counter!("edge_commands_repeated_total"),
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(counter) = self.refused.get(&reason) {
            counter.increment(1);
        }
    }

    /// Adds what came since it was shown last.
    #[expect(clippy::cast_precision_loss, reason = "a gauge; far below 2^53")]
    pub(crate) fn show(&self, shown: &Counts, now: &Counts, open: usize, paused: bool) {
        self.open.set(open as f64);
        self.paused.set(f64::from(u8::from(paused)));
        for (counter, shown, now) in [
            (&self.read, shown.read, now.read),
            (&self.answered, shown.answered, now.answered),
            (&self.expired, shown.expired, now.expired),
            (&self.given_back, shown.given_back, now.given_back),
            (&self.published, shown.published, now.published),
            (&self.repeated, shown.repeated, now.repeated),
        ] {
            counter.increment(now - shown);
        }
    }
}
