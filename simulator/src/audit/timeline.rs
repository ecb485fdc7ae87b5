//! How long readings took to Kafka, by the second in which they were due: in bounded memory, whatever the order in which
//! they are read. Where there are too many seconds, neighbours become one, and their latencies one histogram.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use report::Series;
use telemetry::UnixMillis;

/// There are never more spans of time.
const MOST: usize = 1_000;
/// Percentiles, by name.
const QUANTILES: [(&str, f64); 3] = [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)];

/// See the module.
#[derive(Debug)]
pub(super) struct Timeline {
    /// How long a span is, s.
    width: i64,
    /// By the number of the span since the epoch.
    spans: BTreeMap<i64, Span>,
    /// One without values, about 10 KiB.
    blank: Span,
}

/// The readings that were due in one span.
#[derive(Debug, Clone)]
struct Span {
    /// In ms, to 2 digits.
    latencies: Histogram<u32>,
    /// How many of them are ages: of readings that are not there.
    missing: u64,
}

impl Timeline {
    /// Nothing so far. Longer times count as `longest_ms`.
    pub(super) fn new(longest_ms: u64) -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, longest_ms, 2)?;
        Ok(Self { width: 1, spans: BTreeMap::new(), blank: Span { latencies, missing: 0 } })
    }

    /// Takes in a reading that was due at `scheduled` and took so long.
    pub(super) fn record(&mut self, scheduled: UnixMillis, ms: u64) {
        self.enter(scheduled, ms, 0);
    }

    /// Takes in a reading that was due at `scheduled` and, so old, was not there.
    pub(super) fn record_missing(&mut self, scheduled: UnixMillis, ms: u64) {
        self.enter(scheduled, ms, 1);
    }

    fn enter(&mut self, scheduled: UnixMillis, ms: u64, missing: u64) {
        let span = scheduled.div_euclid(1_000 * self.width);
        let span = self.spans.entry(span).or_insert_with(|| self.blank.clone());
        span.latencies.saturating_record(ms);
        span.missing += missing;
        while self.spans.len() > MOST {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width *= 2;
        for (span, Span { latencies, missing }) in std::mem::take(&mut self.spans) {
            let known = self.spans.entry(span.div_euclid(2)).or_insert_with(|| self.blank.clone());
            for value in latencies.iter_recorded() {
                known.latencies.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
            known.missing += missing;
        }
    }

    /// The lines of a report, none of nothing; a span in which nothing was due is a gap of latencies and a rate of 0.
    /// `latency` says until when.
    #[expect(clippy::cast_precision_loss, reason = "plots are drawn roughly")]
    pub(super) fn series(&self, latency: &str) -> Option<Series> {
        let ((first, _), (last, _)) = self.spans.first_key_value().zip(self.spans.last_key_value())?;
        // Spans far apart are not filled: two that border a gap are enough to show it.
        let bordering = self.spans.keys().flat_map(|span| [span - 1, *span, span + 1]);
        let spans: BTreeSet<_> = bordering.filter(|span| (first..=last).contains(&span)).collect();
        let at = spans.iter().map(|span| ((*span - first + 1) * self.width) as f64).collect();
        let mut series = Series::new("time_s", at);
        let in_spans = || spans.iter().map(|span| self.spans.get(span));
        let rates = |of: fn(&Span) -> u64| {
            in_spans().map(|span| Some(span.map_or(0, of) as f64 / self.width as f64)).collect::<Vec<_>>()
        };
        let panel = "Readings by the time at which they were due";
        series.line(panel, "/s", "found_readings_per_s", rates(|span| span.latencies.len() - span.missing));
        if self.spans.values().any(|span| span.missing > 0) {
            series.line(panel, "/s", "missing_readings_per_s", rates(|span| span.missing));
        }
        for (name, quantile) in QUANTILES {
            let values = in_spans().map(|span| Some(span?.latencies.value_at_quantile(quantile) as f64));
            series.line(latency, "ms", name, values.collect());
        }
        Some(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: UnixMillis = 1_760_000_000_000;

    fn line<'a>(series: &'a Series, name: &str) -> &'a [Option<f64>] {
        &series.lines.iter().find(|line| line.name == name).unwrap().values
    }

    #[test]
    fn each_second_has_its_own_percentiles_and_a_silent_one_is_a_gap() {
        let mut timeline = Timeline::new(100_000).unwrap();
        // Read in any order.
        for (after, ms) in [(3_000, 40), (0, 5), (500, 7), (3_999, 90)] {
            timeline.record(TIME + after, ms);
        }
        let series = timeline.series("Latency").unwrap();
        assert_eq!(series.at, [1.0, 2.0, 3.0, 4.0]);
        assert!(!series.lines.iter().any(|line| line.name == "missing_readings_per_s"));
        assert_eq!(line(&series, "found_readings_per_s"), [Some(2.0), Some(0.0), Some(0.0), Some(2.0)]);
        assert_eq!(line(&series, "p50_ms"), [Some(5.0), None, None, Some(40.0)]);
        assert_eq!(line(&series, "max_ms"), [Some(7.0), None, None, Some(90.0)]);
        timeline.record_missing(TIME + 2_000, 200);
        let series = timeline.series("Latency").unwrap();
        assert_eq!(line(&series, "found_readings_per_s"), [Some(2.0), Some(0.0), Some(0.0), Some(2.0)]);
        assert_eq!(line(&series, "missing_readings_per_s"), [Some(0.0), Some(0.0), Some(1.0), Some(0.0)]);
        assert_eq!(line(&series, "max_ms"), [Some(7.0), None, Some(200.0), Some(90.0)]);
        assert_eq!(Timeline::new(100_000).unwrap().series("Latency"), None);
    }

    #[test]
    fn a_long_run_has_few_spans_and_loses_no_reading() {
        let mut timeline = Timeline::new(100_000).unwrap();
        for second in 0..5_000_u32 {
            let late = if second == 4_321 { 900 } else { 10 };
            timeline.record(TIME + 1_000 * i64::from(second), late);
        }
        let series = timeline.series("Latency").unwrap();
        assert!(series.at.len() <= MOST && series.at.len() > MOST / 2, "{}", series.at.len());
        assert_eq!(timeline.spans.values().map(|span| span.latencies.len()).sum::<u64>(), 5_000);
        let slow: Vec<_> = line(&series, "max_ms").iter().filter(|ms| ms.is_some_and(|ms| ms > 100.0)).collect();
        assert_eq!(slow.len(), 1, "the one slow reading is still seen");
    }
}
