//! Flags of the way down.

use std::time::Duration;

use service::Error;

/// How commands go down to vehicles.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Commands to vehicles")]
pub struct Commands {
    /// Memory for open commands, neither answered nor expired, those for vehicles of other sites among them, MiB. About
    /// 1,200 small ones fill one. Beyond it reading pauses until one is closed: those behind them in Kafka wait, and one
    /// whose life ends meanwhile is never published.
    #[arg(long, env = "MOTORCADE_EDGE_COMMANDS_MIB", value_name = "MIB", default_value_t = 64)]
    pub commands_mib: u32,
    /// A command ends this long after it came into Kafka, whatever it says of its expiry, ms.
    #[arg(long, env = "MOTORCADE_EDGE_COMMAND_MAX_AGE_MS", value_name = "MS", default_value_t = 86_400_000)]
    pub command_max_age_ms: u64,
    /// A command that its vehicle has not answered is published again after this time, ms, doubling up to an hour.
    #[arg(long, env = "MOTORCADE_EDGE_COMMAND_PAUSE_MS", value_name = "MS", default_value_t = 30_000)]
    pub command_pause_ms: u64,
}

impl Commands {
    /// Checks every value.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (flag, value) in [
            ("commands-mib", u64::from(self.commands_mib)),
            ("command-max-age-ms", self.command_max_age_ms),
            ("command-pause-ms", self.command_pause_ms),
        ] {
            if value == 0 {
                return Err(Error::Usage { flag, detail: "must be above 0".into() });
            }
        }
        Ok(())
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.command_pause_ms)
    }
}
