//! `motorcade models promote`: moves an alias to a version.

use cloud_log::KafkaConfig;
use detector::keeps_its_promise;
use service::Error;

use super::moving::{Moving, check_reason, make, tell, tell_unmoved};
use crate::{
    alias::{promote, resolve},
    publish::now_ms,
    registry,
};

/// Move an alias to a version; scorers follow `champion`.
#[derive(Debug, Clone, clap::Args)]
pub struct PromoteArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The version, or another alias of it.
    pub version: String,
    /// Move it to a version that does not keep its promise too; the reason is kept with the alias.
    #[arg(long, value_name = "REASON", conflicts_with = "reason")]
    pub force: Option<String>,
    /// The alias, and why.
    #[command(flatten)]
    pub moving: Moving,
}

impl PromoteArgs {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        check_reason(self.force.as_deref())?;
        self.moving.validate()
    }
}

/// Runs `models promote`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such version or it does not load here, [`Error::VerdictFailed`] if it does not keep
/// its promise; the alias then stays where it is.
pub async fn run_promote(args: PromoteArgs) -> Result<(), Error> {
    args.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let version = &resolve(&registry, &args.version).map_err(Error::BadInput)?.version;
    let force = args.force.as_deref();
    let reason = force.or(args.moving.reason.as_deref()).unwrap_or("models promote");
    match promote(&registry, &args.moving.alias, version, reason, now_ms()).map_err(Error::BadInput)? {
        Some(moved) => {
            make(&args.kafka, &registry, &moved, |card| match force {
                None => keeps_its_promise(card),
                Some(_) => Ok(()),
            })
            .await?;
            tell(args.moving.json, &moved)
        }
        None => tell_unmoved(args.moving.json, &registry, &args.moving.alias),
    }
}
