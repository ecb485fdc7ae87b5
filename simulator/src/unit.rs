//! The telematics unit of one vehicle: makes readings when they are due, keeps them in its outbox, and speaks
//! MQTT. One task.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use service::Backoff;
use telemetry::event::{Ack, CommandReply, StatusState};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    command::Memory,
    fleet::Readings,
    journal::{Journal, Note},
    load::Judge,
    metrics::{Counters, Discarded},
    outbox::{Counts, Outbox},
    pace::Pace,
    publisher::{Connection, Happening, Target},
};

/// Readings made before the connection is looked at again.
const BATCH: usize = 64;
/// How long a goodbye may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// How a unit reaches the broker, and when it gives up.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    /// Not before this moment: a unit without a stored boot waits one second of its clock, so that no later
    /// start of a unit without memory can have the same boot.
    pub(crate) connect_from: Instant,
    /// The first connection asks for a new session: what was in the old one is not known any more.
    pub(crate) clean_start: bool,
    /// The boot outlives the process.
    pub(crate) stores_boot: bool,
    pub(crate) reconnect: (Duration, Duration),
    /// How long to wait for acks after the last reading,
    pub(crate) drain: Duration,
    /// and after the stop signal.
    pub(crate) stop_drain: Duration,
    /// Whose word settles a reading.
    pub(crate) judge: Judge,
}

pub(crate) struct Unit {
    pub(crate) readings: Readings,
    pub(crate) outbox: Outbox,
    pub(crate) memory: Memory,
    /// Of commands, for the next connection if there is none.
    pub(crate) answers: VecDeque<CommandReply>,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) manners: Manners,
    pub(crate) pace: Arc<Pace>,
    pub(crate) journal: Journal,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
}

/// How the unit stands with the broker.
pub(crate) enum Link {
    /// `paced`: its turn among the fleet is reserved.
    Down {
        retry_at: Instant,
        paced: bool,
    },
    Opening(Box<Connection>),
    Up(Box<Connection>),
}

