//! The benches, in short: that of bridges measures a peer by its command line as it measures our edge, and notices a
//! bridge that loses what it was given; that of scorers goes on without a peer that fails.

use std::collections::BTreeMap;

use clap::Parser;
use tests::{
    bench::{
        edge::{Settings, run},
        fleet, model,
    },
    process::{build_executables, executables},
    scenario::room,
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
    let _room = room().await;
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

/// The bench of the fleet in small: two sites, and every reading is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_fleet_on_two_brokers_is_measured_and_nothing_is_missing() {
    build_executables().unwrap();
    let _room = room().await;
    let programs = executables().unwrap();
    let folder = programs.parent().unwrap().join("e2e/bench-fleet");
    let flags =
        ["--vehicles", "300", "--per-broker", "150", "--rate", "600", "--hold-s", "10", "--report", "fleet-test"];
    let mut settings = fleet::Settings::try_parse_from(["fleet"].iter().chain(&flags)).unwrap();
    (settings.folder, settings.programs) = (folder, programs);
    let report = fleet::run(settings).await.unwrap();
    // How fast vehicles connect, and what they cost, is of the shipped program on a machine without other work.
    let verdicts = report.report.verdicts.iter().filter(|(name, _)| *name != "goals");
    for (name, verdict) in verdicts {
        assert!(verdict.ok && verdict.checked > 0, "{name}: {verdict:#?}");
    }
    let figure = |name: &str| report.report.figures[name];
    assert_eq!([figure("established_sockets"), figure("verified_vehicles")], [300.0, 300.0]);
    assert_eq!([figure("found_readings"), figure("lost_readings"), figure("duplicate_readings")], [6_000.0, 0.0, 0.0]);
    assert!(figure("load_core_percent") > 0.5, "the load's workers are counted");
}

/// The bench of scorers in small: a peer that ends by itself is told, and what the others do is measured all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_scorer_that_ends_by_itself_is_told_from_one_that_scores() {
    build_executables().unwrap();
    let _room = room().await;
    let programs = executables().unwrap();
    let folder = programs.parent().unwrap().join("e2e/bench-model");
    let export = "touch \"$ONNX\" \"${ONNX%.onnx}.json\"";
    let peer = "dead=test -f \"$ONNX\" && echo \"nobody reads $KAFKA_TOPIC\" >&2; exit 3";
    let rows =
        ["model", "--quick", "--records", "10000", "--rates", "500", "--encodings", "json", "--report", "model-test"];
    let peers = ["--export", export, "--peer", peer];
    let mut settings = model::Settings::try_parse_from(rows.iter().chain(&peers)).unwrap();
    (settings.folder, settings.programs) = (folder, programs);
    let report = model::run(settings).await.unwrap();
    let cases = &report.report.verdicts["cases"];
    // A backlog by both; a steady rate in Protobuf by ours, and in JSON by both; both with transactions, and a takeover, by
    // ours.
    assert_eq!((cases.ok, cases.checked, cases.counts["failed"]), (false, 8, 2), "{cases:#?}");
    for told in ["drain json scores dead, round 1: ", "has ended by itself", "nobody reads telemetry"] {
        assert!(cases.examples[0].contains(told), "{cases:#?}");
    }
    let balances = &report.report.verdicts["G4"];
    assert!(balances.ok && balances.checked == 6, "{balances:#?}");
    // Ours scored everything in each row; so small a backlog says nothing of its speed.
    let all = report.rows.iter().filter(|row| row.median("scored_share") == Some(1.0));
    assert_eq!((all.count(), report.rows.len()), (6, 6), "{:#?}", report.rows);
    assert!(report.rows[1].median("cpu_us").unwrap() > 0.0, "{:#?}", report.rows);
}
