//! Kafka alone, with a fleet that writes its readings straight into `telemetry`, and scorers that are killed.

use std::{
    collections::{BTreeMap, VecDeque},
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
    control,
    demo::stages,
    evidence::Evidence,
    poll,
    process::{Ended, Program, Running, build_executables, executables, run},
};

pub(crate) const VEHICLES: u32 = 60;
const INTERVAL_MS: i64 = 10_000;
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at how far scores are.
const LOOK: Duration = Duration::from_millis(10);

/// How a fleet drives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drive {
    /// Number of the first vehicle.
    pub(crate) first: u32,
    /// Readings of each vehicle, at most.
    pub(crate) readings: u64,
    /// After each round of readings.
    pub(crate) pause: Duration,
    /// How they are written.
    pub(crate) encoding: Encoding,
    /// Every so many readings one comes twice; 0: never.
    pub(crate) twice: u64,
    /// Every so many readings one comes late, by so many rounds; 0: never.
    pub(crate) late: (u64, u64),
}

impl Drive {
    /// Without trouble, as fast as it goes.
    pub(crate) fn of(first: u32, readings: u64) -> Self {
        Self { first, readings, pause: Duration::ZERO, encoding: Encoding::Protobuf, twice: 0, late: (0, 0) }
    }
}

pub(crate) struct Ground {
    pub(crate) services: Services,
    pub(crate) kafka: KafkaConfig,
    /// One client for all looks: a new one takes longer than the scorer takes for thousands of readings.
    marks: Watermarks,
    folder: PathBuf,
    /// Behind the services: it goes after them.
    _evidence: Evidence,
}

impl Ground {
    /// Kafka with the product's topics and a model.
    pub(crate) async fn start(name: &str) -> Self {
        build_executables().unwrap();
        let folder = executables().unwrap().parent().unwrap().join("e2e").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let services = Services::start(Options::new(folder.join("kafka")).only(&[Kind::Kafka]).anew()).await.unwrap();
        let kafka = KafkaConfig::new(services.addresses().kafka.to_string());
        let (marks, evidence) = (Watermarks::new(&kafka).unwrap(), Evidence::of(services.dir()));
        let ground = Self { services, marks, kafka, folder, _evidence: evidence };
        ground.tool(&["topics", "apply"]).await;
        control::publish_trained(&ground.kafka.kafka).await.unwrap();
        ground
    }

    pub(crate) async fn tool(&self, arguments: &[&str]) -> String {
        let program = Program::new("motorcade", "motorcade", arguments).with(["--kafka", &self.kafka.kafka]);
        let (code, out, err) = run(&program).await.unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {err}{out}");
        out
    }

    /// A fleet writes its readings; how many there were, each counted once.
    pub(crate) async fn drive(&self, drive: Drive, enough: &AtomicBool) -> u64 {
        let Drive { first, readings, pause, encoding, twice, late } = drive;
        let producer = Producer::connect(&self.kafka).await.unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        let start = now - readings as i64 * INTERVAL_MS;
        let mut written = 0;
        let mut vehicles: Vec<_> =
            (first..first + VEHICLES).map(|n| Vehicle::new(FleetSeed { seed: 1, start }, n)).collect();
        let headers = [(header::CONTENT_TYPE, encoding.content_type())];
        let mut held_back: VecDeque<(u64, OutRecord)> = VecDeque::new();
        let every = |n: u64, written: u64| n > 0 && written % n == n / 2;
        for seq in (1..=readings).take_while(|_| !enough.load(Ordering::Relaxed)) {
            for (index, vehicle) in (first..).zip(&mut vehicles) {
                let time = start + (seq as i64 - 1) * INTERVAL_MS;
                let (vehicle, sample) = (vehicle_id(index), vehicle.step(time, &[]));
                let (kind, signals, position) = (RecordKind::Full, sample.signals, sample.position);
                let record = Record { schema: SCHEMA, vehicle, boot: 1, seq, time, kind, signals, position };
                let payload = telemetry::encode(&record, encoding).unwrap();
                let out = OutRecord::new(TELEMETRY, record.vehicle.as_str().as_bytes(), payload);
                let out = OutRecord { headers: headers.into(), ..out };
                written += 1;
                if every(late.0, written) {
                    held_back.push_back((seq + late.1, out));
                    continue;
                }
                if every(twice, written) {
                    producer.send(out.clone()).await.unwrap();
                }
                producer.send(out).await.unwrap();
            }
            while held_back.front().is_some_and(|(due, _)| *due <= seq) {
                producer.send(held_back.pop_front().unwrap().1).await.unwrap();
            }
            tokio::time::sleep(pause).await;
        }
        for (_, out) in held_back {
            producer.send(out).await.unwrap();
        }
        producer.flush().await.unwrap();
        written
    }

    pub(crate) async fn scorer(&self, name: &str, group: &str, flags: &[&str]) -> Running {
        let program = Program::new(name, "motorcade", ["run", "scorer", "--kafka", &self.kafka.kafka]);
        let program = program.with(["--group", group, "--state-ms", "3000"]).with(flags);
        let mut running = program.start(&self.folder, self.services.watcher()).unwrap();
        running.ready(WITHIN).await.unwrap();
        running
    }

    /// How far the scores reach that a reader of what is committed sees.
    pub(crate) async fn ends(&self) -> BTreeMap<i32, i64> {
        let marks = self.marks.of(SCORES).await.unwrap();
        marks.into_iter().map(|(partition, (_, end))| (partition, end)).collect()
    }

    /// Waits until so many more scores stand there.
    pub(crate) async fn grown_by(&self, scores: i64) {
        let begin: i64 = self.ends().await.values().sum();
        let began = Instant::now();
        while self.ends().await.values().sum::<i64>() < begin + scores {
            assert!(began.elapsed() < WITHIN, "{scores} more than {begin} do not come");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until this scorer has published at least so many scores.
    pub(crate) async fn sends(&self, scorer: &Running, least: u32) {
        let admin = scorer.admin().unwrap();
        let sent = async || {
            let metrics = reqwest::get(format!("http://{admin}/metrics")).await?.error_for_status()?.text().await?;
            let sent = stages::sums(&metrics).get("scorer_records_sent_total").copied().unwrap_or_default();
            Ok((sent >= f64::from(least)).then_some(()))
        };
        poll::until("a scorer publishes scores", WITHIN, sent).await.unwrap();
    }

    pub(crate) async fn kill_after(&self, scorer: Running, scores: i64) {
        self.grown_by(scores).await;
        scorer.kill().await.unwrap();
    }

    /// Waits until a group is through with everything, and stops its scorers.
    pub(crate) async fn finish(&self, scorers: Vec<Running>, group: &str) -> Vec<Tally> {
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
    pub(crate) async fn since(&self, ends: &BTreeMap<i32, i64>) -> BTreeMap<(String, u32, u64), u64> {
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

    pub(crate) async fn verify(&self, flags: &[&str]) -> Value {
        let out = self.tool(&[&["scores", "verify", "--to", "latest", "--json"], flags].concat()).await;
        serde_json::from_str(&out).unwrap()
    }
}
