//! A backlog: how fast the scorer works it off, and what that costs. Start and end are left out.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use telemetry::Encoding;

use super::{Measured, Settings, ground::Ground, ground::Progress};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// A scorer that gets no further for so long never will.
const STANDSTILL: Duration = Duration::from_secs(30);
/// The part of the backlog that is measured.
const FROM: f64 = 0.1;
const TO: f64 = 0.97;

/// `flags`: further ones of this scorer.
pub(super) async fn run(
    ground: &mut Ground,
    settings: &Settings,
    encoding: Encoding,
    flags: &[&str],
) -> Result<Measured> {
    ground.topic.forget().await?;
    let mut fleet = ground.fleet(settings.vehicles).await?;
    fleet.write(settings.records, encoding).await?;
    drop(fleet);
    let scorer = ground.scorer_with(flags).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let all = settings.records as f64;
    let (mut first, mut last): (Option<Progress>, Option<Progress>) = (None, None);
    let (mut moved, mut seen) = (Instant::now(), 0.0);
    let end = loop {
        let now = scorer.look().await?;
        if now.records >= FROM * all && first.is_none() {
            first = Some(now);
        }
        if now.records <= TO * all {
            last = Some(now);
        }
        if now.records >= all {
            break now;
        }
        if now.records > seen {
            (moved, seen) = (Instant::now(), now.records);
        } else if moved.elapsed() > STANDSTILL {
            bail!("the scorer stands still after {seen} of {all} records");
        }
        tokio::time::sleep(PAUSE).await;
    };
    let first = first.unwrap_or_default();
    // A backlog that is gone in a moment has no middle.
    let last = last.filter(|last| last.records > first.records).unwrap_or(end);
    let (records, wall) = ((last.records - first.records).max(1.0), (last.at_s - first.at_s).max(1e-3));
    let figures = [
        ("cpu_us", (last.cpu_s - first.cpu_s) / records * 1e6),
        ("throughput_per_s", records / wall),
        ("state_bytes_per_s", (last.state_bytes - first.state_bytes) / wall),
        ("scored_share", end.scores / all),
        ("peak_mb", end.peak_mb),
    ];
    let balances = scorer.stop(settings.records).await?;
    Ok(Measured { figures: figures.map(|(name, value)| (name.to_owned(), value)).into(), balances })
}
