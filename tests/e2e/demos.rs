//! The demo is honest: without faults it stays within its alarm budget, and with shuffled weights its detection
//! vanishes. (With faults and the trained model it is `make demo`.)

use clap::Parser;
use tests::{
    demo::{Outcome, Settings, run},
    process::{build_executables, executables},
    scenario::alone,
};

async fn demo(name: &str, flags: &[&str]) {
    build_executables().unwrap();
    let _alone = alone().await;
    let folder = executables().unwrap().parent().unwrap().join("e2e").join(name);
    let folder = folder.display().to_string();
    let all = ["demo", "--folder", &folder, "--report", name].into_iter().chain(flags.iter().copied());
    match Box::pin(run(Settings::parse_from(all))).await.unwrap() {
        Outcome::Judged(report) => assert!(report.is_ok(), "{:#?}", report.verdicts),
        Outcome::Interrupted => panic!("interrupted"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_the_demo_stays_within_its_alarm_budget() {
    demo("demo-without-faults", &["--faults", "none"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_shuffled_weights_detection_vanishes() {
    demo("demo-shuffled-weights", &["--model", "shuffled"]).await;
}
