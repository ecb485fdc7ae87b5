//! The live loop: records in, scores out, states, then commits.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use cloud_log::{Batch, GroupConsumer, History, OutRecord, Producer, dead_letter};
use service::{Error, Tally};
use telemetry::{
    UnixMillis,
    kafka_topic::{SCORES, TELEMETRY, header},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    inference::Inference,
    judging::{Judged, Tracks, Work},
    lane::{Aside, Job, Lane},
    metrics,
    models::Models,
    order::Dropped,
    state,
};

/// Records taken from Kafka at once.
const TAKE: usize = 2_048;
/// How long a take waits.
const TAKE_WAIT: Duration = Duration::from_millis(50);
/// The registry is looked at so often.
const LOOK: Duration = Duration::from_millis(250);

/// The scorer, connected.
#[derive(Debug)]
pub struct Scorer {
    config: Config,
    consumer: GroupConsumer,
    producer: Producer,
    inference: Inference,
    models: Models,
    lanes: BTreeMap<i32, Lane>,
    /// Where each partition of `telemetry` ended when it was taken over: no earlier owner has scored beyond.
    ends: BTreeMap<i32, i64>,
    tally: Tally,
    /// Sent and not yet confirmed: ingest times.
    unconfirmed: Vec<UnixMillis>,
    looked: Option<Instant>,
    committed: Instant,
}

impl Scorer {
    pub(crate) fn new(
        config: Config,
        consumer: GroupConsumer,
        producer: Producer,
        inference: Inference,
        models: Models,
    ) -> Self {
        Self {
            config,
            consumer,
            producer,
            inference,
            models,
            lanes: BTreeMap::new(),
            ends: BTreeMap::new(),
            tally: Tally::default(),
            unconfirmed: Vec::new(),
            looked: None,
            committed: Instant::now(),
        }
    }

