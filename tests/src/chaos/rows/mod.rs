//! The rows: one function for each fault.

mod backlog;
mod controls;
mod deaths;
mod kafka;
mod mqtt;
mod spool;

use super::Row;

macro_rules! row {
    ($name:literal, $fault:literal, $run:expr) => {
        Row::new($name, $fault, |name| Box::pin($run(name)))
    };
}

pub(super) fn all() -> Vec<Row> {
    vec![
        row!("vehicles-killed", "SIGKILL of all vehicles, twice; their outboxes survive", deaths::vehicles),
        row!("edge-killed", "SIGKILL of the edge, five times", deaths::edge).quick(),
        row!("broker-killed", "SIGKILL of the broker, whose sessions and queue are gone", deaths::broker),
        row!("kafka-killed", "SIGKILL of Kafka", deaths::kafka),
        row!("edge-and-kafka-killed", "SIGKILL of edge and Kafka at once", deaths::edge_and_kafka),
        row!("broker-and-edge-killed", "SIGKILL of broker and edge at once", deaths::broker_and_edge).quick(),
        row!("all-killed-1", "SIGKILL of everybody; back in a random order", deaths::all_1).quick(),
        row!("all-killed-2", "as above, another order", deaths::all_2),
        row!("all-killed-3", "as above, another order", deaths::all_3),
        row!("backlog", "300,000 wait in the session; the edge is killed at 20 % and at 50 %", backlog::killed_twice)
            .quick(),
        row!("kafka-stopped", "SIGSTOP of Kafka for 60 s", kafka::stopped),
        row!("kafka-half-open", "connections to Kafka stay, and nothing passes, 20 s", kafka::half_open),
        row!("kafka-requests-held", "nothing goes from the edge to Kafka, 20 s", kafka::requests_held),
        row!("kafka-answers-held", "nothing goes from Kafka to the edge, 20 s", kafka::answers_held),
        row!("kafka-answers-lost", "what Kafka answers is lost, 20 s", kafka::answers_lost),
        row!("kafka-away", "Kafka can't be reached for 90 s", kafka::away),
        row!("kafka-away-5-min", "Kafka can't be reached for 5 min at 5,000 readings/s", kafka::away_for_5_minutes),
        row!("kafka-flaps", "Kafka comes and goes every 3 s for 60 s", kafka::flaps),
        row!("kafka-slow", "256 kbit/s and 300 ms to Kafka, 30 s", kafka::slow),
        row!("edge-killed-spooling", "SIGKILL of the edge while Kafka is away", spool::edge_killed_spooling).quick(),
        row!("edge-killed-catching-up", "SIGKILL of the edge while it catches up", spool::edge_killed_catching_up),
        row!("spool-full", "Kafka is away until the spool's limit is reached", spool::full),
        row!("disk-full", "Kafka is away until the spool's disk is full", spool::disk_full),
        row!("disk-broken", "the spool's disk takes nothing any more while Kafka is away", spool::disk_broken),
        row!("spool-bit-flipped", "a bit of the spool flips while the edge is down", spool::bit_flipped).quick(),
        row!("spool-torn", "the spool's end is torn off while the edge is down", spool::torn),
        row!("spool-checkpoint-lost", "the spool's checkpoint is gone", spool::checkpoint_lost),
        row!("spool-lost", "the spool is deleted while the edge is down", spool::lost),
        row!("edge-half-open", "the edge's connection to the broker is forgotten by the network", mqtt::edge_half_open),
        row!("vehicles-half-open", "the vehicles' connections are forgotten by the network", mqtt::vehicles_half_open),
        row!("edge-publishes-held", "nothing goes from the broker to the edge, 15 s", mqtt::edge_publishes_held),
        row!("edge-pubacks-held", "nothing goes from the edge to the broker, 15 s", mqtt::edge_pubacks_held),
        row!(
            "vehicles-publishes-held",
            "nothing goes from vehicles to the broker, 15 s",
            mqtt::vehicles_publishes_held
        ),
        row!("vehicles-acks-held", "nothing goes from the broker to vehicles, 15 s", mqtt::vehicles_acks_held),
        row!("reset-in-publish", "connections are reset in the middle of packets, on both legs", mqtt::resets).quick(),
        row!("control-early-edge", "an edge that acknowledges on arrival must be caught", controls::early_edge),
        row!("control-forged-ledger", "a forged acknowledgement must be found", controls::forged_ledger).quick(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different_and_say_no_more_than_letters_digits_and_hyphens() {
        let rows = super::all();
        let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
    }
}
