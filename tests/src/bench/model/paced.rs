//! A steady rate: what scoring adds, from the append of a reading to the append of its score, both by Kafka's clock.

use std::{collections::HashMap, time::Duration};

use anyhow::{Result, ensure};
use cloud_log::{History, KafkaConfig, Marks};
use telemetry::{Encoding, kafka_topic::TELEMETRY};

use super::{
    Measured, Settings,
    ground::Ground,
    scored::{appended, each_once, scores},
};
use crate::bench::contender::Contender;

/// The beginning is left out: partitions are given out, memory is touched for the first time.
const LEAD: Duration = Duration::from_secs(3);

pub(super) async fn run(
    ground: &mut Ground,
    settings: &Settings,
    (rate, encoding): (u64, Encoding),
    transactions: bool,
    contender: &Contender,
) -> Result<Measured> {
    ground.topic.forget().await?;
    let kafka = KafkaConfig::new(ground.kafka());
    let mut fleet = ground.fleet(settings.vehicles).await?;
    let mut scorer = ground.launch(contender, transactions).await?;
    // Whoever has scored one is there.
    fleet.write(1, encoding).await?;
    scorer.through(1, |_| ()).await?;
    let lead = 1 + fleet.pace(rate, LEAD, encoding).await?;
    let before = scorer.look().await?;
    let marks = History::watermarks(&kafka, TELEMETRY).await?;
    let written = fleet.pace(rate, Duration::from_secs(settings.paced_s), encoding).await?;
    // One that is too slow for the rate may take longer, and then it adds seconds.
    let after = scorer.through(lead + written, |_| ()).await?;
    let scored = scores(&kafka, scorer.scores(), scorer.from()).await?;
    let is_peer = scorer.is_peer();
    let balances = scorer.stop(lead + written).await?;
    if is_peer {
        let readings: Marks = History::watermarks(&kafka, TELEMETRY).await?;
        each_once(&readings, scored.iter().map(|(source, _)| *source))?;
    }

    let written_at: HashMap<_, _> = appended(&kafka, TELEMETRY, &marks).await?.into_iter().collect();
    // Those of the lead-in are not among them.
    let added = scored.iter().filter_map(|(source, time)| Some(time - written_at.get(source)?));
    let mut added: Vec<i64> = added.collect();
    added.sort_unstable();
    ensure!(!added.is_empty(), "nothing was scored");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let percentile = |percent: usize| Some(added[(added.len() - 1) * percent / 100] as f64);
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let scored_share = added.len() as f64 / written as f64;
    let (records, wall) = ((after.records - before.records).max(1.0), (after.at_s - before.at_s).max(1e-3));
    let states = after.state_bytes.zip(before.state_bytes).map(|(after, before)| (after - before) / wall);
    let figures = [
        ("added_p50_ms", percentile(50)),
        ("added_p99_ms", percentile(99)),
        ("added_max_ms", percentile(100)),
        ("cpu_us", Some((after.cpu_s - before.cpu_s) / records * 1e6)),
        ("state_bytes_per_s", states),
        ("scored_share", Some(scored_share)),
        ("peak_mb", Some(after.peak_mb)),
    ];
    Ok(Measured::of(figures, balances))
}
