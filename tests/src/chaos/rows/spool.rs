//! The spool: killed beside it, filled, damaged, lost.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    chaos::{
        AFTER_A_DEATH, AFTER_AN_OUTAGE, Fleet, Outcome, Promise, Setup, Trial, edge_state::EdgeState, spool_files,
    },
    network::{Condition, Flow, Way},
    poll,
    process::Program,
};

const UNDER_LOAD: u64 = 1_500;
/// So many readings are in the spool before something happens to it.
const SPOOLED: u32 = 3_000;
/// Slow enough to be killed half way through a catch-up.
const SLOW: Flow = Flow::Slow { bytes_per_second: 250_000, delay: Duration::ZERO };

/// A mount namespace of one's own, which not every machine allows.
const UNSHARE: &str = "/usr/bin/unshare";
const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Kafka is away, and the spool holds [`SPOOLED`] readings.
async fn spooling(name: &'static str) -> Result<Trial> {
    spooling_with(name, Setup::default(), 25).await
}

/// The same without probes, so that nothing but the damage makes vehicles send again. They drive longer: what is lost
/// shows in the acks of later readings only.
async fn spooling_without_probes(name: &'static str) -> Result<Trial> {
    spooling_with(name, Setup::default().without_probes(), 40).await
}

async fn spooling_with(name: &'static str, setup: Setup, drive_s: u64) -> Result<Trial> {
    let mut trial = Trial::start(name, setup).await?;
    trial.drive(Fleet::for_s(drive_s)).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.links.kafka.set(Condition::CUT);
    trial.spooled(SPOOLED).await?;
    Ok(trial)
}

async fn heal(mut trial: Trial, promise: Promise) -> Result<Outcome> {
    trial.links.kafka.set(Condition::WELL);
    trial.recovers_from_now();
    trial.finish(promise).await
}

pub(super) async fn edge_killed_spooling(name: &'static str) -> Result<Outcome> {
    let mut trial = spooling(name).await?;
    // Back while Kafka is still away, and killed once more.
    for _ in 0..2 {
        trial.kill_and_restart("edge").await?;
        let before = trial.edge().await?.in_spool;
        trial.edge_is("it spools on", Duration::from_secs(20), |edge| edge.in_spool > before + 500.0).await?;
    }
    let outcome = heal(trial, Promise::recovery(AFTER_AN_OUTAGE)).await?;
    let restored = outcome.further["restored"];
    Ok(outcome.and("restored", restored >= SPOOLED.into(), restored))
}

/// Kafka is back on a slow line, and part of the spool is delivered.
async fn half_caught_up(mut trial: Trial) -> Result<Trial> {
    trial.links.kafka.set(Condition::WELL.with(Way::Up, SLOW));
    let before = trial.edge().await?.in_spool;
    let some = |edge: &EdgeState| edge.in_spool < before - 500.0;
    trial.edge_is("some of the spool is delivered", Duration::from_secs(30), some).await?;
    Ok(trial)
}

pub(super) async fn edge_killed_catching_up(name: &'static str) -> Result<Outcome> {
    let mut trial = half_caught_up(spooling(name).await?).await?;
    trial.kill_and_restart("edge").await?;
    let outcome = heal(trial, Promise::recovery(AFTER_A_DEATH)).await?;
    let restored = outcome.further["restored"];
    Ok(outcome.and("restored", restored > 0, restored))
}

/// Without a checkpoint what was delivered of the segments that are left is delivered again.
pub(super) async fn checkpoint_lost(name: &'static str) -> Result<Outcome> {
    let mut trial = half_caught_up(spooling_without_probes(name).await?).await?;
    let checkpoint = trial.spool().join("checkpoint");
    let there = async || Ok(checkpoint.exists().then_some(()));
    poll::until("a checkpoint", Duration::from_secs(10), there).await?;
    let edge = trial.kill("edge").await?;
    spool_files::forget_checkpoint(&trial.spool())?;
    trial.stack.launch(edge).await?;
    let outcome = heal(trial, Promise::recovery(AFTER_A_DEATH)).await?;
    let repeats = outcome.count("duplicates");
    Ok(outcome.and("repeats", repeats > 0, repeats))
}

/// The edge is killed, its spool damaged, and the edge started again while Kafka is still away.
async fn damaged(name: &'static str, damage: fn(&Path) -> Result<()>) -> Result<Outcome> {
    let mut trial = spooling_without_probes(name).await?;
    let edge = trial.kill("edge").await?;
    damage(&trial.spool())?;
    trial.stack.launch(edge).await?;
    // What was lost had its PUBACKs: only acks that leave it out tell its vehicles.
    let outcome = heal(trial, Promise::recovery(AFTER_AN_OUTAGE).without_order()).await?;
    let resent = outcome.further["resent"];
    Ok(outcome.and("vehicles send again what was lost", resent > 0, resent))
}

pub(super) async fn bit_flipped(name: &'static str) -> Result<Outcome> {
    let outcome = damaged(name, spool_files::flip_a_bit).await?;
    let counted = outcome.further["discarded_by_edge"];
    Ok(outcome.and("what is spoilt is counted", counted > 0, counted))
}

