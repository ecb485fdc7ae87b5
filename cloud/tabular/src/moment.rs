//! When a row was measured: the forms of time that a column may have.

use chrono::{
    DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone,
    format::{Fixed, Item, Numeric, StrftimeItems},
};
use telemetry::UnixMillis;

/// How a column tells the time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TimeFormat {
    /// `2020-02-08T13:30:47Z`.
    Rfc3339,
    /// Seconds since the epoch, also with a fraction.
    UnixSeconds,
    /// Milliseconds since the epoch.
    UnixMillis,
    /// A number that counts steps from a moment.
    Counter { start: UnixMillis, step_ms: f64 },
    /// A pattern in the way of `strftime`.
    Pattern { pattern: String, parts: Parts, offset: FixedOffset },
}

/// What a pattern holds beside the date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Parts {
    Date,
    DateTime,
    DateTimeOffset,
}

/// What a pattern holds, or what is wrong with it.
pub(crate) fn pattern_parts(pattern: &str) -> Result<Parts, String> {
    let items: Vec<_> = StrftimeItems::new(pattern).collect();
    if items.iter().any(|item| matches!(item, Item::Error)) || !pattern.contains('%') {
        return Err(format!(
            "{pattern:?} is no format of time: rfc3339, unix-s, unix-ms, counter, or a pattern such as \"%Y-%m-%d %H:%M:%S\""
        ));
    }
    let is_offset = |item: &Item<'_>| {
        use Fixed::{TimezoneOffset, TimezoneOffsetColon, TimezoneOffsetColonZ, TimezoneOffsetZ};
        matches!(
            item,
            Item::Fixed(TimezoneOffset | TimezoneOffsetColon | TimezoneOffsetColonZ | TimezoneOffsetZ | Fixed::RFC3339)
        )
    };
    let is_hour =
        |item: &Item<'_>| matches!(item, Item::Numeric(Numeric::Hour | Numeric::Hour12 | Numeric::Timestamp, _));
    if items.iter().any(is_offset) {
        Ok(Parts::DateTimeOffset)
    } else if items.iter().any(is_hour) {
        Ok(Parts::DateTime)
    } else {
        Ok(Parts::Date)
    }
}

/// An offset from UTC, `Z` or `+01:00`.
pub(crate) fn parse_offset(text: &str) -> Option<FixedOffset> {
    if text == "Z" {
        return FixedOffset::east_opt(0);
    }
    text.parse().ok()
}

impl TimeFormat {
    /// The moment that a cell tells, or what is wrong with it.
    pub(crate) fn parse(&self, cell: &str) -> Result<UnixMillis, String> {
        let cell = cell.trim();
        let number = || cell.parse::<f64>().ok().filter(|number| number.is_finite());
        match self {
            Self::Rfc3339 => DateTime::parse_from_rfc3339(cell)
                .map(|time| time.timestamp_millis())
                .map_err(|error| format!("{cell:?} is not RFC 3339: {error}")),
            Self::UnixSeconds => match (cell.parse::<i64>(), number()) {
                (Ok(seconds), _) => seconds.checked_mul(1_000).ok_or_else(|| format!("{cell} s are beyond all time")),
                (Err(_), Some(seconds)) => Ok(rounded(seconds * 1_000.0)),
                (Err(_), None) => Err(format!("{cell:?} is not a number of seconds")),
            },
            Self::UnixMillis => match (cell.parse(), number()) {
                (Ok(ms), _) => Ok(ms),
                (Err(_), Some(ms)) => Ok(rounded(ms)),
                (Err(_), None) => Err(format!("{cell:?} is not a number of milliseconds")),
            },
            Self::Counter { start, step_ms } => {
                let count = number().ok_or_else(|| format!("{cell:?} is not a count"))?;
                Ok(start.saturating_add(rounded(count * step_ms)))
            }
            Self::Pattern { pattern, parts, offset } => parse_pattern(cell, pattern, *parts, *offset)
                .ok_or_else(|| format!("{cell:?} does not look like {pattern:?}")),
        }
    }
}

fn parse_pattern(cell: &str, pattern: &str, parts: Parts, offset: FixedOffset) -> Option<UnixMillis> {
    let naive = match parts {
        Parts::DateTimeOffset => {
            return DateTime::parse_from_str(cell, pattern).ok().map(|time| time.timestamp_millis());
        }
        Parts::DateTime => NaiveDateTime::parse_from_str(cell, pattern).ok()?,
        Parts::Date => NaiveDate::parse_from_str(cell, pattern).ok()?.and_time(NaiveTime::MIN),
    };
    offset.from_local_datetime(&naive).single().map(|time| time.timestamp_millis())
}

/// The nearest whole number; what does not fit ends at the border and is refused as a time later.
fn rounded(ms: f64) -> UnixMillis {
    ms.round() as UnixMillis
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str, offset: &str) -> TimeFormat {
        TimeFormat::Pattern {
            parts: pattern_parts(pattern).unwrap(),
            pattern: pattern.into(),
            offset: parse_offset(offset).unwrap(),
        }
    }

    #[test]
    fn every_form_of_time_is_read() {
        let moment = 1_581_168_647_000;
        for (format, cell, expected) in [
            (TimeFormat::Rfc3339, "2020-02-08T13:30:47Z", moment),
            (TimeFormat::Rfc3339, "2020-02-08T14:30:47.250+01:00", moment + 250),
            (TimeFormat::UnixSeconds, "1581168647", moment),
            (TimeFormat::UnixSeconds, " 1581168647.25 ", moment + 250),
            (TimeFormat::UnixMillis, "1581168647000", moment),
            (TimeFormat::Counter { start: moment, step_ms: 3_600_000.0 }, "2", moment + 7_200_000),
            (TimeFormat::Counter { start: moment, step_ms: 0.5 }, "3", moment + 2),
            (pattern("%Y-%m-%d %H:%M:%S", "Z"), "2020-02-08 13:30:47", moment),
            (pattern("%d.%m.%Y %H:%M:%S%.f", "+02:00"), "08.02.2020 15:30:47.5", moment + 500),
            (pattern("%Y-%m-%dT%H:%M:%S%z", "Z"), "2020-02-08T14:30:47+0100", moment),
            (pattern("%m/%d/%Y %I:%M:%S %p", "Z"), "02/08/2020 01:30:47 PM", moment),
            (pattern("%Y-%m-%d", "Z"), "2020-02-08", moment - 48_647_000),
        ] {
            assert_eq!(format.parse(cell), Ok(expected), "{format:?} {cell}");
        }
    }

    #[test]
    fn what_is_no_time_is_told() {
        for (format, cell) in [
            (TimeFormat::Rfc3339, "yesterday"),
            (TimeFormat::UnixSeconds, "12:30"),
            (TimeFormat::UnixSeconds, "nan"),
            (TimeFormat::UnixMillis, ""),
            (TimeFormat::Counter { start: 0, step_ms: 1.0 }, "one"),
            (pattern("%Y-%m-%d %H:%M:%S", "Z"), "2020-02-08"),
        ] {
            assert!(format.parse(cell).is_err(), "{format:?} {cell}");
        }
        for bad in ["iso", "%Q", "%Y-%m-%d %!"] {
            assert!(pattern_parts(bad).unwrap_err().contains("unix-ms"), "{bad}");
        }
        assert_eq!(parse_offset("CET"), None);
    }
}
