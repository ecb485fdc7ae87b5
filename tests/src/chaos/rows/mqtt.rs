//! The network between vehicles, broker and edge.

use std::time::Duration;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    chaos::{AFTER_A_DEATH, Fleet, Outcome, Promise, Setup, Trial},
    network::{Condition, Flow, Link, Way},
};

const UNDER_LOAD: u64 = 1_500;
/// Longer than the edge takes a silent broker for alive, 7.5 s, and the broker a silent edge.
const HELD: Duration = Duration::from_secs(15);

async fn driving(name: &'static str, fleet: Fleet) -> Result<Trial> {
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.drive(fleet).await?;
    trial.stored(UNDER_LOAD).await?;
    Ok(trial)
}

/// Vehicles that notice in seconds that nobody answers.
fn attentive(seconds: u64) -> Fleet {
    Fleet::Load { vehicles: 50, rate: 500, bytes: 200, window: 1_000, drive: Duration::from_secs(seconds) }
}

/// It was felt: somebody connects anew.
async fn finish(trial: Trial, link: fn(&Trial) -> &Link, connections: u64) -> Result<Outcome> {
    let connects = async || Ok((link(&trial).counts().connections > connections).then_some(()));
    crate::poll::until("the fault is felt: somebody connects anew", Duration::from_secs(30), connects).await?;
    trial.finish(Promise::recovery(AFTER_A_DEATH)).await
}

async fn half_open(name: &'static str, fleet: Fleet, link: fn(&Trial) -> &Link) -> Result<Outcome> {
    let mut trial = driving(name, fleet).await?;
    let connections = link(&trial).counts().connections;
    link(&trial).forget_connections();
    trial.recovers_from_now();
    finish(trial, link, connections).await
}

pub(super) async fn edge_half_open(name: &'static str) -> Result<Outcome> {
    half_open(name, Fleet::for_s(25), |trial| &trial.links.edge).await
}

pub(super) async fn vehicles_half_open(name: &'static str) -> Result<Outcome> {
    half_open(name, attentive(25), |trial| &trial.links.vehicles).await
}

async fn held(name: &'static str, link: fn(&Trial) -> &Link, way: Way) -> Result<Outcome> {
    let mut trial = driving(name, attentive(30)).await?;
    let connections = link(&trial).counts().connections;
    link(&trial).set(Condition::WELL.with(way, Flow::Held));
    trial.stays(HELD).await?;
    link(&trial).set(Condition::WELL);
    trial.recovers_from_now();
    finish(trial, link, connections).await
}

pub(super) async fn edge_publishes_held(name: &'static str) -> Result<Outcome> {
    held(name, |trial| &trial.links.edge, Way::Down).await
}

pub(super) async fn edge_pubacks_held(name: &'static str) -> Result<Outcome> {
    held(name, |trial| &trial.links.edge, Way::Up).await
}

pub(super) async fn vehicles_publishes_held(name: &'static str) -> Result<Outcome> {
    held(name, |trial| &trial.links.vehicles, Way::Up).await
}

pub(super) async fn vehicles_acks_held(name: &'static str) -> Result<Outcome> {
    held(name, |trial| &trial.links.vehicles, Way::Down).await
}

/// No torn reading reaches Kafka: the judge would call it invented or unreadable.
pub(super) async fn resets(name: &'static str) -> Result<Outcome> {
    const RESETS: u64 = 12;
    let mut trial = driving(name, Fleet::for_s(25)).await?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let before = trial.links.vehicles.counts().resets + trial.links.edge.counts().resets;
    for n in 0..RESETS {
        // Nearly all bytes in these directions are of PUBLISHes, of some 400 bytes.
        let after = rng.random_range(5_000..50_000);
        let (link, way) = if n % 2 == 0 { (&trial.links.vehicles, Way::Up) } else { (&trial.links.edge, Way::Down) };
        let resets = link.counts().resets;
        link.reset_after(way, after);
        let reset = async || Ok((link.counts().resets > resets).then_some(()));
        crate::poll::until("a connection is reset", Duration::from_secs(20), reset).await?;
        trial.recovers_from_now();
    }
    let resets = trial.links.vehicles.counts().resets + trial.links.edge.counts().resets - before;
    let outcome = trial.finish(Promise::recovery(AFTER_A_DEATH)).await?;
    Ok(outcome.told("resets", resets).and("resets", resets >= RESETS, resets))
}
