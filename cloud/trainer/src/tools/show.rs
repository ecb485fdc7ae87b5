//! `motorcade models show`: one version, as `compare` shows it, or its whole card.

use cloud_log::KafkaConfig;
use service::Error;

use super::{compare::summary, print};
use crate::{alias::resolve, evidence::Evidence, registry};

/// Show one version: its figures, or with `--json` its whole card.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version or alias.
    #[arg(default_value = "champion")]
    pub model: String,
    /// Print JSON in one line, with the whole card.
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
    if args.json {
        return print(&serde_json::to_string(version).map_err(anyhow::Error::from)?);
    }
    summary(&registry, version).iter().try_for_each(|line| print(line))?;
    let Some(evidence) = Evidence::of_card(&version.card) else { return Ok(()) };
    print(&evidence.told())?;
    evidence.warnings().try_for_each(|line| print(&line))
}
