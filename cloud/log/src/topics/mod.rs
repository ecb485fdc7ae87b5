//! Holds the cluster to the topic table of the contract.
use service::Error;

use crate::KafkaConfig;

/// Flags of `topics plan`.
#[derive(clap::Args, Debug, Clone)]
pub struct PlanArgs {
    #[command(flatten)]
    kafka: KafkaConfig,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Flags of `topics apply`.
#[derive(clap::Args, Debug, Clone)]
pub struct ApplyArgs {
    #[command(flatten)]
    kafka: KafkaConfig,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints what `apply` would do.
pub async fn run_plan(_args: PlanArgs) -> Result<(), Error> {
    todo!()
}

/// Creates and alters.
pub async fn run_apply(_args: ApplyArgs) -> Result<(), Error> {
    todo!()
}
