//! [`Edge`]: the one loop between the MQTT session and the Kafka producer.
//!
//! It never waits for Kafka: a publish is handed to the producer, which reports later. While Kafka is away
//! nothing is acknowledged, the broker stops at Receive Maximum, and pings go on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use service::{Backoff, Error, Tally};
use telemetry::{UnixMillis, kafka_topic::DEAD_LETTER, mqtt_topic::Channel};
use tokio_util::sync::CancellationToken;

use crate::{
    ack::Acks,
    config::Config,
    delivery::Ticket,
    intake::{self, End},
    metrics::{KAFKA_REFUSED, Metrics, QOS0_OVERFLOW},
    producer::{Fate, NotTaken, OutRecord, Producer},
    release::{AfterDelivery, Books, Release},
    session::{Arrival, Happening, Session},
};

/// How soon a record that found the producer's queue full is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// With a broker that keeps to Receive Maximum at most two windows are in hand: one of a lost connection and one
/// of this one.
const MOST_WINDOWS: usize = 3;

/// A connected edge.
pub struct Edge<R = AfterDelivery> {
    pub(crate) config: Config,
    pub(crate) session: Session,
    pub(crate) producer: Producer,
    pub(crate) release: R,
    /// What happened on the session before the loop began.
    pub(crate) backlog: Vec<Happening>,
    books: Books,
    /// Records that found the queue full, in order; those behind them wait too.
    waiting: VecDeque<(Ticket, OutRecord)>,
    retry_at: Option<Instant>,
    /// Records whose delivery failed, to be tried again; they hold up nobody.
    failed: VecDeque<(Instant, Ticket, OutRecord)>,
    failed_backoff: Backoff,
    qos0_in_hand: usize,
    connections: u64,
    stopping: bool,
    /// The broker is beyond Receive Maximum, and the log says so.
    exceeded: bool,
    tally: Tally,
    pubacks: u64,
    acks_sent: u64,
    late_reports: u64,
    metrics: Metrics,
}

enum Woken {
    Mqtt(Vec<Happening>),
    Kafka,
    Timer,
}

