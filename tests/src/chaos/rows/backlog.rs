//! What waits in the broker's session while no edge is there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use services::Kind;

use crate::{
    chaos::{AFTER_AN_OUTAGE, Outcome, Promise, Setup, Trial, edge_state::EdgeState},
    poll,
    process::Program,
};

/// Readings that wait.
const WAITING: u64 = 300_000;
/// What the best of the known bridges repeats in the same test, on the same kind of machine.
const TELEGRAF_REPEATS: u64 = 4_125;
/// The edge's memory, bytes: what it may have in hand (`--in-hand-kib`, 32 MiB), as much again with the producer, and
/// room for the rest. However much waits in the broker, it is not read ahead.
const MOST_MEMORY: u64 = 100_000_000;

/// A resumed session delivers before the SUBACK. Bridges that are not prepared for that lose what comes (225 of
/// 300,000 readings), or never come up again.
pub(super) async fn killed_twice(name: &'static str) -> Result<Outcome> {
    // Through no link: how fast the edge is decides what it has in hand when it is killed.
    let mut trial = Trial::start(name, Setup { links: false, ..Setup::default() }).await?;
    // It has subscribed: from now on the broker collects.
    let edge = trial.kill("edge").await?;
    preload(&mut trial).await?;
    let empty = trial.in_kafka().await?;
    ensure!(empty == 0, "{empty} readings are in Kafka before there is an edge");

    let (began, mut alive) = (Instant::now(), Instant::now());
    trial.stack.launch(edge).await?;
    for share in [WAITING / 5, WAITING / 2] {
        trial.stored_in_all(share).await?;
        let edge = trial.kill("edge").await?;
        let stored = trial.in_kafka().await?;
        ensure!(stored < WAITING, "all {WAITING} were in Kafka before the edge was killed");
        tokio::time::sleep(Duration::from_secs(1)).await;
        alive = Instant::now();
        trial.stack.launch(edge).await?;
    }
    trial.stored_in_all(WAITING).await?;
    let drained = began.elapsed();
    // The broker's word made these readings acknowledged, so that no late ack tells when the backlog is gone.
    trial.edge_is("nothing waits for Kafka", AFTER_AN_OUTAGE, EdgeState::is_settled).await?;
    let recovered = alive.elapsed();
    let dropped = crate::chaos::broker::dropped(&trial.stack.services).await?;
    let outcome = trial.finish(Promise::recovery(AFTER_AN_OUTAGE)).await?;
    let (checked, peak) = (outcome.acknowledged(), outcome.edge_memory_bytes);
    Ok(outcome
        // To compare with: repeats harm nobody, and how many there are depends on how far the broker is with PUBACKs.
        .told("telegraf_repeats", TELEGRAF_REPEATS)
        .told("drained_ms", u64::try_from(drained.as_millis())?)
        .and("G6", recovered <= AFTER_AN_OUTAGE, format!("the backlog was gone after {recovered:?}"))
        .and("memory", peak < MOST_MEMORY, format!("{peak} bytes"))
        .and("all waited", checked == WAITING, format!("{checked} of {WAITING}"))
        .and("broker dropped nothing", dropped == 0, format!("{dropped} messages")))
}

/// Publishes as fast as the broker takes it. The broker's word counts as acknowledgement: no edge is there.
async fn preload(trial: &mut Trial) -> Result<()> {
    let broker = trial.stack.services.addresses().mqtt_vehicles.to_string();
    let (waiting, ledger) = (WAITING.to_string(), trial.ledger().display().to_string());
    let flags = [
        "load",
        "--mqtt",
        &broker,
        "--vehicles",
        "100",
        "--blast",
        "--messages",
        &waiting,
        "--judge",
        "puback",
        "--window",
        "100",
        "--payload",
        "change-200",
        "--seed",
        "11",
        "--ledger",
        &ledger,
    ];
    trial.stack.spawn(Program::new("preload", "motorcade-simulator", flags))?;
    let loaded = async || Ok((!trial.stack.running("preload")?.is_running()).then_some(()));
    poll::until("the broker has them all", Duration::from_secs(120), loaded).await?;
    let ended = trial.stack.wait_for_end("preload", Duration::from_secs(1)).await?;
    ensure!(ended.code == Some(0), "the load ended with {:?}", ended.code);
    ensure!(trial.stack.services.pid(Kind::Mosquitto).is_some(), "the broker runs");
    Ok(())
}
