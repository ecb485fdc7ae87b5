//! One connection that is open: when it is read, pinged and given up.

use std::time::{Duration, Instant};

use super::{DEAF, PING_EVERY, ROOM, packets, wire::Wire};
use crate::config::MAX_PACKET_BYTES;

/// After this time without a word the broker counts as dead: one and a half keep-alives, as it counts itself.
pub(super) const SILENCE: Duration = Duration::from_millis(7_500);
/// The most that is there and not decoded, bytes. What is more stays in the socket, and TCP holds the broker up.
pub(super) const UNDECODED: usize = 256 * 1024;
// Otherwise a packet might never be whole, and nothing be read any more.
const _: () = assert!(UNDECODED >= 2 * MAX_PACKET_BYTES as usize);

pub(super) struct Up {
    pub(super) wire: Wire,
    pub(super) since: Instant,
    pub(super) greeted: bool,
    /// The largest packet that the broker takes, bytes.
    pub(super) max_packet_size: u32,
    heard_at: Instant,
    listened_at: Instant,
    pub(super) pinged_at: Instant,
    /// Why nothing can be written any more: what the broker said before is heard first.
    pub(super) broken: Option<String>,
}

impl Up {
    pub(super) fn new(wire: Wire, now: Instant) -> Self {
        Self {
            wire,
            since: now,
            greeted: false,
            max_packet_size: u32::MAX,
            heard_at: now,
            listened_at: now,
            pinged_at: now,
            broken: None,
        }
    }

    /// Reads if `listen`, pings. How many bytes came, or are there where nothing was read, because enough is there.
    pub(super) fn advance(&mut self, now: Instant, listen: bool) -> Result<usize, String> {
        let mut came = 0;
        if listen {
            if now.duration_since(self.listened_at) > DEAF {
                self.heard_at = now;
            }
            self.listened_at = now;
            let undecoded = self.wire.inbox().len();
            came = match UNDECODED.saturating_sub(undecoded) {
                // The broker is not silent: it is we who do not come to what it said.
                0 => undecoded,
                room => self.wire.read(room).map_err(|error| error.to_string())?,
            };
            if came > 0 {
                self.heard_at = now;
            } else if now.duration_since(self.heard_at) > SILENCE {
                return Err(format!("the broker has been silent for {} ms", SILENCE.as_millis()));
            }
        }
        if came == 0
            && let Some(why) = self.broken.take()
        {
            return Err(why);
        }
        if now.duration_since(self.pinged_at) >= PING_EVERY {
            self.pinged_at = now;
            // One that was not written says that the socket takes nothing; the broker will notice.
            if self.greeted && self.wire.unwritten() < ROOM {
                packets::ping(self.wire.outbox());
            }
        }
        Ok(came)
    }
}
