//! The registry against a real Kafka: a file becomes a version, the champion, is rolled back, comes out as it went in.

use std::{path::Path, sync::Arc};

use cloud_log::{History, KafkaConfig, OutRecord, Producer};
use detector::{Kind, Layout, Options, Recorded, control};
use service::Error;
use telemetry::{
    Record, Signals, Value, VehicleId,
    event::{ModelEvent, ModelKey, ModelVersion, Registry},
    kafka_topic::{MODEL_EVENTS, MODELS},
    signal,
};
use trainer::{
    Trained, publish, registry,
    tools::{
        CompareArgs, ExportArgs, ListArgs, Moving, PromoteArgs, RegisterArgs, RollbackArgs, ShowArgs, run_compare,
        run_export, run_list, run_promote, run_register, run_rollback, run_show,
    },
};

use crate::{CHAMPION, count, refusal, start_kafka, stop_kafka};

/// Healthy vehicles whose signals follow from one load; small, but enough for the kinds that need no optimiser.
fn fleet() -> Recorded {
    let mut history = Recorded::new(Arc::new(Layout::default()));
    for vehicle in 0..12_u64 {
        let id = VehicleId::parse(&format!("veh-{vehicle}")).unwrap();
        for seq in 1..=640_u64 {
            let draw = |n: u64| (((vehicle * 7_919 + seq * 31 + n * 101) as f64) * 0.618_033_988_749_895).fract();
            let load = 0.5 + 0.3 * (seq as f64 / 17.0 + vehicle as f64).sin();
            let mut signals = Signals::new();
            for row in signal::CATALOGUE.iter().filter(|row| row.number <= 8) {
                let signal::Domain::Number { min, max } = row.domain else { continue };
                let share = (load + 0.1 * draw(u64::from(row.number))).clamp(0.0, 1.0);
                signals.insert(row.number, Value::Number(min + (max - min) * share)).unwrap();
            }
            let time = 1_763_700_000_000 + seq as i64 * 10_000;
            let kind = telemetry::Kind::Full;
            let vehicle = id.clone();
            let record = Record { schema: 1, vehicle, boot: 1, seq, time, kind, signals, position: None };
            history.push(&record, time);
        }
    }
    history
}

fn train(history: &Recorded, kind: Kind) -> Trained {
    Trained::from(&control::ungated(history, &Options { kind, ..Options::default() }).unwrap())
}

fn moving(reason: Option<&str>, json: bool) -> Moving {
    Moving { alias: CHAMPION.into(), reason: reason.map(str::to_owned), json }
}

fn register(kafka: &KafkaConfig, file: &Path) -> RegisterArgs {
    let file = file.to_owned();
    RegisterArgs { kafka: kafka.clone(), file, promote: false, force: None, labels: None, moving: moving(None, false) }
}

fn promote(kafka: &KafkaConfig, version: &str) -> PromoteArgs {
    let moving = moving(Some("the test"), true);
    PromoteArgs { kafka: kafka.clone(), version: version.into(), force: None, moving }
}

async fn rollback(kafka: &KafkaConfig) -> Result<(), Error> {
    run_rollback(RollbackArgs { kafka: kafka.clone(), moving: moving(None, false) }).await
}

fn export(kafka: &KafkaConfig, version: &str, out: &Path) -> ExportArgs {
    ExportArgs { kafka: kafka.clone(), version: version.into(), out: out.to_owned(), force: false, json: false }
}

/// Where the champion stands, and stood before.
async fn champion(kafka: &KafkaConfig) -> (String, Option<String>) {
    let alias = registry::read(kafka).await.unwrap().aliases.remove(CHAMPION).unwrap();
    (alias.version, alias.previous)
}

async fn events(kafka: &KafkaConfig) -> Vec<ModelEvent> {
    let (mut log, mut events) = (History::everything(kafka, MODEL_EVENTS).await.unwrap(), Vec::new());
    while let Some(records) = log.next(64).await.unwrap() {
        let payloads = records.into_iter().filter_map(|record| record.payload);
        events.extend(payloads.map(|payload| serde_json::from_slice::<ModelEvent>(&payload).unwrap()));
    }
    events
}

