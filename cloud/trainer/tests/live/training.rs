//! Training from a real Kafka: what is replayed is spooled, what wins is promoted, what does not is told.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cloud_log::{History, KafkaConfig, OutRecord, Producer};
use detector::{Kind, Layout, Options, Reading, Recorded, control};
use telemetry::{
    Encoding, Record, Signals, Value, VehicleId,
    event::{ModelEvent, ModelKey, Registry},
    kafka_topic::{MODEL_EVENTS, MODELS, TELEMETRY},
    signal,
};
use tokio_util::sync::CancellationToken;
use trainer::{
    Choice, Config, Fitting, Trained, connect, publish, registry,
    tools::{
        EvaluateArgs, ExportArgs, Moving, PromoteArgs, RegisterArgs, Replaying, TrainArgs, run_evaluate, run_export,
        run_promote, run_register, run_train,
    },
};

use crate::{CHAMPION, count, evaluating, refusal, start_kafka, stop_kafka};

pub(crate) const START: i64 = 1_763_700_000_000;
pub(crate) const STEP: i64 = 10_000;
pub(crate) const READINGS: u64 = 700;
pub(crate) const VEHICLES: u64 = 12;

/// Healthy vehicles whose signals follow from two quantities.
fn reading(vehicle: u64, seq: u64) -> Record {
    let draw = |n: u64| {
        let mut state = (vehicle << 40) ^ (seq << 8) ^ n;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((state ^ (state >> 31)) >> 40) as f64 / (1_u64 << 24) as f64
    };
    let (load, heat) = (draw(200), draw(201));
    let mut signals = Signals::new();
    for row in signal::CATALOGUE.iter().filter(|row| row.number <= 12) {
        let signal::Domain::Number { min, max } = row.domain else { continue };
        let mix = if row.number % 2 == 0 { load } else { heat };
        signals
            .insert(row.number, Value::Number(min + (max - min) * (0.1 + 0.7 * mix + 0.1 * draw(row.number.into()))))
            .unwrap();
    }
    let (vehicle, kind) = (VehicleId::parse(&format!("veh-{vehicle:02}")).unwrap(), telemetry::Kind::Full);
    let time = START + seq as i64 * STEP;
    Record { schema: 1, vehicle, boot: 1, seq, time, kind, signals, position: None }
}

async fn record_history(kafka: &KafkaConfig) {
    let producer = Producer::connect(kafka).await.unwrap();
    for seq in 1..=READINGS {
        for vehicle in 0..VEHICLES {
            let record = reading(vehicle, seq);
            let payload = telemetry::encode(&record, Encoding::Json).unwrap();
            // Every hundredth comes twice.
            for _ in 0..1 + u64::from(seq.is_multiple_of(100)) {
                producer.send(OutRecord::new(TELEMETRY, record.vehicle.as_str(), payload.clone())).await.unwrap();
            }
        }
    }
    producer.flush().await.unwrap();
}

pub(crate) fn train(kafka: &KafkaConfig, kind: Kind, seed: u64) -> TrainArgs {
    TrainArgs {
        kafka: kafka.clone(),
        fitting: Fitting {
            detector: Choice::One(kind),
            seed,
            alarm_budget: 50.0,
            steps: 100,
            sample: 4_000,
            min_vehicles: 5,
            alias: CHAMPION.into(),
            report: None,
        },
        replaying: Replaying::default(),
        labels: None,
        refused_out: None,
        publish: true,
        force: None,
        json: false,
    }
}

pub(crate) async fn registered(kafka: &KafkaConfig) -> (Registry, String) {
    let registry = registry::read(kafka).await.unwrap();
    let champion = registry.aliases.get(CHAMPION).map(|alias| alias.version.clone()).unwrap_or_default();
    (registry, champion)
}

