//! Processes die: alone, in pairs, all at once.

use anyhow::Result;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use services::Kind;

use crate::chaos::{AFTER_A_DEATH, AFTER_AN_OUTAGE, Fleet, Outcome, Promise, Setup, Trial};

/// A broker without sessions takes readings before the edge has subscribed, and says so (0x10). They are sent again
/// after a pause of their own each, so first copies are out of order.
const WITHOUT_SESSIONS: Promise = Promise::recovery(AFTER_A_DEATH).without_order();
/// The system is under load once so many readings are in Kafka.
const UNDER_LOAD: u64 = 1_500;

async fn driving(name: &'static str) -> Result<Trial> {
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.drive(Fleet::for_s(20)).await?;
    trial.stored(UNDER_LOAD).await?;
    Ok(trial)
}

pub(super) async fn vehicles(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.kill_and_restart("simulator").await?;
    trial.stored(UNDER_LOAD).await?;
    trial.recovers_from_now();
    trial.kill_and_restart("simulator").await?;
    trial.finish(Promise::recovery(AFTER_A_DEATH)).await
}

pub(super) async fn edge(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    for _ in 0..5 {
        trial.stored(UNDER_LOAD / 3).await?;
        trial.recovers_from_now();
        trial.kill_and_restart("edge").await?;
    }
    trial.finish(Promise::recovery(AFTER_A_DEATH)).await
}

pub(super) async fn broker(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.recovers_from_now();
    trial.stack.kill_and_restart_service(Kind::Mosquitto).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.recovers_from_now();
    trial.stack.kill_and_restart_service(Kind::Mosquitto).await?;
    trial.finish(WITHOUT_SESSIONS).await
}

pub(super) async fn kafka(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.recovers_from_now();
    trial.stack.kill_and_restart_service(Kind::Kafka).await?;
    trial.finish(Promise::recovery(AFTER_A_DEATH)).await
}

pub(super) async fn edge_and_kafka(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.recovers_from_now();
    trial.stack.services.kill(Kind::Kafka).await;
    let edge = trial.kill("edge").await?;
    // The edge first: it has to begin without Kafka.
    trial.stack.launch(edge).await?;
    trial.stack.services.restart(Kind::Kafka).await?;
    trial.finish(Promise::recovery(AFTER_A_DEATH)).await
}

pub(super) async fn broker_and_edge(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.recovers_from_now();
    trial.stack.services.kill(Kind::Mosquitto).await;
    let edge = trial.kill("edge").await?;
    trial.stack.services.restart(Kind::Mosquitto).await?;
    trial.stack.launch(edge).await?;
    trial.finish(WITHOUT_SESSIONS).await
}

pub(super) async fn all_1(name: &'static str) -> Result<Outcome> {
    all(name, 1).await
}

pub(super) async fn all_2(name: &'static str) -> Result<Outcome> {
    all(name, 2).await
}

pub(super) async fn all_3(name: &'static str) -> Result<Outcome> {
    all(name, 3).await
}

#[derive(Debug, Clone, Copy)]
enum Dead {
    Broker,
    Kafka,
    Edge,
    Vehicles,
}

async fn all(name: &'static str, seed: u64) -> Result<Outcome> {
    let mut trial = driving(name).await?;
    trial.recovers_from_now();
    let vehicles = trial.kill("simulator").await?;
    let edge = trial.kill("edge").await?;
    trial.stack.services.kill(Kind::Mosquitto).await;
    trial.stack.services.kill(Kind::Kafka).await;
    let mut order = [Dead::Broker, Dead::Kafka, Dead::Edge, Dead::Vehicles];
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    tracing::info!(seed, ?order, "all are dead, and come back");
    for dead in order {
        match dead {
            Dead::Broker => trial.stack.services.restart(Kind::Mosquitto).await?,
            Dead::Kafka => trial.stack.services.restart(Kind::Kafka).await?,
            // They wait for whom they need.
            Dead::Edge => trial.stack.spawn(edge.clone()).map(|_| ())?,
            Dead::Vehicles => trial.stack.spawn(vehicles.clone()).map(|_| ())?,
        }
    }
    // No single death but an outage: Kafka alone takes ten seconds to be back.
    let promise = Promise { lag_is_zero_after: AFTER_AN_OUTAGE, ..WITHOUT_SESSIONS };
    trial.finish(promise).await
}
