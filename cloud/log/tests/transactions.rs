//! Transactions against a real Kafka: what stands in one is seen whole or not at all; who gave a partition up writes
//! nothing for it; a note stands beside the offset; who comes after another under its id puts it out.

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
    GroupConsumer, History, KafkaConfig, OutRecord, Part, Producer, TopicPartition, Transactions, Watermarks, topics,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use services::{Kind, Options, Services};
use telemetry::kafka_topic::{SCORES, TELEMETRY};

const WAIT: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 6;

/// A member that writes for what it owns.
struct Member {
    name: &'static str,
    consumer: GroupConsumer,
    transactions: Transactions,
    /// Tenure and next offset of our partitions.
    ours: BTreeMap<TopicPartition, (u64, i64)>,
    /// What stands in Kafka by its own account.
    written: Vec<String>,
    left_out: usize,
    notes: BTreeMap<TopicPartition, String>,
}

impl Member {
    async fn join(kafka: &KafkaConfig, name: &'static str) -> Self {
        let consumer = GroupConsumer::connect(kafka, "transactions", &[TELEMETRY]).await.unwrap();
        let transactions = Transactions::connect(kafka, name, consumer.standing()).await.unwrap();
        let (ours, notes) = (BTreeMap::new(), BTreeMap::new());
        Self { name, consumer, transactions, ours, written: Vec::new(), left_out: 0, notes }
    }

    async fn read(&mut self) {
        let batch = self.consumer.next(1_000, WAIT).await.unwrap();
        self.ours.retain(|partition, _| !batch.revoked.contains(partition));
        for assigned in &batch.assigned {
            self.ours.insert(assigned.topic_partition(), (assigned.tenure, assigned.next));
            self.notes.insert(assigned.topic_partition(), assigned.note.clone());
        }
        for record in &batch.records {
            self.ours.get_mut(&record.topic_partition()).unwrap().1 = record.offset + 1;
        }
    }

    /// One record for each partition, with a number.
    async fn write(&mut self, number: usize) -> Result<(), String> {
        let text = |partition: &TopicPartition| format!("{}/{}/{number}", self.name, partition.1);
        let parts = self.ours.iter().map(|(source, (tenure, next))| Part {
            source: source.clone(),
            tenure: *tenure,
            records: vec![OutRecord::new(SCORES, "veh", text(source))],
            next: *next,
            note: text(source),
        });
        let outcome = self.transactions.write(parts.collect()).await.unwrap();
        let left_out = outcome.map_err(|error| format!("{error:#}"))?;
        self.left_out += left_out.len();
        let written = self.ours.keys().filter(|partition| !left_out.contains(*partition));
        self.written.extend(written.map(|partition| format!("{}/{}/{number}", self.name, partition.1)));
        Ok(())
    }
}

async fn everything(kafka: &KafkaConfig) -> Vec<String> {
    let (mut log, mut all) = (History::everything(kafka, SCORES).await.unwrap(), Vec::new());
    while let Some(records) = log.next(1_000).await.unwrap() {
        all.extend(records.into_iter().map(|record| String::from_utf8(record.payload.unwrap().into()).unwrap()));
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_on_a_real_kafka() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("log-transactions-{}", std::process::id()));
    let services = Services::start(Options::new(&dir).only(&[Kind::Kafka])).await.unwrap();
    let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
    topics::apply(&kafka, PARTITIONS, false).await.unwrap();
    let producer = Producer::connect(&kafka).await.unwrap();
    for n in 0..600 {
        producer.send(OutRecord::new(TELEMETRY, format!("veh-{n}"), "x")).await.unwrap();
    }
    producer.flush().await.unwrap();
    members_come_and_go_and_every_record_stands_there_once(&kafka).await;
    an_open_transaction_is_waited_for(&kafka).await;
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

async fn members_come_and_go_and_every_record_stands_there_once(kafka: &KafkaConfig) {
    let began = Instant::now();
    let mut first = Member::join(kafka, "first").await;
    while first.ours.len() < PARTITIONS as usize || first.ours.values().map(|(_, next)| next).sum::<i64>() < 600 {
        first.read().await;
        assert!(began.elapsed() < DEADLINE, "{:?}", first.ours);
    }
    let measured = Instant::now();
    for number in 0..20 {
        first.write(number).await.unwrap();
    }
    println!("a transaction takes {:?}", measured.elapsed() / 20);
    assert_eq!((first.left_out, first.written.len()), (0, 120));

    // It writes on and on while another one comes, and does not learn in time what it has lost.
    let mut second = Member::join(kafka, "second").await;
    let mut number = 20;
    while second.ours.len() < 3 {
        first.write(number).await.unwrap();
        second.read().await;
        second.write(number).await.unwrap();
        number += 1;
        assert!(began.elapsed() < DEADLINE, "{:?}", second.ours);
    }
    first.write(number).await.unwrap();
    assert!(first.left_out >= 3, "{}", first.left_out);
    // What the first had written last before it gave the partition up stands beside the offset.
    let of_first: BTreeSet<_> = first.written.iter().cloned().collect();
    for (partition, note) in &second.notes {
        assert!(of_first.contains(note), "{note}");
        let later = format!("first/{}/{}", partition.1, note.rsplit_once('/').unwrap().1.parse::<usize>().unwrap() + 1);
        assert!(!of_first.contains(&later), "{later} was written after {note} had been read");
        assert!(second.ours[partition].1 > 0);
    }
    while first.ours.len() > 3 {
        first.read().await;
    }
    // Under its id comes another one: a zombie writes nothing any more.
    let other = Transactions::connect(kafka, "first", second.consumer.standing()).await.unwrap();
    let error = first.write(number + 1).await.unwrap_err();
    println!("a zombie: {error}");
    drop(other);
    first.consumer.close().await;
    while second.ours.len() < 6 {
        second.read().await;
        second.write(number).await.unwrap();
        number += 1;
        assert!(began.elapsed() < DEADLINE, "{:?}", second.ours);
    }
    let mut expected = [first.written, second.written].concat();
    expected.sort();
    assert_eq!(everything(kafka).await, expected);
    println!("{} records in {number} transactions, {:?}", expected.len(), began.elapsed());
    second.consumer.close().await;
}

async fn an_open_transaction_is_waited_for(kafka: &KafkaConfig) {
    let marks = Watermarks::new(kafka).unwrap();
    let before = marks.of(SCORES).await.unwrap();
    assert_eq!(marks.settled(SCORES, &[0]).await.unwrap()[&0], before[&0]);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &kafka.kafka).set("transactional.id", "open").create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<str, str>::to(SCORES).key("veh").payload("open").partition(0)).unwrap();
    producer.flush(DEADLINE).unwrap();
    assert_eq!(marks.of(SCORES).await.unwrap(), before, "a reader does not see it");
    let settled = tokio::time::timeout(Duration::from_millis(500), marks.settled(SCORES, &[0])).await;
    assert!(settled.is_err(), "{settled:?}");
    let (settled, ()) = tokio::join!(marks.settled(SCORES, &[0]), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        producer.commit_transaction(DEADLINE).unwrap();
    });
    // The record and the transaction's marker.
    assert_eq!(settled.unwrap()[&0].1, before[&0].1 + 2);
}