impl<R: Release> Edge<R> {
    pub(crate) fn new(
        config: Config,
        session: Session,
        producer: Producer,
        release: R,
        backlog: Vec<Happening>,
    ) -> Self {
        let acks = Acks::new(config.pace(), config.max_vehicles as usize);
        Self {
            config,
            session,
            producer,
            release,
            backlog,
            books: Books::new(acks),
            waiting: VecDeque::new(),
            retry_at: None,
            failed: VecDeque::new(),
            failed_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            qos0_in_hand: 0,
            connections: 0,
            stopping: false,
            exceeded: false,
            tally: Tally::default(),
            pubacks: 0,
            acks_sent: 0,
            late_reports: 0,
            metrics: Metrics::new(),
        }
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
        let backlog = std::mem::take(&mut self.backlog);
        self.digest(backlog)?;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                step = self.step(None) => step?,
            }
        }
        self.drain().await?;
        Ok(self.tally())
    }

    /// No more intake; wait for Kafka; acknowledge; say goodbye. Not unsubscribed: the session goes on collecting.
    async fn drain(&mut self) -> Result<(), Error> {
        self.stopping = true;
        let deadline = Instant::now() + self.config.drain_timeout();
        while self.books.tracker.in_hand() > 0 && Instant::now() < deadline {
            self.step(Some(deadline)).await?;
        }
        self.books.acks.all_due();
        self.tell();
        while self.session.connected() && !self.told() && Instant::now() < deadline {
            self.step(Some(deadline)).await?;
        }
        // Even if Kafka took all the time: a goodbye spares the broker the wait for our keep-alive.
        let goodbye = Duration::from_millis(500);
        if tokio::time::timeout(goodbye, self.session.disconnect()).await.is_err() {
            tracing::warn!("the MQTT broker did not take our DISCONNECT");
        }
        let in_hand = self.books.tracker.in_hand();
        if in_hand > 0 {
            tracing::warn!(in_hand, "stopped before Kafka confirmed these; the broker will send them again");
        }
        Ok(())
    }

    fn told(&mut self) -> bool {
        self.session.written() && self.books.tracker.next_puback().is_none() && self.books.acks.next_due().is_none()
    }

    fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        tally.in_hand = self.books.tracker.in_hand() as u64;
        let reconnects = self.connections.saturating_sub(1);
        for (name, count) in [
            ("acks_sent", self.acks_sent),
            ("pubacks_released", self.pubacks),
            ("late_reports", self.late_reports),
            ("reconnects", reconnects),
        ] {
            tally.further.insert(name.to_owned(), count);
        }
        tally
    }

    /// Waits for one thing to happen and does what follows from it. Cancel-safe.
    async fn step(&mut self, until: Option<Instant>) -> Result<(), Error> {
        let may_turn = self.may_turn();
        // What failed waits for what waits for room.
        let failed = self.failed.front().filter(|_| self.waiting.is_empty()).map(|(at, ..)| *at);
        let timers = [until, self.books.acks.next_check(), self.retry_at, failed];
        let timer = timers.into_iter().flatten().min();
        let woken = tokio::select! {
            happenings = self.session.turn(), if may_turn => Woken::Mqtt(happenings),
            () = self.producer.reported() => Woken::Kafka,
            () = sleep_until(timer) => Woken::Timer,
        };
        match woken {
            Woken::Mqtt(happenings) => self.digest(happenings)?,
            Woken::Kafka => self.settle()?,
            Woken::Timer => {}
        }
        self.retry()?;
        self.tell();
        #[expect(clippy::cast_precision_loss, reason = "a gauge; far below 2^53")]
        {
            self.metrics.in_flight.set(self.books.tracker.in_hand() as f64);
            self.metrics.vehicles.set(self.books.acks.vehicles() as f64);
        }
        Ok(())
    }

    fn digest(&mut self, happenings: Vec<Happening>) -> Result<(), Error> {
        let (now, ingest) = (Instant::now(), unix_millis());
        for happening in happenings {
            match happening {
                Happening::Publish(arrival) => self.take_in(arrival, now, ingest)?,
                Happening::Connected { resumed } => {
                    self.books.tracker.connected();
                    self.metrics.connected.set(1.0);
                    if self.connections > 0 {
                        self.metrics.reconnects.increment(1);
                    }
                    self.connections += 1;
                    tracing::info!(resumed, "connected to the MQTT broker");
                }
                Happening::Subscribed => tracing::debug!("subscribed"),
                Happening::Lost(why) | Happening::Refused(why) => {
                    self.books.tracker.lost();
                    self.metrics.connected.set(0.0);
                    tracing::warn!(why, "the MQTT broker is away");
                }
                Happening::Fatal(why) => {
                    self.books.tracker.lost();
                    self.metrics.connected.set(0.0);
                    let address = self.config.mqtt.clone();
                    return Err(Error::Unavailable { flag: "mqtt", address, detail: why });
                }
            }
        }
        self.watch_window();
        Ok(())
    }

    /// Whether the session may be turned. Two cases say no, and both end when Kafka confirms:
    /// - the connection is gone and more than a window is in hand, for the next one brings another;
    /// - the broker does not keep to Receive Maximum. mosquitto 2.0.11 sends a whole window of what it has queued
    ///   for every PUBACK. Then the socket is not read, and TCP holds the broker up; if that lasts, pings are
    ///   missed and the broker cuts the connection, which leads to the first case.
    fn may_turn(&self) -> bool {
        let windows = if self.session.connected() { MOST_WINDOWS } else { 1 };
        self.books.tracker.in_hand() <= windows * usize::from(self.config.receive_maximum)
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

    fn take_in(&mut self, arrival: Arrival, now: Instant, ingest: UnixMillis) -> Result<(), Error> {
        if self.stopping {
            // Not taken in, not acknowledged: the broker keeps it.
            return Ok(());
        }
        self.tally.received += 1;
        self.metrics.received.increment(1);
        let packet_id = arrival.packet_id;
        if packet_id.is_none() {
            if self.qos0_in_hand >= usize::from(self.config.receive_maximum) {
                self.count_discarded(QOS0_OVERFLOW);
                return Ok(());
            }
            self.qos0_in_hand += 1;
        }
        let (record, subject) = intake::sort(arrival, ingest);
        if let End::Discarded(reason) = subject.end {
            tracing::debug!(reason, vehicle = ?subject.vehicle, "refused");
        }
        let ticket = self.books.tracker.arrived(packet_id, subject);
        self.release.arrived(&mut self.books, ticket, now);
        if self.waiting.is_empty() {
            self.hand_over(ticket, record)?;
        } else {
            self.waiting.push_back((ticket, record.unpinned()));
        }
        Ok(())
    }

    /// Gives a record to the producer, or keeps it for later; false if it has to wait for room.
    fn hand_over(&mut self, ticket: Ticket, record: OutRecord) -> Result<bool, Error> {
        match self.producer.send(ticket, &record) {
            Ok(()) => Ok(true),
            Err(NotTaken::Full) => {
                self.metrics.queue_full.increment(1);
                self.waiting.push_front((ticket, record.unpinned()));
                self.retry_at = Some(Instant::now() + QUEUE_FULL_PAUSE);
                Ok(false)
            }
            Err(NotTaken::Refused(error)) => {
                self.refused(ticket, record, &error);
                Ok(true)
            }
            Err(NotTaken::Failed(error)) => {
                self.try_later(ticket, record, &error);
                Ok(true)
            }
            Err(NotTaken::Dead(error)) => Err(dead(&error)),
        }
    }

    /// Kafka never takes this record as it is: its dead letter goes in its place.
    fn refused(&mut self, ticket: Ticket, record: OutRecord, error: &str) {
        if record.kafka_topic == DEAD_LETTER {
            // Then only a person can help, for example by a larger limit of that topic. Until then it stays in
            // hand, and what came after it stays unacknowledged.
            tracing::error!(error, "Kafka refuses a dead letter; trying again");
            return self.try_later(ticket, record, error);
        }
        tracing::warn!(error, kafka_topic = record.kafka_topic, "Kafka refuses a record");
        if let Some(subject) = self.books.tracker.get_mut(ticket) {
            subject.end = End::Discarded(KAFKA_REFUSED);
        }
        let letter = intake::refused_by_kafka(record, KAFKA_REFUSED, error);
        self.failed.push_back((Instant::now(), ticket, letter.unpinned()));
    }

    fn try_later(&mut self, ticket: Ticket, record: OutRecord, error: &str) {
        self.metrics.kafka_failures.increment(1);
        let pause = self.failed_backoff.next().max(Duration::from_millis(50));
        tracing::warn!(error, kafka_topic = record.kafka_topic, ?pause, "a delivery failed; trying again");
        self.failed.push_back((Instant::now() + pause, ticket, record.unpinned()));
    }

    /// Tries again what is due.
    fn retry(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| at <= now) {
            self.retry_at = None;
            while let Some((ticket, record)) = self.waiting.pop_front() {
                if !self.hand_over(ticket, record)? {
                    break;
                }
            }
        }
        // As many as there are now: what fails again goes to the end.
        for _ in 0..self.failed.len() {
            let due = self.failed.front().is_some_and(|(at, ..)| *at <= now) && self.waiting.is_empty();
            let Some((_, ticket, record)) = self.failed.pop_front_if(|_| due) else { break };
            self.hand_over(ticket, record)?;
        }
        Ok(())
    }

    /// Takes Kafka's reports.
    fn settle(&mut self) -> Result<(), Error> {
        if let Some(error) = self.producer.death() {
            return Err(dead(&error));
        }
        let now = Instant::now();
        for (ticket, fate) in self.producer.take_reports() {
            match fate {
                Fate::Delivered => self.delivered(ticket, now),
                Fate::Refused { record, error } => self.refused(ticket, *record, &error),
                Fate::Failed { record, error } => self.try_later(ticket, *record, &error),
                Fate::Dead(error) => return Err(dead(&error)),
            }
        }
        Ok(())
    }

    fn delivered(&mut self, ticket: Ticket, now: Instant) {
        self.failed_backoff.reset();
        self.release.delivered(&mut self.books, ticket, now);
        if self.books.tracker.is_late(ticket) {
            self.late_reports += 1;
            self.metrics.late_reports.increment(1);
        }
        let Some(subject) = self.books.tracker.delivered(ticket) else { return };
        self.qos0_in_hand -= usize::from(subject.qos0);
        match subject.end {
            End::Sent => {
                self.tally.sent += 1;
                self.metrics.sent.increment(1);
            }
            End::Discarded(reason) => self.count_discarded(reason),
        }
    }

    fn count_discarded(&mut self, reason: &'static str) {
        self.tally.discard(reason, 1);
        self.metrics.discarded(reason);
    }

    /// Sends the PUBACKs and acks that may leave, as far as there is room.
    fn tell(&mut self) {
        while let Some(packet_id) = self.books.tracker.next_puback() {
            if !self.session.puback(packet_id) {
                break;
            }
            self.books.tracker.puback_left();
            self.pubacks += 1;
            self.metrics.pubacks_released.increment(1);
        }
        self.books.acks.tick(Instant::now());
        while self.session.has_room() {
            let Some((vehicle, ack)) = self.books.acks.next_due() else { break };
            if !self.session.publish(Channel::Ack.topic(vehicle), ack.encode()) {
                break;
            }
            self.books.acks.left();
            self.acks_sent += 1;
            self.metrics.acks_sent.increment(1);
        }
    }
}

fn dead(error: &str) -> Error {
    // Simpler than a second producer in the same process, and as safe: nothing unconfirmed was acknowledged.
    anyhow!("the Kafka producer had a fatal error ({error}); what is unconfirmed comes again after a restart").into()
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}
