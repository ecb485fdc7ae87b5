//! The scorer's view of `models` and `model-events`: which version is wanted, which scores where.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use cloud_log::{KafkaConfig, OutRecord, Producer, Tail, TailFrom};
use detector::Layout;
use service::Error;
use telemetry::{
    event::ModelEvent,
    kafka_topic::{MODEL_EVENTS, MODELS},
};

use crate::{
    crew::Crew,
    metrics,
    registry::{Registry, Wanted},
    timeline::Timeline,
};

/// How long a published switch point may take to be read back.
const READ_BACK: Duration = Duration::from_secs(20);

/// Registry and timeline, followed live.
#[derive(Debug)]
pub(crate) struct Models {
    models: Tail,
    events: Tail,
    alias: String,
    registry: Registry,
    pub(crate) timeline: Arc<Timeline>,
    loaded: HashMap<String, Arc<Layout>>,
    /// Of windows that no model is there for.
    layout: Arc<Layout>,
    refused: HashSet<String>,
    /// Where artefacts that are no longer kept are read again.
    kafka: KafkaConfig,
    /// Versions whose artefact was looked for there in vain.
    missed: HashSet<String>,
}

impl Models {
    pub(crate) async fn open(kafka: &KafkaConfig, alias: &str) -> Result<Self, Error> {
        let models = Tail::open(kafka, MODELS, TailFrom::Beginning).await?;
        let events = Tail::open(kafka, MODEL_EVENTS, TailFrom::Beginning).await?;
        let mut this = Self {
            models,
            events,
            alias: alias.to_owned(),
            registry: Registry::default(),
            timeline: Arc::default(),
            loaded: HashMap::new(),
            layout: Arc::new(Layout::default()),
            refused: HashSet::new(),
            kafka: kafka.clone(),
            missed: HashSet::new(),
        };
        // Nothing may be scored before everything that was decided earlier is known.
        while !(this.models.caught_up() && this.events.caught_up()) {
            this.poll(Duration::from_millis(50)).await?;
        }
        Ok(this)
    }

    /// Takes what is new.
    pub(crate) async fn poll(&mut self, wait: Duration) -> Result<()> {
        for record in self.models.next(64, wait).await? {
            self.registry.take(record);
        }
        for record in self.events.next(256, wait).await? {
            Arc::make_mut(&mut self.timeline).take_bytes(record.payload.as_deref());
        }
        Ok(())
    }

    /// The version that the alias wants, once it is loaded and checked. A version that can't be used is refused once.
    pub(crate) async fn wanted(&mut self, crew: &Crew) -> Result<Option<Wanted>> {
        let Some(wanted) = self.registry.alias(&self.alias) else { return Ok(None) };
        Ok(self.load(&wanted.version, crew).await?.then_some(wanted))
    }

    /// The version that a challenger's alias wants, once it is loaded and checked; none where it is the champion's.
    pub(crate) async fn challenger(&mut self, alias: &str, crew: &Crew) -> Result<Option<String>> {
        let champion = self.registry.alias(&self.alias).map(|wanted| wanted.version);
        let Some(wanted) = self.registry.alias(alias).filter(|wanted| Some(&wanted.version) != champion.as_ref())
        else {
            return Ok(None);
        };
        Ok(self.load(&wanted.version, crew).await?.then_some(wanted.version))
    }

    /// Whether a version is loaded, now or from before.
    pub(crate) async fn load(&mut self, version: &str, crew: &Crew) -> Result<bool> {
        if self.loaded.contains_key(version) {
            return Ok(true);
        }
        // The alias comes after version and artefact, but on its own it says nothing: wait for them.
        if self.refused.contains(version) || !self.registry.knows(version) {
            return Ok(false);
        }
        if self.registry.artifact(version).is_none() && self.missed.contains(version) {
            return Ok(false);
        }
        let Some(artifact) = self.registry.find_artifact(&self.kafka, version).await? else {
            tracing::error!(version, "its artefact is not on models: `motorcade models register FILE` brings it back");
            metrics::model_refused();
            self.missed.insert(version.to_owned());
            return Ok(false);
        };
        match crew.load(version, &artifact).await {
            Ok(layout) => {
                tracing::info!(version, "model loaded");
                self.loaded.insert(version.to_owned(), layout);
                Ok(true)
            }
            Err(error) => {
                tracing::error!(version, error = format!("{error:#}"), "model refused");
                metrics::model_refused();
                self.refused.insert(version.to_owned());
                Ok(false)
            }
        }
    }

    /// Loads what scores a partition from an offset on.
    pub(crate) async fn load_from(&mut self, partition: i32, offset: i64, crew: &Crew) -> Result<()> {
        for version in self.timeline.from(partition, offset) {
            self.load(&version, crew).await?;
        }
        Ok(())
    }

    /// Every layout that windows may have; the catalogue's first.
    pub(crate) fn layouts(&self) -> Vec<Arc<Layout>> {
        std::iter::once(&self.layout).chain(self.loaded.values()).cloned().collect()
    }

    /// Publishes where a version begins on partitions that have no point for it and this move of the alias yet, and
    /// reads them back: the first point in the log counts, whoever wrote it.
    pub(crate) async fn switch(&mut self, wanted: &Wanted, lanes: &[(i32, i64)], producer: &Producer) -> Result<()> {
        let Wanted { version, since } = wanted;
        let open: Vec<_> =
            lanes.iter().filter(|(partition, _)| self.timeline.point(*partition, wanted).is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        for (partition, offset) in &open {
            let event = ModelEvent::SwitchPoint {
                partition: *partition,
                offset: *offset,
                version: version.clone(),
                since: Some(*since),
            };
            producer.send(OutRecord::new(MODEL_EVENTS, version.as_str(), serde_json::to_vec(&event)?)).await?;
        }
        producer.flush().await.context("publish switch points")?;
        let started = Instant::now();
        while open.iter().any(|(partition, _)| self.timeline.point(*partition, wanted).is_none()) {
            if started.elapsed() > READ_BACK {
                bail!("switch points for {version} did not come back on {MODEL_EVENTS}");
            }
            self.poll(Duration::from_millis(20)).await?;
        }
        for (partition, next) in open {
            let point = self.timeline.point(*partition, wanted).unwrap_or(*next);
            tracing::info!(partition, point, version, "switch point");
            if point < *next {
                tracing::warn!(partition, point, next, version, "another scorer switched earlier than this one read");
            }
        }
        metrics::switched();
        Ok(())
    }
}
