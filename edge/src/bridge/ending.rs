//! How the loop ends, and what it counted.

use std::time::{Duration, Instant};

use service::{Error, Tally};

use super::{Edge, spooling::Spooling, unix_millis, watch::for_acks};
use crate::release::Release;

/// A goodbye spares the broker the wait for our keep-alive.
const GOODBYE: Duration = Duration::from_millis(500);

impl<R: Release> Edge<R> {
    /// No more intake; wait for Kafka; acknowledge; say goodbye. Not unsubscribed: the session goes on collecting.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        self.stopping = true;
        let deadline = Instant::now() + self.config.drain_timeout();
        while self.books.tracker.in_hand() > 0 && Instant::now() < deadline {
            let step = self.step()?;
            self.rest(&step, Some(deadline));
        }
        // Replies among what was in hand have closed their commands.
        self.downlink.leave();
        self.books.acks.all_due();
        self.tell(Instant::now(), unix_millis());
        while self.may_tell() && !self.told() && Instant::now() < deadline {
            let step = self.step()?;
            self.rest(&step, Some(deadline));
        }
        if let Some(watch) = &mut self.watch {
            watch.leave(&mut self.session);
        }
        if !self.session.disconnect(Instant::now() + GOODBYE) {
            tracing::warn!("the MQTT broker did not take our DISCONNECT");
        }
        if let Some(watch) = &mut self.watch
            && !watch.disconnect(Instant::now() + GOODBYE)
        {
            tracing::warn!("the MQTT broker did not take the DISCONNECT of the observing connection");
        }
        while !self.downlink.has_left() && Instant::now() < deadline + GOODBYE {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.show(Instant::now());
        let (unsafe_yet, spooled) = self.in_hand();
        if unsafe_yet > 0 {
            tracing::warn!(unsafe_yet, "stopped before Kafka confirmed these; the broker will send them again");
        }
        if let Some(spooling) = &self.spooling {
            if spooled > 0 {
                tracing::warn!(spooled, "stopped before Kafka confirmed these; the next process delivers them");
            }
            spooling.close();
            while !spooling.is_closed() && Instant::now() < deadline + GOODBYE {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// What nobody has confirmed, and what the spool answers for.
    fn in_hand(&self) -> (u64, u64) {
        let unsafe_yet = self.books.tracker.iter().filter(|(_, item)| item.position.is_none()).count();
        (unsafe_yet as u64, self.spooling.as_ref().map_or(0, Spooling::undelivered))
    }

    /// Whether the connection is there that carries acks now.
    fn may_tell(&mut self) -> bool {
        for_acks(&mut self.watch, &mut self.session).connected()
    }

    fn told(&mut self) -> bool {
        for_acks(&mut self.watch, &mut self.session).written()
            && self.session.written()
            && self.books.tracker.next_puback().is_none()
            && self.books.acks.next_due().is_none()
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        let (unsafe_yet, spooled) = self.in_hand();
        tally.in_hand = unsafe_yet + spooled;
        let reconnects = self.connections.saturating_sub(1);
        let (restored, ever_spooled) =
            self.spooling.as_ref().map_or((0, 0), |spooling| (spooling.restored, spooling.spooled));
        for (name, count) in [
            ("restored", restored),
            ("spooled", ever_spooled),
            ("in_spool", spooled),
            ("acks_sent", self.acks_sent),
            ("pubacks_released", self.pubacks),
            ("late_reports", self.late_reports),
            ("reconnects", reconnects),
        ]
        .into_iter()
        .chain(self.downlink.tally())
        {
            tally.further.insert(name.to_owned(), count);
        }
        tally
    }
}
