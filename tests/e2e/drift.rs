//! The fleet changes, the model no longer fits, and the trainer notices: a new champion, without hands.

use std::time::Duration;

use cloud_log::{KafkaConfig, OutRecord, Producer};
use simulator::vehicle::{FleetSeed, Vehicle, vehicle_id};
use telemetry::{
    Encoding, Kind, Record, SCHEMA, Signals, UnixMillis, Value, encode,
    event::{Drift, ModelEvent, Score, Verdict},
    kafka_topic::{MODEL_EVENTS, SCORES, TELEMETRY, header},
    signal,
};
use tests::{
    evidence::Evidence,
    kafka_reader, poll,
    process::{build_executables, executables},
    scenario::room,
    stack::{Role, Stack},
};

const VEHICLES: u32 = 30;
const STEP_MS: i64 = 10_000;
const MINUTE_MS: i64 = 60_000;
/// 1 July 2026, 06:00 UTC.
const START: UnixMillis = 1_782_885_600_000;
const RUNS_DOWN: [signal::Number; 3] = [signal::BATTERY_CHARGE, signal::BATTERY_TEMPERATURE, signal::BATTERY_VOLTAGE];
const WITHIN: Duration = Duration::from_secs(90);

/// Vehicles whose readings go straight into Kafka, faster than any of them could drive.
struct Fleet {
    vehicles: Vec<Vehicle>,
    producer: Producer,
    seq: u64,
}

impl Fleet {
    async fn new(kafka: &str) -> Self {
        let fleet = FleetSeed { seed: 11, start: START };
        let vehicles = (1..=VEHICLES).map(|index| Vehicle::new(fleet, index)).collect();
        Self { vehicles, producer: Producer::connect(&KafkaConfig::new(kafka)).await.unwrap(), seq: 0 }
    }

    /// Drives until so many minutes after the start.
    async fn drive(&mut self, until_minute: i64, cold: bool) {
        while (self.seq as i64) * STEP_MS < until_minute * MINUTE_MS {
            let time = START + self.seq as i64 * STEP_MS;
            self.seq += 1;
            for (vehicle, index) in self.vehicles.iter_mut().zip(1..) {
                let signals = sent(&vehicle.step(time, &[]).signals, cold);
                let (vehicle, kind) = (vehicle_id(index), Kind::Full);
                let record =
                    Record { schema: SCHEMA, vehicle, boot: 1, seq: self.seq, time, kind, signals, position: None };
                let payload = encode(&record, Encoding::Json).unwrap();
                let out = OutRecord::new(TELEMETRY, record.vehicle.as_str(), payload);
                self.producer
                    .send(OutRecord { headers: [(header::CONTENT_TYPE, Encoding::Json.content_type())].into(), ..out })
                    .await
                    .unwrap();
            }
        }
        self.producer.flush().await.unwrap();
    }
}

/// What is sent of a sample: nothing that only runs down or warms up while a vehicle drives, for in whiles of minutes that
/// is drift. In the cold, whatever has a temperature is 25 degrees colder.
fn sent(signals: &Signals, cold: bool) -> Signals {
    let mut sent = Signals::new();
    for (number, value) in signals.known().filter(|(number, _)| !RUNS_DOWN.contains(number)) {
        let row = signal::CATALOGUE.iter().find(|row| row.number == number).unwrap();
        let value = match (value, row.unit) {
            (Value::Number(degrees), "celsius") if cold => Value::Number(degrees - 25.0),
            (value, _) => value.clone(),
        };
        sent.insert(number, value).unwrap();
    }
    sent
}

fn events(kafka: &str) -> Vec<ModelEvent> {
    let seen = kafka_reader::read(kafka, MODEL_EVENTS).unwrap();
    seen.iter().map(|record| serde_json::from_slice(&record.payload).unwrap()).collect()
}

fn drifts(kafka: &str) -> Vec<Drift> {
    let drift = |event| if let ModelEvent::Drift(drift) = event { Some(drift) } else { None };
    events(kafka).into_iter().filter_map(drift).collect()
}

