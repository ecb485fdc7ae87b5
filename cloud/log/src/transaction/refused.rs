//! What a group refuses, against a real Kafka: an epoch that has passed. The transaction is ended at once, and what
//! nobody has sent yet is not waited for.

use std::collections::BTreeMap;

use services::{Kind, Options, Services};
use telemetry::kafka_topic::{SCORES, TELEMETRY};

use super::*;
use crate::{GroupConsumer, History, Watermarks, topics};

const WAIT: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 6;
/// Of each partition: more than the producer sends before it is refused.
const RECORDS: usize = 10_000;

/// Takes what comes until the member has so many partitions.
async fn wait_for(members: &mut [(&mut GroupConsumer, &mut i64, i64)]) {
    let began = Instant::now();
    while members.iter().any(|(_, has, wanted)| **has != *wanted) {
        for (member, has, _) in &mut *members {
            let batch = member.next(1_000, WAIT).await.unwrap();
            **has += batch.assigned.len() as i64 - batch.revoked.len() as i64;
        }
        assert!(began.elapsed() < DEADLINE, "{:?}", members.iter().map(|(_, has, _)| **has).collect::<Vec<_>>());
    }
}

fn parts(ours: &BTreeMap<TopicPartition, u64>) -> Vec<Part> {
    let part = |(source, tenure): (&TopicPartition, &u64)| Part {
        source: source.clone(),
        tenure: *tenure,
        records: (0..RECORDS).map(|n| OutRecord::new(SCORES, "veh", format!("{}/{n:0>200}", source.1))).collect(),
        next: 1,
        note: String::new(),
    };
    ours.iter().map(part).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_epoch_is_refused_and_nothing_is_left_open() {
    let dir = std::env::temp_dir().join(format!("log-refused-{}", std::process::id()));
    let services = Services::start(Options::new(&dir).only(&[Kind::Kafka])).await.unwrap();
    let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
    topics::apply(&kafka, PARTITIONS, false).await.unwrap();
    let (mut of_first, mut of_second) = (0, 0);
    let mut first = GroupConsumer::connect(&kafka, "refused", &[TELEMETRY]).await.unwrap();
    wait_for(&mut [(&mut first, &mut of_first, 6)]).await;
    let transactions = Transactions::connect(&kafka, "refused", first.standing()).await.unwrap();
    let (passed, all) = first.standing().now().unwrap();
    let mut second = GroupConsumer::connect(&kafka, "refused", &[TELEMETRY]).await.unwrap();
    wait_for(&mut [(&mut first, &mut of_first, 3), (&mut second, &mut of_second, 3)]).await;

    // As if the first one had not heard of what it lost. Of what it kept, Kafka takes its old epoch.
    let (_, ours) = first.standing().now().unwrap();
    let lost = all.into_iter().filter(|(partition, _)| !ours.contains_key(partition)).collect();
    let (writer, stale) = (transactions.clone(), parts(&lost));
    let began = Instant::now();
    let refused = tokio::task::spawn_blocking(move || writer.attempt(&stale, &passed)).await.unwrap();
    assert!(
        matches!(refused, Err(Refused::Epoch(_))),
        "{:?}",
        refused.map_err(|refused| match refused {
            Refused::Epoch(reason) => reason,
            Refused::Failed(error) => format!("{error:#}"),
        })
    );
    let marks = Watermarks::new(&kafka).unwrap();
    marks.settled(SCORES, &(0..PARTITIONS as i32).collect::<Vec<_>>()).await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_millis(DELIVERY_MS), "what was not sent was waited for: {took:?}");

    // What it kept stands, once; what it lost is left out.
    let left_out = transactions.write([parts(&ours), parts(&lost)].concat()).await.unwrap().unwrap();
    assert_eq!(left_out, lost.into_keys().collect());
    let (mut log, mut seen) = (History::everything(&kafka, SCORES).await.unwrap(), BTreeSet::new());
    while let Some(records) = log.next(10_000).await.unwrap() {
        assert!(records.into_iter().all(|record| seen.insert(record.payload)), "twice");
    }
    assert_eq!(seen.len(), 3 * RECORDS);
    first.close().await;
    second.close().await;
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}
