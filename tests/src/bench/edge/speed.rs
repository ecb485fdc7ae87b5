//! Rows of speed: paced, blast and drain.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use services::Kind as Service;

use super::{
    Settings,
    plan::{Kind, Planned},
};
use crate::bench::{
    load::{Judge, Load, Pace, Told},
    result::Figures,
    rig::{self, Rig},
    usage::{Sampler, Used},
};

/// How long all records may take to arrive, beside the time in which they are sent.
const ARRIVE_WITHIN: Duration = Duration::from_secs(300);
/// How long the fleet waits for the edge's acks at the end of a row of speed: what is left then is not missed.
const DRAIN: Duration = Duration::from_secs(7);
/// What is sent before the measured readings, s at their rate.
const LEAD_IN_S: u64 = 2;
/// The same of rows without a rate.
const LEAD_IN: u64 = 20_000;

/// The load of a row.
pub(super) fn load_of(rig: &Rig, planned: &Planned, settings: &Settings) -> Load {
    let pace = if planned.kind == Kind::Paced { Pace::Rate(planned.rate) } else { Pace::Blast };
    let messages = match pace {
        Pace::Rate(rate) => rate * settings.paced_s,
        Pace::Blast => settings.messages,
    };
    let drain = if planned.judge == Judge::Ack { DRAIN } else { ARRIVE_WITHIN };
    let load = Load { form: planned.form.to_owned(), judge: planned.judge, drain, ..rig.lead_in(messages, pace) };
    // A blast is as fast as the windows allow: a large one would only show how long a queue can get.
    Load { window: if pace == Pace::Blast { load.window } else { window(planned.judge) }, ..load }
}

/// How many readings a vehicle may have unacknowledged. Our own acks come for many readings at once, and after a fault
/// for more: with less than vehicles have by default, latency would be of waiting for them.
pub(super) fn window(judge: Judge) -> u32 {
    match judge {
        Judge::Ack => 1_000,
        Judge::Puback => 100,
    }
}

/// Paced and blast: readings come while the bridge runs.
pub(super) async fn live(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    rig.fresh().await?;
    let bridge = rig.launch_ready(&planned.contender, &[]).await?;
    let load = load_of(rig, planned, settings);
    let first = if let Pace::Rate(rate) = load.pace { rate * LEAD_IN_S } else { LEAD_IN.min(load.messages) };
    rig.warm(&Load { form: load.form.clone(), ..rig.lead_in(first, load.pace) }).await?;

    let running = rig.load(&load, Some(&rig.ledger())).await?;
    let sampler = Sampler::start(&[
        ("bridge", rig::group_of(&bridge)?),
        ("mosquitto", rig.group_of(Service::Mosquitto)?),
        ("kafka", rig.group_of(Service::Kafka)?),
        ("load", rig::group_of(&running)?),
    ]);
    let sending = Duration::from_secs(settings.paced_s);
    let came = rig.settle(load.messages, settings.standstill(), ARRIVE_WITHIN + sending).await?;
    let used = sampler.finish();
    rig::ended(running, load.drain + sending + ARRIVE_WITHIN).await?;
    let mut figures = cost(&used, came);
    figures.extend(speed(rig, came).await?);
    rig::end(bridge, Signal::SIGTERM).await?;
    figures.extend(judged(&rig.told()?, &rig.audit().await?)?);
    Ok(figures)
}

