//! A backlog: how fast a scorer works it off, and what that costs. Start and end are left out.

use anyhow::Result;
use cloud_log::{History, KafkaConfig};
use telemetry::{Encoding, kafka_topic::TELEMETRY};

use super::{
    Measured, Settings,
    ground::Ground,
    scored::{each_once, scores},
    watched::Progress,
};
use crate::bench::contender::Contender;

/// The part of the backlog that is measured.
const FROM: f64 = 0.1;
const TO: f64 = 0.97;
/// With less CPU time in it, it says nothing: the kernel counts hundredths of a second, and looks are apart.
const LEAST_CPU_S: f64 = 0.1;

/// Writes the backlog that all contenders of a row work off, one after the other.
pub(super) async fn fill(ground: &mut Ground, settings: &Settings, encoding: Encoding) -> Result<()> {
    ground.topic.forget().await?;
    let mut fleet = ground.fleet(settings.vehicles).await?;
    fleet.write(settings.records, encoding).await
}

pub(super) async fn run(
    ground: &mut Ground,
    settings: &Settings,
    transactions: bool,
    contender: &Contender,
) -> Result<Measured> {
    let mut scorer = ground.launch(contender, transactions).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let all = settings.records as f64;
    let (mut first, mut last): (Option<Progress>, Option<Progress>) = (None, None);
    let take = |now: &Progress| {
        if now.records >= FROM * all && first.is_none() {
            first = Some(*now);
        }
        if now.records <= TO * all {
            last = Some(*now);
        }
    };
    let end = scorer.through(settings.records, take).await?;
    let first = first.unwrap_or_default();
    // A backlog that is gone in a moment has no middle.
    let last = last.filter(|last| last.records > first.records).unwrap_or(end);
    let wall = (last.at_s - first.at_s).max(1e-3);
    let states = last.state_bytes.zip(first.state_bytes.or(Some(0.0))).map(|(last, first)| (last - first) / wall);
    let (cpu_us, throughput) = middle(&first, &last).unzip();
    let figures = [
        ("cpu_us", cpu_us),
        ("throughput_per_s", throughput),
        ("state_bytes_per_s", states),
        ("scored_share", Some(end.scores / all)),
        ("peak_mb", Some(end.peak_mb)),
    ];
    if scorer.is_peer() {
        let kafka = KafkaConfig::new(ground.kafka());
        let scored = scores(&kafka, scorer.scores(), scorer.from()).await?;
        each_once(&History::watermarks(&kafka, TELEMETRY).await?, scored.into_iter().map(|(source, _)| source))?;
    }
    let balances = scorer.stop(settings.records).await?;
    Ok(Measured::of(figures, balances))
}

/// CPU per record, µs, and records per second, between two looks; none where too little lies between them.
fn middle(first: &Progress, last: &Progress) -> Option<(f64, f64)> {
    let [records, cpu, wall] = [last.records - first.records, last.cpu_s - first.cpu_s, last.at_s - first.at_s];
    (records > 0.0 && wall > 0.0 && cpu >= LEAST_CPU_S).then(|| (cpu / records * 1e6, records / wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_is_gone_between_two_looks_was_not_measured() {
        let at = |at_s, records, cpu_s| Progress { at_s, records, cpu_s, ..Progress::default() };
        let (cpu_us, throughput) = middle(&at(1.0, 1_000.0, 0.5), &at(3.0, 101_000.0, 2.0)).unwrap();
        assert!((cpu_us - 15.0).abs() < 1e-6 && (throughput - 50_000.0).abs() < 1e-6, "{cpu_us} {throughput}");
        // No CPU at all would reach every goal.
        for last in [at(1.2, 1_800.0, 0.5), at(1.2, 9_000.0, 0.59), at(1.0, 1_000.0, 0.5)] {
            assert_eq!(middle(&at(1.0, 1_000.0, 0.5), &last), None);
        }
    }
}
