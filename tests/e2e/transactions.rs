//! The scorer with `--transactions` against a real Kafka: killed twice in the middle of its work, and joined by another one
//! that takes partitions over; whoever reads what is committed sees each score once and misses none. Negative control:
//! without the flag scores come twice.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use cloud_log::{History, KafkaConfig, OutRecord, Producer, Watermarks, group_lag};
use serde_json::Value;
use service::Tally;
use services::{Kind, Options, Services};
use simulator::vehicle::{FleetSeed, Vehicle, vehicle_id};
use telemetry::{
    Encoding, Kind as RecordKind, Record, SCHEMA,
    event::Score,
    kafka_topic::{SCORES, TELEMETRY, header},
};
use tests::{
    control, poll,
    process::{Ended, Program, Running, build_executables, executables, run},
};

const VEHICLES: u32 = 60;
/// Of each vehicle of the first fleet, at most, and of later ones.
const MOST_READINGS: u64 = 8_000;
const READINGS: u64 = 400;
/// More than may wait for a transaction.
const BACKLOG: u64 = 700;
const INTERVAL_MS: i64 = 10_000;
const WITHIN: Duration = Duration::from_secs(60);
/// After each round of readings, while another scorer joins.
const PAUSE: Duration = Duration::from_millis(12);
/// Between two looks at how far scores are.
const LOOK: Duration = Duration::from_millis(10);

struct Ground {
    services: Services,
    kafka: KafkaConfig,
    /// One client for all looks: a new one takes longer than the scorer takes for thousands of readings.
    marks: Watermarks,
    folder: PathBuf,
}

impl Ground {
    /// Kafka with the product's topics and a model.
    async fn start() -> Self {
        build_executables().unwrap();
        let folder = executables().unwrap().parent().unwrap().join("e2e/transactions");
        std::fs::create_dir_all(&folder).unwrap();
        let services = Services::start(Options::new(folder.join("kafka")).only(&[Kind::Kafka]).anew()).await.unwrap();
        let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
        let ground = Self { services, marks: Watermarks::new(&kafka).unwrap(), kafka, folder };
        ground.tool(&["topics", "apply"]).await;
        control::publish_trained(&ground.kafka.kafka).await.unwrap();
        ground
    }

    async fn tool(&self, arguments: &[&str]) -> String {
        let program = Program::new("motorcade", "motorcade", arguments).with(["--kafka", &self.kafka.kafka]);
        let (code, out, err) = run(&program).await.unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {err}{out}");
        out
    }

    /// A fleet whose numbers begin here writes its readings, and pauses after each round of them; how many there were.
    async fn drive(&self, first: u32, readings: u64, pause: Duration, enough: &AtomicBool) -> u64 {
        let producer = Producer::connect(&self.kafka).await.unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        let start = now - readings as i64 * INTERVAL_MS;
        let mut written = 0;
        let mut vehicles: Vec<_> =
            (first..first + VEHICLES).map(|n| Vehicle::new(FleetSeed { seed: 1, start }, n)).collect();
        let headers = [(header::CONTENT_TYPE, Encoding::Protobuf.content_type())];
        for seq in (1..=readings).take_while(|_| !enough.load(Ordering::Relaxed)) {
            for (index, vehicle) in (first..).zip(&mut vehicles) {
                let time = start + (seq as i64 - 1) * INTERVAL_MS;
                let (vehicle, sample) = (vehicle_id(index), vehicle.step(time, &[]));
                let (kind, signals, position) = (RecordKind::Full, sample.signals, sample.position);
                let record = Record { schema: SCHEMA, vehicle, boot: 1, seq, time, kind, signals, position };
                let payload = telemetry::encode(&record, Encoding::Protobuf).unwrap();
                let out = OutRecord::new(TELEMETRY, record.vehicle.as_str().as_bytes(), payload);
                producer.send(OutRecord { headers: headers.into(), ..out }).await.unwrap();
                written += 1;
            }
            tokio::time::sleep(pause).await;
        }
        producer.flush().await.unwrap();
        written
    }

    async fn scorer(&self, name: &str, group: &str, flags: &[&str]) -> Running {
        let program = Program::new(name, "motorcade", ["run", "scorer", "--kafka", &self.kafka.kafka]);
        let program = program.with(["--group", group, "--state-ms", "3000"]).with(flags);
        let mut running = program.start(&self.folder, self.services.watcher()).unwrap();
        running.ready(WITHIN).await.unwrap();
        running
    }

    /// How far the scores reach that a reader of what is committed sees.
    async fn ends(&self) -> BTreeMap<i32, i64> {
        let marks = self.marks.of(SCORES).await.unwrap();
        marks.into_iter().map(|(partition, (_, end))| (partition, end)).collect()
    }

