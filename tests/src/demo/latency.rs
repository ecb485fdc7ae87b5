//! From publish to twin, and from publish to alert: measured at the ends, by the wall clock.
//!
//! A reading is in its twin as soon as a reader can see it or a later one there: a change stream on `twins`
//! says when. The ledger says when it was published.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::judge::{Alerts, Received};

/// Percentiles of a latency, ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were not slower.
    pub p50: f64,
    /// 99 of 100 were not slower.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Percentiles of these samples, ms. A clock that steps back makes a sample of zero.
pub fn percentiles(samples: impl IntoIterator<Item = i64>) -> Result<Latency> {
    // Three digits up to an hour.
    let mut histogram = Histogram::<u64>::new_with_max(3_600_000, 3).context("bounds of the histogram")?;
    for sample in samples {
        histogram.saturating_record(u64::try_from(sample).unwrap_or(0));
    }
    #[expect(clippy::cast_precision_loss, reason = "an hour in ms fits")]
    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
    #[expect(clippy::cast_precision_loss, reason = "an hour in ms fits")]
    let max = histogram.max() as f64;
    Ok(Latency { count: histogram.len(), p50: at(0.5), p99: at(0.99), max })
}

/// When which reading became visible: (vehicle, boot, seq) and wall time in ms, in order of time.
pub type Visible = Vec<(String, u32, u64, i64)>;
/// When a reading was published: by vehicle and boot, by seq, wall ms.
pub type Published = BTreeMap<(String, u32), BTreeMap<u64, i64>>;

/// Latencies publish → twin: each published reading until it, or a later one of its boot, was visible.
pub fn to_twin(published: &Published, visible: &Visible) -> Result<Latency> {
    let mut shown: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let mut samples = Vec::new();
    for (vehicle, boot, seq, at) in visible {
        let Some(times) = published.get(&(vehicle.clone(), *boot)) else { continue };
        let last = shown.entry((vehicle, *boot)).or_default();
        if seq > last {
            samples.extend(times.range(*last + 1..=*seq).map(|(_, published)| at - published));
            *last = *seq;
        }
    }
    percentiles(samples)
}

/// Latencies publish → alert: from the reading that raised it until the subscriber was shown it.
pub fn to_alert(published: &Published, alerts: &Alerts, received: &Received) -> Result<Latency> {
    let samples = alerts.fired().filter_map(|alert| {
        let boot = published.get(&(alert.id.vehicle.to_string(), alert.trigger.boot))?;
        let shown = received.at.get(&(alert.id.to_string(), alert.revision))?;
        Some(shown - boot.get(&alert.trigger.seq)?)
    });
    percentiles(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_visible_with_the_first_twin_that_holds_it_or_a_later_one() {
        let published = Published::from([(("v".into(), 7), (1..=4).map(|seq| (seq, 1000)).collect())]);
        let visible = vec![("v".into(), 7, 2, 1010), ("v".into(), 7, 1, 1020), ("v".into(), 7, 3, 1100)];
        let latency = to_twin(&published, &visible).expect("a histogram");
        // 1 and 2 after 10 ms, 3 after 100 ms, 4 never.
        assert_eq!((latency.count, latency.p50, latency.max), (3, 10.0, 100.0));
    }
}
