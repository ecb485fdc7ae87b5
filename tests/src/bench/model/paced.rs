//! A steady rate: what scoring adds, from the append of a reading to the append of its score, both by Kafka's clock.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use cloud_log::{History, KafkaConfig};
use telemetry::{
    Encoding,
    event::Score,
    kafka_topic::{SCORES, TELEMETRY},
};

use super::{Measured, Settings, ground::Ground};
use crate::poll;

/// The beginning is left out: partitions are given out, memory is touched for the first time.
const LEAD: Duration = Duration::from_secs(3);
const DONE_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(ground: &mut Ground, settings: &Settings, rate: u64) -> Result<Measured> {
    ground.topic.forget().await?;
    let kafka = KafkaConfig::new(ground.kafka());
    let mut fleet = ground.fleet(settings.vehicles).await?;
    let scorer = ground.scorer().await?;
    let lead = fleet.pace(rate, LEAD, Encoding::Protobuf).await?;
    let before = scorer.look().await?;
    let marks = History::watermarks(&kafka, TELEMETRY).await?;
    let (scores_from, telemetry_from) = (History::watermarks(&kafka, SCORES).await?, marks);
    let written = fleet.pace(rate, Duration::from_secs(settings.paced_s), Encoding::Protobuf).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let all = (lead + written) as f64;
    let done = async || {
        let now = scorer.look().await?;
        Ok((now.records >= all).then_some(now))
    };
    let after = poll::until("every reading is scored", DONE_WITHIN, done).await?;
    let balances = scorer.stop(lead + written).await?;

    let appended: HashMap<(i32, i64), i64> = read(&kafka, TELEMETRY, &telemetry_from)
        .await?
        .into_iter()
        .map(|(partition, offset, time, _)| ((partition, offset), time))
        .collect();
    let mut added = Vec::new();
    for (_, _, time, payload) in read(&kafka, SCORES, &scores_from).await? {
        let score: Score = serde_json::from_slice(&payload)?;
        // Those of the lead-in are not among them.
        if let Some(from) = appended.get(&(score.source.partition, score.source.offset)) {
            added.push(time - from);
        }
    }
    added.sort_unstable();
    ensure!(!added.is_empty(), "nothing was scored");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let percentile = |percent: usize| added[(added.len() - 1) * percent / 100] as f64;
    #[expect(clippy::cast_precision_loss, reason = "counts of records")]
    let scored_share = added.len() as f64 / written as f64;
    let (records, wall) = ((after.records - before.records).max(1.0), (after.at_s - before.at_s).max(1e-3));
    let figures = [
        ("added_p50_ms", percentile(50)),
        ("added_p99_ms", percentile(99)),
        ("added_max_ms", percentile(100)),
        ("cpu_us", (after.cpu_s - before.cpu_s) / records * 1e6),
        ("state_bytes_per_s", (after.state_bytes - before.state_bytes) / wall),
        ("scored_share", scored_share),
    ];
    Ok(Measured { figures: figures.map(|(name, value)| (name.to_owned(), value)).into(), balances })
}

/// Partition, offset, append time and payload of what has come since.
async fn read(
    kafka: &KafkaConfig,
    kafka_topic: &str,
    from: &cloud_log::Marks,
) -> Result<Vec<(i32, i64, i64, Vec<u8>)>> {
    let now = History::watermarks(kafka, kafka_topic).await?;
    let ranges = now.into_iter().map(|(partition, (low, high))| {
        let from = from.get(&partition).map_or(low, |(_, high)| *high);
        (partition, from..high)
    });
    let mut log = History::open(kafka, kafka_topic, ranges.collect()).await.context("read what has come")?;
    let mut found = Vec::new();
    while let Some(records) = log.next(4_096).await? {
        let payload = |record: cloud_log::InRecord| {
            (record.partition, record.offset, record.timestamp, record.payload.unwrap_or_default())
        };
        found.extend(records.into_iter().map(payload));
    }
    Ok(found)
}
