//! [`Edge`]: the one loop between the MQTT session and the Kafka producer, on a thread of its own.
//!
//! It never waits for either. While there is work it looks at both in a steady *beat* of about a millisecond and
//! does everything that has gathered: a message costs no wake-up, neither here nor in a polling thread of the
//! producer. Without work it sleeps until the socket wakes it.

mod handover;
mod rest;
mod spooling;

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use service::{Backoff, Error, Tally};
use telemetry::{UnixMillis, mqtt_topic::Channel};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    ack::Acks,
    config::Config,
    delivery::Ticket,
    downlink::Downlink,
    intake,
    metrics::{Metrics, QOS0_OVERFLOW},
    producer::{Fate, Producer},
    release::{AfterDelivery, Books, Item, Release},
    session::{Happening, Session},
    spool::Entry,
};
use rest::Rest;
use spooling::Spooling;

/// With a broker that keeps to Receive Maximum at most two windows are in hand: one of a lost connection and one
/// of this one.
const MOST_WINDOWS: usize = 3;
/// A goodbye spares the broker the wait for our keep-alive.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connected edge.
pub struct Edge<R = AfterDelivery> {
    config: Config,
    session: Session,
    producer: Producer,
    release: R,
    rest: Rest,
    books: Books,
    /// What found the queue full, in order; what comes behind it waits too.
    waiting: VecDeque<Ticket>,
    retry_at: Option<Instant>,
    /// What could not be delivered, to be tried again; it holds up nobody.
    failed: VecDeque<(Instant, Ticket)>,
    failed_backoff: Backoff,
    reports: Vec<(Ticket, Fate)>,
    /// None without a folder for it. Taken out while it is at work.
    spooling: Option<Spooling>,
    downlink: Downlink,
    /// When Kafka last confirmed something, or nothing was in hand.
    progress_at: Instant,
    arrivals: u64,
    /// Of what neither Kafka nor the spool has.
    bytes_in_hand: usize,
    qos0_in_hand: usize,
    connections: u64,
    stopping: bool,
    /// The broker is beyond Receive Maximum, and the log says so.
    exceeded: bool,
    tally: Tally,
    /// What the metrics know of the tally.
    shown: Shown,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
    metrics: Metrics,
}

#[derive(Default)]
struct Shown {
    received: u64,
    sent: u64,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
}

impl<R: Release> Edge<R> {
    /// Waits, up to the connect timeout each, for Kafka and for the broker to confirm the subscription.
    pub(crate) fn connect(config: Config, session: Session, release: R) -> Result<Self, Error> {
        // Kafka first: what the broker sends is not asked for before it can go on.
        let producer = Producer::connect(&config)?;
        let spooling = Spooling::open(&config)?;
        let restored = spooling.as_ref().map_or(0, |spooling| spooling.restored);
        let rest = Rest::new(Duration::from_micros(u64::from(config.beat_us)))?;
        let mut edge = Self {
            downlink: Downlink::new(&config, rest.waker()),
            rest,
            books: Books::new(Acks::new(config.pace(), config.max_vehicles as usize)),
            session,
            producer,
            release,
            waiting: VecDeque::new(),
            retry_at: None,
            failed: VecDeque::new(),
            failed_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            reports: Vec::new(),
            spooling,
            progress_at: Instant::now(),
            arrivals: 0,
            bytes_in_hand: 0,
            qos0_in_hand: 0,
            connections: 0,
            stopping: false,
            exceeded: false,
            tally: Tally { received: restored, ..Tally::default() },
            shown: Shown::default(),
            pubacks: 0,
            acks_sent: 0,
            late_reports: 0,
            metrics: Metrics::new(),
            config,
        };
        edge.subscribe()?;
        Ok(edge)
    }

    /// A resumed session brings publishes before the SUBACK: they are taken in like any other.
    fn subscribe(&mut self) -> Result<(), Error> {
        let timeout = self.config.connect_timeout();
        let deadline = Instant::now() + timeout;
        let mut last = "no answer".to_owned();
        while Instant::now() < deadline {
            let mut step = self.step()?;
            match step.link.take() {
                Some(Changed::Subscribed) => return Ok(()),
                Some(Changed::Refused(why)) => return Err(self.unavailable(why)),
                Some(Changed::Lost(why)) => last = why,
                None => {}
            }
            // A session that brings so much was subscribed before.
            if self.arrivals > 2 * u64::from(self.config.receive_maximum) {
                return Ok(());
            }
            self.rest(&step, Some(deadline));
        }
        Err(self.unavailable(format!("no session within {} ms ({last})", timeout.as_millis())))
    }

    fn unavailable(&self, detail: String) -> Error {
        Error::Unavailable { flag: "mqtt", address: self.config.mqtt.clone(), detail }
    }

