//! How the loop rests between two steps.

use std::{
    io,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};

use super::Step;
use crate::session::DEAF;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
/// Without timers and without work: the producer's errors are looked at this often.
const LONGEST: Duration = Duration::from_secs(1);
// Otherwise a broker that fell silent would look like an edge that did not listen, and never be left.
const _: () = assert!(2 * LONGEST.as_millis() < DEAF.as_millis());
/// Beats without anything to do before waiting gets longer.
const PATIENCE: u32 = 32;
/// Then reports are looked at this often.
const SLOW: Duration = Duration::from_millis(10);
/// More than this at once, and more is likely to be there, bytes.
const PLENTY: usize = 64 * 1024;

/// Sleeps: by the beat while there is work, otherwise until the socket, a timer or a stop wakes it.
pub(super) struct Rest {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    registered: Option<(u64, RawFd)>,
    beat: Duration,
    in_vain: u32,
}

impl Rest {
    pub(super) fn new(beat: Duration) -> Result<Self, anyhow::Error> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self { poll, events: Events::with_capacity(8), waker, registered: None, beat, in_vain: 0 })
    }

    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// `socket`: the number of the connection and its socket. `at_work`: something is on its way to Kafka or to the
    /// broker.
    pub(super) fn until(
        &mut self,
        wake_at: Option<Instant>,
        now: Instant,
        socket: Option<(u64, RawFd)>,
        step: &Step,
        at_work: bool,
    ) {
        if step.came >= PLENTY {
            return;
        }
        self.in_vain = if step.worked { 0 } else { self.in_vain.saturating_add(1) };
        let left = wake_at.map_or(LONGEST, |at| at.saturating_duration_since(now).min(LONGEST));
        if at_work && self.in_vain < PATIENCE {
            // Deliberately not woken by the socket.
            return std::thread::sleep(self.beat.min(left));
        }
        if self.wait(socket, if at_work { left.min(SLOW) } else { left }).is_err() {
            std::thread::sleep(self.beat);
        }
    }

    fn wait(&mut self, socket: Option<(u64, RawFd)>, timeout: Duration) -> io::Result<()> {
        if self.registered != socket {
            // The old socket is closed, and left the poll by that.
            self.registered = None;
            if let Some((_, fd)) = socket {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut SourceFd(&fd), SOCKET, interest)?;
            }
            self.registered = socket;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }
}
