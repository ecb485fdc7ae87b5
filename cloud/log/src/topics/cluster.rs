//! The cluster's side of the topic table: what is there, and changing it.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    error::RDKafkaErrorCode,
};
use service::Error;
use telemetry::kafka_topic::KafkaTopic;

use super::plan::{Action, Seen, SeenTopic, Step};
use crate::{
    KafkaConfig,
    client::{self, Quiet, REQUEST_TIMEOUT},
};

pub(super) struct Cluster {
    admin: Arc<AdminClient<Quiet>>,
}

impl Cluster {
    pub(super) async fn connect(kafka: &KafkaConfig) -> Result<Self, Error> {
        kafka.validate()?;
        let admin: AdminClient<Quiet> = client::base(kafka)
            .create_with_context(Quiet)
            .map_err(|error| anyhow!(error).context("create a Kafka client"))?;
        let admin = Arc::new(admin);
        let (asked, kafka) = (Arc::clone(&admin), kafka.clone());
        client::blocking(move || client::reach(asked.inner(), &kafka, &[])).await??;
        Ok(Self { admin })
    }

    pub(super) async fn observe(&self, table: &'static [KafkaTopic]) -> Result<Seen> {
        let admin = Arc::clone(&self.admin);
        let metadata = client::blocking(move || admin.inner().fetch_metadata(None, REQUEST_TIMEOUT))
            .await?
            .context("ask for the topics")?;
        let mut seen = Seen { brokers: metadata.brokers().len(), topics: BTreeMap::new() };
        for found in metadata.topics().iter().filter(|found| found.error().is_none()) {
            if table.iter().any(|topic| topic.name == found.name()) {
                let replicas = found.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or_default();
                let there = SeenTopic { partitions: found.partitions().len(), replicas, ..SeenTopic::default() };
                seen.topics.insert(found.name().to_owned(), there);
            }
        }
        let names: Vec<_> = seen.topics.keys().cloned().collect();
        if names.is_empty() {
            return Ok(seen);
        }
        let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers = self.admin.describe_configs(&asked, &options()).await.context("ask for the topics' configs")?;
        for (name, answer) in names.iter().zip(answers) {
            let answer = answer.map_err(|code| anyhow!("configs of {name}: {code}"))?;
            let Some(there) = seen.topics.get_mut(name) else { continue };
            for entry in answer.entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::DynamicTopic {
                    there.own.insert(entry.name.clone(), value.clone());
                }
                there.configs.insert(entry.name, value);
            }
        }
        Ok(seen)
    }

    pub(super) async fn carry_out(&self, step: &Step, seen: &Seen) -> Result<()> {
        let name = step.kafka_topic.as_str();
        match &step.action {
            Action::Keep => Ok(()),
            Action::Create { partitions, replicas, configs } => {
                self.create(name, *partitions, *replicas, configs).await
            }
            Action::Alter { configs } | Action::Refuse { configs, .. } => self.alter(name, configs, seen).await,
            Action::Grow { to, configs, .. } => {
                let grown = [NewPartitions::new(name, *to)];
                let answers = self.admin.create_partitions(&grown, &options()).await;
                accept(name, "add partitions", answers?)?;
                self.alter(name, configs, seen).await
            }
        }
    }

    async fn create(
        &self,
        name: &str,
        partitions: usize,
        replicas: usize,
        configs: &BTreeMap<String, String>,
    ) -> Result<()> {
        let partitions = i32::try_from(partitions).context("number of partitions")?;
        let replicas = i32::try_from(replicas).context("number of replicas")?;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        accept(name, "create", self.admin.create_topics([&topic], &options()).await?)
    }

    async fn alter(&self, name: &str, configs: &BTreeMap<String, (Option<String>, String)>, seen: &Seen) -> Result<()> {
        if configs.is_empty() {
            return Ok(());
        }
        // The request replaces everything that was set for the topic.
        let mut wanted = seen.topics.get(name).map(|there| there.own.clone()).unwrap_or_default();
        wanted.extend(configs.iter().map(|(key, (_, value))| (key.clone(), value.clone())));
        let mut request = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in &wanted {
            request = request.set(key, value);
        }
        for answer in self.admin.alter_configs([&request], &options()).await? {
            if let Err((_, code)) = answer {
                bail!("alter {name}: {code}");
            }
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT * 3)).operation_timeout(Some(REQUEST_TIMEOUT * 3))
}

/// Somebody else may have created it at the same moment; a second run would tell if it differs.
fn accept(name: &str, what: &str, answers: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<()> {
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => bail!("{what} {name}: {code}"),
        }
    }
    Ok(())
}