    /// Scores until stopped. Received counts records of `telemetry` and readings found waiting in a state.
    ///
    /// # Errors
    /// If Kafka refuses or a state can't be read; nothing is committed that was not delivered.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        while !stop.is_cancelled() {
            let batch = tokio::select! {
                batch = self.consumer.next(TAKE, TAKE_WAIT) => batch?,
                () = stop.cancelled() => break,
            };
            self.handle(batch).await?;
        }
        self.commit().await?;
        self.tally.in_hand = self.lanes.values().map(Lane::waiting).sum();
        self.consumer.close().await;
        Ok(self.tally)
    }

    async fn handle(&mut self, batch: Batch) -> Result<()> {
        for (_, partition) in &batch.revoked {
            if let Some(lane) = self.lanes.remove(partition) {
                // Its readings that wait are in the state, or come again to the next owner.
                self.discard("handed_over", lane.waiting());
            }
        }
        if !batch.assigned.is_empty() {
            // After the assignment, not before: what the last owner read was in the log by then.
            let marks = History::watermarks(&self.config.kafka, TELEMETRY).await?;
            let taken = batch.assigned.iter().map(|(_, partition, _)| partition);
            self.ends.extend(taken.filter_map(|partition| Some((*partition, marks.get(partition)?.1))));
        }
        for (_, partition, offset) in &batch.assigned {
            self.models.load_from(*partition, *offset, &self.inference).await?;
            let layouts = self.models.layouts();
            let vehicles =
                state::restore(&self.config.kafka, &layouts, *partition).await.context("restore the scorer's state")?;
            tracing::info!(partition, offset, vehicles = vehicles.len(), "partition taken over");
            let lane = Lane::new(*partition, *offset, self.config.lateness_ms, vehicles);
            // They were received by another process; here they come in with the state.
            self.tally.received += lane.waiting();
            self.lanes.insert(*partition, lane);
            self.looked = None;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look().await?;
        }
        let jobs = self.take(&batch).await?;
        if !jobs.is_empty() {
            self.score(jobs).await?;
        }
        if !self.unconfirmed.is_empty() {
            self.confirm().await?;
        }
        if self.committed.elapsed() >= Duration::from_millis(self.config.commit_ms) {
            self.commit().await?;
        }
        metrics::lag(self.consumer.lag(), self.lanes.values().map(Lane::waiting).sum());
        Ok(())
    }

    /// Looks at the registry, and switches where the alias has moved.
    async fn look(&mut self) -> Result<()> {
        self.models.poll(Duration::from_millis(1)).await?;
        self.looked = Some(Instant::now());
        if let Some(wanted) = self.models.wanted(&self.inference).await? {
            let timeline = &self.models.timeline;
            let lanes = self.lanes.values().map(|lane| {
                let end = self.ends.get(&lane.partition).copied().unwrap_or_default();
                (lane.partition, timeline.may_switch_at(lane.partition, lane.next, end))
            });
            let lanes: Vec<_> = lanes.collect();
            self.models.switch(&wanted, &lanes, &self.producer).await?;
        }
        Ok(())
    }

    async fn take(&mut self, batch: &Batch) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for (partition, lane) in &self.lanes {
            self.models.load_from(*partition, lane.next, &self.inference).await?;
        }
        for record in &batch.records {
            let Some(lane) = self.lanes.get_mut(&record.partition) else {
                tracing::warn!(record.partition, "a record of a partition that is not ours");
                continue;
            };
            self.tally.received += 1;
            metrics::received(1);
            let models = &self.models;
            match lane.take(record, &|offset| models.layout_at(record.partition, offset), &mut jobs) {
                Ok(()) => {}
                Err(Aside::Dropped(Dropped::Duplicate)) => self.discard("duplicate", 1),
                Err(Aside::Dropped(Dropped::Late)) => self.discard("late", 1),
                Err(Aside::Covered) => self.discard("covered", 1),
                Err(Aside::Unreadable(invalid)) => {
                    let refusal = dead_letter::refuse(record, "scorer", invalid.reason.as_str(), &invalid.to_string());
                    self.producer.send(refusal).await?;
                    self.discard("unreadable", 1);
                }
            }
        }
        Ok(jobs)
    }

    /// Judges in micro-batches and sends.
    async fn score(&mut self, jobs: Vec<Job>) -> Result<()> {
        let (mut asked, mut work, mut tracks) = (Vec::with_capacity(jobs.len()), Vec::new(), Tracks::new());
        let (mut warming_up, mut no_model) = (0, 0);
        for mut job in jobs {
            let version = self.models.timeline.at(job.source.partition, job.source.offset);
            match (version, job.query.take()) {
                (None, _) => no_model += 1,
                (Some(_), None) => warming_up += 1,
                (Some(version), Some(query)) => {
                    work.push(Work { version: version.to_owned(), vehicle: job.vehicle.clone(), query });
                    asked.push(job);
                }
            }
        }
        for lane in self.lanes.values_mut() {
            lane.lend(work.iter().map(|work| &work.vehicle), &mut tracks);
        }
        let versions: Vec<String> = work.iter().map(|work| work.version.clone()).collect();
        let (judged, mut tracks) = self.inference.judge(work, tracks).await?;
        for lane in self.lanes.values_mut() {
            lane.take_back(&mut tracks);
        }
        for ((job, version), judged) in asked.into_iter().zip(versions).zip(judged) {
            let judgement = match judged {
                Judged::Judgement(judgement) => judgement,
                Judged::WarmingUp => {
                    warming_up += 1;
                    continue;
                }
                Judged::NoModel => {
                    no_model += 1;
                    continue;
                }
            };
            let (key, ingest) = (job.vehicle.as_str().as_bytes().to_vec(), job.ingest);
            let score = job.score(&version, judgement);
            let headers = vec![(header::CONTENT_TYPE.to_owned(), b"application/json".to_vec())];
            let out = OutRecord::new(SCORES, key, serde_json::to_vec(&score)?);
            self.producer.send(OutRecord { headers, ..out }).await?;
            self.unconfirmed.push(ingest);
        }
        self.discard("no_model", no_model);
        self.discard("warming_up", warming_up);
        Ok(())
    }

    async fn confirm(&mut self) -> Result<()> {
        self.producer.flush().await.context("scores were not delivered")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        self.tally.sent += self.unconfirmed.len() as u64;
        metrics::sent(self.unconfirmed.len() as u64);
        for ingest in self.unconfirmed.drain(..) {
            metrics::ingest_to_score((now - ingest).max(0) as f64 / 1_000.0);
        }
        Ok(())
    }

    /// Scores first, then the states that cover them, then the offsets that the states cover.
    async fn commit(&mut self) -> Result<()> {
        self.confirm().await?;
        for lane in self.lanes.values_mut() {
            for record in state::changed(lane)? {
                self.producer.send(record).await?;
            }
        }
        self.producer.flush().await.context("states were not delivered")?;
        let offsets = self.lanes.values().map(|lane| ((TELEMETRY.into(), lane.partition), lane.next)).collect();
        if let Err(error) = self.consumer.commit(&offsets) {
            // A rebalance may be on its way; the states stand, and the next commit says more.
            tracing::warn!(error = format!("{error:#}"), "commit failed");
        }
        self.committed = Instant::now();
        Ok(())
    }

    fn discard(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            self.tally.discard(reason, n);
            metrics::discarded(reason, n);
        }
    }
}
