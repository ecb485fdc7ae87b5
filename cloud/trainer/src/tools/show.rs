//! `motorcade models show`: one version with its card.

use cloud_log::KafkaConfig;
use service::Error;

use super::print;
use crate::{alias::resolve, registry};

/// Show one version's card.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version or alias.
    #[arg(default_value = "champion")]
    pub model: String,
    /// Print JSON in one line.
    #[arg(long)]
    pub json: bool,
}

/// Runs `models show`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such model.
pub async fn run_show(args: ShowArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let version = resolve(&registry, &args.model).map_err(Error::BadInput)?;
    let text = if args.json { serde_json::to_string(version) } else { serde_json::to_string_pretty(version) };
    print(&text.map_err(anyhow::Error::from)?)
}
