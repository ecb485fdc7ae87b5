//! Two edges with one client id: the second one takes over within ten seconds, however the first one goes, and
//! nothing that was acknowledged is lost.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use services::Kind;
use tests::{
    demo::stages,
    network::{Condition, Link},
    poll,
    process::Program,
    scenario::{Fleet, Scenario},
};

/// G6.
const ACTIVE_WITHIN: Duration = Duration::from_secs(10);
const UNDER_LOAD: u64 = 1500;

fn edge(scenario: &Scenario, name: &str) -> Program {
    let spool = scenario.folder().join(format!("spool-{name}"));
    let flags = ["--hot-standby", "--ack-min-ms", "500", "--ack-max-ms", "2000", "--spool"];
    Program::new(name, "motorcade-edge", flags).with([spool])
}

async fn metric(scenario: &mut Scenario, name: &str, metric: &str) -> Option<f64> {
    let counters = stages::read(&mut scenario.stack, &reqwest::Client::new()).await;
    counters.get(name)?.get(metric).copied()
}

/// Whether this edge is connected with the shared client id.
async fn connected(scenario: &mut Scenario, name: &str) -> bool {
    metric(scenario, name, "edge_mqtt_connected").await == Some(1.0)
}

/// Waits until this edge bridges; how long that took.
async fn takes_over(scenario: &mut Scenario, name: &str, within: Duration) -> Duration {
    let since = Instant::now();
    poll::until("the standby bridges", within, async || Ok(connected(scenario, name).await.then_some(())))
        .await
        .unwrap();
    since.elapsed()
}

async fn pair(name: &'static str) -> Scenario {
    pair_of(Scenario::bare(name).await.unwrap(), None, Fleet::default().drive).await
}

/// The first one may reach the broker through a link; the fleet drives for so long.
async fn pair_of(mut scenario: Scenario, link: Option<&Link>, drive: Duration) -> Scenario {
    for name in ["first", "second"] {
        let program = edge(&scenario, name);
        let program = match link.filter(|_| name == "first") {
            Some(link) => program.with(["--mqtt".to_owned(), link.address().to_string()]),
            None => program,
        };
        scenario.stack.launch(program).await.unwrap();
    }
    assert!(connected(&mut scenario, "first").await && !connected(&mut scenario, "second").await);
    scenario.drive(Fleet { faults: false, drive, ..Fleet::default() }).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    scenario
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_from_an_edge_that_is_killed_and_the_killed_one_stands_by() {
    let mut scenario = pair("standby-killed").await;
    let first = scenario.stack.kill("first").await.unwrap();
    takes_over(&mut scenario, "second", ACTIVE_WITHIN).await;
    scenario.stack.launch(first).await.unwrap();
    scenario.acknowledged(2 * UNDER_LOAD).await.unwrap();
    assert!(!connected(&mut scenario, "first").await, "the one that was killed stands by");
    // In good order it goes at once.
    scenario.stack.stop("second").await.unwrap();
    takes_over(&mut scenario, "first", ACTIVE_WITHIN).await;
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(verdict.ok && verdict.checked > 0, "{verdict:?}");
}

/// It is not dead: it stands still, longer than the broker waits, and then goes on. It must not kick the other one.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stood_still_finds_its_place_taken_and_leaves_it() {
    let mut scenario = pair("standby-frozen").await;
    scenario.stack.running("first").unwrap().signal(Signal::SIGSTOP).unwrap();
    takes_over(&mut scenario, "second", ACTIVE_WITHIN).await;
    scenario.stack.running("first").unwrap().signal(Signal::SIGCONT).unwrap();
    scenario.acknowledged(2 * UNDER_LOAD).await.unwrap();
    poll::until("the first one has noticed", Duration::from_secs(10), async || {
        Ok((!connected(&mut scenario, "first").await).then_some(()))
    })
    .await
    .unwrap();
    let reconnects = metric(&mut scenario, "second", "edge_reconnects_total").await;
    assert_eq!(reconnects, Some(0.0), "nobody kicked the second one");
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(verdict.ok && verdict.checked > 0, "{verdict:?}");
}

