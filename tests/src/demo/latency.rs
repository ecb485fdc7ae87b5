//! From publish to twin, and from publish to alert: measured at the ends, by the wall clock.
//!
//! A reading is in its twin as soon as a reader can see it or a later one there: a change stream on `twins`
//! says when. The ledger says when it was published.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use mongodb::{
    Client,
    bson::{Bson, Document},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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

/// Watches `twins` through a change stream: what a reader can see, as soon as a majority has it.
#[derive(Debug)]
pub struct Visibility {
    stop: CancellationToken,
    watching: JoinHandle<Result<Visible>>,
}

impl Visibility {
    /// Watches the collection from now on.
    pub async fn watch(mongo: &str) -> Result<Self> {
        let twins = Client::with_uri_str(mongo).await?.database("motorcade").collection::<Document>("twins");
        let mut changes = twins.watch().await.context("watch the twins")?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let watching = tokio::spawn(async move {
            let mut visible = Visible::new();
            loop {
                let change = tokio::select! {
                    change = changes.next() => change,
                    // What was written before the stop is read to its end.
                    () = async { stopped.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => None,
                };
                let Some(change) = change.transpose().context("read the change stream")? else { return Ok(visible) };
                let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis());
                let fields = change.update_description.map(|update| update.updated_fields).or(change.full_document);
                let vehicle = change.document_key.as_ref().and_then(|key| key.get_str("_id").ok());
                if let (Some(vehicle), Some(fields)) = (vehicle, fields) {
                    // `cur` is the newest full record, `chg` the newest change: see `store`'s twin document.
                    for (boot, seq) in ["cur", "chg"].iter().filter_map(|name| stamp(fields.get(*name)?)) {
                        visible.push((vehicle.to_owned(), boot, seq, i64::try_from(at).unwrap_or(i64::MAX)));
                    }
                }
            }
        });
        Ok(Self { stop, watching })
    }

    /// Ends the watch and gives back what was seen.
    pub async fn finish(self) -> Result<Visible> {
        self.stop.cancel();
        self.watching.await.context("the watch ended badly")?
    }
}

/// Boot and sequence at the head of a register.
fn stamp(register: &Bson) -> Option<(u32, u64)> {
    let register = register.as_document()?;
    Some((u32::try_from(register.get_i64("b").ok()?).ok()?, u64::try_from(register.get_i64("n").ok()?).ok()?))
}

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
