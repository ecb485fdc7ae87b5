//! Which readings were scored, and when: what stands in Kafka, by its own clock.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cloud_log::{History, InRecord, KafkaConfig, Marks};
use serde::Deserialize;
use telemetry::event::Source;

/// Of a score, what every scorer writes.
#[derive(Deserialize)]
struct Scored {
    source: Source,
}

/// Where each reading stands that has been written since, and when it was appended.
pub(super) async fn appended(kafka: &KafkaConfig, kafka_topic: &str, from: &Marks) -> Result<Vec<(Source, i64)>> {
    let place = |record: InRecord| {
        let source = Source { partition: record.partition, offset: record.offset };
        Ok((source, record.timestamp))
    };
    read(kafka, kafka_topic, from, place).await
}

/// Where the reading of each score stands that has been written since, and when the score was appended.
pub(super) async fn scores(kafka: &KafkaConfig, kafka_topic: &str, from: &Marks) -> Result<Vec<(Source, i64)>> {
    let place = |record: InRecord| {
        let scored: Scored = serde_json::from_slice(&record.payload.unwrap_or_default())
            .with_context(|| format!("a score in {kafka_topic} does not say of which reading it is"))?;
        Ok((scored.source, record.timestamp))
    };
    read(kafka, kafka_topic, from, place).await
}

async fn read<T>(
    kafka: &KafkaConfig,
    kafka_topic: &str,
    from: &Marks,
    take: impl Fn(InRecord) -> Result<T>,
) -> Result<Vec<T>> {
    let now = History::watermarks(kafka, kafka_topic).await?;
    let ranges = now.into_iter().map(|(partition, (low, high))| {
        let from = from.get(&partition).map_or(low, |(_, high)| *high);
        (partition, from..high)
    });
    let mut log = History::open(kafka, kafka_topic, ranges.collect()).await.context("read what has come")?;
    let mut found = Vec::new();
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            found.push(take(record)?);
        }
    }
    Ok(found)
}

/// Fails unless each of these readings has one score, and no other has any: a scorer that leaves something out does
/// less than it is measured for.
pub(super) fn each_once(readings: &Marks, scored: impl IntoIterator<Item = Source>) -> Result<()> {
    let mut times: BTreeMap<i32, Vec<u8>> = BTreeMap::new();
    for (partition, (low, high)) in readings {
        times.insert(*partition, vec![0; usize::try_from(high - low).context("marks")?]);
    }
    let mut foreign = 0_u64;
    for source in scored {
        let low = readings.get(&source.partition).map_or(0, |(low, _)| *low);
        let at = usize::try_from(source.offset - low).ok();
        let reading = times.get_mut(&source.partition).zip(at).and_then(|(partition, at)| partition.get_mut(at));
        match reading {
            Some(times) => *times = times.saturating_add(1),
            None => foreign += 1,
        }
    }
    let count = |wanted: fn(u8) -> bool| times.values().flatten().filter(|times| wanted(**times)).count();
    let (all, none, several) = (count(|_| true), count(|times| times == 0), count(|times| times > 1));
    ensure!(
        none == 0 && several == 0 && foreign == 0,
        "of {all} readings {none} have no score and {several} have several; {foreign} scores are of no reading"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_without_a_score_and_one_with_two_are_noticed() {
        let readings: Marks = [(0, (10, 12)), (3, (0, 1)), (4, (7, 7))].into();
        let source = |(partition, offset)| Source { partition, offset };
        let judged = |places: &[(i32, i64)]| each_once(&readings, places.iter().copied().map(source));
        judged(&[(3, 0), (0, 11), (0, 10)]).unwrap();
        for (places, why) in [
            (&[(0, 10), (3, 0)][..], "of 3 readings 1 have no score and 0 have several; 0 scores"),
            (&[(0, 10), (0, 11), (3, 0), (3, 0)], "0 have no score and 1 have several"),
            (&[(0, 10), (0, 11), (3, 0), (0, 9), (5, 0), (4, 7)], "3 scores are of no reading"),
        ] {
            assert!(judged(places).unwrap_err().to_string().contains(why), "{places:?}");
        }
    }
}