/// Every vehicle carries one out, and says so.
async fn commands_are_answered(scenario: &Scenario) {
    let stack = &scenario.stack;
    // Of enough vehicles that some are in every partition.
    let answered = (1..=8).map(async |number| {
        let vehicle = format!("veh-{number:05}");
        let to = ["commands", "send", "--vehicle", &vehicle, "--expires-in", "30s", "--wait", "set-property", "a", "b"];
        stack.tool(to).await
    });
    try_join_all(answered).await.unwrap();
}

/// Its connections stay, and nothing goes through: neither it nor the broker is told. It still reaches Kafka, and must
/// not keep the commands that it reads there from the other one.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_cut_off_is_replaced_and_stands_by_when_the_network_is_back() {
    let scenario = Scenario::bare("standby-cut").await.unwrap();
    let link = Link::to(scenario.stack.services.addresses().mqtt_edge).await.unwrap();
    let mut scenario = pair_of(scenario, Some(&link), Duration::from_secs(45)).await;
    link.set(Condition::HALF_OPEN);
    takes_over(&mut scenario, "second", ACTIVE_WITHIN).await;
    commands_are_answered(&scenario).await;
    scenario.acknowledged(2 * UNDER_LOAD).await.unwrap();
    let [_, before] = link.counts().passed;
    link.set(Condition::WELL);
    // Nothing passes on the connections of before: on a new one it hears who bridges now.
    let hears = async || Ok((link.counts().passed[1] > before).then_some(()));
    poll::until("the first one hears the broker again", Duration::from_secs(20), hears).await.unwrap();
    scenario.acknowledged(3 * UNDER_LOAD).await.unwrap();
    assert!(!connected(&mut scenario, "first").await);
    let reconnects = metric(&mut scenario, "second", "edge_reconnects_total").await;
    assert_eq!(reconnects, Some(0.0), "nobody kicked the second one");
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(verdict.ok && verdict.checked > 0, "{verdict:?}");
}

/// The broker's restart takes the retained name with it: the two must agree again, without kicking each other in turn.
#[tokio::test(flavor = "multi_thread")]
async fn two_edges_agree_again_after_the_brokers_restart() {
    let mut scenario = pair("standby-broker").await;
    scenario.stack.kill_and_restart_service(Kind::Mosquitto).await.unwrap();
    takes_over(&mut scenario, "first", ACTIVE_WITHIN).await;
    scenario.acknowledged(2 * UNDER_LOAD).await.unwrap();
    assert!(connected(&mut scenario, "first").await && !connected(&mut scenario, "second").await);
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(verdict.ok && verdict.checked > 0, "{verdict:?}");
}

/// What only its disk has is nobody else's to deliver: it does so itself, and bridges nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_spool_of_an_edge_that_was_killed_is_drained_while_it_stands_by() {
    let mut scenario = pair("standby-spool").await;
    scenario.stack.services.kill(Kind::Kafka).await;
    poll::until("the first one spools", Duration::from_secs(30), async || {
        let records = metric(&mut scenario, "first", "edge_spool_records").await;
        Ok(records.filter(|records| *records > 200.0).map(drop))
    })
    .await
    .unwrap();
    let first = scenario.stack.kill("first").await.unwrap();
    takes_over(&mut scenario, "second", ACTIVE_WITHIN).await;
    scenario.stack.services.restart(Kind::Kafka).await.unwrap();
    scenario.stack.launch(first).await.unwrap();
    let restored = metric(&mut scenario, "first", "edge_records_received_total").await;
    assert!(restored.is_some_and(|restored| restored > 200.0), "it found its spool: {restored:?}");
    poll::until("its spool is empty", Duration::from_secs(30), async || {
        let records = metric(&mut scenario, "first", "edge_spool_records").await;
        Ok(records.filter(|records| *records == 0.0).map(drop))
    })
    .await
    .unwrap();
    assert!(!connected(&mut scenario, "first").await && connected(&mut scenario, "second").await);
    scenario.acknowledged(2 * UNDER_LOAD).await.unwrap();
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(verdict.ok && verdict.checked > 0, "{verdict:?}");
}
