//! Time as the log tells it. Nothing here reads a clock: lateness and skew are judged from log values alone.

/// Milliseconds since the Unix epoch, UTC.
pub type UnixMillis = i64;

/// Event times further ahead of their ingest time than this are not believed.
pub const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;

/// The earliest event time that a record may carry: 2000-01-01T00:00:00Z, before any connected vehicle.
pub const EARLIEST: UnixMillis = 946_684_800_000;

/// The latest event time that a record may carry: 2100-01-01T00:00:00Z.
pub const LATEST: UnixMillis = 4_102_444_800_000;

/// The time by which windows order a record, and whether the vehicle's clock was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowTime {
    /// Event time, or ingest time where the clock was not believed; ms since the epoch.
    pub time: UnixMillis,
    /// The event time lay more than [`MAX_AHEAD_MS`] after the ingest time.
    pub flagged: bool,
}

/// Judges a record's event time against its ingest time (the Kafka timestamp), both in ms since the epoch.
///
/// Every role uses this one function, so that replay judges exactly as live does.
pub fn window_time(event_time: UnixMillis, ingest_time: UnixMillis) -> WindowTime {
    let flagged = event_time.saturating_sub(ingest_time) > MAX_AHEAD_MS;
    WindowTime { time: if flagged { ingest_time } else { event_time }, flagged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_far_ahead_is_not_believed() {
        let ingest = 1_700_000_000_000;
        for (event, expected, flagged) in [
            (ingest, ingest, false),
            (ingest - 86_400_000, ingest - 86_400_000, false),
            (ingest + MAX_AHEAD_MS, ingest + MAX_AHEAD_MS, false),
            (ingest + MAX_AHEAD_MS + 1, ingest, true),
            (i64::MAX, ingest, true),
        ] {
            assert_eq!(window_time(event, ingest), WindowTime { time: expected, flagged });
        }
    }
}
