//! Order within batches, and what is committed when.

use std::time::Instant;

use super::{membership::Progress, *};

fn record(partition: i32, offset: i64) -> InRecord {
    InRecord::at("telemetry", partition, offset)
}

fn partition(number: i32) -> TopicPartition {
    ("telemetry".into(), number)
}

fn assigned(partition: i32, next: i64) -> Assigned {
    Assigned { kafka_topic: "telemetry".into(), partition, next, note: String::new(), tenure: 1 }
}

#[tokio::test]
async fn batches_end_before_a_rebalance_that_follows_records() {
    let (sender, items) = mpsc::channel(16);
    let (_farewell, closed) = oneshot::channel();
    let (held, shared, consumer) = (VecDeque::new(), Arc::default(), Weak::new());
    let mut consumer = GroupConsumer { items, held, shared, consumer, closed };
    for item in [
        Item::Assigned(vec![assigned(0, 5)]),
        Item::Records(vec![record(0, 5), record(0, 6), record(0, 7)]),
        Item::Revoked(vec![partition(0)]),
        Item::Assigned(vec![assigned(1, 0)]),
        Item::Assigned(vec![assigned(2, 0)]),
        Item::Revoked(vec![partition(2)]),
        Item::Failed("over".into()),
    ] {
        sender.send(item).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let batch = consumer.next(2, Duration::from_secs(1)).await.unwrap();
        let offsets: Vec<_> = batch.records.iter().map(|record| record.offset).collect();
        let numbers = |partitions: &[TopicPartition]| partitions.iter().map(|(_, n)| *n).collect::<Vec<_>>();
        let assigned: Vec<_> = batch.assigned.iter().map(|assigned| assigned.partition).collect();
        seen.push((numbers(&batch.revoked), assigned, offsets));
    }
    let expected = [
        (vec![], vec![0], vec![5, 6]),
        (vec![], vec![], vec![7]),
        (vec![0], vec![1, 2], vec![]),
        (vec![2], vec![], vec![]),
    ];
    assert_eq!(seen, expected);
    assert!(consumer.next(2, Duration::from_secs(1)).await.unwrap_err().to_string().contains("over"));
    drop(sender);
    assert!(consumer.next(2, Duration::from_secs(1)).await.is_err());
}

#[test]
fn only_what_is_ours_is_committed_and_never_backwards() {
    let shared = Shared::default();
    let now = Instant::now();
    shared.state().owned.insert(partition(0), Progress { handled: 5, requested: 5, high: 20, tenure: 1 });
    assert_eq!(shared.state().due(now), []);
    assert_eq!(shared.lag(), 15);
    shared.want(&BTreeMap::from([(partition(0), 9), (partition(1), 7)]));
    shared.want(&BTreeMap::from([(partition(0), 8)]));
    assert_eq!(shared.lag(), 11);
    assert_eq!(shared.state().due(now), [(partition(0), 9)]);
    assert_eq!(shared.state().due(now), [], "asked for once");
}

#[test]
fn a_failed_commit_is_repeated_after_a_pause() {
    let shared = Shared::default();
    let now = Instant::now();
    shared.state().owned.insert(partition(0), Progress { handled: 9, requested: 5, high: 20, tenure: 1 });
    assert_eq!(shared.state().due(now), [(partition(0), 9)]);
    shared.state().again(&partition(0), now);
    assert_eq!(shared.state().due(now), []);
    assert_eq!(shared.state().due(now + Duration::from_secs(1)), [(partition(0), 9)]);
    shared.state().owned.clear();
    shared.state().again(&partition(0), now);
    assert_eq!(shared.state().due(now + Duration::from_secs(1)), []);
}
