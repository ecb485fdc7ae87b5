//! Kafka's side of the tests, over the plain listener: topics, and what stands in `telemetry`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use telemetry::{Encoding, kafka_topic};

use crate::process::PATIENCE;

const PARTITIONS: i32 = 2;

fn config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("group.id", "reader").set("enable.auto.commit", "false");
    config
}

/// Creates what the edge writes to and reads.
pub(crate) async fn create_topics(kafka: &str) {
    let admin: AdminClient<DefaultClientContext> = config(kafka).create().unwrap();
    let names = [
        kafka_topic::TELEMETRY,
        kafka_topic::VEHICLE_STATUS,
        kafka_topic::COMMAND_REPLIES,
        kafka_topic::DEAD_LETTER,
        kafka_topic::VEHICLE_COMMANDS,
    ];
    let topics = names.map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)));
    for created in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

/// How often each reading is in `telemetry` now: vehicle and sequence number.
pub(crate) fn readings(kafka: &str) -> BTreeMap<(String, u64), u64> {
    let consumer: BaseConsumer = config(kafka).create().unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..PARTITIONS {
        let (first, end) = consumer.fetch_watermarks(kafka_topic::TELEMETRY, partition, PATIENCE).unwrap();
        left += end - first;
        assignment.add_partition_offset(kafka_topic::TELEMETRY, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut readings = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while left > 0 {
        assert!(Instant::now() < deadline, "{left} records are missing");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let record = telemetry::decode(message.payload().unwrap(), Encoding::Json, None).unwrap();
        *readings.entry((record.vehicle.to_string(), record.seq)).or_default() += 1;
        left -= 1;
    }
    readings
}
