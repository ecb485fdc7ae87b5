//! A registered model is held against what is there, and calibrated to another budget of alarms.

use std::path::Path;

use cloud_log::KafkaConfig;
use detector::Kind;
use telemetry::kafka_topic::MODELS;
use trainer::{
    Fitting,
    tools::{CalibrateArgs, EvaluateArgs, Replaying, TrainArgs, run_calibrate, run_evaluate, run_train},
};

use crate::{
    CHAMPION, count, refusal,
    training::{READINGS, START, STEP, VEHICLES, plain, registered, train},
};

pub(crate) async fn a_model_is_evaluated_on_what_is_there(kafka: &KafkaConfig, files: &Path) {
    let evaluate = EvaluateArgs {
        kafka: kafka.clone(),
        model: CHAMPION.into(),
        replaying: Replaying::default(),
        labels: None,
        settle_steps: 10,
        threads: 2,
        report: Some(files.join("evaluation.json")),
        json: true,
    };
    run_evaluate(evaluate.clone()).await.unwrap();
    let read = || report::Report::read(&files.join("evaluation.json")).unwrap();
    let without = read();
    assert_eq!(without.figures["scored_records"], (VEHICLES * READINGS) as f64);
    assert!(without.figures["learnt_from_records"] > 0.0, "it learnt from half of this very range");
    assert!(without.figures.contains_key("loss_nats") && !without.figures.contains_key("vus_pr_ratio"));
    let labels = files.join("labels.jsonl");
    let label = |vehicle: &str| {
        let (from, to) = (START + 500 * STEP, START + 520 * STEP);
        format!("{{\"vehicle\":\"{vehicle}\",\"kind\":\"hot\",\"from\":{from},\"to\":{to}}}\n")
    };
    std::fs::write(&labels, label("veh-03")).unwrap();
    run_evaluate(EvaluateArgs { labels: Some(labels.clone()), ..evaluate.clone() }).await.unwrap();
    let with = read();
    assert!(with.figures.contains_key("vus_pr_ratio") && with.figures["events"] == 1.0, "{:?}", with.figures);
    assert_eq!(with.tables["kinds"].rows[0][0], "hot");
    std::fs::write(&labels, label("another")).unwrap();
    let of_another = run_evaluate(EvaluateArgs { labels: Some(labels.clone()), ..evaluate.clone() }).await;
    for result in [of_another, run_train(TrainArgs { labels: Some(labels), ..train(kafka, Kind::Pca, 1) }).await] {
        let (code, text) = refusal(result);
        assert!(code == 65 && text.contains("widen"), "{text}");
    }
    let all: String = (0..VEHICLES)
        .map(|n| format!("{{\"vehicle\":\"veh-{n:02}\",\"kind\":\"hot\",\"from\":0,\"to\":{}}}\n", START * 2))
        .collect();
    std::fs::write(files.join("all.jsonl"), all).unwrap();
    let sick = EvaluateArgs { labels: Some(files.join("all.jsonl")), ..evaluate.clone() };
    let (code, text) = refusal(run_evaluate(sick).await);
    assert!(code == 65 && text.contains("no reading is healthy"), "{text}");
    let late = Replaying { from: Some(START + 10_000 * STEP), ..Replaying::default() };
    let (code, text) = refusal(run_evaluate(EvaluateArgs { replaying: late, ..evaluate.clone() }).await);
    assert!(code == 65 && text.contains("telemetry holds event times 2025-11-21T04:40:10Z to "), "{text}");

    // One whose every held-out reading is off is refused, and can be looked at all the same.
    let refused = files.join("refused");
    let hopeless = TrainArgs { refused_out: Some(refused.clone()), ..train(kafka, Kind::LeaveOneOut, 1) };
    let hopeless = TrainArgs { fitting: Fitting { steps: 10, sample: 1_000, ..hopeless.fitting.clone() }, ..hopeless };
    let (code, text) = refusal(run_train(hopeless).await);
    assert!(code == 1 && text.contains("written to"), "{text}");
    run_evaluate(EvaluateArgs { model: refused.display().to_string(), labels: None, ..evaluate.clone() })
        .await
        .unwrap();
}

pub(crate) async fn a_model_is_calibrated_anew(kafka: &KafkaConfig) {
    let (before, champion) = registered(kafka).await;
    let calibrate = CalibrateArgs {
        kafka: kafka.clone(),
        model: CHAMPION.into(),
        replaying: Replaying::default(),
        alarm_budget: 100.0,
        min_vehicles: 5,
        promote: false,
        labels: None,
        moving: plain(CHAMPION),
    };
    run_calibrate(calibrate.clone()).await.unwrap();
    let (after, stood) = registered(kafka).await;
    assert_eq!((after.versions.len(), stood), (before.versions.len() + 1, champion));
    let new = after.versions.values().find(|version| !before.versions.contains_key(&version.version)).unwrap();
    assert_eq!(new.card["calibration"]["budget_per_1000_h"], 100.0);
    let written = count(kafka, MODELS).await;
    run_calibrate(calibrate).await.unwrap();
    assert_eq!(count(kafka, MODELS).await, written, "the same version again: nothing is written");
}
