//! What comes of readings on its way out: to Kafka at once, or into the ledger of the next transaction.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use cloud_log::{History, InRecord, OutRecord, dead_letter};
use service::Error;
use telemetry::{
    UnixMillis,
    event::Source,
    kafka_topic::{SCORES, TELEMETRY},
};

use super::{HANDED_OVER, INFERENCE_FAILED, Scorer, transacting::Transacting};
use crate::{
    desk::{FORGOTTEN, Output, Scored},
    lane::Forgotten,
    metrics,
    named::refused_by,
};

impl Scorer {
    pub(super) async fn publish(&mut self, output: Output) -> Result<()> {
        for (record, invalid) in &output.unreadable {
            let refusal =
                dead_letter::refuse(record, &refused_by(SCORES), invalid.reason.as_str(), &invalid.to_string());
            self.send(record.partition, refusal).await?;
        }
        for (source, error) in &output.failed {
            let refusal = self.refusal(*source, error).await?;
            self.send(source.partition, refusal).await?;
        }
        let put_aside = output.put_aside();
        metrics::forgotten(output.forgotten.vehicles);
        metrics::shadow(output.shadow);
        self.shadow.counts.add(output.shadow);
        if self.transacting.is_some() {
            self.enter(output.scores);
        } else {
            self.send_scores(output.scores).await?;
        }
        put_aside.into_iter().for_each(|(reason, n)| self.discard(reason, n));
        Ok(())
    }

    /// Scores go to Kafka at once.
    async fn send_scores(&mut self, scores: Vec<Scored>) -> Result<()> {
        let (count, last) = (scores.len(), scores.len().saturating_sub(1));
        for (at, scored) in scores.into_iter().enumerate() {
            if at < last {
                self.producer.send(scored.record).await?;
                continue;
            }
            // The time of one tells of all that were sent with it.
            let delivered = self.producer.send_watched(scored.record).await?;
            tokio::spawn(async move {
                if delivered.await.is_ok() {
                    ingest_to_score(scored.ingest);
                }
            });
        }
        self.queued += count as u64;
        Ok(())
    }

    /// Scores wait for their transaction.
    fn enter(&mut self, scores: Vec<Scored>) {
        let Some(Transacting { ledger, .. }) = &mut self.transacting else { return };
        let (count, round) = (scores.len() as u64, self.round.as_ref());
        let mut left = 0;
        for Scored { record, source: Source { partition, .. }, ingest } in scores {
            let is_behind = round.is_some_and(|round| round.has_answered(partition));
            left += u64::from(!ledger.enter(partition, record, Some(ingest), is_behind));
        }
        self.queued += count - left;
        // Of a partition that was given up: its next owner publishes them.
        self.discard(HANDED_OVER, left);
    }

    /// Something else than a score.
    async fn send(&mut self, partition: i32, record: OutRecord) -> Result<()> {
        match &mut self.transacting {
            None => self.producer.send(record).await,
            Some(Transacting { ledger, .. }) => {
                let is_behind = self.round.as_ref().is_some_and(|round| round.has_answered(partition));
                ledger.enter(partition, record, None, is_behind);
                Ok(())
            }
        }
    }

    /// A dead letter for a reading that breaks inference, with its bytes as they stand in the log.
    async fn refusal(&self, Source { partition, offset }: Source, error: &str) -> Result<OutRecord> {
        tracing::warn!(partition, offset, error, "a reading breaks inference");
        let range = [(partition, offset..offset + 1)].into();
        let mut found = match History::open(&self.config.kafka, TELEMETRY, range).await {
            Ok(mut history) => history.next(1).await?.unwrap_or_default(),
            // Retention has passed it meanwhile.
            Err(Error::BadInput(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let record = found.pop().unwrap_or_else(|| InRecord::at(TELEMETRY, partition, offset));
        Ok(dead_letter::refuse(&record, &refused_by(SCORES), INFERENCE_FAILED, error))
    }

    /// Counts what Kafka has confirmed, where so many records of any kind are still on their way.
    pub(super) fn confirm(&mut self, outstanding: u64) {
        let confirmed = self.queued.saturating_sub(outstanding).max(self.confirmed);
        metrics::sent(confirmed - self.confirmed);
        self.confirmed = confirmed;
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        self.producer.flush().await.context("scores were not delivered")?;
        self.confirm(self.outstanding());
        Ok(())
    }

    /// What is on its way: records, or scores that wait for their transaction.
    pub(super) fn outstanding(&self) -> u64 {
        self.transacting.as_ref().map_or_else(|| self.producer.outstanding(), |transacting| transacting.ledger.scores())
    }

    /// Counts vehicles that were removed between two readings.
    pub(super) fn forget(&mut self, forgotten: Forgotten) {
        metrics::forgotten(forgotten.vehicles);
        self.discard(FORGOTTEN, forgotten.readings);
    }

    pub(super) fn discard(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            self.tally.discard(reason, n);
            metrics::discarded(reason, n);
        }
    }
}

/// A score stands in Kafka now whose reading was taken in at this time.
pub(super) fn ingest_to_score(ingest: UnixMillis) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    metrics::ingest_to_score((now - ingest).max(0) as f64 / 1_000.0);
}
