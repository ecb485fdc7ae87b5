//! [`Edge`]: the one loop between the MQTT session and the Kafka producer, on a thread of its own.
//!
//! It never waits for either. While there is work it looks at both in a *beat* of a few milliseconds and
//! does everything that has gathered: a message costs no wake-up, neither here nor in a polling thread of the
//! producer. Without work it sleeps until the socket wakes it.

mod arrivals;
mod ending;
mod handover;
mod progress;
mod rest;
mod showing;
mod spooling;
mod watch;

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use service::{Backoff, Error, Readiness, Tally};
use telemetry::{UnixMillis, mqtt_topic::Channel};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    ack::Acks,
    config::Config,
    delivery::Ticket,
    downlink::Downlink,
    limit::Limit,
    metrics::Metrics,
    producer::{Fate, Producer},
    release::{AfterDelivery, Books, Release},
    session::{Happening, Session},
};
use progress::Progress;
use rest::Rest;
use showing::Shown;
use spooling::Spooling;
pub(crate) use watch::identity;
use watch::{Watch, for_acks};

/// A connected edge.
pub struct Edge<R = AfterDelivery> {
    config: Config,
    session: Session,
    /// Of an edge that shares its client id.
    watch: Option<Watch>,
    /// None: vehicles may send what they like.
    limit: Option<Limit>,
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
    progress: Progress,
    arrivals: u64,
    /// Of what neither Kafka nor the spool has.
    bytes_in_hand: usize,
    qos0_in_hand: usize,
    connections: u64,
    stopping: bool,
    /// The broker is beyond Receive Maximum, and the log says so.
    exceeded: bool,
    tally: Tally,
    shown: Shown,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
    metrics: Metrics,
    readiness: Readiness,
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
            watch: Watch::new(&config)?,
            limit: config.allowance().map(|allowance| Limit::new(allowance, config.max_vehicles as usize)),
            producer,
            release,
            waiting: VecDeque::new(),
            retry_at: None,
            failed: VecDeque::new(),
            failed_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            reports: Vec::new(),
            spooling,
            progress: Progress::new(Instant::now()),
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
            readiness: Readiness::default(),
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
            if let Some(why) = self.watch.as_ref().and_then(Watch::refused) {
                return Err(self.unavailable(why.to_owned()));
            }
            if self.watch.as_ref().is_some_and(Watch::is_standing_by) {
                return Ok(());
            }
            // A session that brings so much was subscribed before.
            if self.arrivals > 2 * u64::from(self.config.receive_maximum) {
                return Ok(());
            }
            self.rest(&step, Some(deadline));
        }
        let last = self.watch.as_ref().and_then(Watch::trouble).unwrap_or(&last);
        Err(self.unavailable(format!("no session within {} ms ({last})", timeout.as_millis())))
    }

    fn unavailable(&self, detail: String) -> Error {
        Error::Unavailable { flag: "mqtt", address: self.config.mqtt.clone(), detail }
    }

    /// Where it is connected: `mqtt` and `kafka`.
    pub fn addresses(&self) -> [(&'static str, String); 2] {
        [("mqtt", self.config.mqtt.clone()), ("kafka", self.config.kafka.clone())]
    }

    /// Says there when PUBACKs are withheld, because nothing takes what arrives.
    #[must_use]
    pub fn telling(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
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

    /// Does everything that can be done now.
    fn step(&mut self) -> Result<Step, Error> {
        let now = Instant::now();
        let mut may_connect = true;
        if let Some(watch) = &mut self.watch {
            watch.advance(now);
            watch.say(&mut self.session, now);
            may_connect = watch.standby.may_connect(now);
            // A process that ends leaves them by itself, and waits for that.
            if !self.stopping && watch.leaves_commands(now) {
                self.downlink.step_aside();
            }
        }
        let listen = self.may_listen();
        let came = self.session.advance(now, may_connect && listen, listen, may_connect);
        let mut step = Step { came, arrived: 0, worked: came > 0, link: None };
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
        let undecoded = self.may_listen() && self.session.has_undecoded();
        let at_work = self.books.tracker.in_hand() > 0 || !self.session.written() || catching_up || undecoded;
        // What failed waits for what waits for room.
        let failed = self.failed.front().filter(|_| self.waiting.is_empty()).map(|(at, _)| *at);
        let commands = self.downlink.wake_at(now, unix_millis()).filter(|_| self.session.connected());
        let may_connect = self.watch.as_ref().is_none_or(|watch| watch.standby.may_connect(now)) && self.may_listen();
        let session = self.session.wanted_at(now, may_connect);
        let watch = self.watch.as_ref().map(|watch| watch.wanted_at(now));
        let timers = [until, self.books.acks.next_check(), self.retry_at, failed, commands, session, watch];
        self.rest.until(timers.into_iter().flatten().min(), now, self.session.socket(), step, at_work);
    }

    fn digest(&mut self, happening: Happening, now: Instant, step: &mut Step) -> Result<(), Error> {
        match happening {
            Happening::Publish { packet_id, entry } => {
                step.arrived += 1;
                self.take_in(packet_id, entry, now)?;
            }
            Happening::Connected { resumed, receive_maximum, .. } => {
                self.books.tracker.connected();
                self.downlink.connected(resumed, receive_maximum, now)?;
                self.metrics.connected.set(1.0);
                if self.connections > 0 {
                    self.metrics.reconnects.increment(1);
                }
                self.connections += 1;
                if let Some(watch) = &mut self.watch {
                    watch.standby.connected();
                }
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
                self.lost(&why, now);
                step.link = Some(Changed::Lost(why));
            }
            Happening::Refused(why) => {
                self.lost(&why, now);
                step.link = Some(Changed::Refused(why));
            }
            Happening::Pong => {}
            Happening::TakenOver => {
                self.lost("another edge has taken over", now);
                self.downlink.step_aside();
                if let Some(watch) = &mut self.watch {
                    watch.standby.taken_over(now);
                    return Ok(());
                }
                return Err(self.unavailable("another edge connected with this --id".to_owned()));
            }
            Happening::Fatal(why) => {
                self.lost(&why, now);
                return Err(self.unavailable(why));
            }
        }
        Ok(())
    }

    fn lost(&mut self, why: &str, now: Instant) {
        self.books.tracker.lost();
        self.metrics.connected.set(0.0);
        if let Some(watch) = &mut self.watch {
            watch.lost(now);
        }
        tracing::warn!(why, "the MQTT broker is away");
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
        let session = for_acks(&mut self.watch, &mut self.session);
        while session.has_room() {
            let Some((vehicle, ack)) = self.books.acks.next_due() else { break };
            if !session.publish(&Channel::Ack.topic(&vehicle), ack.encode(), None) {
                break;
            }
            self.books.acks.left();
            self.acks_sent += 1;
        }
        if !self.stopping {
            self.downlink.publish(&mut self.session, now, wall);
        }
        self.session.flush();
    }
}

/// What a step brought.
struct Step {
    /// Bytes from the broker.
    came: usize,
    /// Messages from the broker.
    arrived: u64,
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
