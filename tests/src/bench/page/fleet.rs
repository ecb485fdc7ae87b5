//! The fleet's part of the page.

use super::{
    circumstances, goals,
    table::{Align, Table, number},
    verdicts,
};
use crate::bench::result::Read;

/// What the table says, of which figure.
const LINES: [(&str, &str); 20] = [
    ("sockets established, as the kernel counts them", "established_sockets"),
    ("until all were connected, s", "ramp_s"),
    ("connections/s meanwhile", "ramp_connections_per_s"),
    ("connections lost later", "connections_lost"),
    ("readings made", "made_readings"),
    ("acknowledged by the edges", "acked_readings"),
    ("looked for in Kafka", "verified_readings"),
    ("lost", "lost_readings"),
    ("repeated", "duplicate_readings"),
    ("out of order", "reordered_readings"),
    ("readings/s into Kafka while the rate was held", "held_per_s"),
    ("CPU of the edges, µs/reading", "edge_cpu_us"),
    ("CPU of the mosquittos, µs/reading", "mosquitto_cpu_us"),
    ("CPU of Kafka, µs/reading", "kafka_cpu_us"),
    ("CPU of the load itself, µs/reading", "load_cpu_us"),
    ("memory of an edge for each vehicle, bytes", "edge_memory_per_vehicle_bytes"),
    ("memory of mosquitto for each vehicle, bytes", "mosquitto_memory_per_vehicle_bytes"),
    ("most memory of the load for each vehicle, beside outboxes, bytes", "load_memory_per_vehicle_bytes"),
    ("acks for each reading", "acks_per_reading"),
    ("p99.9 from due to Kafka's append, ms", "latency_p999_ms"),
];

/// The section.
pub(super) fn section(read: &Read) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right)]);
    for (words, figure) in LINES {
        if let Some(value) = read.figures.get(figure) {
            table.row([words.to_owned(), number(*value)]);
        }
    }
    let ms = |p: &str| read.figures.get(&format!("latency_{p}_ms")).copied().map_or_else(|| "–".to_owned(), number);
    table.row(["p50 / p99 / max of the same, ms".to_owned(), format!("{} / {} / {}", ms("p50"), ms("p99"), ms("max"))]);
    format!(
        "\n## A fleet\n\n{}\n\
         Every vehicle has a TCP connection and an MQTT 5 session of its own; an edge stands behind each mosquitto, one \
         Kafka behind all. Afterwards every sequence number of every vehicle is looked for in Kafka.\n{}\n### Figures\n\n{}{}",
        circumstances(read, "make bench-fleet"),
        goals(&read.goals),
        table.text(),
        verdicts(read),
    )
}
