//! Which of two edges with one client id may use it. Pure: the clock is an argument.
//!
//! The active one keeps its name in the retained message `edge/{id}/active` and says it again every two seconds; its
//! will clears it. The other one reads that message on a connection of its own, and stays off the client id while
//! another name stands there and is said. The will alone is too slow for one that stands still or was cut off: a broker
//! waits for one and a half keep-alives, and mosquitto looks only every five seconds.
//! mosquitto 2.0.11 tells nobody that a session was taken over (only the end of the connection), so whoever lost
//! its connection asks this message, too, before it connects again: two edges never kick each other in turn.

use std::time::{Duration, Instant};

use service::Backoff;

/// How long the name must have been gone before one that was not active takes over: the active one, whose
/// connection broke with the broker's restart, is quicker.
const PAUSE: Duration = Duration::from_millis(750);
/// And a draw up to this, so that two that start together differ.
const SPREAD: Duration = Duration::from_millis(750);
/// How often the active one says its name.
const SAID_EVERY: Duration = Duration::from_secs(2);
/// How soon it says it again where it has been overwritten.
const SAID_AGAIN: Duration = Duration::from_millis(500);
/// What [`Standby::other`] calls one whose name is not known.
const UNNAMED: &str = "unnamed";
/// A name that was not said for this time is that of nobody: two were missed.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Who has been without a connection for this time leaves the commands to whoever has one. A broker that is restarted
/// takes less, and the group that reads them needs seconds to change.
const CUT_OFF_AFTER: Duration = Duration::from_secs(3);

/// What the retained message says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// Not heard yet, or not any more.
    Unknown,
    /// Nobody, since.
    Nobody(Instant),
    /// This one.
    Us,
    /// Another, whose name was last said at.
    Other { name: String, said_at: Instant },
    /// Another, which has connected with the client id at, and has not said its name.
    Unnamed(Instant),
    /// Another, which says nothing any more.
    Silent,
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
    /// Since when we are not connected, though we were or have tried.
    lost_at: Option<Instant>,
    /// When we said our name.
    said_at: Option<Instant>,
    pause: Duration,
}

impl Standby {
    /// `instance` names this process, among all that may ever use the client id.
    pub(crate) fn new(instance: String) -> Self {
        let pause = PAUSE + Backoff::new(SPREAD, SPREAD).next();
        Self {
            instance,
            holder: Holder::Unknown,
            heard: false,
            active: false,
            was_active: false,
            lost_at: None,
            said_at: None,
            pause,
        }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The retained message, or its change.
    pub(crate) fn reads(&mut self, payload: &[u8], now: Instant) {
        // Our own name and our own will, on their way while the other one took our place, are no news of it.
        let is_unnamed = matches!(self.holder, Holder::Unnamed(_));
        self.holder = match String::from_utf8_lossy(payload) {
            name if is_unnamed && (name.is_empty() || name == self.instance) => return,
            name if name.is_empty() => Holder::Nobody(now),
            name if name == self.instance => Holder::Us,
            name => Holder::Other { name: name.into_owned(), said_at: now },
        };
    }

    /// The broker has answered a ping: everything that was there before it has been read, what is retained and what
    /// was said. So an edge that stood still itself does not mistake its own silence for the other's.
    pub(crate) fn has_heard(&mut self, now: Instant) {
        self.heard = true;
        match &self.holder {
            Holder::Unknown => self.holder = Holder::Nobody(now),
            Holder::Other { said_at, .. } | Holder::Unnamed(said_at)
                if now.duration_since(*said_at) >= SILENT_AFTER =>
            {
                self.holder = Holder::Silent;
            }
            _ => {}
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
        self.lost_at = None;
    }

    /// We are not any more, or could not be. Whose name was read last may be old: another's may be on its way, so the
    /// broker has to be asked once more ([`Standby::has_heard`]).
    pub(crate) fn lost(&mut self, now: Instant) {
        self.heard &= !self.active;
        self.was_active |= self.active;
        self.active = false;
        self.lost_at.get_or_insert(now);
    }

    /// The broker says that another has connected with the client id. It counts as active from now on, before its name
    /// is read, and until it has been silent for too long.
    pub(crate) fn taken_over(&mut self, now: Instant) {
        self.lost(now);
        self.was_active = false;
        if !matches!(self.holder, Holder::Other { .. }) {
            self.holder = Holder::Unnamed(now);
        }
    }

    /// Whether we have been without a connection for so long that another may be active, and not be heard of: whoever
    /// can't reach the broker may well reach Kafka.
    pub(crate) fn is_cut_off(&self, now: Instant) -> bool {
        self.lost_at.is_some_and(|at| now.duration_since(at) >= CUT_OFF_AFTER)
    }

    /// Whether the client id may be used.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        if self.active {
            return true;
        }
        self.heard
            && match &self.holder {
                Holder::Unknown | Holder::Other { .. } | Holder::Unnamed(_) => false,
                Holder::Us | Holder::Silent => true,
                Holder::Nobody(since) => self.was_active || now.duration_since(*since) >= self.pause,
            }
    }

