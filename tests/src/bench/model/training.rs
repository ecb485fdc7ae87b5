//! Training: how long the replay of recorded history takes and how long the fit, and how much memory both need.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use telemetry::Encoding;

use super::{Measured, Settings, ground::Ground};
use crate::{poll, process::Ended};

/// Between two looks at its memory, whose peak the kernel keeps.
const PAUSE: Duration = Duration::from_millis(200);
const WITHIN: Duration = Duration::from_secs(3_600);
const TOLD_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run(ground: &mut Ground, settings: &Settings) -> Result<Measured> {
    ground.topic.forget().await?;
    let mut fleet = ground.fleet(settings.vehicles).await?;
    fleet.write(settings.training, Encoding::Protobuf).await?;
    let (mut running, began) = (ground.train()?, Instant::now());
    let mut peak = 0;
    while running.is_running() {
        peak = running.peak_memory_bytes().unwrap_or(peak).max(peak);
        ensure!(began.elapsed() < WITHIN, "training takes longer than {} s", WITHIN.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
    // Whoever reads what it printed may still be at the last line.
    let told = || running.events().into_iter().find(|event| event.get("fit_s").is_some());
    let told = poll::until("training tells its times", TOLD_WITHIN, async || Ok(told())).await.ok();
    let log = running.log_tail();
    let Ended { code, .. } = running.ended(WITHIN).await?;
    ensure!(code == Some(0), "training ended with {code:?}\n{log}");
    let told = told.context("training told no times")?;
    let seconds = |name: &str| told[name].as_f64().with_context(|| format!("training told no {name}"));
    let (replay, fit) = (seconds("replay_s")?, seconds("fit_s")?);
    ensure!(told["records"].as_u64() == Some(settings.training), "{} of the records were learnt from", told["records"]);
    #[expect(clippy::cast_precision_loss, reason = "counts of records and of bytes")]
    let (records, peak) = (settings.training as f64, peak as f64);
    let figures = [
        ("replay_s", Some(replay)),
        ("fit_s", Some(fit)),
        ("throughput_per_s", Some(records / replay.max(1e-3))),
        ("peak_mb", Some(peak / 1e6)),
    ];
    Ok(Measured::of(figures, true))
}
