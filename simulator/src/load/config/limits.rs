//! How long and how much a load may take at most.

use service::Error;

use super::Config;
use crate::load::search::MOST_RATE;

/// No time is longer, ms: a week. Beyond it µs and seqs would not fit.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

impl Config {
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
            ("snapshot-ms", self.snapshot_ms),
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