    /// Whether our name has to be said now: we are active, and nobody else is as far as we know. Who holds the client
    /// id need not hear to say so: were it silent when only its other connection is gone, the other edge would take
    /// the session of a healthy one.
    pub(crate) fn must_say(&self, now: Instant) -> bool {
        let since = self.said_at.map(|at| now.duration_since(at));
        self.active
            && match &self.holder {
                Holder::Nobody(_) | Holder::Silent => since.is_none_or(|since| since >= SAID_AGAIN),
                Holder::Us | Holder::Unknown => since.is_none_or(|since| since >= SAID_EVERY),
                Holder::Other { .. } | Holder::Unnamed(_) => false,
            }
    }

    /// Our name is on its way.
    pub(crate) fn said(&mut self, now: Instant) {
        self.said_at = Some(now);
    }

    /// Who is active, if it is another.
    pub(crate) fn other(&mut self) -> Option<&str> {
        match &self.holder {
            Holder::Other { name, .. } => {
                // From now on it is the other's turn: should it go, we wait as anybody.
                self.was_active = false;
                Some(name)
            }
            Holder::Unnamed(_) => Some(UNNAMED),
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
        assert!(edge.must_say(now));
        edge.said(now);
        edge.reads(b"a", now);
        assert!(!edge.must_say(now + SAID_AGAIN) && edge.must_say(now + SAID_EVERY));
        // A late will, of an earlier connection of ours.
        edge.reads(b"", now);
        assert!(!edge.must_say(now) && edge.must_say(now + SAID_AGAIN));
        // The broker restarts: everything retained is gone.
        edge.lost(now);
        edge.deaf();
        edge.has_heard(now + LONG);
        assert!(edge.may_connect(now + LONG), "at once");
        edge.connected();
        // Taken over.
        edge.reads(b"b", now + LONG);
        edge.lost(now + LONG);
        assert!(!edge.may_connect(now + 9 * LONG));
        assert_eq!(edge.other(), Some("b"));
        edge.reads(b"", now + 9 * LONG);
        assert!(!edge.may_connect(now + 9 * LONG), "not before a pause");
    }

    #[test]
    fn who_lost_its_connection_asks_again_before_it_connects() {
        let now = Instant::now();
        let lost = || {
            let mut edge = Standby::new("a".into());
            edge.has_heard(now);
            edge.connected();
            edge.said(now);
            edge.reads(b"a", now);
            edge.lost(now);
            assert!(!edge.may_connect(now), "the name of who took its place may be on its way");
            edge
        };
        let mut edge = lost();
        edge.has_heard(now);
        assert!(edge.may_connect(now), "at once, where there is none");
        // An attempt that failed is no new loss.
        edge.lost(now);
        assert!(edge.may_connect(now));
        let mut edge = lost();
        edge.reads(b"b", now);
        edge.has_heard(now);
        assert!(!edge.may_connect(now) && edge.other() == Some("b"));
    }

    #[test]
    fn who_is_active_says_so_whether_it_hears_or_not() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        assert!(!edge.must_say(now), "it is not active");
        edge.has_heard(now);
        edge.connected();
        edge.said(now);
        edge.reads(b"a", now);
        edge.deaf();
        assert!(!edge.must_say(now + SAID_AGAIN) && edge.must_say(now + SAID_EVERY));
        // It hears again, and that another has taken its place meanwhile.
        edge.reads(b"b", now);
        assert!(!edge.must_say(now + SAID_EVERY));
        edge.lost(now);
        edge.deaf();
        assert!(!edge.must_say(now + SAID_EVERY) && !edge.may_connect(now + SAID_EVERY));
    }

