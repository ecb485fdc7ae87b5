//! Copies `alerts` into MongoDB for readers: a consumer group of its own, so that a database that is away delays
//! no alert. Documents are written by revision, so a repeat changes nothing.

use std::{collections::BTreeMap, time::Duration};

use cloud_log::{GroupConsumer, InRecord, Producer, dead_letter};
use service::Backoff;
use store::{Store, alerts::Alert};
use telemetry::event::AlertEvent;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Events in one write.
const BATCH: usize = 500;

pub(crate) struct Projection {
    pub(crate) consumer: GroupConsumer,
    pub(crate) store: Store,
    pub(crate) producer: Producer,
}

impl Projection {
    /// Runs until the stop; gives the number of events that MongoDB confirmed.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<u64> {
        let mut written = 0;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        'intake: loop {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                batch = self.consumer.next(BATCH, Duration::from_millis(500)) => batch?,
            };
            metrics::projection_lag(self.consumer.lag());
            let Some(last) = batch.records.last() else { continue };
            let next = BTreeMap::from([(last.topic_partition(), last.offset + 1)]);
            let mut alerts = Vec::with_capacity(batch.records.len());
            for record in &batch.records {
                match read(record) {
                    Ok(event) => alerts.push(Alert { offset: record.offset, event }),
                    Err(error) => {
                        self.producer.send(dead_letter::refuse(record, "alerter", "malformed", &error)).await?
                    }
                }
            }
            tokio::select! {
                // What is not committed is read again.
                () = stop.cancelled() => break,
                flushed = self.producer.flush() => flushed?,
            }
            loop {
                match self.store.write_alerts(&alerts).await {
                    Ok(outcome) => {
                        for refused in &outcome.refused {
                            tracing::error!(alert = refused.id, reason = refused.reason, "MongoDB refuses an alert");
                        }
                        break;
                    }
                    Err(failure) if failure.passing => {
                        tracing::warn!(reason = failure.reason, "alerts wait for MongoDB");
                        tokio::select! {
                            () = stop.cancelled() => break 'intake,
                            () = tokio::time::sleep(backoff.next()) => {}
                        }
                    }
                    Err(failure) => return Err(anyhow::anyhow!(failure).context("project alerts")),
                }
            }
            backoff.reset();
            written += alerts.len() as u64;
            metrics::projected(alerts.len() as u64);
            self.consumer.commit(&next)?;
        }
        self.consumer.close().await;
        Ok(written)
    }
}

fn read(record: &InRecord) -> Result<AlertEvent, String> {
    let payload = record.payload.as_deref().ok_or("no payload")?;
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}