    /// Waits until so many more scores stand there.
    async fn grown_by(&self, scores: i64) {
        let begin: i64 = self.ends().await.values().sum();
        let began = Instant::now();
        while self.ends().await.values().sum::<i64>() < begin + scores {
            assert!(began.elapsed() < WITHIN, "{scores} more than {begin} do not come");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn kill_after(&self, scorer: Running, scores: i64) {
        self.grown_by(scores).await;
        scorer.kill().await.unwrap();
    }

    /// Waits until a group is through with everything, and stops its scorers.
    async fn finish(&self, scorers: Vec<Running>, group: &str) -> Vec<Tally> {
        let through = async || Ok((group_lag(&self.kafka, group, TELEMETRY).await? == 0).then_some(()));
        poll::until("everything is scored", WITHIN, through).await.unwrap();
        let mut tallies = Vec::new();
        for scorer in scorers {
            let Ended { code, tally } = scorer.stop(WITHIN).await.unwrap();
            let tally = tally.unwrap();
            assert!(code == Some(0) && tally.balances(), "{code:?} {tally:?}");
            tallies.push(tally);
        }
        tallies
    }

    /// How often each score stands there that came after these ends.
    async fn since(&self, ends: &BTreeMap<i32, i64>) -> BTreeMap<(String, u32, u64), u64> {
        let now = self.ends().await;
        let ranges = now.iter().map(|(partition, end)| (*partition, ends[partition]..*end)).collect();
        let (mut log, mut found) = (History::open(&self.kafka, SCORES, ranges).await.unwrap(), BTreeMap::new());
        while let Some(records) = log.next(4_096).await.unwrap() {
            for record in records {
                let score: Score = serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap();
                *found.entry((score.vehicle.as_str().to_owned(), score.boot, score.seq)).or_default() += 1;
            }
        }
        found
    }

    async fn verify(&self) -> Value {
        let out = self.tool(&["scores", "verify", "--to", "latest", "--json"]).await;
        serde_json::from_str(&out).unwrap()
    }
}

fn repeated(scores: &BTreeMap<(String, u32, u64), u64>) -> usize {
    scores.values().filter(|times| **times > 1).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn scorers_with_transactions_are_killed_and_joined_and_each_score_is_seen_once() {
    let ground = Ground::start().await;
    let nothing = ground.ends().await;
    let (group, never, enough) = ("transactions", AtomicBool::new(false), AtomicBool::new(false));
    let instance = async |name| ground.scorer(name, group, &["--transactions", "--instance", name]).await;
    let killed_twice = async {
        for scores in [8_000, 12_000] {
            ground.kill_after(instance("one").await, scores).await;
        }
        let one = instance("one").await;
        ground.grown_by(1_000).await;
        enough.store(true, Ordering::Relaxed);
        one
    };
    let (first, one) = tokio::join!(ground.drive(1, MOST_READINGS, PAUSE, &enough), killed_twice);
    // Another one joins while there is work, and partitions change hands.
    let (second, two) = tokio::join!(ground.drive(1 + VEHICLES, READINGS, PAUSE, &never), instance("two"));
    let tallies = ground.finish(vec![one, two], group).await;
    assert!(tallies.iter().all(|tally| tally.sent > 0), "{tallies:?}");
    eprintln!("one and two: {tallies:?}");
    let scores = ground.since(&nothing).await;
    assert_eq!(repeated(&scores), 0, "of {}", scores.len());
    let verified = ground.verify().await;
    let checked = verified["checked"].as_u64().unwrap();
    assert!(verified["ok"] == true && verified["repeated"] == 0, "{verified}");
    assert_eq!(checked, scores.len() as u64, "{verified}");
    assert!(checked > (first + second) * 9 / 10, "{verified}");

    // Commits that are asked for seldom come when there is no room for more. A fleet that no state is there for.
    ground.drive(1 + 2 * VEHICLES, BACKLOG, Duration::ZERO, &never).await;
    let seldom = ["--transactions", "--commit-ms", "60000"];
    let scorer = ground.scorer("seldom", group, &seldom).await;
    ground.grown_by(BACKLOG as i64 * i64::from(VEHICLES) / 2).await;
    let Ended { code, tally } = scorer.stop(WITHIN).await.unwrap();
    assert!(code == Some(0) && tally.as_ref().is_some_and(Tally::balances), "{code:?} {tally:?}");

    // Without the flag the same kill shows.
    let third = ground.drive(1 + 3 * VEHICLES, READINGS, Duration::ZERO, &never).await;
    let before = ground.ends().await;
    let scorer = ground.scorer("plain", "plain", &[]).await;
    ground.kill_after(scorer, 8_000).await;
    let scorer = ground.scorer("plain", "plain", &[]).await;
    ground.finish(vec![scorer], "plain").await;
    let again = ground.since(&before).await;
    assert!(again.len() as u64 > third * 9 / 10, "{}", again.len());
    assert!(repeated(&again) > 0, "a killed scorer published nothing twice");
    assert_eq!(ground.verify().await["ok"], true);
    eprintln!("{checked} scores; without transactions {} came twice", repeated(&again));
    ground.services.stop().await;
}