impl Unit {
    /// Drives until the end, or until told to stop; then waits, for a limited time, until every reading is
    /// acknowledged and every command is answered. Returns how many readings are not.
    pub(crate) async fn run(mut self) -> anyhow::Result<u64> {
        let (base, max) = self.manners.reconnect;
        let mut backoff = Backoff::new(base, max);
        let mut link = Link::Down { retry_at: self.manners.connect_from, paced: false };
        let mut stopping = false;
        let mut leave_at = None;
        let mut driving = true;
        loop {
            if driving && (stopping || self.readings.next_time().is_none()) {
                driving = false;
                self.counters.driving.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                leave_at = Some(Instant::now() + self.manners.drain);
            }
            if driving {
                self.measure().await?;
            }
            if let Link::Up(connection) = &mut link {
                self.answer(connection);
                self.send(connection);
            }
            let now = Instant::now();
            let settled = self.outbox.is_empty() && self.answers.is_empty();
            if !driving && (settled || leave_at.is_some_and(|at| at <= now)) {
                break;
            }
            if let Link::Down { retry_at, paced: false } = link
                && retry_at <= now
            {
                link = Link::Down { retry_at: self.pace.slot(now), paced: true };
            }
            if let Link::Down { retry_at, paced: true } = link
                && retry_at <= now
            {
                let connection =
                    Connection::open(self.target.clone(), self.manners.clean_start, self.clock.simulated());
                link = Link::Opening(Box::new(connection));
            }
            let wake_at = self.wake_at(driving, &link).into_iter().chain(leave_at).min();
            tokio::select! {
                happening = next(&mut link) => link = match happening {
                    Ok(happening) => self.happened(link, happening, &mut backoff).await?,
                    Err(error) => self.lost(&link, &error, &mut backoff),
                },
                () = sleep(wake_at) => {}
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    let at = Instant::now() + self.manners.stop_drain;
                    self.manners.drain = self.manners.drain.min(self.manners.stop_drain);
                    leave_at = leave_at.map(|before: Instant| before.min(at));
                }
            }
        }
        if let Link::Up(connection) = link {
            self.outbox.disconnected(self.clock.monotonic());
            self.counters.disconnected();
            connection.close(self.clock.simulated(), GOODBYE).await;
        }
        Ok(self.outbox.len() as u64)
    }

    fn wake_at(&self, driving: bool, link: &Link) -> Option<Instant> {
        let reading = self.readings.next_time().filter(|_| driving).map(|time| self.clock.instant_of(time));
        let resend = self.outbox.wake_at().map(|ms| self.clock.instant_of_monotonic(ms));
        let retry = match link {
            Link::Down { retry_at, .. } => Some(*retry_at),
            // While up, what is due is sent when there is room, and room comes with a happening.
            Link::Opening(_) => None,
            Link::Up(connection) if connection.room() == 0 => return reading,
            Link::Up(_) => None,
        };
        reading.into_iter().chain(resend).chain(retry).min()
    }

    /// Makes what is due. It is in the journal before it can be sent.
    async fn measure(&mut self) -> anyhow::Result<()> {
        let now = self.clock.simulated();
        let mut made = Vec::new();
        for _ in 0..BATCH {
            let Some(time) = self.readings.next_time().filter(|time| *time <= now) else { break };
            made.push((self.clock.wall_of(time), self.readings.make()));
        }
        if made.is_empty() {
            return Ok(());
        }
        let (vehicle, boot) = (self.readings.vehicle().clone(), self.readings.boot());
        let accepted = self.clock.wall();
        for (scheduled, made) in &made {
            for time in &made.oversize {
                self.counters.received(false);
                self.counters.discarded(Discarded::Oversize, 1);
                self.journal.note(Note::Oversize { vehicle: vehicle.clone(), time: *time }).await?;
            }
            for reading in &made.readings {
                self.counters.received(reading.poison.is_some());
                let (vehicle, reading, scheduled) = (vehicle.clone(), reading.clone(), *scheduled);
                self.journal.note(Note::Reading { vehicle, boot, reading, scheduled, accepted }).await?;
            }
        }
        self.journal.written().await?;
        for reading in made.into_iter().flat_map(|(_, made)| made.readings) {
            if let Some(given_up) = self.outbox.offer(reading.record) {
                tracing::warn!(%vehicle, key = ?given_up.key, "the outbox is full: its oldest reading is given up");
                self.counters.discarded(Discarded::GivenUp, 1);
                self.journal.note(Note::GivenUp { vehicle: vehicle.clone(), key: given_up.key }).await?;
            }
        }
        Ok(())
    }

    fn send(&mut self, connection: &mut Connection) {
        let now = self.clock.monotonic();
        let (held, held_ms) = (self.outbox.counts().held_back, self.outbox.counts().held_back_ms);
        let mut too_large = Vec::new();
        while connection.room() > 0 {
            let Some(transmission) = self.outbox.next(now) else { break };
            let record = transmission.record;
            if connection.publish(transmission.ordinal, record.content_type, record.payload.clone()) {
                self.counters.published(transmission.again);
            } else {
                too_large.push(transmission.ordinal);
            }
        }
        let Counts { held_back, held_back_ms, .. } = self.outbox.counts();
        if *held_back > held {
            self.counters.held_back(held_back - held, held_back_ms - held_ms);
        }
        // Made for a broker that took more than this one: as if this one had refused it.
        for ordinal in too_large {
            self.counters.refused();
            self.outbox.puback(ordinal, false, now);
        }
    }

    async fn happened(&mut self, link: Link, happening: Happening, backoff: &mut Backoff) -> anyhow::Result<Link> {
        let now = self.clock.monotonic();
        match (link, happening) {
            (Link::Opening(connection), Happening::Connected { session_present, payload_room }) => {
                self.readings.bound(payload_room);
                self.outbox.session(session_present && !self.manners.clean_start);
                // From now on the session is ours, until the broker forgets it.
                self.manners.clean_start = false;
                Ok(Link::Opening(connection))
            }
            (Link::Opening(mut connection), Happening::Subscribed) => {
                backoff.reset();
                self.counters.connected();
                connection.publish_status(StatusState::Online, self.clock.simulated());
                self.outbox.connected(now);
                Ok(Link::Up(connection))
            }
            (link, Happening::Taken { ordinal }) => {
                match self.manners.judge {
                    Judge::Ack => self.outbox.puback(ordinal, true, now),
                    Judge::Puback => self.settled(ordinal, true, now).await?,
                }
                Ok(link)
            }
            (link, Happening::Unheard { ordinal }) if self.manners.judge == Judge::Puback => {
                self.settled(ordinal, false, now).await?;
                Ok(link)
            }
            (link, Happening::Unheard { ordinal } | Happening::Refused { ordinal }) => {
                self.counters.refused();
                self.outbox.puback(ordinal, false, now);
                Ok(link)
            }
            (link, Happening::Ack(payload)) => {
                match Ack::decode(&payload) {
                    Some(ack) => self.acknowledged(&ack, now).await?,
                    None => self.counters.unreadable_ack(),
                }
                Ok(link)
            }
            (link, Happening::Command(payload)) => self.commanded(link, &payload).await,
            (link, _) => Ok(link),
        }
    }

    /// The broker's word counts, and it took a reading. Where nobody listens, it reached nobody, and is not acknowledged.
    async fn settled(&mut self, ordinal: u64, heard: bool, now: u64) -> anyhow::Result<()> {
        let Some(key) = self.outbox.settle(ordinal, now) else { return Ok(()) };
        let vehicle = self.readings.vehicle().clone();
        if heard {
            self.counters.settled(1);
            return self.journal.note(Note::Acked { vehicle, keys: vec![key], at: self.clock.wall() }).await;
        }
        self.counters.discarded(Discarded::Unheard, 1);
        self.journal.note(Note::Unheard { vehicle, key }).await
    }

    async fn acknowledged(&mut self, ack: &Ack, now: u64) -> anyhow::Result<()> {
        let refused = self.outbox.counts().refused_ranges;
        let keys = self.outbox.ack(ack, now);
        if ack.slow_down_ms.is_some() {
            self.counters.slowed_down();
        }
        self.counters.acked(keys.len() as u64, self.outbox.counts().refused_ranges - refused);
        if keys.is_empty() {
            return Ok(());
        }
        self.journal.note(Note::Acked { vehicle: self.readings.vehicle().clone(), keys, at: self.clock.wall() }).await
    }

    fn lost(&mut self, link: &Link, error: &str, backoff: &mut Backoff) -> Link {
        let vehicle = self.readings.vehicle();
        match link {
            Link::Opening(_) if self.counters.connection_failed() => {
                tracing::warn!(%vehicle, error, "a vehicle can't connect and tries again; further ones are counted");
            }
            Link::Up(_) => {
                tracing::debug!(%vehicle, error, "the connection has ended");
                self.counters.disconnected();
                self.outbox.disconnected(self.clock.monotonic());
            }
            _ => tracing::debug!(%vehicle, error, "no connection"),
        }
        Link::Down { retry_at: Instant::now() + backoff.next(), paced: false }
    }
}

async fn next(link: &mut Link) -> Result<Happening, String> {
    match link {
        Link::Down { .. } => std::future::pending().await,
        Link::Opening(connection) | Link::Up(connection) => connection.next().await,
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
