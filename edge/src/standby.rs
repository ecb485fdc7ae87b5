//! Which of two edges with one client id may use it. Pure: the clock is an argument.
//!
//! The active one keeps its name in the retained message `edge/{id}/active`; its will clears it. The other one
//! reads that message on a connection of its own, and stays off the client id while another name stands there.
//! mosquitto 2.0.11 tells nobody that a session was taken over (only the end of the connection), so whoever lost
//! its connection asks this message, too, before it connects again: two edges never kick each other in turn.

use std::time::{Duration, Instant};

use service::Backoff;

/// How long the name must have been gone before one that was not active takes over: the active one, whose
/// connection broke with the broker's restart, is quicker.
const PAUSE: Duration = Duration::from_millis(750);
/// And a draw up to this, so that two that start together differ.
const SPREAD: Duration = Duration::from_millis(750);

/// What the retained message says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// Not heard yet, or not any more.
    Unknown,
    /// Nobody, since.
    Nobody(Instant),
    /// This one.
    Us,
    /// Another.
    Other(String),
}

/// The decision.
#[derive(Debug)]
pub(crate) struct Standby {
    instance: String,
    holder: Holder,
    /// The answer to the subscription is complete: what did not come is not there.
    heard: bool,
    /// We are connected with the client id.
    active: bool,
    was_active: bool,
    pause: Duration,
}

impl Standby {
    /// `instance` names this process, among all that may ever use the client id.
    pub(crate) fn new(instance: String) -> Self {
        let pause = PAUSE + Backoff::new(SPREAD, SPREAD).next();
        Self { instance, holder: Holder::Unknown, heard: false, active: false, was_active: false, pause }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The retained message, or its change.
    pub(crate) fn reads(&mut self, payload: &[u8], now: Instant) {
        self.holder = match String::from_utf8_lossy(payload) {
            name if name.is_empty() => Holder::Nobody(now),
            name if name == self.instance => Holder::Us,
            name => Holder::Other(name.into_owned()),
        };
    }

    /// Everything retained has been sent.
    pub(crate) fn has_heard(&mut self, now: Instant) {
        self.heard = true;
        if self.holder == Holder::Unknown {
            self.holder = Holder::Nobody(now);
        }
    }

    /// The connection that reads the message is gone.
    pub(crate) fn deaf(&mut self) {
        self.heard = false;
        self.holder = Holder::Unknown;
    }

    /// We are connected with the client id.
    pub(crate) fn connected(&mut self) {
        self.active = true;
    }

    /// We are not any more.
    pub(crate) fn lost(&mut self) {
        self.was_active |= self.active;
        self.active = false;
    }

    /// Whether the client id may be used.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        if self.active {
            return true;
        }
        self.heard
            && match &self.holder {
                Holder::Unknown | Holder::Other(_) => false,
                Holder::Us => true,
                Holder::Nobody(since) => self.was_active || now.duration_since(*since) >= self.pause,
            }
    }

    /// Whether our name has to be written: we are active, and it does not stand there.
    pub(crate) fn must_say(&self) -> bool {
        self.active && self.heard && matches!(self.holder, Holder::Nobody(_))
    }

    /// Who is active, if it is another.
    pub(crate) fn other(&mut self) -> Option<&str> {
        match &self.holder {
            Holder::Other(name) => {
                // From now on it is the other's turn: should it go, we wait as anybody.
                self.was_active = false;
                Some(name)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(2);

    #[test]
    fn nobody_connects_before_it_has_heard() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        assert!(!edge.may_connect(now + LONG));
        edge.has_heard(now);
        assert!(!edge.may_connect(now), "the other one may be on its way");
        assert!(edge.may_connect(now + LONG));
        edge.deaf();
        assert!(!edge.may_connect(now + LONG));
    }

    #[test]
    fn another_name_keeps_us_off_until_it_is_gone() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        edge.reads(b"b", now);
        edge.has_heard(now);
        assert!(!edge.may_connect(now + LONG));
        assert_eq!(edge.other(), Some("b"));
        edge.reads(b"", now + LONG);
        assert!(!edge.may_connect(now + LONG));
        assert!(edge.may_connect(now + 2 * LONG));
    }

    #[test]
    fn who_was_active_comes_back_first_unless_another_took_over() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        edge.has_heard(now);
        edge.connected();
        assert!(edge.must_say());
        edge.reads(b"a", now);
        assert!(!edge.must_say());
        // A late will, of an earlier connection of ours.
        edge.reads(b"", now);
        assert!(edge.must_say());
        // The broker restarts: everything retained is gone.
        edge.lost();
        edge.deaf();
        edge.has_heard(now + LONG);
        assert!(edge.may_connect(now + LONG), "at once");
        edge.connected();
        // Taken over.
        edge.reads(b"b", now + LONG);
        edge.lost();
        assert!(!edge.may_connect(now + 9 * LONG));
        assert_eq!(edge.other(), Some("b"));
        edge.reads(b"", now + 9 * LONG);
        assert!(!edge.may_connect(now + 9 * LONG), "not before a pause");
    }
}
