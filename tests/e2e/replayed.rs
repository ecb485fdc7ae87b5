//! G8 with all that can go wrong with scores at once: readings that come twice and too late, a scorer that is killed twice,
//! a model that is swapped and rolled back within seconds, and so many artefacts that the first one is no longer kept in
//! memory. Every published bit is that of a replay, and one flipped input bit is found.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cloud_log::{OutRecord, Producer};
use service::Tally;
use telemetry::{
    Encoding,
    event::{ModelEvent, ModelKey},
    kafka_topic::{MODEL_EVENTS, MODELS, TELEMETRY},
};
use tests::{control, kafka_reader, poll};

use crate::ground::{Drive, Ground, WITHIN};

/// The scorer waits so long for a missing reading …
const LATENESS_MS: i64 = 400;
/// … and one that is held back comes after so many rounds of 15 ms: twice as late.
const HELD_BACK: u64 = 60;
const PAUSE: Duration = Duration::from_millis(15);
const MOST_READINGS: u64 = 8_000;
/// More than a scorer keeps.
const ARTEFACTS: u32 = 40;
/// A rollback takes effect within this.
const ROLLBACK: Duration = Duration::from_secs(10);

/// Switch points so far, in their order, and how many partitions there are.
fn switches(kafka: &str) -> (Vec<String>, usize) {
    let events = kafka_reader::read(kafka, MODEL_EVENTS).unwrap().into_iter();
    let version = |event| match event {
        ModelEvent::SwitchPoint { version, .. } => Some(version),
        _ => None,
    };
    let points = events.filter_map(|record| serde_json::from_slice(&record.payload).ok().and_then(version));
    (points.collect(), kafka_reader::watermarks(kafka, TELEMETRY).unwrap().len())
}

/// Waits until models have begun on all partitions so often.
async fn switched(kafka: &str, times: usize, within: Duration) -> String {
    let all = async || {
        let (points, partitions) = switches(kafka);
        Ok((points.len() >= times * partitions).then(|| points.last().cloned().unwrap()))
    };
    poll::until("every partition has its switch point", within, all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_readings_kills_a_swap_and_a_rollback_and_replay_equals_live() {
    let ground = Ground::start("replayed").await;
    let kafka = ground.kafka.kafka.clone();
    let (nothing, enough, lateness) = (ground.ends().await, AtomicBool::new(false), LATENESS_MS.to_string());
    let flags = ["--lateness-ms", lateness.as_str()];
    let drive = Drive {
        pause: PAUSE,
        encoding: Encoding::Json,
        twice: 20,
        late: (100, HELD_BACK),
        ..Drive::of(1, MOST_READINGS)
    };
    let disturbed = async {
        let scorer = ground.scorer("first", "replayed", &flags).await;
        let first = switched(&kafka, 1, WITHIN).await;
        ground.kill_after(scorer, 8_000).await;

        let scorer = ground.scorer("second", "replayed", &flags).await;
        let why = "another model";
        ground.tool(&["models", "train", "--publish", "--detector", "robust-z", "--force", why]).await;
        let second = switched(&kafka, 2, WITHIN).await;
        assert_ne!(first, second);
        ground.grown_by(4_000).await;

        let (began, _) = (Instant::now(), ground.tool(&["models", "rollback"]).await);
        assert_eq!(switched(&kafka, 3, ROLLBACK).await, first);
        eprintln!("rolled back on all partitions within {:?}", began.elapsed());
        more_artefacts(&ground).await;
        ground.kill_after(scorer, 2_000).await;

        // What it scores with is not among the newest artefacts.
        let scorer = ground.scorer("third", "replayed", &flags).await;
        ground.grown_by(8_000).await;
        enough.store(true, Ordering::Relaxed);
        scorer
    };
    let (written, scorer) = tokio::join!(ground.drive(drive, &enough), disturbed);
    let tally = ground.finish(vec![scorer], "replayed").await.remove(0);
    let Tally { discarded, .. } = &tally;
    assert!(discarded["late"] > 0 && discarded["duplicate"] > 0, "{tally:?}");

    let scores = ground.since(&nothing).await;
    let verified = ground.verify(&flags).await;
    eprintln!("{written} readings, {} scores, {verified}", scores.len());
    assert!(verified["ok"] == true && verified["checked"].as_u64() >= Some(scores.len() as u64), "{verified}");
    assert!(scores.len() as u64 > written * 8 / 10, "{} of {written}", scores.len());
    control::flipped_bit_is_found(&kafka, LATENESS_MS).await.unwrap();
    ground.services.stop().await;
}

/// Others register models.
async fn more_artefacts(ground: &Ground) {
    let producer = Producer::connect(&ground.kafka).await.unwrap();
    for n in 0..ARTEFACTS {
        let key = ModelKey::Artifact(format!("{n:064x}")).to_string();
        producer.send(OutRecord::new(MODELS, key, n.to_le_bytes().to_vec())).await.unwrap();
    }
    producer.flush().await.unwrap();
}
