//! `motorcade models rollback`: moves an alias back to where it stood before.

use cloud_log::KafkaConfig;
use service::Error;

use super::moving::{Moving, make, tell};
use crate::{alias::rollback, publish::now_ms, registry};

/// Move an alias back to the version that it pointed to before; a second time undoes the first.
#[derive(Debug, Clone, clap::Args)]
pub struct RollbackArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The alias, and why.
    #[command(flatten)]
    pub moving: Moving,
}

impl RollbackArgs {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        self.moving.validate()
    }
}

/// Runs `models rollback`.
///
/// # Errors
/// [`Error::BadInput`] if there is nothing to go back to or it does not load here.
pub async fn run_rollback(args: RollbackArgs) -> Result<(), Error> {
    args.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let moved =
        rollback(&registry, &args.moving.alias, args.moving.reason.as_deref(), now_ms()).map_err(Error::BadInput)?;
    // It was promoted before, and an emergency is no time for a refusal.
    make(&args.kafka, &registry, &moved, |_| Ok(())).await?;
    tell(args.moving.json, &moved)
}
