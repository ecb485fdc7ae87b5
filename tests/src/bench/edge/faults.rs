//! Rows with faults: what a bridge loses and repeats when it, the broker or Kafka is killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use services::Kind as Service;

use super::{
    Settings,
    plan::{Kind, Planned},
    speed,
};
use crate::bench::{
    load::{Judge, Load, Pace},
    result::Figures,
    rig::{self, Rig},
};

/// How long records may go on arriving after the last reading.
const ARRIVE_WITHIN: Duration = Duration::from_secs(180);
/// How long the fleet waits for the edge's acks: the slowest of them leave after a minute.
pub(super) const ACK_DRAIN: Duration = Duration::from_secs(75);
/// How long the fleet waits for the broker's PUBACKs, resends included.
const PUBACK_DRAIN: Duration = Duration::from_secs(40);
/// A bridge killed on the way through a backlog comes back after this time.
const BACK_AFTER: Duration = Duration::from_secs(1);

/// Something dies while readings come at a steady rate.
pub(super) async fn live(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    rig.fresh().await?;
    let (times, flags) = (settings.fault_times(), settings.edge_flags());
    let mut bridge = rig.launch_ready(&planned.contender, &flags).await?;
    let pace = Pace::Rate(planned.rate);
    if planned.kind == Kind::KillKafka {
        // Its session stands: nothing that comes before it is back passes it by.
        rig::end(bridge, Signal::SIGTERM).await?;
        rig.topic.renew().await?;
        bridge = rig.launch(&planned.contender, &flags)?;
    } else {
        rig.warm(&rig.lead_in(planned.rate, pace)).await?;
    }
    let drain = if planned.judge == Judge::Ack { ACK_DRAIN } else { PUBACK_DRAIN };
    let load = Load {
        judge: planned.judge,
        window: speed::window(planned.judge),
        drain,
        ..rig.lead_in(planned.rate * times.load_s, pace)
    };
    let running = rig.load(&load, Some(&rig.ledger())).await?;
    rig.wait_for(1, Duration::from_secs(30)).await.context("the first record")?;
    let began = Instant::now();
    let until = |s: u64| tokio::time::sleep_until((began + Duration::from_secs(s)).into());
    until(times.at_s).await;
    match planned.kind {
        Kind::KillBroker => {
            rig.services.kill(Service::Mosquitto).await;
            rig.services.restart(Service::Mosquitto).await?;
        }
        Kind::KillKafka => {
            rig.services.kill(Service::Kafka).await;
            until(times.at_s + times.kafka_away_s).await;
            rig.services.restart(Service::Kafka).await?;
        }
        _ => {
            rig::end(bridge, Signal::SIGKILL).await?;
            until(times.at_s + times.bridge_away_s).await;
            bridge = rig.launch(&planned.contender, &flags)?;
        }
    }
    rig::ended(running, Duration::from_secs(times.load_s) + load.drain + ARRIVE_WITHIN).await?;
    let made = rig.told()?.figure("made_readings")?;
    come_to_rest(rig, load.messages, settings).await?;
    let mut figures = Figures::from([("bridge_ended_count".to_owned(), 0.0)]);
    if bridge.is_running() {
        rig::end(bridge, Signal::SIGTERM).await?;
    } else {
        // Its operator would start it again.
        figures.insert("bridge_ended_count".to_owned(), 1.0);
        let again = rig.launch(&planned.contender, &flags)?;
        come_to_rest(rig, load.messages, settings).await?;
        rig::end(again, Signal::SIGTERM).await?;
    }
    figures.insert("made_readings".to_owned(), made);
    figures.extend(speed::judged(&rig.told()?, &rig.audit().await?)?);
    Ok(figures)
}

/// Waits until the bridge goes on, or has had its time to, and then until nothing comes any more: repeats may make the
/// count whole before everything is there.
async fn come_to_rest(rig: &Rig, records: u64, settings: &Settings) -> Result<()> {
    rig.settle(records, settings.recovers_within(), ARRIVE_WITHIN).await?;
    rig.settle(u64::MAX, settings.standstill(), ARRIVE_WITHIN).await?;
    Ok(())
}

/// A backlog waits, and the bridge is killed at a fifth and at half of it.
pub(super) async fn drain(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    let waiting = speed::fill(rig, planned, settings).await?;
    let mut figures = Figures::new();
    for (part, kill) in [(waiting / 5, "first"), (waiting / 2, "second")] {
        let bridge = rig.launch(&planned.contender, &[])?;
        let came = rig.wait_for(part, ARRIVE_WITHIN).await;
        came.with_context(|| format!("{} does not go on\n{}", planned.contender.name(), bridge.log_tail()))?;
        rig::end(bridge, Signal::SIGKILL).await?;
        figures.insert(format!("{kill}_kill_records"), rig.topic.count().await? as f64);
        tokio::time::sleep(BACK_AFTER).await;
    }
    let bridge = rig.launch(&planned.contender, &[])?;
    // Repeats may make the count whole before everything is there: it has to come to rest.
    rig.settle(u64::MAX, settings.standstill(), ARRIVE_WITHIN).await?;
    rig::end(bridge, Signal::SIGTERM).await?;
    figures.extend(speed::judged(&rig.told()?, &rig.audit().await?)?);
    figures.retain(|name, _| !name.starts_with("latency"));
    Ok(figures)
}