/// Waits until a model of these publications scores every partition; its version.
async fn scores_with(kafka: &str, published: usize) -> String {
    let partitions = kafka_reader::watermarks(kafka, TELEMETRY).unwrap().len();
    let ready = poll::until("a new champion scores", WITHIN, async || {
        let events = events(kafka);
        let promoted = events.iter().filter_map(|event| match event {
            ModelEvent::Promoted { version, .. } => Some(version.clone()),
            _ => None,
        });
        let promoted: Vec<String> = promoted.collect();
        let Some(newest) = promoted.get(published - 1) else { return Ok(None) };
        let points =
            events.iter().filter(|event| matches!(event, ModelEvent::SwitchPoint { version, .. } if version == newest));
        Ok((points.count() >= partitions).then(|| newest.clone()))
    });
    ready.await.unwrap()
}

/// The scores of these minutes, by this model or by any, once there are at least so many.
async fn scored(kafka: &str, model: Option<&str>, minutes: std::ops::Range<i64>, least: usize) -> Vec<Score> {
    let within = START + minutes.start * MINUTE_MS..START + minutes.end * MINUTE_MS;
    let scores = poll::until("scores", WITHIN, async || {
        let seen = kafka_reader::read(kafka, SCORES)?;
        let scores = seen.iter().filter_map(|record| serde_json::from_slice::<Score>(&record.payload).ok());
        let wanted = |score: &Score| model.is_none_or(|model| score.model == model) && within.contains(&score.time);
        let scores: Vec<Score> = scores.filter(wanted).collect();
        Ok((scores.len() >= least).then_some(scores))
    });
    scores.await.unwrap()
}

/// Share of anomalous scores among those of a model in these minutes, once there are at least so many.
async fn anomalous(kafka: &str, model: &str, minutes: std::ops::Range<i64>, least: usize) -> f64 {
    let scores = scored(kafka, Some(model), minutes, least).await;
    scores.iter().filter(|score| score.verdict == Verdict::Anomalous).count() as f64 / scores.len() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_in_another_season_gets_a_new_champion() {
    build_executables().unwrap();
    let _room = room().await;
    let folder = executables().unwrap().parent().unwrap().join("e2e/drift");
    let _evidence = Evidence::of(folder.join("services"));
    let mut stack = Stack::start_anew(&folder).await.unwrap();
    let kafka = stack.kafka().to_owned();
    let flags = "--detector robust-z --alarm-budget 100 --history-ms 2400000 --drift-every-ms 600000 --on-drift";
    stack.set(Role::Trainer, flags.split(' '));
    stack.role(Role::Trainer).await.unwrap();
    stack.role(Role::Scorer).await.unwrap();
    let mut fleet = Fleet::new(&kafka).await;

    fleet.drive(45, false).await;
    let first = scores_with(&kafka, 1).await;
    fleet.drive(70, false).await;
    let fits = anomalous(&kafka, &first, 46..69, 3_000).await;
    let no_drift = poll::until("drift was looked for", WITHIN, async || {
        let found = drifts(&kafka);
        Ok((!found.is_empty()).then_some(found))
    });
    let no_drift = no_drift.await.unwrap();
    assert!(no_drift.iter().all(|drift| drift.version == first && !drift.asks_for_training), "{no_drift:#?}");

    // While by while: a watch waits for partitions that are scored later than others, but not for hours.
    for minute in (80..=130).step_by(10) {
        fleet.drive(minute, true).await;
        scored(&kafka, None, minute - 10..minute, 1_500).await;
    }
    let second = scores_with(&kafka, 2).await;
    let asked = drifts(&kafka).into_iter().find(|drift| drift.asks_for_training).expect("drift asked for it");
    assert!(asked.version == first && asked.signs.len() >= 2 && asked.alarms > 0, "{asked:#?}");
    let misfits = anomalous(&kafka, &first, 80..110, 2_000).await;
    fleet.drive(150, true).await;
    let fits_again = anomalous(&kafka, &second, 131..149, 2_000).await;
    assert!(
        fits < 0.05 && misfits > 0.5 && fits_again < 0.05,
        "{fits}, in the cold {misfits}, learnt again {fits_again}"
    );
    stack.stop_programs().await.unwrap();
    crate::notebook::goes_from_parquet_to_the_golden_vector(&stack).await;
    stack.shut_down().await.unwrap();
}
