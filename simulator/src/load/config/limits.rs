//! How long and how much a load may take at most, and when it has no use for a time.

use service::Error;

use super::Config;
use crate::load::{payload::Form, search::MOST_RATE};

/// No time is longer, ms: a week. Beyond it µs and seqs would not fit.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

impl Config {
    /// Checks that --snapshot-ms says something, where it is given. Who sets it to 0 turns off what a scenario has.
    pub(super) fn check_snapshots(&self) -> Result<(), Error> {
        let usage = |detail: &str| Err(Error::Usage { flag: "snapshot-ms", detail: detail.to_owned() });
        match (self.snapshot_ms, self.payload) {
            (None, _) => Ok(()),
            (Some(0), Form::OnChange) => usage("must be above 0"),
            (Some(_), Form::OnChange) if self.blast => {
                usage("says nothing without --rate or --interval-ms: in a blast a full record comes every 100 readings")
            }
            (Some(0), _) | (Some(_), Form::OnChange) => Ok(()),
            (Some(_), _) => usage("says nothing without --payload on-change"),
        }
    }

    /// Checks what is multiplied later, so that nothing overflows.
    pub(super) fn check_limits(&self) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        if self.rate.is_some_and(|rate| rate > MOST_RATE) {
            return usage("rate", format!("is above {MOST_RATE}"));
        }
        for (flag, ms) in [
            ("duration-ms", self.duration_ms),
            ("drain-ms", self.drain_ms),
            ("stop-drain-ms", self.stop_drain_ms),
            ("ramp-ms", self.ramp_ms),
            ("interval-ms", self.interval_ms.unwrap_or(0)),
            ("snapshot-ms", self.snapshot_ms()),
            ("attempt-ms", self.attempt_ms),
            ("reconnect-ms", self.reconnect_ms),
            ("resend-ms", self.resend_ms),
            ("probe-ms", self.probe_ms),
            ("refused-ms", self.refused_ms),
        ] {
            if ms > LONGEST_MS {
                return usage(flag, "is above a week".into());
            }
        }
        Ok(())
    }
}
