//! Against a real Kafka and a real mongod: shuffled, duplicated and poisoned records; writers that are killed
//! and shared; MongoDB going away. In the end every twin is the fold of the log.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_log::{History, KafkaConfig, OutRecord, Producer, group_lag, topics};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use services::{Kind, Options, Services};
use store::{MongoConfig, SignalValue, Store};
use telemetry::{
    Encoding, Kind as RecordKind, Position, Record, SCHEMA, Signals, Value, VehicleId, encode,
    event::{Status, StatusState},
    kafka_topic::{DEAD_LETTER, TELEMETRY, VEHICLE_STATUS, header},
    signal,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twin::{Config, verify::verify};

const SEED: u64 = 7;
const VEHICLES: u32 = 40;
const READINGS: u64 = 250;
const DEADLINE: Duration = Duration::from_secs(60);
const START: i64 = 1_763_712_000_000;

fn vehicle(n: u32) -> VehicleId {
    VehicleId::parse(&format!("veh-{n:03}")).unwrap()
}

fn reading(n: u32, seq: u64) -> Record {
    let mut signals = Signals::new();
    let kind = if seq % 20 == 1 { RecordKind::Full } else { RecordKind::Change };
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let value = (seq % 97) as f64;
    for number in [signal::SPEED, signal::BATTERY_CHARGE, signal::LOW_VOLTAGE] {
        // A change names some of them.
        if kind == RecordKind::Full || (seq + u64::from(number)).is_multiple_of(3) {
            signals.insert(number, Value::Number(value / 4.0)).unwrap();
        }
    }
    signals.insert(signal::IS_MOVING, Value::Boolean(seq.is_multiple_of(2))).unwrap();
    if kind == RecordKind::Full {
        signals.insert_path("Vehicle.Cabin.New$Signal%", Value::Text(seq.to_string())).unwrap();
    }
    let position = seq.is_multiple_of(5).then_some(Position { latitude: 48.0, longitude: value / 10.0, heading: None });
    let boot = if seq > READINGS / 2 { 9 } else { 7 };
    let seconds = i64::try_from(seq).unwrap();
    Record { schema: SCHEMA, vehicle: vehicle(n), boot, seq, time: START + seconds * 1_000, kind, signals, position }
}

/// Every reading once and a third of them twice, in an order that has nothing to do with theirs.
async fn produce(producer: &Producer) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut records: Vec<(u32, u64)> = (0..VEHICLES).flat_map(|n| (1..=READINGS).map(move |seq| (n, seq))).collect();
    records.extend_from_within(..records.len() / 3);
    for at in (1..records.len()).rev() {
        let other = usize::try_from(random.next_u64() % (at as u64 + 1)).unwrap();
        records.swap(at, other);
    }
    for (n, seq) in &records {
        let encoding = if n.is_multiple_of(2) { Encoding::Json } else { Encoding::Protobuf };
        let payload = encode(&reading(*n, *seq), encoding).unwrap();
        let mut out = OutRecord::new(TELEMETRY, vehicle(*n).as_str(), payload);
        out.headers = [(header::CONTENT_TYPE, encoding.content_type())].into();
        producer.send(out).await.unwrap();
    }
    producer.flush().await.unwrap();
    records.len() as u64
}

struct Writer {
    stop: CancellationToken,
    task: JoinHandle<Result<service::Tally, service::Error>>,
}

async fn start(config: &Config) -> Writer {
    let role = twin::connect(config.clone()).await.unwrap();
    let stop = CancellationToken::new();
    Writer { task: tokio::spawn(role.run(stop.clone())), stop }
}

impl Writer {
    async fn stop(self) -> service::Tally {
        self.stop.cancel();
        let tally = self.task.await.unwrap().unwrap();
        assert!(tally.balances(), "{tally:?}");
        tally
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_are_the_fold_of_the_log() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("twin-live-{}", std::process::id()));
    let mut services = Services::start(Options::new(&dir).only(&[Kind::Kafka, Kind::Mongod])).await.unwrap();
    let kafka = KafkaConfig::new(services.addresses().kafka.clone());
    let mongo = MongoConfig::new(services.addresses().mongo.clone(), "motorcade");
    topics::apply(&kafka, 6, false).await.unwrap();
    let producer = Producer::connect(&kafka).await.unwrap();
    let store = Store::connect(&mongo).await.unwrap();
    let config = Config::new(kafka.clone(), mongo);

    let sent = produce(&producer).await;
    producer.send(OutRecord::new(TELEMETRY, "veh-000", *b"{\"no\":\"reading\"}")).await.unwrap();
    let status = Status { vehicle: vehicle(3), boot: 9, state: StatusState::Online, time: START, software: None };
    let status = serde_json::to_vec(&status).unwrap();
    producer.send(OutRecord::new(VEHICLE_STATUS, vehicle(3).as_str(), status)).await.unwrap();
    producer.flush().await.unwrap();

    // Two writers; one is killed in the middle of its work, before it has committed everything.
    let (first, second) = (start(&config).await, start(&config).await);
    let began = Instant::now();
    while store.count_twins().await.unwrap() == 0 {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    second.task.abort();
    // MongoDB goes away and comes back; nobody has to help.
    services.kill(Kind::Mongod).await;
    services.restart(Kind::Mongod).await.unwrap();
    let report = verify(&kafka, &store, DEADLINE).await.unwrap();
    assert!(report.ok, "seed {SEED}: {report:?}");
    assert_eq!((report.checked, report.records, report.unreadable), (u64::from(VEHICLES), sent, 1));
    println!("equal after {:?}", began.elapsed());
    let tally = first.stop().await;
    println!("{tally:?}");
    assert_eq!(tally.in_hand, 0, "{tally:?}");

    // Everything once more, into a database that has it all: nothing changes.
    let everything = Config { group: "again".into(), batch: 1_000, ..config.clone() };
    let third = start(&everything).await;
    let began = Instant::now();
    while group_lag(&kafka, "again", TELEMETRY).await.unwrap() > 0 {
        assert!(began.elapsed() < DEADLINE);
    }
    println!("all read again after {:?}", began.elapsed());
    let report = verify(&kafka, &store, Duration::ZERO).await.unwrap();
    assert!(report.ok, "{report:?}");
    third.stop().await;

    let twin = store.twin(&vehicle(3)).await.unwrap().unwrap();
    assert!(twin.is_online());
    let last = twin.last.unwrap();
    assert_eq!((last.boot, last.seq), (9, i64::try_from(READINGS).unwrap()));
    assert_eq!(twin.signals["Vehicle.Cabin.New$Signal%"].value, SignalValue::Text("241".into()));

    let history = store.history(&vehicle(3), START, START + 1_000_000, 100).await.unwrap();
    let seqs: Vec<_> = history.iter().map(|reading| reading.seq).collect();
    assert_eq!(seqs, (151..=250).collect::<Vec<i64>>());
    let all = store.history(&vehicle(3), START, START + 1_000_000, 10_000).await.unwrap();
    assert_eq!(all.len() as u64, READINGS);

    // The dead letter says why, and a twin that was tampered with is found out.
    let mut letters = History::everything(&kafka, DEAD_LETTER).await.unwrap();
    let letter = letters.next(1).await.unwrap().unwrap().remove(0);
    assert_eq!(letter.header(header::REASON), Some(b"missing_field".as_slice()));
    store.drop_everything().await.unwrap();
    let report = verify(&kafka, &store, Duration::ZERO).await.unwrap();
    assert!(!report.ok);
    assert_eq!((report.differing, report.different.len()), (u64::from(VEHICLES), 20));
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}
