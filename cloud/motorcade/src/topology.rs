//! `motorcade topology`: what reads and writes what, from the table in code.

use std::io::Write;

use clap::Args;
use service::Error;
use telemetry::kafka_topic as topic;

/// Flags of `motorcade topology`.
#[derive(Debug, Args)]
pub struct TopologyArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A part of the system, and the Kafka topics it reads and writes.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// Topics that it reads.
    pub reads: &'static [&'static str],
    /// Topics that it writes.
    pub writes: &'static [&'static str],
    /// What else it touches.
    pub beside: &'static str,
}

/// Every part that runs today. Roles tell their topics themselves: they open what they tell here.
pub const PARTS: &[Part] = &[
    Part {
        name: "motorcade-edge",
        reads: &[topic::VEHICLE_COMMANDS],
        writes: &[topic::TELEMETRY, topic::DEAD_LETTER, topic::VEHICLE_STATUS, topic::COMMAND_REPLIES],
        beside: "MQTT: v1/+/telemetry, status and command/reply in; v1/{vehicle}/ack and command out",
    },
    Part { name: "run twin", reads: &twin::READS, writes: &twin::WRITES, beside: "MongoDB: twins, history" },
    // Trainer and scorer stand here by hand: they are built with libtorch only, and the table is whole without it.
    Part {
        name: "run trainer",
        reads: &[topic::TELEMETRY, topic::MODELS],
        writes: &[topic::MODELS, topic::MODEL_EVENTS],
        beside: "",
    },
    Part {
        name: "run scorer",
        reads: &[topic::TELEMETRY, topic::MODELS, topic::MODEL_EVENTS, topic::SCORER_STATE],
        writes: &[topic::SCORES, topic::SCORER_STATE, topic::MODEL_EVENTS, topic::DEAD_LETTER],
        beside: "",
    },
    Part { name: "run alerter", reads: &alerter::READS, writes: &alerter::WRITES, beside: "MongoDB: alerts" },
    Part {
        name: "run gateway",
        reads: &gateway::READS,
        writes: &gateway::WRITES,
        beside: "HTTP and WebSocket; MongoDB: twins, history, alerts",
    },
    Part { name: "data import", reads: &[], writes: &[topic::TELEMETRY], beside: "CSV files in" },
    Part { name: "data export", reads: &[topic::TELEMETRY], writes: &[], beside: "Parquet files out" },
    Part {
        name: "view rebuild scores",
        reads: &[topic::TELEMETRY, topic::MODELS],
        writes: &[topic::DEAD_LETTER],
        beside: "Kafka: scores.NAME",
    },
    Part { name: "commands send", reads: &[topic::COMMAND_REPLIES], writes: &[topic::VEHICLE_COMMANDS], beside: "" },
];

/// Prints the table.
pub fn run_topology(args: &TopologyArgs) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let printed = if args.json {
        serde_json::to_string_pretty(PARTS).map_err(std::io::Error::from).and_then(|text| writeln!(out, "{text}"))
    } else {
        PARTS.iter().try_for_each(|part| {
            writeln!(out, "{}", part.name)?;
            for (verb, topics) in [("reads ", part.reads), ("writes", part.writes)] {
                if !topics.is_empty() {
                    writeln!(out, "  {verb} {}", topics.join(", "))?;
                }
            }
            if part.beside.is_empty() { Ok(()) } else { writeln!(out, "  beside {}", part.beside) }
        })
    };
    printed.map_err(|error| Error::Internal(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_that_is_read_is_in_the_table_and_written_by_somebody() {
        for part in PARTS {
            for name in part.reads.iter().chain(part.writes) {
                assert!(topic::TABLE.iter().any(|topic| topic.name == *name), "{name}");
            }
            for name in part.reads {
                assert!(PARTS.iter().any(|writer| writer.writes.contains(name)), "nobody writes {name}");
            }
        }
    }
}
