//! `motorcade models train|list|show`.

use std::{collections::BTreeMap, io::Write};

use cloud_log::{KafkaConfig, Producer};
use serde_json::json;
use service::Error;
use telemetry::{UnixMillis, event::Registry};

use crate::{Fitting, fit, publish, registry, replay, replay::Range};

/// Train once on recorded history.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// How to fit.
    #[command(flatten)]
    pub fitting: Fitting,
    /// Event time to begin with, ms since the epoch.
    #[arg(long, value_name = "MS", conflicts_with = "offsets")]
    pub from: Option<UnixMillis>,
    /// Event time to end before, ms since the epoch.
    #[arg(long, value_name = "MS", conflicts_with = "offsets")]
    pub to: Option<UnixMillis>,
    /// Exact offsets instead, `PARTITION:FROM-TO[,…]`; TO is exclusive.
    #[arg(long, value_name = "P:FROM-TO")]
    pub offsets: Option<String>,
    /// Publish the model and move the alias to it.
    #[arg(long)]
    pub publish: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// List the versions.
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Show one version's card.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version or alias.
    #[arg(default_value = "champion")]
    pub model: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl TrainArgs {
    fn range(&self) -> Result<Range, Error> {
        match &self.offsets {
            Some(text) => parse_offsets(text)
                .map(Range::Offsets)
                .ok_or_else(|| Error::Usage { flag: "offsets", detail: format!("{text:?} is not P:FROM-TO[,…]") }),
            None => {
                Ok(Range::Time { from: self.from.unwrap_or(UnixMillis::MIN), to: self.to.unwrap_or(UnixMillis::MAX) })
            }
        }
    }
}

fn parse_offsets(text: &str) -> Option<BTreeMap<i32, std::ops::Range<i64>>> {
    let one = |part: &str| {
        let (partition, range) = part.split_once(':')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
        (from < to).then_some((partition.parse().ok()?, from..to))
    };
    text.split(',').map(one).collect()
}

/// Runs `models train`.
///
/// # Errors
/// [`Error::VerdictFailed`] if the model was refused.
pub async fn run_train(args: TrainArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    args.fitting.validate()?;
    let range = args.range()?;
    let replayed = replay::replay(&args.kafka, &range, args.fitting.max_records).await?;
    let records = replayed.history.records();
    let trained = fit(replayed, &args.fitting).await?;
    if args.publish {
        let producer = Producer::connect(&args.kafka).await?;
        publish::publish(&producer, &args.kafka, &trained, &args.fitting.alias, "models train").await?;
    }
    let calibration = &trained.card.calibration;
    let published = args.publish;
    if args.json {
        let card = &trained.card;
        return print(
            &json!({"version": trained.version, "published": published, "records": records, "card": card}).to_string(),
        );
    }
    print(&format!(
        "{} {}: {records} records, {} alarms in {:.1} held-out vehicle-hours",
        trained.version,
        if published { "published" } else { "trained" },
        calibration.held_out_alarms,
        calibration.held_out_hours
    ))
}

/// Runs `models list`.
///
/// # Errors
/// If Kafka can't be reached.
pub async fn run_list(args: ListArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let mut versions: Vec<_> = registry.versions.values().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.time));
    if args.json {
        let rows = versions.iter().map(|version| {
            let aliases = aliases(&registry, &version.version);
            json!({"version": version.version, "detector": version.detector, "artifact": version.artifact,
                "time": version.time, "aliases": aliases})
        });
        return print(&serde_json::Value::Array(rows.collect()).to_string());
    }
    for version in versions {
        print(&format!("{}  {}", version.version, aliases(&registry, &version.version).join(" ")))?;
    }
    Ok(())
}

fn aliases<'a>(registry: &'a Registry, version: &str) -> Vec<&'a str> {
    registry.aliases.iter().filter(|(_, alias)| alias.version == version).map(|(name, _)| name.as_str()).collect()
}

/// Runs `models show`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such model.
pub async fn run_show(args: ShowArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let name = registry.aliases.get(&args.model).map_or(&args.model, |alias| &alias.version);
    let version = registry.versions.get(name);
    let version = version.ok_or_else(|| Error::BadInput(format!("no version or alias {:?}", args.model)))?;
    let text = if args.json { serde_json::to_string(version) } else { serde_json::to_string_pretty(version) };
    print(&text.map_err(anyhow::Error::from)?)
}

fn print(line: &str) -> Result<(), Error> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| Error::Internal(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_or_refused_whole() {
        assert_eq!(parse_offsets("0:5-10,3:0-7"), Some(BTreeMap::from([(0, 5..10), (3, 0..7)])));
        for bad in ["", "0", "0:5", "0:10-5", "x:1-2", "0:1-2,"] {
            assert_eq!(parse_offsets(bad), None, "{bad:?}");
        }
    }
}
