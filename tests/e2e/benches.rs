//! The bench of bridges, in short: it measures a peer by its command line as it measures our edge, and it notices a
//! bridge that loses what it was given.

use std::collections::BTreeMap;

use clap::Parser;
use tests::{
    bench::edge::{Settings, run},
    process::{build_executables, executables},
    scenario::alone,
};

/// An edge of ours, started as other bridges are: with nothing but what a peer finds in its environment.
fn as_a_peer(executable: &str) -> String {
    let path = executables().unwrap().join(executable);
    format!(
        "{} --id \"$CLIENT_ID\" --mqtt \"$MQTT_HOST:$MQTT_PORT\" --mqtt-user \"$MQTT_USER\" \
         --mqtt-password-file \"$MQTT_PASSWORD_FILE\" --kafka \"$KAFKA_BOOTSTRAP\"",
        path.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_loses_is_told_from_one_that_does_not() {
    build_executables().unwrap();
    let _alone = alone().await;
    let programs = executables().unwrap();
    let folder = programs.parent().unwrap().join("e2e/bench");
    // It holds batches for long: a kill finds seconds of what the broker has forgotten, however busy the machine is.
    let peer = format!("early={} --linger-ms 4000", as_a_peer("early-edge"));
    let flags = ["--quick", "--only", "kill-bridge", "--report", "bench-test", "--peer", &peer];
    let mut settings = Settings::try_parse_from(["edge"].iter().chain(&flags)).unwrap();
    (settings.folder, settings.programs) = (folder, programs);
    let report = run(settings).await.unwrap();
    assert!(report.report.is_ok(), "{:#?}", report.report.verdicts);
    let found: BTreeMap<_, _> = report
        .rows
        .iter()
        .map(|row| {
            (row.case.contender.as_str(), ["acknowledged_readings", "lost_readings"].map(|name| row.median(name)))
        })
        .collect();
    // The early one acknowledges before Kafka has anything, and was killed in the middle of it.
    let [all, lost] = found["early"];
    assert!(lost.unwrap() > 0.0 && all.unwrap() > lost.unwrap(), "{found:?}");
    assert_eq!(found["motorcade"], [all, Some(0.0)]);
}
