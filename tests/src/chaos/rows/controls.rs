//! Negative controls: faults in the system or in the evidence that the suite must notice.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use simulator::{ledger::Entry, outbox::Key};
use telemetry::{PayloadHash, VehicleId};

use crate::{
    chaos::{AFTER_A_DEATH, Fleet, Outcome, Promise, Setup, Trial},
    judge::judge_ledger,
    network::{Condition, Counts},
    poll,
    report::Verdict,
};

const UNDER_LOAD: u64 = 1_500;

/// The same system with an edge that acknowledges on arrival fails G1 when Kafka stands still and the edge dies.
pub(super) async fn early_edge(name: &'static str) -> Result<Outcome> {
    let mut trial = Trial::start(name, Setup { executable: "early-edge", ..Setup::default() }).await?;
    trial.drive(Fleet::for_s(20)).await?;
    trial.stored(UNDER_LOAD).await?;
    trial.links.kafka.set(Condition::HALF_OPEN);
    let acknowledged = |trial: &mut Trial| -> Result<u64> {
        let progress = trial.stack.running("simulator")?.last("progress");
        Ok(progress.and_then(|line| line["sent"].as_u64()).unwrap_or_default())
    };
    let before = acknowledged(&mut trial)?;
    let grown = async || Ok((acknowledged(&mut trial)? > before + 1_000).then_some(()));
    poll::until("readings are acknowledged that Kafka can't have", Duration::from_secs(30), grown).await?;
    trial.kill("edge").await?;
    fs::remove_dir_all(trial.spool()).context("remove the spool")?;
    trial.links.kafka.set(Condition::WELL);
    trial.honest_edge().await?;
    let outcome = trial.finish(Promise::recovery(AFTER_A_DEATH).without_order()).await?;
    Ok(outcome.inverted("the ledger notices"))
}

/// Without any fault everything holds, links count nothing, and one acknowledgement too many is found.
pub(super) async fn forged_ledger(name: &'static str) -> Result<Outcome> {
    let mut trial = Trial::start(name, Setup::default()).await?;
    trial.drive(Fleet::for_s(8)).await?;
    let outcome = trial.judged(Promise::recovery(AFTER_A_DEATH)).await?;
    let forged = trial.folder().join("forged");
    forge(&trial.ledger(), &forged)?;
    let (verdict, _) = judge_ledger(trial.stack.kafka(), &forged).await?;
    let links = [&trial.links.vehicles, &trial.links.edge, &trial.links.kafka].map(|link| link.counts());
    let idle = links.iter().all(|Counts { lost, resets, .. }| *lost == [0, 0] && *resets == 0);
    let used = links.iter().all(|Counts { passed: [up, down], .. }| *up > 0 && *down > 0);
    let found = Verdict { ok: !verdict.ok && verdict.counts["lost"] == 1, examples: verdict.examples, ..verdict };
    let repeats = outcome.count("duplicates") + outcome.further["resent"];
    let mut outcome = outcome.and("links lose nothing", idle && used, format!("{links:?}")).and(
        "nothing is repeated",
        repeats == 0,
        repeats,
    );
    outcome.verdicts.insert("the forged acknowledgement is found".into(), Verdict { counts: BTreeMap::new(), ..found });
    trial.stack.shut_down().await?;
    Ok(outcome)
}

/// Copies a ledger, and adds a reading that nobody sent and that is acknowledged.
fn forge(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    let vehicle = VehicleId::parse("veh-00001")?;
    let key = Key::Seq { boot: 1_700_000_000, seq: 1 };
    let (hash, now) = (PayloadHash::of(b"never sent"), super::super::trial::wall_now());
    let mut bytes = Vec::new();
    let sent = Entry::Sent {
        vehicle: vehicle.clone(),
        boot: 1_700_000_000,
        key,
        hash,
        scheduled: now,
        accepted: now,
        time: now,
        poison: None,
    };
    sent.encode(&mut bytes);
    Entry::Acked { vehicle, key, at: now }.encode(&mut bytes);
    fs::write(to.join("ledger-forged.bin"), bytes).context("write the forged ledger")
}
