//! Watching for drift: the scores of the aliased model beside the readings, and what is found as events.
//!
//! It begins with the scores that come after its start: what was found before stands on `model-events`.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use cloud_log::{History, KafkaConfig, Producer, Tail, TailFrom};
use detector::{Card, drift::Watch};
use service::Error;
use telemetry::{
    Record, UnixMillis,
    event::{Drift, ModelEvent, Score},
    kafka_topic,
};

use crate::{metrics, publish, registry};

/// Scores taken from Kafka at once.
const TAKE: usize = 4_096;
/// The registry, which holds whole artefacts, is read for a new version at most so often.
const LOOK: Duration = Duration::from_secs(5);

/// Watches the model that an alias names.
#[derive(Debug)]
pub(crate) struct DriftWatch {
    kafka: KafkaConfig,
    scores: Tail,
    alias: String,
    every_ms: i64,
    watch: Option<Watch>,
    looked: Option<Instant>,
}

impl DriftWatch {
    pub(crate) async fn open(kafka: &KafkaConfig, alias: &str, every_ms: i64) -> Result<Self, Error> {
        let ends = History::watermarks(kafka, kafka_topic::SCORES).await?.into_iter();
        let ends = ends.map(|(partition, (_, end))| (partition, end)).collect();
        let scores = Tail::open(kafka, kafka_topic::SCORES, TailFrom::Offsets(ends)).await?;
        Ok(Self { kafka: kafka.clone(), scores, alias: alias.to_owned(), every_ms, watch: None, looked: None })
    }

    /// Takes in a reading of this partition with its window time, ms.
    pub(crate) fn reading(&mut self, partition: i32, record: &Record, time: UnixMillis) {
        if let Some(watch) = &mut self.watch {
            watch.reading(partition, record, time);
        }
    }

    /// Takes in the scores that are there, and publishes what they close. Where some of that asks for a new model, the event
    /// time since which there have been signs, ms.
    pub(crate) async fn look(&mut self, producer: &Producer) -> Result<Option<UnixMillis>, Error> {
        let mut asked = None;
        for record in self.scores.next(TAKE, Duration::from_millis(1)).await? {
            let payload = record.payload.as_deref().unwrap_or_default();
            let Ok(score) = serde_json::from_slice::<Score>(payload) else {
                tracing::warn!(record.partition, record.offset, "an unreadable score");
                metrics::unreadable_score();
                continue;
            };
            if self.watch.as_ref().is_none_or(|watch| watch.version() != score.model) {
                self.follow(&score.model).await?;
            }
            let Some(watch) = &mut self.watch else { continue };
            let Some(drift) = watch.score(&score) else { continue };
            // Scores may close several whiles at once; the later ones may have nothing to ask for.
            asked = if drift.asks_for_training { watch.onset() } else { asked };
            tell(drift, producer).await?;
        }
        Ok(asked)
    }

    /// Watches this version if it is what the alias names.
    async fn follow(&mut self, version: &str) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let registry = registry::read(&self.kafka).await?;
        let named = registry.aliases.get(&self.alias).is_some_and(|alias| alias.version == version);
        let Some(entry) = registry.versions.get(version).filter(|_| named) else { return Ok(()) };
        let card = serde_json::from_value::<Card>(entry.card.clone()).map_err(|error| error.to_string());
        match card.and_then(|card| Watch::new(version, &card, self.every_ms).map_err(|error| error.to_string())) {
            Ok(watch) => {
                tracing::info!(version, "watching for drift");
                self.watch = Some(watch);
            }
            Err(error) => tracing::warn!(version, error, "its drift can't be watched"),
        }
        Ok(())
    }
}

/// On `model-events`, in the metrics, and as a line for whoever reads our output.
async fn tell(drift: Drift, producer: &Producer) -> Result<(), Error> {
    metrics::drift(&drift);
    tracing::info!(
        version = drift.version,
        from = drift.from,
        to = drift.to,
        alarms = drift.alarms,
        promised = drift.promised_alarms,
        scores_psi = drift.scores_psi,
        signs = ?drift.signs,
        "drift was measured"
    );
    let event = ModelEvent::Drift(drift);
    // Whoever reads our output may have gone.
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&event).map_err(anyhow::Error::from)?).ok();
    let ModelEvent::Drift(drift) = &event else { return Ok(()) };
    publish::tell(producer, &drift.version, &event).await
}
