//! The whole system against real mosquitto, Kafka and mongod: kills under load, and what must hold after them.
//!
//! Each scenario ends with the verdicts G1 to G4. Seeds are fixed; a scenario leaves its logs, ledger and services'
//! logs in `target/e2e/<name>`, and one that fails what the services stored as well.

use std::time::Duration;

use nix::sys::signal::Signal;
use services::Kind;
use tests::{
    process::Program,
    proxy::Proxy,
    scenario::{Fleet, Scenario},
    stack::Role,
};

/// The system is under load once so many readings were acknowledged; 60 vehicles send 600 a second.
const UNDER_LOAD: u64 = 1500;

async fn kill_under_load(name: &'static str, role: &str) {
    let mut scenario = Scenario::start(name).await.unwrap();
    scenario.drive(Fleet::default()).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    if ["alerter", "gateway"].contains(&role) {
        // Their open alerts are what could get lost.
        scenario.an_alert_is_open().await.unwrap();
    }
    scenario.stack.kill_and_restart(role).await.unwrap();
    scenario.acknowledged(UNDER_LOAD * 2).await.unwrap();
    scenario.stack.kill_and_restart(role).await.unwrap();
    scenario.finish().await.unwrap().assert_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_drives_and_every_guarantee_holds() {
    let mut scenario = Scenario::start("happy-path").await.unwrap();
    scenario.drive(Fleet { protobuf: true, ..Fleet::default() }).await.unwrap();
    let judged = scenario.finish().await.unwrap();
    judged.assert_ok();
    assert!(judged.alerts.fired().count() > 0, "faults appeared, yet nothing fired");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_is_killed_under_load() {
    kill_under_load("edge-killed", "edge").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twin_writer_is_killed_under_load() {
    kill_under_load("twin-killed", "twin").await;
}

/// G8: the scorer is killed inside the range, twice; every published bit is that of a replay, and one flipped input
/// bit is found.
#[tokio::test(flavor = "multi_thread")]
async fn the_scorer_is_killed_under_load_and_replay_equals_live() {
    let mut scenario = Scenario::start("scorer-killed").await.unwrap();
    scenario.drive(Fleet::default()).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    scenario.stack.kill_and_restart("scorer").await.unwrap();
    scenario.acknowledged(UNDER_LOAD * 2).await.unwrap();
    scenario.stack.kill_and_restart("scorer").await.unwrap();
    scenario.finish_with_replay().await.unwrap().assert_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerter_is_killed_under_load() {
    kill_under_load("alerter-killed", "alerter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_killed_under_load() {
    kill_under_load("gateway-killed", "gateway").await;
}

/// The edge stands still while the broker goes on acknowledging; then both die, and with them what nobody else has.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_dies_with_what_it_has_acknowledged_and_the_edge_after_it() {
    const HELD: u64 = 500;
    let mut scenario = Scenario::start("broker-killed").await.unwrap();
    let proxy = Proxy::start(scenario.stack.services.addresses().mqtt_vehicles).await.unwrap();
    scenario.drive(Fleet { mqtt: Some(proxy.address()), ..Fleet::default() }).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    scenario.stack.running("edge").unwrap().signal(Signal::SIGSTOP).unwrap();
    let before = proxy.taken();
    let grown = async || Ok((proxy.taken() >= before + HELD).then_some(()));
    tests::poll::until("the broker acknowledges what it can't hand on", Duration::from_secs(20), grown).await.unwrap();
    scenario.stack.services.kill(Kind::Mosquitto).await;
    let edge = scenario.stack.kill("edge").await.unwrap();
    let lost = proxy.taken().saturating_sub(scenario.in_kafka().await.unwrap());
    assert!(lost >= HELD, "the broker acknowledged only {lost} that are not in Kafka");
    scenario.stack.services.restart(Kind::Mosquitto).await.unwrap();
    scenario.stack.launch(edge).await.unwrap();
    scenario.finish().await.unwrap().assert_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_are_lost_and_the_edge_is_killed() {
    let mut scenario = Scenario::start("acks-lost").await.unwrap();
    let proxy = Proxy::start(scenario.stack.services.addresses().mqtt_vehicles).await.unwrap();
    scenario.drive(Fleet { mqtt: Some(proxy.address()), ..Fleet::default() }).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    proxy.lose_acks(true);
    tests::poll::until("acks are lost", Duration::from_secs(30), async || Ok((proxy.lost() >= 100).then_some(())))
        .await
        .unwrap();
    // The edge that knew the ranges is gone; the new one starts with none.
    scenario.stack.kill_and_restart("edge").await.unwrap();
    proxy.lose_acks(false);
    let judged = scenario.finish().await.unwrap();
    judged.assert_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_killed_and_comes_back() {
    let mut scenario = Scenario::start("kafka-killed").await.unwrap();
    scenario.drive(Fleet::default()).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    scenario.stack.kill_and_restart_service(Kind::Kafka).await.unwrap();
    scenario.finish().await.unwrap().assert_ok();
}

/// Bad input of every kind: each is in the dead-letter topic with its reason and acknowledged, and what follows it is
/// not held back.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_payloads_of_every_kind_are_dead_letters_and_hold_nothing_back() {
    let mut scenario = Scenario::start("poison").await.unwrap();
    scenario.drive(Fleet { poison: 40, ..Fleet::default() }).await.unwrap();
    let judged = scenario.finish().await.unwrap();
    judged.assert_ok();
    let expected: std::collections::BTreeSet<&str> =
        simulator::poison::ALL.iter().map(|poison| poison.reason.as_str()).collect();
    let met = judged.dead_letters.keys().map(String::as_str).collect();
    assert_eq!(expected, met, "{:?}", judged.dead_letters);
}

/// Negative control: the same system with an edge that acknowledges on arrival must fail G1.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_acknowledges_early_is_caught() {
    let mut scenario = Scenario::bare("early-edge").await.unwrap();
    let flags = ["--ack-min-ms", "100", "--ack-max-ms", "200", "--ack-records", "1"];
    scenario.stack.launch(Program::new("edge", "early-edge", flags)).await.unwrap();
    scenario.drive(Fleet::default()).await.unwrap();
    scenario.acknowledged(UNDER_LOAD).await.unwrap();
    // Kafka stops answering: an honest edge would stop acknowledging.
    let kafka = scenario.stack.services.pid(Kind::Kafka).unwrap();
    signal_group(kafka, Signal::SIGSTOP);
    scenario.acknowledged(UNDER_LOAD + 500).await.unwrap();
    scenario.stack.kill("edge").await.unwrap();
    signal_group(kafka, Signal::SIGCONT);
    scenario.stack.role(Role::Edge).await.unwrap();
    let verdict = scenario.finish_with_ledger_only().await.unwrap();
    assert!(!verdict.ok, "the ledger did not notice: {verdict:?}");
    assert!(verdict.counts["lost"] > 0, "{verdict:?}");
}

fn signal_group(leader: i32, signal: Signal) {
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), signal).unwrap();
}