    #[test]
    fn a_name_that_nobody_says_any_more_is_overwritten() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        edge.reads(b"b", now);
        for second in 0..20 {
            // The other one speaks late, but it speaks.
            edge.has_heard(now + Duration::from_secs(4 * second));
            edge.reads(b"b", now + Duration::from_secs(4 * second));
            assert!(!edge.may_connect(now + Duration::from_secs(4 * second)));
        }
        let last = now + Duration::from_secs(76);
        assert!(!edge.may_connect(last + SILENT_AFTER), "the broker may be as silent as the other one");
        edge.has_heard(last + SILENT_AFTER);
        assert!(edge.may_connect(last + SILENT_AFTER));
        assert_eq!(edge.other(), None);
        edge.connected();
        assert!(edge.must_say(last + SILENT_AFTER));
        // Its will comes when it is thrown out, after our name.
        edge.said(last + SILENT_AFTER);
        edge.reads(b"a", last + SILENT_AFTER);
        edge.reads(b"", last + SILENT_AFTER);
        assert!(edge.must_say(last + SILENT_AFTER + SAID_AGAIN));
    }

    #[test]
    fn who_is_told_that_it_was_taken_over_stands_by_before_it_reads_by_whom() {
        let now = Instant::now();
        let taken_over = || {
            let mut edge = Standby::new("a".into());
            edge.has_heard(now);
            edge.connected();
            edge.said(now);
            edge.reads(b"a", now);
            edge.taken_over(now);
            edge
        };
        let mut edge = taken_over();
        assert!(!edge.may_connect(now) && !edge.must_say(now + LONG) && edge.other().is_some());
        // What it said last, and its will.
        edge.reads(b"a", now);
        edge.reads(b"", now);
        edge.has_heard(now + LONG);
        assert!(!edge.may_connect(now + LONG));
        edge.reads(b"b", now + LONG);
        assert_eq!(edge.other(), Some("b"));
        edge.reads(b"", now + 2 * LONG);
        assert!(!edge.may_connect(now + 2 * LONG) && edge.may_connect(now + 3 * LONG), "as anybody");
        // One that never says its name is not there any more.
        let mut edge = taken_over();
        edge.has_heard(now + SILENT_AFTER);
        assert!(edge.may_connect(now + SILENT_AFTER) && edge.other().is_none());
        // The name was read first.
        let mut edge = taken_over();
        edge.reads(b"b", now);
        edge.taken_over(now + LONG);
        assert_eq!(edge.other(), Some("b"));
        edge.has_heard(now + SILENT_AFTER);
        assert!(edge.may_connect(now + SILENT_AFTER), "silent since it said its name");
    }

    /// Its connection that reads the message is away, too: it does not know that the other one bridges.
    #[test]
    fn who_is_cut_off_from_the_broker_leaves_the_commands_until_it_is_back() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        assert!(!edge.is_cut_off(now + LONG), "it has not begun");
        edge.has_heard(now);
        edge.connected();
        assert!(!edge.is_cut_off(now + 9 * LONG));
        edge.lost(now);
        edge.deaf();
        assert!(!edge.is_cut_off(now + CUT_OFF_AFTER / 2), "the broker restarts");
        // Each try fails.
        edge.lost(now + CUT_OFF_AFTER / 2);
        assert!(edge.is_cut_off(now + CUT_OFF_AFTER));
        // It hears again, and may connect: that it can is not known yet.
        edge.has_heard(now + CUT_OFF_AFTER);
        assert!(edge.may_connect(now + CUT_OFF_AFTER) && edge.is_cut_off(now + CUT_OFF_AFTER));
        edge.connected();
        assert!(!edge.is_cut_off(now + 9 * CUT_OFF_AFTER));
        edge.lost(now + 9 * CUT_OFF_AFTER);
        assert!(!edge.is_cut_off(now + 9 * CUT_OFF_AFTER), "counted anew");
    }

    #[test]
    fn one_that_stood_still_itself_hears_what_was_said_meanwhile() {
        let now = Instant::now();
        let mut edge = Standby::new("a".into());
        edge.reads(b"b", now);
        edge.has_heard(now);
        let later = now + Duration::from_secs(60);
        assert!(!edge.may_connect(later));
        // Read in the order in which it came.
        edge.reads(b"b", later);
        edge.has_heard(later);
        assert!(!edge.may_connect(later));
    }
}
