//! What the load does wrong on purpose, against real mosquitto, edge and Kafka: the audit finds what the load says that it
//! did, and nothing is lost by it.

use std::time::Duration;

use simulator::{audit, ledger};
use tests::{evidence::Evidence, process::Program, report::Verdict, scenario::Scenario, stack::Role};

const PATIENCE: Duration = Duration::from_secs(90);

struct Found {
    /// Of the load's report: a figure by name.
    figures: std::collections::BTreeMap<String, f64>,
    audit: audit::Report,
    verdict: Verdict,
    _evidence: Evidence,
}

async fn run(name: &'static str, flags: &str) -> Found {
    let mut scenario = Scenario::bare(name).await.unwrap();
    scenario.stack.role(Role::Edge).await.unwrap();
    let (folder, report) = (scenario.folder().join("ledger"), scenario.folder().join("load.json"));
    let arguments =
        format!("load --vehicles 50 --rate 1000 --duration-ms 6000 --resend-ms 500 --probe-ms 3000 {flags}");
    let program = Program::new("simulator", "motorcade-simulator", arguments.split(' '));
    let files =
        ["--ledger".into(), folder.clone().into_os_string(), "--report".into(), report.clone().into_os_string()];
    scenario.stack.spawn(program.with(files)).unwrap();
    assert_eq!(scenario.stack.wait_for_end("simulator", PATIENCE).await.unwrap().code, Some(0));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let figures = serde_json::from_value(report["figures"].clone()).unwrap();
    let audit = audit::run(scenario.stack.kafka(), &ledger::read(&folder).unwrap()).await.unwrap();
    let (verdict, _) = tests::judge::judge_ledger(scenario.stack.kafka(), &folder).await.unwrap();
    scenario.stack.shut_down().await.unwrap();
    Found { figures, audit, verdict, _evidence: scenario.evidence }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_finds_each_duplicate_and_each_reordering_that_the_load_made() {
    let flags =
        "--duplicate-share 0.05 --reorder-share 0.05 --clock-share 0.2 --clock-offset-ms=-400000 --payload on-change";
    let Found { figures, audit, verdict, _evidence } = run("repeated-and-reordered", flags).await;
    let figure = |name: &str| figures[name] as u64;
    assert!(verdict.ok && (audit.stored, audit.unacked_at_end) == (6_000, 0), "{verdict:?}");
    assert!(figure("duplicated_readings") > 200 && figure("reordered_readings") > 200, "{figures:#?}");
    assert_eq!(audit.duplicates, figure("duplicated_readings"), "{figures:#?}");
    assert_eq!(audit.reorderings, figure("reordered_readings"), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_lose_their_connections_lose_no_reading() {
    let flags = "--profile burst --low-rate 200 --period-ms 2000 --burst-ms 500 --storm-share 0.5 --storm-every-ms 1700 \
        --blackout-share 0.4 --blackout-at-ms 1000 --blackout-ms 1500 --tunnel-ms 800 --tunnel-every-ms 3000";
    let Found { figures, audit, verdict, _evidence } = run("cut-off", flags).await;
    let figure = |name: &str| figures[name] as u64;
    let made = figure("made_readings");
    // Three rounds of 1.5 s at 200 a second and half a second at 1,000.
    assert!(made.abs_diff(2_400) <= 3 && figure("given_up_readings") == 0, "{figures:#?}");
    assert!(verdict.ok && (audit.stored, audit.unacked_at_end) == (made, 0), "{verdict:?}");
    for why in ["storm", "blackout", "tunnel"] {
        assert!(figure(&format!("cut_by_{why}_connections")) >= 5, "{figures:#?}");
    }
}
