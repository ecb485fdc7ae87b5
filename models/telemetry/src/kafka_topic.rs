//! The table of Kafka topics: name, partitions, clean-up. `motorcade topics apply` creates them from it;
//! auto-creation is off.

/// Records as received; key = vehicle; headers of [`header`].
pub const TELEMETRY: &str = "telemetry";
/// Refused payloads: original bytes, reason and source in the headers.
pub const DEAD_LETTER: &str = "telemetry.dead-letter";
/// The registry of vehicles.
pub const VEHICLES: &str = "vehicles";
/// Online, offline, last seen; key = vehicle.
pub const VEHICLE_STATUS: &str = "vehicle-status";
/// One [`crate::event::Score`] per scored window; key = vehicle. Always JSON, without headers.
pub const SCORES: &str = "scores";
/// The scorer's windows and the offsets they cover; key = vehicle, partitioned as `telemetry`.
pub const SCORER_STATE: &str = "scorer-state";
/// [`crate::event::AlertEvent`]s; key = alert id. One partition: its offset is the order clients resume from.
pub const ALERTS: &str = "alerts";
/// The alerter's current state; key = alert id, in the vehicle's partition of `scores`.
pub const ALERT_STATE: &str = "alert-state";
/// [`crate::event::AlertCommand`]s; key = vehicle.
pub const ALERT_COMMANDS: &str = "alert-commands";
/// Commands to vehicles; key = vehicle.
pub const VEHICLE_COMMANDS: &str = "vehicle-commands";
/// Replies of vehicles; key = vehicle.
pub const COMMAND_REPLIES: &str = "command-replies";
/// The model registry: artefacts, versions, aliases.
pub const MODELS: &str = "models";
/// Promotions, roll-backs, switch points; one partition, append-only.
pub const MODEL_EVENTS: &str = "model-events";

/// Names of Kafka record headers.
pub mod header {
    /// Content type of the value, as MQTT named it.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Schema version of the value, decimal.
    pub const SCHEMA: &str = "schema";
    /// The MQTT topic that the record came in on.
    pub const MQTT_TOPIC: &str = "mqtt-topic";
    /// W3C trace context, passed through from the MQTT user property of that name.
    pub const TRACEPARENT: &str = "traceparent";
    /// Dead letter: [`crate::Reason::as_str`].
    pub const REASON: &str = "reason";
    /// Dead letter: the sentence for people.
    pub const ERROR: &str = "error";
    /// Dead letter: which program refused it, for example `edge` or `twin`.
    pub const REFUSED_BY: &str = "refused-by";
    /// Dead letter of a Kafka record: `topic/partition/offset` that it stood at.
    pub const SOURCE: &str = "source";
    /// Tombstone on [`super::SCORER_STATE`]: every record of `telemetry` below this offset is dealt with, decimal.
    pub const COVERED: &str = "covered";
}

/// How many partitions a topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// The fleet's number, the same for every topic keyed by vehicle.
    Fleet,
    /// One for ever: its offset is a total order.
    One,
}

/// What happens to old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Deleted after so many days.
    DeleteAfterDays(u32),
    /// The last record of each key stays.
    Compact,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaTopic {
    /// Name.
    pub name: &'static str,
    /// Number of partitions.
    pub partitions: Partitions,
    /// Retention.
    pub cleanup: Cleanup,
    /// Safety: replication 3 and `min.insync.replicas` 2 where the cluster has three nodes.
    pub durable: bool,
    /// Further topic configs.
    pub configs: &'static [(&'static str, &'static str)],
}

/// The default of [`Partitions::Fleet`].
pub const DEFAULT_FLEET_PARTITIONS: u32 = 6;

/// The largest record of any topic, in bytes: above the edge's packet limit with headers in it.
pub const MAX_MESSAGE_BYTES: u32 = 1024 * 1024;

const fn topic(name: &'static str, partitions: Partitions, cleanup: Cleanup) -> KafkaTopic {
    KafkaTopic { name, partitions, cleanup, durable: true, configs: &[] }
}

/// Every topic of the product.
pub const TABLE: &[KafkaTopic] = &[
    topic(TELEMETRY, Partitions::Fleet, Cleanup::DeleteAfterDays(7)),
    topic(DEAD_LETTER, Partitions::Fleet, Cleanup::DeleteAfterDays(30)),
    topic(VEHICLES, Partitions::Fleet, Cleanup::Compact),
    topic(VEHICLE_STATUS, Partitions::Fleet, Cleanup::Compact),
    topic(SCORES, Partitions::Fleet, Cleanup::DeleteAfterDays(30)),
    // The highest covered offset wins, not the last record: a killed process may write late, so both must
    // still be there when the state is read.
    KafkaTopic {
        configs: &[("min.compaction.lag.ms", "3600000")],
        ..topic(SCORER_STATE, Partitions::Fleet, Cleanup::Compact)
    },
    topic(ALERTS, Partitions::One, Cleanup::DeleteAfterDays(90)),
    KafkaTopic {
        configs: &[("min.compaction.lag.ms", "3600000")],
        ..topic(ALERT_STATE, Partitions::Fleet, Cleanup::Compact)
    },
    topic(ALERT_COMMANDS, Partitions::Fleet, Cleanup::DeleteAfterDays(90)),
    topic(VEHICLE_COMMANDS, Partitions::Fleet, Cleanup::DeleteAfterDays(7)),
    topic(COMMAND_REPLIES, Partitions::Fleet, Cleanup::DeleteAfterDays(7)),
    topic(MODELS, Partitions::One, Cleanup::Compact),
    topic(MODEL_EVENTS, Partitions::One, Cleanup::DeleteAfterDays(366)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_alerts_have_one_order() {
        for (at, topic) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|other| other.name != topic.name), "{}", topic.name);
        }
        for name in [ALERTS, MODELS, MODEL_EVENTS] {
            let topic = TABLE.iter().find(|topic| topic.name == name).unwrap();
            assert_eq!(topic.partitions, Partitions::One, "{name}");
        }
    }
}
