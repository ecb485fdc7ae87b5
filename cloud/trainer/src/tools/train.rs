//! `motorcade models train`: train once on recorded history.

use std::{collections::BTreeMap, path::PathBuf};

use cloud_log::{KafkaConfig, Producer};
use serde_json::json;
use service::Error;
use telemetry::UnixMillis;

use super::print;
use crate::{
    Fitting, fit, publish, replay,
    replay::{Range, Spooling},
};

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
    /// Folder that replayed history is spooled to, a hundred bytes or so a record; it stays, and an interrupted replay of
    /// the same range goes on there. Without it: a temporary folder, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Publish the model and move the alias to it.
    #[arg(long)]
    pub publish: bool,
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
    let spooling = Spooling { folder: args.spool.clone(), most: None };
    let replayed = replay::replay(&args.kafka, &range, &spooling).await?;
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
