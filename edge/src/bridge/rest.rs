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
/// Messages that a beat should gather: Kafka gets a request per partition and beat, and a request costs more than
/// a message.
const GATHER: f64 = 35.0;
/// How much longer than the shortest a beat gets for that: at the default of 3.5 ms, 7 ms from 7,000 messages/s down.
const STRETCH: f64 = 2.0;
/// Over this time the rate of arrivals is smoothed, s.
const MEMORY: f64 = 0.1;

/// How long to sleep between two looks while there is work.
#[derive(Debug)]
struct Beat {
    shortest: Duration,
    /// Messages/s.
    rate: f64,
    last: Instant,
}

impl Beat {
    fn new(shortest: Duration, now: Instant) -> Self {
        Self { shortest, rate: 0.0, last: now }
    }

    /// `arrived`: messages since the last call.
    fn see(&mut self, arrived: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.last).as_secs_f64() / MEMORY;
        self.last = now;
        let kept = (-passed).exp();
        // They came evenly since the last call, and the earlier ones have faded already. After next to no time: all at once.
        let fresh = if passed > 1e-6 { (1.0 - kept) / passed } else { 1.0 };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 messages")]
        let arrived = arrived as f64;
        self.rate = self.rate * kept + arrived * fresh / MEMORY;
    }

    fn length(&self) -> Duration {
        let shortest = self.shortest.as_secs_f64();
        // The square: where few gather, requests are most of the cost, and there is CPU to save rather than to lack. A
        // rate of zero asks for an endless beat, and gets the longest.
        let lacking = GATHER / (self.rate * shortest);
        Duration::from_secs_f64((lacking * lacking).clamp(1.0, STRETCH) * shortest)
    }
}

/// Sleeps: by the beat while there is work, otherwise until the socket, a timer or a stop wakes it.
pub(super) struct Rest {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    registered: Option<(u64, RawFd)>,
    beat: Beat,
    in_vain: u32,
}

impl Rest {
    /// `shortest`: of the beats, the shortest.
    pub(super) fn new(shortest: Duration) -> Result<Self, anyhow::Error> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(8),
            waker,
            registered: None,
            beat: Beat::new(shortest, Instant::now()),
            in_vain: 0,
        })
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
        self.beat.see(step.arrived, now);
        if step.came >= PLENTY {
            return;
        }
        self.in_vain = if step.worked { 0 } else { self.in_vain.saturating_add(1) };
        let left = wake_at.map_or(LONGEST, |at| at.saturating_duration_since(now).min(LONGEST));
        if at_work && self.in_vain < PATIENCE {
            // Deliberately not woken by the socket. No timer needs to be finer: with many vehicles one is always due.
            return std::thread::sleep(self.beat.length().min(left.max(self.beat.shortest)));
        }
        if self.wait(socket, if at_work { left.min(SLOW) } else { left }).is_err() {
            std::thread::sleep(self.beat.length());
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_micros(3_500);

    /// The beat after a second of so many messages/s.
    fn at(rate: u64) -> Duration {
        let mut now = Instant::now();
        let mut beat = Beat::new(SHORTEST, now);
        for _ in 0..100 {
            now += Duration::from_millis(10);
            beat.see(rate / 100, now);
        }
        beat.length()
    }

    #[test]
    fn a_beat_gets_longer_where_little_would_gather_in_it() {
        assert_eq!(at(0), 2 * SHORTEST);
        assert_eq!(at(7_000), 2 * SHORTEST);
        let middle = at(8_000).as_secs_f64() * 1_000.0;
        assert!((5.4..5.6).contains(&middle), "{middle} ms");
        assert!((3.5..3.6).contains(&(at(10_000).as_secs_f64() * 1_000.0)));
        assert_eq!(at(20_000), SHORTEST);
    }

    #[test]
    fn a_burst_that_ended_is_forgotten() {
        let start = Instant::now();
        let mut beat = Beat::new(SHORTEST, start);
        beat.see(10_000, start);
        assert_eq!(beat.length(), SHORTEST);
        beat.see(0, start + Duration::from_secs(1));
        assert_eq!(beat.length(), 2 * SHORTEST);
    }
}
