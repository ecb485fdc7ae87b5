//! Kafka stays away for minutes: the edge's memory meanwhile, and how soon it has caught up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use services::Kind as Service;

use super::{Settings, faults::ACK_DRAIN, plan::Planned, speed};
use crate::bench::{
    load::{Judge, Load, Pace},
    result::Figures,
    rig::{self, Rig},
    usage::{Sampler, slope_mb_per_min},
};

/// The load before the outage.
const BEFORE: Duration = Duration::from_secs(10);
/// The load after it.
const AFTER_S: u64 = 30;
/// The edge's memory may grow while it begins to spool; its slope is taken after that.
const SPOOLING_AFTER_S: f64 = 5.0;
/// One reading of each in a second.
const VEHICLES: u32 = 5_000;
/// More than a vehicle makes while Kafka is away: nothing is given up, and nothing waits in the vehicle.
const WINDOW: u32 = 1_000;
const CATCH_UP_WITHIN: Duration = Duration::from_secs(300);

/// One round.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
pub(super) async fn outage(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    rig.fresh().await?;
    let spool = rig.folder().join("spool");
    std::fs::create_dir_all(&spool)?;
    let flags: Vec<_> = ["--spool".into(), spool.into()].into_iter().chain(settings.edge_flags()).collect();
    let bridge = rig.launch_ready(&planned.contender, &flags).await?;
    rig.warm(&rig.lead_in(planned.rate, Pace::Rate(planned.rate))).await?;

    let seconds = BEFORE.as_secs() + settings.outage_s + AFTER_S;
    let messages = planned.rate * seconds;
    let load = Load {
        vehicles: VEHICLES,
        window: WINDOW,
        judge: Judge::Ack,
        drain: ACK_DRAIN + CATCH_UP_WITHIN,
        ..rig.lead_in(messages, Pace::Rate(planned.rate))
    };
    let running = rig.load(&load, Some(&rig.ledger())).await?;
    rig.wait_for(1, Duration::from_secs(60)).await.context("the first record")?;
    let began = Instant::now();
    let sampler =
        Sampler::start(&[("bridge", rig::group_of(&bridge)?), ("mosquitto", rig.group_of(Service::Mosquitto)?)]);
    tokio::time::sleep(BEFORE).await;
    rig.services.stop_gracefully(Service::Kafka).await;
    let from = began.elapsed();
    tokio::time::sleep(Duration::from_secs(settings.outage_s)).await;
    let to = began.elapsed();
    rig.services.restart(Service::Kafka).await?;
    let back = Instant::now();
    let caught_up = caught_up(rig, planned.rate, began, messages).await?;
    rig::ended(running, load.drain + Duration::from_secs(seconds)).await?;
    rig.settle(messages, settings.standstill(), CATCH_UP_WITHIN).await?;
    let used = sampler.finish();
    rig::end(bridge, Signal::SIGTERM).await?;

    let mut figures = speed::judged(&rig.told()?, &rig.audit().await?)?;
    let resident = &used["bridge"].resident;
    let at =
        |time: Duration| resident.iter().rev().find(|(s, _)| *s <= time.as_secs_f64()).map_or(0, |(_, bytes)| *bytes);
    let growth = slope_mb_per_min(resident, from.as_secs_f64() + SPOOLING_AFTER_S, to.as_secs_f64());
    for (name, value) in [
        ("bridge_before_mb", at(from) as f64 / 1e6),
        ("bridge_during_mb", at(to) as f64 / 1e6),
        ("bridge_peak_mb", used["bridge"].peak as f64 / 1e6),
        ("bridge_growth_mb_per_min", growth),
        ("mosquitto_peak_mb", used["mosquitto"].peak as f64 / 1e6),
        ("outage_s", (to - from).as_secs_f64()),
        ("caught_up_s", (caught_up - back).as_secs_f64()),
    ] {
        figures.insert(name.to_owned(), value);
    }
    // Of readings that waited minutes for Kafka.
    figures.retain(|name, _| !name.starts_with("latency"));
    Ok(figures)
}

/// When Kafka had everything that had been due a second before.
async fn caught_up(rig: &Rig, rate: u64, began: Instant, messages: u64) -> Result<Instant> {
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    loop {
        let due = began.elapsed().as_secs().saturating_sub(1) * rate;
        if rig.topic.count().await.is_ok_and(|count| count >= due.min(messages)) {
            return Ok(Instant::now());
        }
        anyhow::ensure!(Instant::now() < deadline, "not caught up within {} s", CATCH_UP_WITHIN.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
