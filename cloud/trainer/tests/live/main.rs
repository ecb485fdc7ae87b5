//! The commands of the trainer against a real Kafka, and what their tests have in common.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::path::PathBuf;

use cloud_log::{History, KafkaConfig, topics};
use service::Error;
use services::{Kind, Options, Services};

mod evaluating;
mod registry;
mod training;

const CHAMPION: &str = "champion";

/// A Kafka of one test's own, with Motorcade's topics.
async fn start_kafka(test: &str, partitions: u32) -> (Services, KafkaConfig) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-live-{}", std::process::id()));
    let services = Services::start(Options::new(&dir).only(&[Kind::Kafka])).await.unwrap();
    let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
    topics::apply(&kafka, partitions, false).await.unwrap();
    (services, kafka)
}

/// Stops it; its data goes with it.
async fn stop_kafka(services: Services) {
    let dir = services.dir().to_owned();
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

async fn count(kafka: &KafkaConfig, kafka_topic: &str) -> i64 {
    History::watermarks(kafka, kafka_topic).await.unwrap().values().map(|(low, high)| high - low).sum()
}

/// The exit code and the one line of a refusal.
fn refusal(result: Result<(), Error>) -> (u8, String) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    (error.exit_code(), text)
}
