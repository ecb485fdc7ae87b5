//! Kafka stands still, is away, flaps, is slow, or half of the network is gone.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use services::Kind;
use tokio::time::Instant;

use crate::{
    chaos::{AFTER_AN_OUTAGE, Fleet, Outcome, Promise, Setup, Trial},
    network::{Condition, Flow, Way},
};

const UNDER_LOAD: u64 = 1_500;
/// 1.5 million readings are caught up with, and the load goes on for longer.
const LIVE_WITHIN: Duration = Duration::from_secs(40);
/// The edge's memory in a long outage, bytes.
const MOST_MEMORY: u64 = 60_000_000;

/// It was felt: what Kafka could not take went to the spool.
async fn finish(trial: Trial) -> Result<Outcome> {
    let outcome = trial.finish(Promise::recovery(AFTER_AN_OUTAGE)).await?;
    let spooled = outcome.further["spooled"];
    Ok(outcome.and("felt", spooled > 0, "nothing was spooled"))
}

async fn driving(name: &'static str, seconds: u64) -> Result<Trial> {
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.drive(Fleet::for_s(seconds)).await?;
    trial.stored(UNDER_LOAD).await?;
    Ok(trial)
}

/// The link to Kafka is in this condition for a while.
async fn link_is(name: &'static str, condition: Condition, seconds: u64) -> Result<Outcome> {
    let mut trial = driving(name, seconds + 15).await?;
    trial.links.kafka.set(condition);
    trial.stays(Duration::from_secs(seconds)).await?;
    trial.links.kafka.set(Condition::WELL);
    trial.recovers_from_now();
    finish(trial).await
}

pub(super) async fn stopped(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name, 75).await?;
    trial.signal_service(Kind::Kafka, Signal::SIGSTOP)?;
    trial.stays(Duration::from_secs(60)).await?;
    trial.signal_service(Kind::Kafka, Signal::SIGCONT)?;
    trial.recovers_from_now();
    finish(trial).await
}

pub(super) async fn half_open(name: &'static str) -> Result<Outcome> {
    link_is(name, Condition::HALF_OPEN, 20).await
}

pub(super) async fn requests_held(name: &'static str) -> Result<Outcome> {
    link_is(name, Condition::WELL.with(Way::Up, Flow::Held), 20).await
}

pub(super) async fn answers_held(name: &'static str) -> Result<Outcome> {
    link_is(name, Condition::WELL.with(Way::Down, Flow::Held), 20).await
}

pub(super) async fn answers_lost(name: &'static str) -> Result<Outcome> {
    link_is(name, Condition::WELL.with(Way::Down, Flow::Swallowed), 20).await
}

pub(super) async fn slow(name: &'static str) -> Result<Outcome> {
    let line = Flow::Slow { bytes_per_second: 32_000, delay: Duration::from_millis(300) };
    link_is(name, Condition::WELL.with(Way::Up, line).with(Way::Down, line), 30).await
}

pub(super) async fn away(name: &'static str) -> Result<Outcome> {
    let outcome = link_is(name, Condition::CUT, 90).await?;
    let peak = outcome.edge_memory_bytes;
    Ok(outcome.and("memory", peak < MOST_MEMORY, format!("{peak} bytes")))
}

pub(super) async fn flaps(name: &'static str) -> Result<Outcome> {
    let mut trial = driving(name, 75).await?;
    for _ in 0..10 {
        trial.links.kafka.set(Condition::CUT);
        trial.stays(Duration::from_secs(3)).await?;
        trial.links.kafka.set(Condition::WELL);
        trial.stays(Duration::from_secs(3)).await?;
    }
    trial.recovers_from_now();
    finish(trial).await
}

/// Memory must not only be small but flat: what is spooled costs none.
pub(super) async fn away_for_5_minutes(name: &'static str) -> Result<Outcome> {
    const OUTAGE: Duration = Duration::from_secs(300);
    let mut trial = Trial::start(name, Setup::default()).await?;
    let drive = OUTAGE + Duration::from_secs(60);
    trial.drive(Fleet::Load { vehicles: 500, rate: 5_000, bytes: 200, window: 5_000, drive }).await?;
    trial.stored(25_000).await?;
    trial.links.kafka.set(Condition::CUT);
    let cut = Instant::now();
    // The mode changes, buffers fill.
    trial.stays(Duration::from_secs(30)).await?;
    let early = trial.edge_memory_since(0);
    let from = trial.memory_samples();
    trial.stays(OUTAGE - cut.elapsed()).await?;
    let late = trial.edge_memory_since(from);
    trial.links.kafka.set(Condition::WELL);
    trial.recovers_from_now();
    // However much arrives: the way through the spool comes to an end.
    trial.edge_is("arrivals go to Kafka again, under load", LIVE_WITHIN, |edge| edge.mode == 0.0).await?;
    let outcome = finish(trial).await?;
    let peak = outcome.edge_memory_bytes;
    Ok(outcome
        .told("memory_after_30_s_kib", early >> 10)
        .told("memory_after_5_min_kib", late >> 10)
        .and("memory", peak < MOST_MEMORY, format!("{peak} bytes"))
        // 1.4 million readings later: a few pages of the allocator, nothing for each.
        .and("memory is flat", late < early + (8 << 20), format!("{early} bytes, later {late}")))
}
