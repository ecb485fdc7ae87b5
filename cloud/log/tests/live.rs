//! Against a real Kafka: topics, order and completeness, resuming, rebalancing, a reader that does not read.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test; it tells what it measured"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_log::{
    GroupConsumer, History, InRecord, KafkaConfig, OutRecord, Producer, Tail, TailFrom, group_lag, topics,
};
use services::{Kind, Options, Services};
use telemetry::kafka_topic::{ALERTS, COMMAND_REPLIES, SCORES, TELEMETRY};

const WAIT: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 6;

async fn kafka() -> (Services, KafkaConfig) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("log-live-{}", std::process::id()));
    let services = Services::start(Options::new(&dir).only(&[Kind::Kafka])).await.unwrap();
    let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
    (services, kafka)
}

async fn produce(kafka: &KafkaConfig, kafka_topic: &str, from: usize, count: usize) {
    let producer = Producer::connect(kafka).await.unwrap();
    for n in from..from + count {
        let key = format!("veh-{}", n % 50);
        producer.send(OutRecord::new(kafka_topic, key, n.to_string())).await.unwrap();
    }
    producer.flush().await.unwrap();
}

fn number(record: &InRecord) -> usize {
    std::str::from_utf8(record.payload.as_deref().unwrap()).unwrap().parse().unwrap()
}

