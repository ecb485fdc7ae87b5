//! A takeover: how long a scorer that starts takes until it scores, where the states of a whole fleet stand in Kafka.

use std::time::Instant;

use anyhow::{Result, ensure};
use telemetry::Encoding;

use super::{Measured, Settings, ground::Ground, watched::Progress};
use crate::bench::contender::Contender;

/// Readings of each vehicle before: with them it has a window, which its state has to hold.
const READINGS: u64 = 3;

/// A scorer scores, is stopped, and another member of its group starts, as in a deployment; each vehicle has sent one more
/// reading meanwhile.
pub(super) async fn run(ground: &mut Ground, settings: &Settings) -> Result<Measured> {
    ground.topic.forget().await?;
    let vehicles = u64::from(settings.takeover);
    let mut fleet = ground.fleet(settings.takeover).await?;
    fleet.write(READINGS * vehicles, Encoding::Protobuf).await?;
    let mut before = ground.launch(&Contender::Motorcade, false).await?;
    before.through(READINGS * vehicles, |_| ()).await?;
    let mut balances = before.stop(READINGS * vehicles).await?;
    fleet.write(vehicles, Encoding::Protobuf).await?;
    let began = Instant::now();
    let mut scorer = ground.launch_again().await?;
    let mut takeover = None;
    let first = |now: &Progress| {
        if now.scores > 0.0 && takeover.is_none() {
            takeover = Some(began.elapsed());
        }
    };
    let end = scorer.through(vehicles, first).await?;
    let caught_up = began.elapsed();
    balances &= scorer.stop(vehicles).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let scored_share = end.scores / vehicles as f64;
    // Whoever has no window puts its vehicle's first reading aside.
    ensure!(scored_share >= 1.0, "states are missing: only {scored_share:.3} of the readings were scored");
    let figures = [
        ("takeover_s", takeover.map(|takeover| takeover.as_secs_f64())),
        ("caught_up_s", Some(caught_up.as_secs_f64())),
        ("scored_share", Some(scored_share)),
        ("peak_mb", Some(end.peak_mb)),
    ];
    Ok(Measured::of(figures, balances))
}
