//! Which offsets `scores verify` judges. Pure.

use std::{collections::BTreeMap, str::FromStr};

use service::Error;

use super::replay::Part;

/// Where the judged part of each partition ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// At this offset, of the one partition that is verified.
    At(i64),
    /// At these offsets, by partition; others are not verified.
    Each(BTreeMap<i32, i64>),
    /// At the end of the log: whatever stands in `telemetry` now has been scored. For scorers that have caught up.
    Latest,
}

impl FromStr for Ends {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::At(offset));
        }
        let each = text.split(',').map(|pair| {
            let (partition, offset) = pair.split_once('=')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        });
        let each = each.collect::<Option<_>>().map(Self::Each);
        each.ok_or_else(|| "an offset, PARTITION=OFFSET,… or `latest`".to_owned())
    }
}

/// The parts to judge. `marks` are first and next offsets of `telemetry`, `scored` the offsets behind the last
/// published score, both by partition.
pub(crate) fn parts(
    marks: &BTreeMap<i32, (i64, i64)>,
    scored: &BTreeMap<i32, i64>,
    only: Option<i32>,
    from: Option<i64>,
    to: Option<&Ends>,
) -> Result<BTreeMap<i32, Part>, Error> {
    let named = match to {
        Some(Ends::Each(each)) => each.keys().copied().collect(),
        _ => only.into_iter().collect::<Vec<_>>(),
    };
    if let Some(absent) = named.iter().find(|partition| !marks.contains_key(partition)) {
        return Err(Error::BadInput(format!("telemetry has no partition {absent}")));
    }
    let mut parts = BTreeMap::new();
    for (partition, (low, high)) in marks {
        let end = match to {
            None => scored.get(partition).copied(),
            Some(Ends::At(offset)) => Some(*offset),
            Some(Ends::Each(each)) => each.get(partition).copied(),
            Some(Ends::Latest) => Some(*high),
        };
        let Some(end) = end.filter(|_| only.is_none_or(|only| only == *partition)) else { continue };
        if end > *high {
            return Err(Error::BadInput(format!("telemetry/{partition} ends at {high}, before {end}")));
        }
        // Scores live longer than telemetry: what is gone there can't be scored again.
        parts.insert(*partition, Part { low: *low, range: from.unwrap_or(*low).max(*low)..end });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_three_forms() {
        assert_eq!("latest".parse(), Ok(Ends::Latest));
        assert_eq!("120".parse(), Ok(Ends::At(120)));
        assert_eq!("0=120,2=7".parse(), Ok(Ends::Each([(0, 120), (2, 7)].into())));
        for wrong in ["", "newest", "0=", "0=1,", "a=1", "0:1"] {
            assert!(wrong.parse::<Ends>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_partition_without_scores_is_judged_where_an_end_is_given() {
        let marks = [(0, (0, 50)), (1, (0, 60)), (2, (30, 70))].into();
        let scored = [(0, 40), (2, 65)].into();
        let ranges = |only, from, to: Option<Ends>| {
            let parts = parts(&marks, &scored, only, from, to.as_ref()).unwrap();
            parts.into_iter().map(|(partition, part)| (partition, part.range)).collect::<Vec<_>>()
        };
        assert_eq!(ranges(None, None, None), [(0, 0..40), (2, 30..65)]);
        assert_eq!(ranges(None, None, Some(Ends::Latest)), [(0, 0..50), (1, 0..60), (2, 30..70)]);
        assert_eq!(ranges(None, None, Some(Ends::Each([(0, 45), (1, 60)].into()))), [(0, 0..45), (1, 0..60)]);
        assert_eq!(ranges(Some(2), Some(35), Some(Ends::At(60))), [(2, 35..60)]);
        assert_eq!(ranges(Some(2), Some(10), None), [(2, 30..65)]);
        assert!(parts(&marks, &scored, Some(3), None, None).is_err());
        assert!(parts(&marks, &scored, None, None, Some(&Ends::Each([(0, 51)].into()))).is_err());
    }
}
