//! G8 with all that can go wrong with scores at once: readings that come twice and too late, a scorer that is killed twice,
//! a model that is swapped and rolled back within seconds, a challenger in the shadow, a champion that does not load, and so
//! many artefacts that the first one is no longer kept in memory. Every published bit is that of a replay, and one flipped
//! input bit is found.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use cloud_log::{OutRecord, Producer};
use service::Tally;
use telemetry::{
    Encoding,
    event::{ModelAlias, ModelEvent, ModelKey, ModelVersion},
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
const CHALLENGER: &str = "challenger";
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
        ground.tool(&["models", "promote", &second, "--alias", CHALLENGER]).await;
        a_champion_that_does_not_load(&ground).await;
        let refused = async || Ok(scorer.log_tail().contains("model refused").then_some(()));
        poll::until("the damaged model is refused", WITHIN, refused).await.unwrap();
        ground.kill_after(scorer, 2_000).await;

        // What it scores with is not among the newest artefacts, and what it should score with does not load.
        let shadow = ["--shadow-alias", CHALLENGER, "--shadow-share", "1"];
        let scorer = ground.scorer("third", "replayed", &[&flags[..], &shadow].concat()).await;
        ground.grown_by(8_000).await;
        enough.store(true, Ordering::Relaxed);
        (scorer, first, second)
    };
    let (written, (scorer, first, second)) = tokio::join!(ground.drive(drive, &enough), disturbed);
    let tally = ground.finish(vec![scorer], "replayed").await.remove(0);
    let Tally { discarded, .. } = &tally;
    assert!(discarded["late"] > 0 && discarded["duplicate"] > 0, "{tally:?}");

    let (points, partitions) = switches(&kafka);
    assert_eq!((points.len(), points.last()), (3 * partitions, Some(&first)), "no scorer went to the damaged model");
    let in_the_shadow = shadowed(&kafka, &second);
    assert!(in_the_shadow >= 7_000, "{in_the_shadow} readings judged by the challenger");

    let scores = ground.since(&nothing).await;
    let verified = ground.verify(&flags).await;
    eprintln!("{written} readings, {} scores, {verified}", scores.len());
    assert!(verified["ok"] == true && verified["checked"].as_u64() >= Some(scores.len() as u64), "{verified}");
    assert!(scores.len() as u64 > written * 8 / 10, "{} of {written}", scores.len());
    control::flipped_bit_is_found(&kafka, LATENESS_MS).await.unwrap();
    ground.services.stop().await;
}

/// Readings that a challenger judged, as scorers told.
fn shadowed(kafka: &str, challenger: &str) -> u64 {
    let events = kafka_reader::read(kafka, MODEL_EVENTS).unwrap().into_iter();
    let told = events.filter_map(|record| match serde_json::from_slice(&record.payload).unwrap() {
        ModelEvent::Shadow { alias, version, scored, failed, .. } => Some((alias, version, scored, failed)),
        _ => None,
    });
    let mut sum = 0;
    for (alias, version, scored, failed) in told {
        assert_eq!((alias.as_str(), version.as_str(), failed), (CHALLENGER, challenger, 0));
        sum += scored;
    }
    sum
}

/// Somebody who checks nothing moves the alias to an artefact with a flipped bit.
async fn a_champion_that_does_not_load(ground: &Ground) {
    let models = kafka_reader::read(&ground.kafka.kafka, MODELS).unwrap();
    let artefacts = models.into_iter().filter(|record| record.key.starts_with(b"artifact/"));
    let mut bytes = artefacts.map(|record| record.payload).max_by_key(Vec::len).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let (version, artifact, time) = ("robust-z-1-damaged".to_owned(), format!("{:064x}", 0xbad), now_ms());
    let detector = "robust-z".to_owned();
    let entry = ModelVersion { version: version.clone(), detector, artifact, card: serde_json::Value::Null, time };
    let alias = ModelAlias { version: version.clone(), previous: None, reason: "no reason".into(), time };
    let producer = Producer::connect(&ground.kafka).await.unwrap();
    for (key, payload) in [
        (ModelKey::Artifact(entry.artifact.clone()), bytes),
        (ModelKey::Version(version), serde_json::to_vec(&entry).unwrap()),
        (ModelKey::Alias("champion".into()), serde_json::to_vec(&alias).unwrap()),
    ] {
        producer.deliver(OutRecord::new(MODELS, key.to_string(), payload)).await.unwrap();
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
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
