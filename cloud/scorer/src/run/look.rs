//! What the scorer sees of the registry, and tells of a challenger.

use std::time::{Duration, Instant};

use anyhow::Result;
use cloud_log::OutRecord;
use telemetry::{event::ModelEvent, kafka_topic::MODEL_EVENTS};

use super::Scorer;
use crate::shadow::ShadowCounts;

/// The challenger in the shadow, and what is not told of it yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    version: Option<String>,
    pub(super) counts: ShadowCounts,
    /// When it was last told, ms since the start.
    pub(super) at: u64,
}

impl Scorer {
    /// Looks at the registry, and switches where the alias has moved.
    pub(super) async fn look(&mut self) -> Result<()> {
        self.models.poll(Duration::from_millis(1)).await?;
        self.looked = Some(Instant::now());
        self.look_for_challenger().await?;
        if let Some(wanted) = self.models.wanted(&self.crew).await? {
            let timeline = &self.models.timeline;
            let lanes = self.next.iter().map(|(partition, next)| {
                let end = self.ends.get(partition).copied().unwrap_or_default();
                (*partition, timeline.may_switch_at(*partition, *next, end))
            });
            let lanes: Vec<_> = lanes.collect();
            self.models.switch(&wanted, &lanes, &self.producer).await?;
        }
        Ok(())
    }

    async fn look_for_challenger(&mut self) -> Result<()> {
        if self.config.shadow_share == 0.0 {
            return Ok(());
        }
        let challenger = self.models.challenger(&self.config.shadow_alias, &self.crew).await?;
        if challenger != self.shadow.version {
            self.tell_of_shadow().await?;
            tracing::info!(challenger, share = self.config.shadow_share, "in the shadow");
            self.crew.shadow(challenger.as_deref().map(|version| (version, self.config.shadow_share)))?;
            self.shadow.version = challenger;
        }
        Ok(())
    }

    /// Publishes what the challenger would have done since the last time.
    pub(super) async fn tell_of_shadow(&mut self) -> Result<()> {
        let now = self.now();
        let lasted_ms = now - std::mem::replace(&mut self.shadow.at, now);
        let ShadowCounts { scored, alerts, champion_alerts, failed } = std::mem::take(&mut self.shadow.counts);
        let Some(version) = self.shadow.version.clone().filter(|_| scored + failed > 0) else { return Ok(()) };
        let alias = self.config.shadow_alias.clone();
        let key = version.clone();
        let event = ModelEvent::Shadow { alias, version, lasted_ms, scored, alerts, champion_alerts, failed };
        self.producer.send(OutRecord::new(MODEL_EVENTS, key, serde_json::to_vec(&event)?)).await
    }
}