    /// Where it is connected: `mqtt` and `kafka`.
    pub fn addresses(&self) -> [(&'static str, String); 2] {
        [("mqtt", self.config.mqtt.clone()), ("kafka", self.config.kafka.clone())]
    }

    /// Bridges until `stop`, then drains: what Kafka confirms within the drain timeout is still acknowledged.
    ///
    /// # Errors
    /// When going on would be wrong: another edge took the session over, the producer had a fatal error. Nothing
    /// unconfirmed has been acknowledged then; the broker sends it again to whoever comes next.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Tally, Error> {
        let waker = self.rest.waker();
        let (sender, ended) = oneshot::channel();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("bridge".to_owned())
            .spawn(move || {
                let result = self.bridge(&stopped).map(|()| self.tally());
                // Only a process that is already ending does not want to know.
                sender.send(result).ok();
            })
            .context("a thread for the bridge")?;
        let watch = tokio::spawn(async move {
            stop.cancelled().await;
            waker.wake().ok();
        });
        let result = ended.await;
        watch.abort();
        result.map_err(|_| anyhow!("the bridge's thread has panicked"))?
    }

    fn bridge(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let step = self.step()?;
            self.rest(&step, None);
        }
        self.drain()
    }

    /// No more intake; wait for Kafka; acknowledge; say goodbye. Not unsubscribed: the session goes on collecting.
    fn drain(&mut self) -> Result<(), Error> {
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
        while self.session.connected() && !self.told() && Instant::now() < deadline {
            let step = self.step()?;
            self.rest(&step, Some(deadline));
        }
        if !self.session.disconnect(Instant::now() + GOODBYE) {
            tracing::warn!("the MQTT broker did not take our DISCONNECT");
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

    fn told(&mut self) -> bool {
        self.session.written() && self.books.tracker.next_puback().is_none() && self.books.acks.next_due().is_none()
    }

    fn tally(&self) -> Tally {
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

    /// Does everything that can be done now.
    fn step(&mut self) -> Result<Step, Error> {
        let now = Instant::now();
        let listen = self.may_listen();
        let came = self.session.advance(now, listen);
        let mut step = Step { came, worked: came > 0, link: None };
        let ingest = unix_millis();
        while let Some(happening) = self.session.next(now, ingest, self.may_listen()) {
            step.worked = true;
            self.digest(happening, now, &mut step)?;
        }
        self.watch_window();
        if !self.stopping {
            step.worked |= self.downlink.advance(now, ingest);
        }
        step.worked |= self.settle(now)?;
        self.tend_spool(now)?;
        self.retry(now)?;
        self.tell(now, ingest);
        self.show(now);
        Ok(step)
    }

    fn rest(&mut self, step: &Step, until: Option<Instant>) {
        let now = Instant::now();
        let catching_up = self.spooling.as_ref().is_some_and(Spooling::is_on);
        let at_work = self.books.tracker.in_hand() > 0 || !self.session.written() || catching_up;
        // What failed waits for what waits for room.
        let failed = self.failed.front().filter(|_| self.waiting.is_empty()).map(|(at, _)| *at);
        let commands = self.downlink.wake_at(now, unix_millis()).filter(|_| self.session.connected());
        let timers = [until, self.books.acks.next_check(), self.retry_at, failed, commands];
        let wake_at = timers.into_iter().flatten().fold(self.session.wanted_at(now), Instant::min);
        self.rest.until(wake_at, now, self.session.socket(), step, at_work);
    }

    fn digest(&mut self, happening: Happening, now: Instant, step: &mut Step) -> Result<(), Error> {
        match happening {
            Happening::Publish { packet_id, entry } => self.take_in(packet_id, entry, now)?,
            Happening::Connected { resumed } => {
                self.books.tracker.connected();
                self.downlink.connected(resumed, now)?;
                self.metrics.connected.set(1.0);
                if self.connections > 0 {
                    self.metrics.reconnects.increment(1);
                }
                self.connections += 1;
                tracing::info!(resumed, "connected to the MQTT broker");
            }
            Happening::Subscribed => {
                tracing::debug!("subscribed");
                step.link = Some(Changed::Subscribed);
            }
            Happening::Puback { packet_id, taken, reason } => {
                let ours = self.downlink.puback(packet_id);
                tracing::debug!(packet_id, taken, reason, ours, "a PUBACK");
            }
            Happening::Lost(why) => {
                self.lost(&why);
                step.link = Some(Changed::Lost(why));
            }
            Happening::Refused(why) => {
                self.lost(&why);
                step.link = Some(Changed::Refused(why));
            }
            Happening::TakenOver => {
                self.lost("taken over");
                self.downlink.step_aside();
                return Err(self.unavailable("another edge connected with this --id".to_owned()));
            }
            Happening::Fatal(why) => {
                self.lost(&why);
                return Err(self.unavailable(why));
            }
        }
        Ok(())
    }

    fn lost(&mut self, why: &str) {
        self.books.tracker.lost();
        self.metrics.connected.set(0.0);
        tracing::warn!(why, "the MQTT broker is away");
    }

    /// Whether more may be taken in. Three cases say no, and all end when Kafka confirms or the spool has fsynced:
    /// - the connection is gone and more than a window is in hand, for the next one brings another;
    /// - the broker does not keep to Receive Maximum. mosquitto 2.0.11 sends a whole window of what it has queued
    ///   for every PUBACK. Then the socket is not read, and TCP holds the broker up; pings go on;
    /// - what is in hand takes as much memory as it may.
    fn may_listen(&self) -> bool {
        let in_hand = match &self.spooling {
            // What is safe there, and still with the producer, holds nobody up.
            Some(spooling) if spooling.is_on() => spooling.unsafe_yet(),
            _ => self.books.tracker.in_hand(),
        };
        let windows = if self.session.connected() { MOST_WINDOWS } else { 1 };
        in_hand <= windows * usize::from(self.config.receive_maximum)
            && self.bytes_in_hand <= 1024 * self.config.in_hand_kib as usize
    }

    fn watch_window(&mut self) {
        let (unacknowledged, window) = (self.books.tracker.unacknowledged(), usize::from(self.config.receive_maximum));
        if unacknowledged > window && !self.exceeded {
            tracing::warn!(unacknowledged, window, "the MQTT broker sends more ahead than Receive Maximum allows");
            self.metrics.window_exceeded.increment(1);
        }
        // Warned of again only after it has been half empty.
        self.exceeded = if self.exceeded { unacknowledged > window / 2 } else { unacknowledged > window };
    }

    fn take_in(&mut self, packet_id: Option<u16>, entry: Entry, now: Instant) -> Result<(), Error> {
        if self.stopping {
            // Not taken in, not acknowledged: the broker keeps it.
            return Ok(());
        }
        self.arrivals += 1;
        self.tally.received += 1;
        if entry.qos0 {
            if self.qos0_in_hand >= usize::from(self.config.receive_maximum) {
                self.count_discarded(QOS0_OVERFLOW);
                return Ok(());
            }
            self.qos0_in_hand += 1;
        }
        let sorted = intake::sort(entry);
        self.bytes_in_hand += sorted.size();
        if let Some(reason) = sorted.discarded() {
            tracing::debug!(reason, vehicle = sorted.vehicle(), "refused");
        }
        self.downlink.arrived(&sorted, now);
        let spooling = self.spooling.as_mut().filter(|spooling| spooling.is_on());
        let item = Item { sorted, arrival: self.arrivals, with_producer: spooling.is_none(), position: None };
        let ticket = self.books.tracker.arrived(packet_id, item);
        self.release.arrived(&mut self.books, ticket, now);
        match spooling {
            Some(spooling) => spooling.take(ticket),
            None if self.waiting.is_empty() => {
                self.hand_over(ticket)?;
            }
            None => self.waiting.push_back(ticket),
        }
        Ok(())
    }

    /// Says what may be said: PUBACKs that are due in order, then acks and commands as far as there is room.
    fn tell(&mut self, now: Instant, wall: UnixMillis) {
        while let Some(packet_id) = self.books.tracker.next_puback() {
            if !self.session.puback(packet_id) {
                break;
            }
            self.books.tracker.puback_left();
            self.pubacks += 1;
        }
        self.books.acks.tick(now);
        while self.session.has_room() {
            let Some((vehicle, ack)) = self.books.acks.next_due() else { break };
            if !self.session.publish(&Channel::Ack.topic(&vehicle), ack.encode(), None) {
                break;
            }
            self.books.acks.left();
            self.acks_sent += 1;
        }
        if !self.stopping {
            self.downlink.publish(&mut self.session, now, wall);
        }
        self.session.flush(now);
    }

    fn count_discarded(&mut self, reason: &'static str) {
        self.tally.discard(reason, 1);
        self.metrics.discarded(reason, 1);
    }

    /// Brings the metrics up to date: once in a step, not once for each message.
    #[expect(clippy::cast_precision_loss, reason = "gauges; far below 2^53")]
    fn show(&mut self, now: Instant) {
        let Shown { received, sent, pubacks, acks_sent, late_reports } = &mut self.shown;
        for (counter, shown, now) in [
            (&self.metrics.received, received, self.tally.received),
            (&self.metrics.sent, sent, self.tally.sent),
            (&self.metrics.pubacks_released, pubacks, self.pubacks),
            (&self.metrics.acks_sent, acks_sent, self.acks_sent),
            (&self.metrics.late_reports, late_reports, self.late_reports),
        ] {
            counter.increment(now - *shown);
            *shown = now;
        }
        self.downlink.show();
        self.metrics.in_flight.set(self.books.tracker.in_hand() as f64);
        self.metrics.vehicles.set(self.books.acks.vehicles() as f64);
        if let Some(spooling) = &self.spooling {
            self.metrics.spool_mode.set(f64::from(self.mode(now) as u8));
            self.metrics.spool_bytes.set(spooling.level().bytes as f64);
            self.metrics.spool_records.set(spooling.undelivered() as f64);
        }
    }
}

/// What a step brought.
struct Step {
    /// Bytes from the broker.
    came: usize,
    /// Something was done.
    worked: bool,
    link: Option<Changed>,
}

/// What became of the connection to the broker.
enum Changed {
    Subscribed,
    Lost(String),
    Refused(String),
}

fn dead(error: &str) -> Error {
    // Simpler than a second producer in the same process, and as safe: nothing unconfirmed was acknowledged.
    anyhow!("the Kafka producer had a fatal error ({error}); what is unconfirmed comes again after a restart").into()
}

fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}