async fn records_on_models(kafka: &KafkaConfig) -> i64 {
    count(kafka, MODELS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_goes_through_the_registry_and_back() {
    let (services, kafka) = start_kafka("registry", 1).await;
    let files = tempfile::tempdir().unwrap();
    let history = fleet();
    let (z, pca) = (train(&history, Kind::RobustZ), train(&history, Kind::Pca));
    let [z_file, pca_file] = ["z", "pca"].map(|name| files.path().join(name));
    std::fs::write(&z_file, &z.artifact).unwrap();
    std::fs::write(&pca_file, &pca.artifact).unwrap();

    an_empty_registry_says_so(&kafka, files.path()).await;
    versions_are_registered_promoted_and_rolled_back(&kafka, (&z, &z_file), (&pca, &pca_file)).await;
    a_wrong_file_is_refused_and_the_champion_stays(&kafka, &pca, files.path()).await;
    what_comes_out_is_what_went_in(&kafka, &pca, files.path()).await;
    a_lost_artefact_is_told_and_can_be_registered_again(&kafka, (&z, &z_file), files.path()).await;

    stop_kafka(services).await;
}

async fn an_empty_registry_says_so(kafka: &KafkaConfig, files: &Path) {
    assert_eq!(registry::read(kafka).await.unwrap(), Registry::default());
    run_list(ListArgs { kafka: kafka.clone(), json: false }).await.unwrap();
    let show = ShowArgs { kafka: kafka.clone(), model: CHAMPION.into(), json: false };
    assert_eq!(refusal(run_show(show).await).0, 65);
    assert_eq!(refusal(run_promote(promote(kafka, "pca-1-ab")).await).0, 65);
    let (code, text) = refusal(rollback(kafka).await);
    assert!(code == 65 && text.contains("nothing to undo"), "{text}");
    assert_eq!(refusal(run_export(export(kafka, CHAMPION, &files.join("none"))).await).0, 65);
    assert!(!files.join("none").exists());
    // Whatever else stands on the topic is passed over.
    let producer = Producer::connect(kafka).await.unwrap();
    for (key, payload) in [("weights/x", "{}"), ("version/odd", "no JSON")] {
        producer.deliver(OutRecord::new(MODELS, key, payload)).await.unwrap();
    }
    assert_eq!(registry::read(kafka).await.unwrap(), Registry::default());
}

async fn versions_are_registered_promoted_and_rolled_back(
    kafka: &KafkaConfig,
    (z, z_file): (&Trained, &Path),
    (pca, pca_file): (&Trained, &Path),
) {
    run_register(register(kafka, z_file)).await.unwrap();
    let registry = registry::read(kafka).await.unwrap();
    assert!(registry.versions.contains_key(&z.version) && registry.aliases.is_empty(), "no alias moves by itself");
    let before = records_on_models(kafka).await;
    run_register(register(kafka, z_file)).await.unwrap();
    assert_eq!(records_on_models(kafka).await, before, "a file that is registered already writes nothing");

    run_promote(promote(kafka, &z.version)).await.unwrap();
    assert_eq!(champion(kafka).await, (z.version.clone(), None));
    let (code, text) = refusal(rollback(kafka).await);
    assert!(code == 65 && text.contains("only"), "{text}");
    // It has to win on readings that are not in this Kafka.
    let (before, challenge) =
        (records_on_models(kafka).await, RegisterArgs { promote: true, ..register(kafka, pca_file) });
    let (code, text) = refusal(run_register(challenge.clone()).await);
    assert!(code == 65 && text.contains("--force"), "{code} {text}");
    assert_eq!((records_on_models(kafka).await, champion(kafka).await.0), (before, z.version.clone()));
    run_register(RegisterArgs { force: Some("a person knows better".into()), ..challenge }).await.unwrap();
    let promoted = (pca.version.clone(), Some(z.version.clone()));
    assert_eq!(champion(kafka).await, promoted);
    // Again: nothing moves, so the way back stays.
    run_promote(promote(kafka, &pca.version)).await.unwrap();
    assert_eq!(champion(kafka).await, promoted);

    rollback(kafka).await.unwrap();
    assert_eq!(champion(kafka).await, (z.version.clone(), Some(pca.version.clone())));
    rollback(kafka).await.unwrap();
    assert_eq!(champion(kafka).await, promoted);

    let told = events(kafka).await;
    let versions = told.iter().map(|event| match event {
        ModelEvent::Promoted { version, .. } => ("promoted", version.as_str()),
        ModelEvent::RolledBack { version, .. } => ("rolled back", version.as_str()),
        ModelEvent::Kept { version, .. } => ("kept", version.as_str()),
        ModelEvent::SwitchPoint { version, .. } => ("switch point", version.as_str()),
        ModelEvent::Drift(drift) => ("drift", drift.version.as_str()),
        ModelEvent::Shadow { version, .. } => ("shadow", version.as_str()),
    });
    let (z, pca) = (z.version.as_str(), pca.version.as_str());
    let expected = [("promoted", z), ("promoted", pca), ("rolled back", z), ("rolled back", pca)];
    assert_eq!(versions.collect::<Vec<_>>(), expected);
    run_compare(CompareArgs { kafka: kafka.clone(), a: z.into(), b: CHAMPION.into(), json: false }).await.unwrap();
}

async fn a_wrong_file_is_refused_and_the_champion_stays(kafka: &KafkaConfig, pca: &Trained, files: &Path) {
    let (before, stood) = (records_on_models(kafka).await, champion(kafka).await);
    let wrong = files.join("wrong");
    let with = |from: &str, to: &str| {
        // Of the same length, so that the file is whole but for what it says.
        assert_eq!(from.len(), to.len());
        let at = pca.artifact.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut bytes = pca.artifact.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let schema = format!("\\\"schema\\\":\\\"{}\\\"", pca.card.schema);
    let mut weight = pca.artifact.clone();
    let numbers = 8 + u64::from_le_bytes(*weight.first_chunk().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&weight[8..numbers]).unwrap();
    let at = numbers + header["network.mean"]["data_offsets"][0].as_u64().unwrap() as usize;
    weight[at..at + 4].copy_from_slice(&2.0_f32.to_le_bytes());
    // Written by somebody who keeps no hash.
    let mut unhashed = weight.clone();
    let at = unhashed.windows(14).position(|part| part == b"tensors_sha256").unwrap();
    unhashed[at..at + 14].copy_from_slice(b"tensors_sha000");
    let cases = [
        (b"nothing".to_vec(), "models/python"),
        (pca.artifact[..pca.artifact.len() - 4].to_vec(), "models/python"),
        (with(&format!("\\\"form\\\":{}", pca.card.form), "\\\"form\\\":9"), "form 9"),
        (with(&schema, &format!("\\\"schema\\\":\\\"{}\\\"", "0".repeat(16))), "train again"),
        (weight, "tensors"),
        (unhashed, "golden"),
    ];
    for (bytes, says) in cases {
        std::fs::write(&wrong, bytes).unwrap();
        let (code, text) = refusal(run_register(RegisterArgs { promote: true, ..register(kafka, &wrong) }).await);
        assert!(code == 65 && text.contains(says), "{says}: {text}");
    }
    let (code, text) = refusal(run_register(register(kafka, &files.join("absent"))).await);
    assert!(code == 65 && text.contains("absent"), "{text}");
    assert_eq!(refusal(run_promote(promote(kafka, "pca-7-ffffffff")).await).0, 65);
    assert_eq!(records_on_models(kafka).await, before, "nothing was written");
    assert_eq!(champion(kafka).await, stood);
}

async fn what_comes_out_is_what_went_in(kafka: &KafkaConfig, pca: &Trained, files: &Path) {
    let out = files.join("out");
    run_export(export(kafka, CHAMPION, &out)).await.unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), pca.artifact);
    let (code, text) = refusal(run_export(export(kafka, CHAMPION, &out)).await);
    assert!(code == 64 && text.contains("--force"), "{text}");
    run_export(ExportArgs { force: true, ..export(kafka, &pca.version, &out) }).await.unwrap();
}

async fn a_lost_artefact_is_told_and_can_be_registered_again(
    kafka: &KafkaConfig,
    (z, z_file): (&Trained, &Path),
    files: &Path,
) {
    let before = registry::read(kafka).await.unwrap();
    let hash = before.versions[&z.version].artifact.clone();
    let producer = Producer::connect(kafka).await.unwrap();
    let tombstone = |hash: &str| {
        let key = ModelKey::Artifact(hash.to_owned()).to_string();
        OutRecord { payload: None, ..OutRecord::new(MODELS, key, Vec::new()) }
    };
    producer.deliver(tombstone(&hash)).await.unwrap();
    let stood = champion(kafka).await;
    for result in [
        run_export(export(kafka, &z.version, &files.join("lost"))).await,
        run_promote(promote(kafka, &z.version)).await,
        rollback(kafka).await,
    ] {
        let (code, text) = refusal(result);
        assert!(code == 65 && text.contains("not on models any more") && text.contains("models register"), "{text}");
    }
    assert_eq!(champion(kafka).await, stood);
    run_register(register(kafka, z_file)).await.unwrap();
    assert_eq!(registry::read(kafka).await.unwrap(), before, "the version is the one that it was, date and all");
    run_promote(promote(kafka, &z.version)).await.unwrap();
    assert_eq!(champion(kafka).await.0, z.version);

    // A version whose artefact does not load here is on the topic, but no alias gets to it.
    let bad = b"of another detector".to_vec();
    let version = ModelVersion {
        version: "forest-1-ab".into(),
        detector: "forest".into(),
        artifact: detector::artifact::hash(&bad),
        card: serde_json::json!({"detector": "forest"}),
        time: 1,
    };
    let key = |key: ModelKey| key.to_string();
    let artifact = OutRecord::new(MODELS, key(ModelKey::Artifact(version.artifact.clone())), bad);
    producer.deliver(artifact).await.unwrap();
    let payload = serde_json::to_vec(&version).unwrap();
    producer.deliver(OutRecord::new(MODELS, key(ModelKey::Version(version.version.clone())), payload)).await.unwrap();
    let (code, text) = refusal(run_promote(promote(kafka, "forest-1-ab")).await);
    assert!(code == 65 && text.starts_with("forest-1-ab: "), "{text}");
    run_list(ListArgs { kafka: kafka.clone(), json: true }).await.unwrap();
    assert_eq!(champion(kafka).await.0, z.version);
    // The trainer, with the same history again: the alias stands where it should, and the way back stays.
    publish::publish(&producer, kafka, z, CHAMPION, "trained").await.unwrap();
    assert_eq!(champion(kafka).await, (z.version.clone(), Some(stood.0)));
}