/// Readings wait for a bridge that is down: a stopped one, whose session stands. Returns their load's number.
pub(super) async fn fill(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<u64> {
    rig.fresh().await?;
    let bridge = rig.launch_ready(&planned.contender, &[]).await?;
    rig::end(bridge, Signal::SIGTERM).await?;
    let load = Load { judge: Judge::Puback, ..load_of(rig, planned, settings) };
    rig::ended(rig.load(&load, Some(&rig.ledger())).await?, ARRIVE_WITHIN).await?;
    let told = rig.told()?;
    ensure!(told.figure("acked_readings")? >= load.messages as f64, "the broker did not take all: {:?}", told.figures);
    ensure!(rig.topic.count().await? == 0, "somebody bridged what was to wait");
    Ok(load.messages)
}

/// Drain: how fast the bridge brings what waits.
pub(super) async fn drain(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    let waiting = fill(rig, planned, settings).await?;
    let services = [("mosquitto", rig.group_of(Service::Mosquitto)?), ("kafka", rig.group_of(Service::Kafka)?)];
    let bridge = rig.launch(&planned.contender, &[])?;
    let sampler = Sampler::start(&[services[0], services[1], ("bridge", rig::group_of(&bridge)?)]);
    let came = rig.settle(waiting, settings.standstill(), ARRIVE_WITHIN).await?;
    let used = sampler.finish();
    let mut figures = cost(&used, came);
    figures.extend(speed(rig, came).await?);
    rig::end(bridge, Signal::SIGTERM).await?;
    let mut found = judged(&rig.told()?, &rig.audit().await?)?;
    // Readings were due long before the bridge started.
    found.retain(|name, _| !name.starts_with("latency"));
    figures.extend(found);
    Ok(figures)
}

/// CPU per message and memory.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
pub(super) fn cost(used: &BTreeMap<String, Used>, messages: u64) -> Figures {
    let mut figures = Figures::new();
    for (name, used) in used {
        if messages > 0 {
            figures.insert(format!("{name}_cpu_us"), used.cpu.as_secs_f64() * 1e6 / messages as f64);
        }
        figures.insert(format!("{name}_peak_mb"), used.peak as f64 / 1e6);
    }
    figures
}

/// Messages per second, by Kafka's append times.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
pub(super) async fn speed(rig: &Rig, messages: u64) -> Result<Figures> {
    let span = rig.topic.span().await.context("when the records were appended")?;
    let rate = messages as f64 / span.as_secs_f64().max(0.001);
    Ok([("throughput_per_s".to_owned(), rate)].into())
}

/// What load and audit found. A load that fails measures nothing, and a row in which nothing was acknowledged can't
/// lose anything: both are errors.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
pub(super) fn judged(load: &Told, audit: &Told) -> Result<Figures> {
    ensure!(load.verdicts.contains_key("G4"), "the load's report has no verdicts");
    let failed: Vec<_> = load.verdicts.iter().filter(|(_, verdict)| !verdict.ok).collect();
    ensure!(failed.is_empty(), "the load failed: {failed:?}");
    ensure!(audit.figure("acknowledged_readings")? > 0.0, "nothing was acknowledged");
    let mut figures = Figures::new();
    for (name, value) in [
        ("made_readings", load.figure("made_readings")?),
        ("acknowledged_readings", audit.figure("acknowledged_readings")?),
        ("given_up_readings", load.figure("given_up_readings")?),
        ("duplicate_readings", audit.figure("duplicate_records")?),
        ("reordered_readings", audit.figure("reordered_readings")?),
        ("lost_readings", audit.g1("lost")? as f64),
        ("refused_readings", audit.figure("refused_readings")?),
        ("altered_readings", audit.g1("altered")? as f64),
        // The topic is the bench's own: there are no records of others.
        ("invented_readings", audit.g1("invented")? as f64 + audit.figure("foreign_records")?),
        ("load_acks_messages", load.figure("acks_messages")?),
    ] {
        figures.insert(name.to_owned(), value);
    }
    for percentile in ["p50", "p99", "p999", "max"] {
        if let Some(ms) = audit.figures.get(&format!("schedule_to_kafka_{percentile}_ms")) {
            figures.insert(format!("latency_{percentile}_ms"), *ms);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Judged;

    #[test]
    fn a_load_that_failed_and_a_row_without_acknowledgements_are_no_measurement() {
        let figures = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0.0)).collect();
        let load = |ok| {
            let verdicts = [("G4", true), ("workers", ok)];
            let verdict = |(name, ok): (&str, bool)| (name.to_owned(), Judged { ok, checked: 1, ..Judged::default() });
            let figures = figures(&["made_readings", "given_up_readings", "acks_messages"]);
            Told { verdicts: verdicts.map(verdict).into(), figures }
        };
        let audit = |acknowledged: f64| {
            let mut figures: Figures = figures(&["duplicate_records", "reordered_readings", "refused_readings"]);
            figures.extend([("acknowledged_readings".to_owned(), acknowledged), ("foreign_records".to_owned(), 2.0)]);
            let counts = ["lost", "altered", "invented"].map(|name| (name.to_owned(), 0)).into();
            let verdict = Judged { ok: true, checked: 1, counts, ..Judged::default() };
            Told { figures, verdicts: [("G1".to_owned(), verdict)].into() }
        };
        let figures = judged(&load(true), &audit(5.0)).unwrap();
        assert!((figures["invented_readings"] - 2.0).abs() < 1e-9, "what nobody of the bench sent counts");
        for (load, audit) in [(load(false), audit(5.0)), (load(true), audit(0.0)), (Told::default(), audit(5.0))] {
            judged(&load, &audit).unwrap_err();
        }
    }
}