/// Reads and commits until all of these numbers were seen; gives the count of records.
async fn read_until(consumer: &mut GroupConsumer, seen: &mut BTreeSet<usize>, wanted: usize) -> usize {
    let began = Instant::now();
    let mut records = 0;
    while seen.len() < wanted {
        assert!(began.elapsed() < DEADLINE, "{} of {wanted}", seen.len());
        let batch = consumer.next(1_000, WAIT).await.unwrap();
        let next: BTreeMap<_, _> = batch.records.iter().map(|r| (r.topic_partition(), r.offset + 1)).collect();
        records += batch.records.len();
        seen.extend(batch.records.iter().map(number));
        consumer.commit(&next).unwrap();
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_works_on_a_real_kafka() {
    let (services, kafka) = kafka().await;
    table_is_applied_once(&kafka).await;
    a_missing_topic_or_broker_is_named(&kafka).await;
    one_record_is_confirmed_to_its_writer(&kafka).await;
    everything_arrives_in_order_and_reading_resumes(&kafka).await;
    replay_is_exact(&kafka).await;
    a_tail_catches_up_and_follows(&kafka).await;
    members_share_and_take_over(&kafka).await;
    a_reader_that_does_not_read_stays_a_member(&kafka).await;
    let dir = services.dir().to_owned();
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

async fn table_is_applied_once(kafka: &KafkaConfig) {
    assert!(!topics::plan(kafka, PARTITIONS, false).await.unwrap().is_settled());
    topics::apply(kafka, PARTITIONS, false).await.unwrap();
    let began = Instant::now();
    loop {
        let plan = topics::plan(kafka, PARTITIONS, false).await.unwrap();
        if plan.is_settled() {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{plan}");
    }
    assert!(topics::apply(kafka, PARTITIONS, false).await.unwrap().is_settled());
}

async fn a_missing_topic_or_broker_is_named(kafka: &KafkaConfig) {
    let soon = KafkaConfig { connect_timeout_ms: 1_000, ..kafka.clone() };
    for error in [
        GroupConsumer::connect(&soon, "missing", &[TELEMETRY, "no-such-topic"]).await.map(|_| ()).unwrap_err(),
        Tail::open(&soon, "no-such-topic", TailFrom::Beginning).await.map(|_| ()).unwrap_err(),
        History::watermarks(&soon, "no-such-topic").await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.exit_code(), 69);
        assert!(error.to_string().contains(r#"no topic "no-such-topic""#), "{error}");
    }
    let nowhere = KafkaConfig { connect_timeout_ms: 500, ..KafkaConfig::new("127.0.0.1:9") };
    let error = Producer::connect(&nowhere).await.unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().starts_with("--kafka 127.0.0.1:9: "), "{error}");
}

async fn one_record_is_confirmed_to_its_writer(kafka: &KafkaConfig) {
    let producer = Producer::connect(kafka).await.unwrap();
    assert!(!producer.cluster_id().await.unwrap().unwrap().is_empty());
    let (first, second) = tokio::join!(
        producer.deliver(OutRecord::new(COMMAND_REPLIES, "veh-1", "one")),
        producer.deliver(OutRecord::new("no-such-topic", "veh-1", "two")),
    );
    first.unwrap();
    assert!(second.unwrap_err().to_string().contains("no-such-topic"));
    producer.flush().await.unwrap();
    let held = History::watermarks(kafka, COMMAND_REPLIES).await.unwrap();
    assert_eq!(held.values().map(|(low, high)| high - low).sum::<i64>(), 1);
}

async fn everything_arrives_in_order_and_reading_resumes(kafka: &KafkaConfig) {
    produce(kafka, TELEMETRY, 0, 20_000).await;
    let began = Instant::now();
    let mut consumer = GroupConsumer::connect(kafka, "order", &[TELEMETRY]).await.unwrap();
    let (mut seen, mut positions) = (BTreeSet::new(), BTreeMap::new());
    let mut first = None;
    while seen.len() < 20_000 {
        assert!(began.elapsed() < DEADLINE);
        let batch = consumer.next(700, WAIT).await.unwrap();
        assert!(batch.records.len() <= 700);
        for assigned in batch.assigned {
            first.get_or_insert_with(|| began.elapsed());
            assert_eq!(assigned.next, 0);
            positions.insert(assigned.topic_partition(), assigned.next);
        }
        for record in &batch.records {
            let position = positions.get_mut(&record.topic_partition()).expect("assigned before records");
            assert_eq!(record.offset, *position);
            *position += 1;
            assert!(seen.insert(number(record)));
        }
        consumer.commit(&positions).unwrap();
    }
    println!("first assignment after {first:?}, 20000 records after {:?}", began.elapsed());
    assert_eq!(positions.len(), PARTITIONS as usize);
    assert_eq!(consumer.lag(), 0);
    consumer.close().await;
    assert_eq!(group_lag(kafka, "order", TELEMETRY).await.unwrap(), 0);
    assert_eq!(group_lag(kafka, "nobody", TELEMETRY).await.unwrap(), 20_000);

    produce(kafka, TELEMETRY, 20_000, 1_000).await;
    let mut consumer = GroupConsumer::connect(kafka, "order", &[TELEMETRY]).await.unwrap();
    let mut again = BTreeSet::new();
    assert_eq!(read_until(&mut consumer, &mut again, 1_000).await, 1_000, "what was committed came again");
    assert!(again.iter().all(|n| *n >= 20_000));
    consumer.close().await;
}

async fn replay_is_exact(kafka: &KafkaConfig) {
    let marks = History::watermarks(kafka, TELEMETRY).await.unwrap();
    assert_eq!(marks.values().map(|(low, high)| high - low).sum::<i64>(), 21_000);
    let ranges: BTreeMap<_, _> = marks.iter().map(|(p, (low, high))| (*p, low + 10..(high - 7))).collect();
    let mut history = History::open(kafka, TELEMETRY, ranges.clone()).await.unwrap();
    let mut positions: BTreeMap<_, _> = ranges.iter().map(|(p, range)| (*p, range.start)).collect();
    while let Some(records) = history.next(333).await.unwrap() {
        assert!((1..=333).contains(&records.len()));
        for record in records {
            let position = positions.get_mut(&record.partition).unwrap();
            assert_eq!(record.offset, *position);
            *position += 1;
        }
    }
    assert!(positions.iter().all(|(p, position)| *position == ranges[p].end), "{positions:?} {ranges:?}");
    let empty = BTreeMap::from([(0, 5..5)]);
    assert!(History::open(kafka, TELEMETRY, empty).await.unwrap().next(1).await.unwrap().is_none());
    let beyond = BTreeMap::from([(0, 0..i64::MAX)]);
    assert_eq!(History::open(kafka, TELEMETRY, beyond).await.unwrap_err().exit_code(), 65);
    assert!(History::everything(kafka, SCORES).await.unwrap().next(1).await.unwrap().is_none());
}

async fn a_tail_catches_up_and_follows(kafka: &KafkaConfig) {
    produce(kafka, ALERTS, 0, 100).await;
    let mut tail = Tail::open(kafka, ALERTS, TailFrom::Offsets(BTreeMap::from([(0, 40)]))).await.unwrap();
    let mut seen = Vec::new();
    let began = Instant::now();
    while !tail.caught_up() {
        assert!(began.elapsed() < DEADLINE);
        seen.extend(tail.next(7, WAIT).await.unwrap().iter().map(number));
    }
    assert_eq!(seen, (40..100).collect::<Vec<_>>());
    produce(kafka, ALERTS, 100, 10).await;
    while seen.len() < 70 {
        assert!(began.elapsed() < DEADLINE);
        seen.extend(tail.next(7, WAIT).await.unwrap().iter().map(number));
    }
    assert_eq!(seen, (40..110).collect::<Vec<_>>());
    let mut empty = Tail::open(kafka, SCORES, TailFrom::Beginning).await.unwrap();
    assert!(empty.next(1, DEADLINE).await.unwrap().is_empty());
    assert!(empty.caught_up());
}

async fn members_share_and_take_over(kafka: &KafkaConfig) {
    let mut first = GroupConsumer::connect(kafka, "share", &[TELEMETRY]).await.unwrap();
    let mut seen = BTreeSet::new();
    read_until(&mut first, &mut seen, 21_000).await;
    let began = Instant::now();
    let mut second = GroupConsumer::connect(kafka, "share", &[TELEMETRY]).await.unwrap();
    let mut assigned = Vec::new();
    while assigned.len() < 3 {
        assert!(began.elapsed() < DEADLINE, "{assigned:?}");
        let (mine, others) = tokio::join!(first.next(1_000, WAIT), second.next(1_000, WAIT));
        // The first member's offsets were committed before it gave the partitions up.
        assert!(others.as_ref().unwrap().records.is_empty());
        assert!(mine.unwrap().records.is_empty());
        assigned.extend(others.unwrap().assigned);
    }
    println!("a second member owns half after {:?}", began.elapsed());
    produce(kafka, TELEMETRY, 21_000, 500).await;
    let began = Instant::now();
    first.close().await;
    println!("closed after {:?}", began.elapsed());
    // What the first had read and not committed comes to the second.
    let mut rest = BTreeSet::new();
    read_until(&mut second, &mut rest, 500).await;
    println!("taken over after {:?}", began.elapsed());
    second.close().await;
}

async fn a_reader_that_does_not_read_stays_a_member(kafka: &KafkaConfig) {
    let mut consumer = GroupConsumer::connect(kafka, "slow", &[TELEMETRY]).await.unwrap();
    let mut positions = BTreeMap::new();
    let began = Instant::now();
    let mut count = 0;
    while positions.len() < PARTITIONS as usize {
        assert!(began.elapsed() < DEADLINE);
        let batch = consumer.next(10, WAIT).await.unwrap();
        count += batch.records.len();
        positions.extend(batch.assigned.into_iter().map(|assigned| (assigned.topic_partition(), 0)));
    }
    // Longer than the session; the condition waited for is time itself.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let began = Instant::now();
    while count < 21_500 {
        assert!(began.elapsed() < DEADLINE, "{count}");
        let batch = consumer.next(1_000, WAIT).await.unwrap();
        assert!(batch.revoked.is_empty() && batch.assigned.is_empty());
        count += batch.records.len();
    }
    assert_eq!(count, 21_500);
    consumer.close().await;
}
