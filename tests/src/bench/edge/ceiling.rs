//! The edge's own ceiling: alone on a core, behind a source that is faster, into the real Kafka on the others.

use std::{ffi::OsString, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use services::Kind as Service;

use super::{Settings, plan::Planned, speed};
use crate::{
    bench::{
        pin,
        result::Figures,
        rig::{self, Rig},
        source::{Packets, Sent, Source},
        usage::Sampler,
    },
    process::Program,
};

const CONNECTS_WITHIN: Duration = Duration::from_secs(30);
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);
/// Of the vehicles: any will do.
const BOOT: u32 = 1_760_000_000;

/// Which cores: the last one for the edge, the rest for everything else.
fn cores() -> Option<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pin::is_possible().then(|| ((cores - 1).to_string(), format!("0-{}", cores - 2)))
}

/// One round. Afterwards nothing is pinned any more.
pub(super) async fn ceiling(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    let (kafka, own) = (rig.group_of(Service::Kafka)?, i32::try_from(std::process::id())?);
    if let Some((_, rest)) = cores() {
        pin::process(kafka, &rest).await?;
        pin::process(own, &rest).await?;
    }
    let measured = measure(rig, planned, settings, kafka).await;
    for pid in [kafka, own] {
        pin::process(pid, &pin::all()).await?;
    }
    measured
}

async fn measure(rig: &mut Rig, planned: &Planned, settings: &Settings, kafka: i32) -> Result<Figures> {
    rig.fresh().await?;
    let form = planned.form.parse().map_err(anyhow::Error::msg)?;
    let (seed, count) = (settings.seed, settings.messages);
    // The first third brings edge and Kafka to work and is not measured.
    let first = count / 3;
    let encode = move || {
        anyhow::Ok((Packets::encode(form, seed, BOOT, 0, first)?, Packets::encode(form, seed, BOOT, first, count)?))
    };
    let (lead_in, packets) = tokio::task::spawn_blocking(encode).await??;

    let (source, address) = Source::listen()?;
    let edge = edge(rig, &address.to_string()).start(rig.folder(), rig.services.watcher())?;
    let link = tokio::task::spawn_blocking(move || source.accept(CONNECTS_WITHIN)).await?;
    let mut link = link.with_context(|| format!("the edge does not subscribe\n{}", edge.log_tail()))?;
    let sending = async |packets: Packets, mut link: crate::bench::source::Link| {
        tokio::task::spawn_blocking(move || link.send(&packets).map(|sent| (link, sent))).await?
    };
    (link, _) = sending(lead_in, link).await.context("the lead-in")?;
    rig.wait_for(first, ARRIVE_WITHIN).await?;
    rig.topic.forget().await?;

    let sampler = Sampler::start(&[("bridge", rig::group_of(&edge)?), ("kafka", kafka)]);
    let (link, sent): (_, Sent) = sending(packets, link).await?;
    rig.wait_for(count, ARRIVE_WITHIN).await?;
    let used = sampler.finish();
    ensure!(rig.topic.count().await? == count, "Kafka has more than was sent");
    let mut figures = speed::cost(&used, count);
    figures.extend(speed::speed(rig, count).await?);
    let took = sent.took.as_secs_f64();
    figures.insert("source_waited_percent".to_owned(), 100.0 * sent.waited.as_secs_f64() / took);
    figures.insert("bridge_core_percent".to_owned(), 100.0 * used["bridge"].cpu.as_secs_f64() / took);
    // The edge says farewell first.
    rig::end(edge, Signal::SIGTERM).await?;
    drop(link);
    Ok(figures)
}

fn edge(rig: &Rig, mqtt: &str) -> Program {
    let path = rig.programs().join("motorcade-edge").into_os_string();
    let kafka = rig.services.addresses().kafka.clone();
    let flags: [OsString; 4] = ["--mqtt".into(), mqtt.into(), "--kafka".into(), kafka.into()];
    let command = std::iter::once(path).chain(flags);
    match cores() {
        Some((core, _)) => {
            let pinned = ["-c".into(), "exec taskset --cpu-list \"$0\" \"$@\"".into(), core.into()];
            Program::new("bridge", "/bin/sh", pinned.into_iter().chain(command))
        }
        None => {
            Program::new("bridge", "/bin/sh", ["-c".into(), "exec \"$0\" \"$@\"".into()].into_iter().chain(command))
        }
    }
}