async fn last_event(kafka: &KafkaConfig) -> ModelEvent {
    let (mut log, mut last) = (History::everything(kafka, MODEL_EVENTS).await.unwrap(), None);
    while let Some(records) = log.next(64).await.unwrap() {
        last = records.into_iter().last().and_then(|record| record.payload).or(last);
    }
    serde_json::from_slice(&last.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_wins_is_promoted_and_what_does_not_is_told() {
    let (services, kafka) = start_kafka("training", 3).await;
    record_history(&kafka).await;
    let files = tempfile::tempdir().unwrap();

    let first = the_first_is_promoted_and_the_same_again_moves_nothing(&kafka, files.path()).await;
    an_equal_is_registered_and_told_but_not_promoted(&kafka, &first).await;
    a_person_overrules_with_a_reason(&kafka, &first).await;
    evaluating::a_model_is_evaluated_on_what_is_there(&kafka, files.path()).await;
    evaluating::a_model_is_calibrated_anew(&kafka).await;
    files_go_through_the_same_gate(&kafka, &first, files.path()).await;
    a_champion_that_judges_nothing_is_told_as_such(&kafka, files.path()).await;
    the_role_learns_from_all_that_was_there_and_a_restart_trains_nothing(&kafka).await;

    stop_kafka(services).await;
}

async fn the_first_is_promoted_and_the_same_again_moves_nothing(kafka: &KafkaConfig, files: &Path) -> String {
    run_train(train(kafka, Kind::RobustZ, 1)).await.unwrap();
    let (registry, first) = registered(kafka).await;
    assert!(first.starts_with("robust-z") && registry.versions.len() == 1, "{registry:?}");
    let card = &registry.versions[&first].card;
    assert_eq!(card["records"], VEHICLES * READINGS, "duplicates are dropped");
    let before = count(kafka, MODELS).await;
    // From a folder that stays, twice: the very same model, so nothing is written.
    let spool = files.join("spool");
    for _ in 0..2 {
        let replaying = Replaying { spool: Some(spool.clone()), ..Replaying::default() };
        run_train(TrainArgs { replaying, ..train(kafka, Kind::RobustZ, 1) }).await.unwrap();
    }
    assert_eq!((count(kafka, MODELS).await, registered(kafka).await.1), (before, first.clone()));
    let other = Replaying { spool: Some(spool), from: Some(START), ..Replaying::default() };
    let (code, text) = refusal(run_train(TrainArgs { replaying: other, ..train(kafka, Kind::RobustZ, 1) }).await);
    assert!(code == 64 && text.starts_with("--spool: ") && text.contains("everything"), "{text}");
    // What was ingested before the range begins is not even read; event times decide all the same.
    let late = Replaying { from: Some(START + 10_000 * STEP), ..Replaying::default() };
    let (code, text) = refusal(run_train(TrainArgs { replaying: late, ..train(kafka, Kind::RobustZ, 1) }).await);
    assert!(code == 1 && text.contains("0 readings of 0 vehicles; at least 3000 readings of 5 vehicles"), "{text}");
    let elsewhere = Replaying { offsets: Some("0:0-5,999:0-5".into()), ..Replaying::default() };
    let (code, text) = refusal(run_train(TrainArgs { replaying: elsewhere, ..train(kafka, Kind::RobustZ, 1) }).await);
    assert!(code == 64 && text.starts_with("--offsets: telemetry has partitions 0 to "), "{text}");
    first
}

async fn an_equal_is_registered_and_told_but_not_promoted(kafka: &KafkaConfig, first: &str) {
    let (code, text) = refusal(run_train(train(kafka, Kind::RobustZ, 2)).await);
    assert!(code == 1 && text.contains("stays") && text.contains("models promote"), "{text}");
    let (registry, champion) = registered(kafka).await;
    assert_eq!((champion.as_str(), registry.versions.len()), (first, 2));
    let ModelEvent::Kept { alias, champion, version, reason, .. } = last_event(kafka).await else { panic!("no event") };
    assert_eq!((alias.as_str(), champion.as_str()), (CHAMPION, first));
    assert!(registry.versions.contains_key(&version) && version != first);
    assert!(reason.contains("12 vehicles"), "{reason}");
}

async fn a_person_overrules_with_a_reason(kafka: &KafkaConfig, first: &str) {
    let forced = TrainArgs { force: Some("ticket 12".into()), ..train(kafka, Kind::RobustZ, 3) };
    run_train(forced).await.unwrap();
    let (registry, champion) = registered(kafka).await;
    assert_ne!(champion, first);
    let alias = &registry.aliases[CHAMPION];
    assert!(alias.reason.contains("forced: ticket 12") && alias.previous.as_deref() == Some(first), "{alias:?}");
    // Every signal follows from its neighbours, and the simplest kind does not know it.
    run_train(train(kafka, Kind::Pca, 1)).await.unwrap();
    let (registry, champion) = registered(kafka).await;
    assert!(champion.starts_with("pca"), "{champion}");
    assert!(registry.aliases[CHAMPION].reason.contains("loss is lower"), "{:?}", registry.aliases);
}

/// What Python has trained comes as a file: it is promoted if it wins, and only then.
async fn files_go_through_the_same_gate(kafka: &KafkaConfig, first: &str, files: &Path) {
    let moving = || Moving { reason: Some("a file".into()), ..plain(CHAMPION) };
    let register = |file: PathBuf| {
        let (kafka, moving) = (kafka.clone(), moving());
        RegisterArgs { kafka, file, promote: true, force: None, labels: None, moving }
    };
    let (before, pca) = registered(kafka).await;
    for version in [first, &pca] {
        let out = files.join(version);
        run_export(ExportArgs { kafka: kafka.clone(), version: version.into(), out, force: false, json: false })
            .await
            .unwrap();
    }
    let (code, text) = refusal(run_register(register(files.join(first))).await);
    assert!(code == 1 && text.contains("stays"), "{text}");
    // Its own card says that it does not keep its promise: nobody has to be beaten to know.
    let (code, text) = refusal(run_register(register(files.join("refused"))).await);
    assert!(code == 1 && !text.contains("stays"), "{text}");
    let same = registered(kafka).await.0.versions == before.versions;
    assert!(same, "what is there stays as it is, and a refused file is not registered");
    // It does not win, but what its version has lost is there again.
    let hash = &before.versions[first].artifact;
    let key = ModelKey::Artifact(hash.clone()).to_string();
    let producer = Producer::connect(kafka).await.unwrap();
    producer.deliver(OutRecord { payload: None, ..OutRecord::new(MODELS, key, Vec::new()) }).await.unwrap();
    assert_eq!(registry::find_artifact(kafka, hash).await.unwrap(), None);
    assert_eq!(refusal(run_register(register(files.join(first))).await).0, 1);
    let found = registry::find_artifact(kafka, hash).await.unwrap();
    assert_eq!(found, Some(std::fs::read(files.join(first)).unwrap()));
    assert_eq!(registered(kafka).await.0.versions, before.versions, "the version keeps its date");

    let promote = PromoteArgs { kafka: kafka.clone(), version: first.into(), force: None, moving: moving() };
    run_promote(promote.clone()).await.unwrap();
    run_register(register(files.join(&pca))).await.unwrap();
    let (registry, champion) = registered(kafka).await;
    assert_eq!(champion, pca);
    let reason = &registry.aliases[CHAMPION].reason;
    assert!(reason.starts_with("a file: ") && reason.contains("loss is lower"), "{reason}");

    // Registered it may be, to be looked at. To promote it takes a reason.
    run_register(RegisterArgs { promote: false, moving: plain(CHAMPION), ..register(files.join("refused")) })
        .await
        .unwrap();
    let after = registered(kafka).await.0;
    let refused = after.versions.keys().find(|version| !registry.versions.contains_key(*version)).unwrap();
    let promote = PromoteArgs { version: refused.clone(), moving: plain("looked-at"), ..promote };
    let (code, text) = refusal(run_promote(promote.clone()).await);
    assert!(code == 1 && text.contains("looked-at stays") && text.contains("--force"), "{text}");
    assert!(!registered(kafka).await.0.aliases.contains_key("looked-at"));
    run_promote(PromoteArgs { force: Some("to see what it does".into()), ..promote }).await.unwrap();
    assert_eq!(registered(kafka).await.0.aliases["looked-at"].reason, "to see what it does");
}

pub(crate) fn plain(alias: &str) -> Moving {
    Moving { alias: alias.into(), reason: None, json: false }
}

/// A model that knows other signals than those that come.
async fn a_champion_that_judges_nothing_is_told_as_such(kafka: &KafkaConfig, files: &Path) {
    let layout = Layout::new(["Foreign.A".to_owned(), "Foreign.B".to_owned()], STEP).unwrap();
    let first = layout.len() as u16 - 2;
    let mut history = Recorded::new(Arc::new(layout));
    for vehicle in 0..VEHICLES {
        let id = VehicleId::parse(&format!("veh-{vehicle:02}")).unwrap();
        for seq in 1..=READINGS {
            let draw =
                |n: u64| (((vehicle * 7_919 + seq * 31 + n * 101) as f64) * 0.618_033_988_749_895).fract() as f32;
            let (time, kind) = (START + seq as i64 * STEP, telemetry::Kind::Full);
            let (at, numbers) = ([first, first + 1], [draw(1), draw(2)]);
            history.push_reading(&id, &Reading { boot: 1, seq, time, kind, at: &at, numbers: &numbers });
        }
    }
    let options = Options { kind: Kind::RobustZ, ..Options::default() };
    let foreign = Trained::from(&control::ungated(&history, &options).unwrap());
    let file = files.join("foreign");
    std::fs::write(&file, &foreign.artifact).unwrap();
    let evaluate = EvaluateArgs {
        kafka: kafka.clone(),
        model: file.display().to_string(),
        replaying: Replaying::default(),
        labels: None,
        settle_steps: 10,
        threads: 2,
        report: None,
        json: true,
    };
    let (code, text) = refusal(run_evaluate(evaluate).await);
    assert!(code == 65 && text.contains("the readings hold none of the 2 signals"), "{text}");

    let producer = Producer::connect(kafka).await.unwrap();
    publish::publish(&producer, kafka, &foreign, "foreign", "the test").await.unwrap();
    let challenge = train(kafka, Kind::RobustZ, 1);
    let challenge =
        TrainArgs { fitting: Fitting { alias: "foreign".into(), ..challenge.fitting.clone() }, ..challenge };
    let (code, text) = refusal(run_train(challenge).await);
    assert!(code == 1 && text.contains("judged none") && text.contains("models promote"), "{text}");
}

/// The role starts on a log that holds history, in several partitions.
async fn the_role_learns_from_all_that_was_there_and_a_restart_trains_nothing(kafka: &KafkaConfig) {
    let alias = "role";
    let config = |seed| Config {
        kafka: kafka.clone(),
        fitting: Fitting { alias: alias.into(), ..train(kafka, Kind::RobustZ, seed).fitting },
        // A small part of what is there would do.
        history_ms: 100 * STEP,
        min_records: 600,
        max_records: 1_000_000,
        retrain_every_ms: 0,
        drift_every_ms: 0,
        on_drift: false,
    };
    let stop = CancellationToken::new();
    let role = tokio::spawn(connect(config(8)).await.unwrap().run(stop.clone()));
    let first = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let registry = registered(kafka).await.0;
            match registry.version_of(alias) {
                Some(version) => break version.clone(),
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    let first = first.await.unwrap();
    stop.cancel();
    role.await.unwrap().unwrap();
    assert_eq!(first.card["records"], VEHICLES * READINGS);
    let spans = first.card["spans"].as_array().unwrap().iter();
    let learnt: Vec<_> =
        spans.map(|span| (span["partition"].as_i64(), span["from"].as_i64(), span["to"].as_i64())).collect();
    let marks = History::watermarks(kafka, TELEMETRY).await.unwrap().into_iter().filter(|(_, (from, to))| from < to);
    let there: Vec<_> = marks.map(|(partition, (from, to))| (Some(partition.into()), Some(from), Some(to))).collect();
    assert!(there.len() > 1 && learnt == there, "{learnt:?} of {there:?}");

    // Another seed: whatever it learnt would be another version.
    let (before, stop) = (registered(kafka).await.0, CancellationToken::new());
    let role = tokio::spawn(connect(config(9)).await.unwrap().run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    stop.cancel();
    role.await.unwrap().unwrap();
    assert_eq!(registered(kafka).await.0, before);
}
