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
    /// Latencies in ms, to 2 digits, by the number of the span since the epoch.
    spans: BTreeMap<i64, Histogram<u32>>,
    /// One without values, about 10 KiB.
    blank: Histogram<u32>,
}

impl Timeline {
    /// Nothing so far. Longer times count as `longest_ms`.
    pub(super) fn new(longest_ms: u64) -> anyhow::Result<Self> {
        let blank = Histogram::new_with_bounds(1, longest_ms, 2)?;
        Ok(Self { width: 1, spans: BTreeMap::new(), blank })
    }

    /// Takes in a reading that was due at `scheduled` and took so long.
    pub(super) fn record(&mut self, scheduled: UnixMillis, ms: u64) {
        let span = scheduled.div_euclid(1_000 * self.width);
        self.spans.entry(span).or_insert_with(|| self.blank.clone()).saturating_record(ms);
        while self.spans.len() > MOST {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width *= 2;
        for (span, latencies) in std::mem::take(&mut self.spans) {
            let known = self.spans.entry(span.div_euclid(2)).or_insert_with(|| self.blank.clone());
            for value in latencies.iter_recorded() {
                known.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
    }

    /// The lines of a report, none of nothing; a span in which nothing was due is a gap of latencies and a rate of 0.
    #[expect(clippy::cast_precision_loss, reason = "plots are drawn roughly")]
    pub(super) fn series(&self) -> Option<Series> {
        let ((first, _), (last, _)) = self.spans.first_key_value().zip(self.spans.last_key_value())?;
        // Spans far apart are not filled: two that border a gap are enough to show it.
        let bordering = self.spans.keys().flat_map(|span| [span - 1, *span, span + 1]);
        let spans: BTreeSet<_> = bordering.filter(|span| (first..=last).contains(&span)).collect();
        let at = spans.iter().map(|span| ((*span - first + 1) * self.width) as f64).collect();
        let mut series = Series::new("time_s", at);
        let latencies = || spans.iter().map(|span| self.spans.get(span));
        let rate = |latencies: Option<&Histogram<u32>>| latencies.map_or(0, Histogram::len) as f64 / self.width as f64;
        let rates = latencies().map(|of| Some(rate(of))).collect();
        series.line("Readings by the time at which they were due", "/s", "found_readings_per_s", rates);
        for (name, quantile) in QUANTILES {
            let values = latencies().map(|of| of.map(|latencies| latencies.value_at_quantile(quantile) as f64));
            series.line("Latency until in Kafka", "ms", name, values.collect());
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
        let series = timeline.series().unwrap();
        assert_eq!(series.at, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(line(&series, "found_readings_per_s"), [Some(2.0), Some(0.0), Some(0.0), Some(2.0)]);
        assert_eq!(line(&series, "p50_ms"), [Some(5.0), None, None, Some(40.0)]);
        assert_eq!(line(&series, "max_ms"), [Some(7.0), None, None, Some(90.0)]);
        assert_eq!(Timeline::new(100_000).unwrap().series(), None);
    }

    #[test]
    fn a_long_run_has_few_spans_and_loses_no_reading() {
        let mut timeline = Timeline::new(100_000).unwrap();
        for second in 0..5_000_u32 {
            let late = if second == 4_321 { 900 } else { 10 };
            timeline.record(TIME + 1_000 * i64::from(second), late);
        }
        let series = timeline.series().unwrap();
        assert!(series.at.len() <= MOST && series.at.len() > MOST / 2, "{}", series.at.len());
        assert_eq!(timeline.spans.values().map(Histogram::len).sum::<u64>(), 5_000);
        let slow: Vec<_> = line(&series, "max_ms").iter().filter(|ms| ms.is_some_and(|ms| ms > 100.0)).collect();
        assert_eq!(slow.len(), 1, "the one slow reading is still seen");
    }
}