/// So much that the broker has forgotten most of it: the last few records it would bring again by itself.
pub(super) async fn torn(name: &'static str) -> Result<Outcome> {
    damaged(name, |spool| spool_files::tear(spool, 100_000)).await
}

/// Nothing that a vehicle was told is lost: what was in the spool alone was acknowledged to the broker only.
pub(super) async fn lost(name: &'static str) -> Result<Outcome> {
    damaged(name, |spool| std::fs::remove_dir_all(spool).context("remove the spool")).await
}

/// The limit is reached: nothing is dropped, the broker gets no PUBACKs, its queue grows only until every vehicle has
/// a window out.
pub(super) async fn full(name: &'static str) -> Result<Outcome> {
    const LIMIT_MIB: u64 = 64;
    let edge = vec!["--spool-limit-mib".to_owned(), LIMIT_MIB.to_string()];
    let mut trial = Trial::start(name, Setup { edge, ..Setup::default() }).await?;
    // 64 MiB hold some 58,000 of these readings; the windows allow 80,000, and more than that are made.
    let drive = Duration::from_secs(40);
    trial.drive(Fleet::Load { vehicles: 100, rate: 3_000, bytes: 1_024, window: 800, drive }).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.links.kafka.set(Condition::CUT);
    trial.edge_is("the spool is full", Duration::from_secs(60), |edge| edge.refusals > 0.0).await?;
    // More arrives than the edge may have in hand.
    trial.stays(Duration::from_secs(10)).await?;
    let bytes = folder_bytes(&trial.spool())?;
    let dropped = super::super::broker::dropped(&trial.stack.services).await?;
    let outcome = heal(trial, Promise::recovery(AFTER_AN_OUTAGE)).await?;
    Ok(outcome
        .told("spool_bytes", bytes)
        .and("limit", bytes <= LIMIT_MIB << 20 && bytes > (LIMIT_MIB - 2) << 20, format!("{bytes} bytes"))
        .and("broker dropped nothing", dropped == 0, format!("{dropped} messages")))
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let sizes = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().context("sum up the spool")
}

/// The edge in a mount namespace of its own, with a small file system in the place of its spool.
fn on_a_small_disk(edge: Program, spool: &Path, mib: u32) -> Result<Program> {
    const MOUNT: &str = "mount -t tmpfs -o size=\"$1\"m spool \"$2\" && shift 2 && exec \"$@\"";
    let executable = crate::process::executables()?.join(&edge.executable);
    let small = Program::new("edge", UNSHARE, NAMESPACE);
    let mut small = small.with(["sh", "-c", MOUNT, "sh", &mib.to_string()]);
    small.arguments.extend([spool.into(), executable.into()]);
    small.arguments.extend(edge.arguments);
    Ok(small)
}

/// Twice: a disk that was full has to be of use again.
pub(super) async fn disk_full(name: &'static str) -> Result<Outcome> {
    let probe = Program::new("probe", UNSHARE, NAMESPACE).with(["true"]);
    let (code, _, error) = crate::process::run(&probe).await?;
    if code != Some(0) {
        return Ok(Outcome::skipped(format!("no mount namespace for a small disk: {}", error.trim())));
    }
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.stop_edge().await?;
    let small = on_a_small_disk(trial.edge_program(), &trial.spool(), 4)?;
    trial.stack.launch(small).await.context("the edge on a small disk")?;
    trial.drive(Fleet::for_s(55)).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.links.kafka.set(Condition::CUT);
    trial.edge_is("the disk is full", Duration::from_secs(40), |edge| edge.refusals > 0.0).await?;
    trial.stays(Duration::from_secs(3)).await?;
    trial.links.kafka.set(Condition::WELL);
    trial.edge_is("caught up", Duration::from_secs(60), EdgeState::is_settled_for_now).await?;
    trial.links.kafka.set(Condition::CUT);
    trial.spooled(1_000).await?;
    heal(trial, Promise::recovery(AFTER_AN_OUTAGE)).await
}

/// With a disk that takes nothing any more the edge gets along without its spool as soon as Kafka is back. The disk is
/// a limit on the size of files, which a process may have lowered while it runs.
pub(super) async fn disk_broken(name: &'static str) -> Result<Outcome> {
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.stop_edge().await?;
    let edge = trial.edge_program();
    let executable = crate::process::executables()?.join(&edge.executable);
    // A write above the limit is an error then, and no signal.
    let mut limited = Program::new("edge", "/bin/sh", ["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    limited.arguments.push(executable.into());
    trial.stack.launch(limited.with(edge.arguments)).await?;
    trial.drive(Fleet::for_s(30)).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.links.kafka.set(Condition::CUT);
    trial.spooled(1_000).await?;
    let edge = trial.stack.running("edge")?.pid().context("the edge runs")?.to_string();
    let limit = Program::new("limit", "/usr/bin/prlimit", ["--pid", &edge, "--fsize=0"]);
    let (code, _, error) = crate::process::run(&limit).await?;
    ensure!(code == Some(0), "no limit on the edge's files: {error}");
    trial.edge_is("the spool is refused", Duration::from_secs(20), |edge| edge.refusals > 0.0).await?;
    heal(trial, Promise::recovery(AFTER_AN_OUTAGE)).await
}
