//! How people name a part of a topic: by moments, or by offsets of its partitions.

use std::{collections::BTreeMap, ops::Range};

use chrono::{DateTime, NaiveDate, NaiveTime};
use service::Error;
use telemetry::UnixMillis;

use crate::{KafkaConfig, Watermarks};

/// Offsets of partitions; the end is exclusive.
pub type Offsets = BTreeMap<i32, Range<i64>>;

/// Milliseconds since the epoch, RFC 3339, or a date, which is its midnight in UTC.
///
/// # Errors
/// What is accepted, where it is none of them.
pub fn parse_moment(text: &str) -> Result<UnixMillis, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis());
    }
    let parsed = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    parsed.map_err(|_| {
        format!("{text:?} is neither ms since the epoch, nor RFC 3339 such as 2020-02-08T13:30:47Z, nor a date")
    })
}

/// `PARTITION:FROM-TO[,…]`, each partition once.
///
/// # Errors
/// [`Error::Usage`] of `--offsets`.
pub fn parse_offsets(text: &str) -> Result<Offsets, Error> {
    let one = |part: &str| {
        let (partition, range) = part.split_once(':')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
        (from < to).then_some((partition.parse().ok()?, from..to))
    };
    let parsed: Option<Vec<_>> = text.split(',').map(one).collect();
    let offsets = parsed.map(|ranges| (ranges.len(), ranges.into_iter().collect::<Offsets>()));
    match offsets {
        Some((named, offsets)) if named == offsets.len() => Ok(offsets),
        _ => Err(wrong(format!("{text:?} is not P:FROM-TO[,…], each partition once"))),
    }
}

/// Refuses offsets of partitions that a topic has not.
///
/// # Errors
/// [`Error::Usage`] of `--offsets`; [`Error::Unavailable`] if Kafka can't be reached.
pub async fn check_partitions(kafka: &KafkaConfig, kafka_topic: &str, offsets: &Offsets) -> Result<(), Error> {
    let there = Watermarks::new(kafka)?.of(kafka_topic).await?;
    let last = there.keys().last().copied().unwrap_or_default();
    match offsets.keys().find(|partition| !there.contains_key(*partition)) {
        None => Ok(()),
        Some(partition) => Err(wrong(format!("{kafka_topic} has partitions 0 to {last}, not {partition}"))),
    }
}

fn wrong(detail: String) -> Error {
    Error::Usage { flag: "offsets", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_number_a_time_or_a_date() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T01:00:01+01:00", 1_000),
            ("1970-01-02", 86_400_000),
            ("2024-01-02", 1_704_153_600_000),
            ("-5", -5),
            ("2024", 2_024),
        ] {
            assert_eq!(parse_moment(text), Ok(expected), "{text}");
        }
        for bad in ["now", "", "2024-13-01", "2024-01-02T10"] {
            assert!(parse_moment(bad).unwrap_err().contains("a date"), "{bad:?}");
        }
    }

    #[test]
    fn offsets_are_read_or_refused_whole() {
        assert_eq!(parse_offsets("0:5-10,3:0-7").unwrap(), BTreeMap::from([(0, 5..10), (3, 0..7)]));
        for bad in ["", "0", "0:5", "0:10-5", "0:5-5", "x:1-2", "0:1-2,", "0:1-2,0:2-3"] {
            assert_eq!(parse_offsets(bad).unwrap_err().exit_code(), 64, "{bad:?}");
        }
    }
}
