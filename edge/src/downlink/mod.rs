//! The way down: commands from Kafka's `vehicle-commands` to `v1/{vehicle}/command`.
//!
//! ```text
//! Kafka ──▶ reader ──▶ open ──▶ session ──▶ broker ──▶ vehicle
//!   ▲         ▲          │                                │
//!   │         └ commits ─┤ answered                       │
//!   └──── command-replies ◀── the way up ◀── …/reply ◀────┘
//! ```
//!
//! A PUBACK proves nothing: only the vehicle's answer, once it is in Kafka, or the end of a command's life closes it.
//! [`open`] decides, the [`reader`] is a thread, [`Downlink`] stands between them and the loop. It reads from the first
//! connection to the broker on: of two edges that share their id the one that stands by reads nothing, nor does one that
//! is cut off from the broker. What it held open is read again by the other.

mod config;
mod dead_letter;
mod flight;
mod group;
mod online;
mod open;
mod reader;
mod record;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::Waker;
use service::Error;
use telemetry::{
    Invalid, Reason, UnixMillis,
    event::{CommandReply, Status, StatusState},
    kafka_topic::{COMMAND_REPLIES, TELEMETRY, VEHICLE_STATUS},
    mqtt_topic::Channel,
};

use self::{
    flight::Flight,
    open::{Number, Open},
    reader::{Event, Reader, Unfit},
};
use crate::{
    config::Config,
    intake::{Sorted, read_event},
    metrics::CommandMetrics,
    session::{Added, Session},
};

pub use self::config::Commands;
pub(crate) use self::open::Counts;

/// How often the reader is told what may be committed.
const COMMIT_EVERY: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct Downlink {
    config: Config,
    waker: Arc<Waker>,
    /// None before the first connection, and of an edge that has stepped aside.
    reader: Option<Reader>,
    open: Open,
    flight: Flight,
    committed_at: Instant,
    commits: BTreeMap<i32, i64>,
    metrics: CommandMetrics,
    shown: Counts,
}

impl Downlink {
    /// `waker` wakes the loop.
    pub(crate) fn new(config: &Config, waker: Arc<Waker>) -> Self {
        let limit = (config.commands.commands_mib as usize) << 20;
        Self {
            open: Open::new(limit, config.commands.pause(), config.max_vehicles as usize),
            config: config.clone(),
            waker,
            reader: None,
            flight: Flight::default(),
            committed_at: Instant::now(),
            commits: BTreeMap::new(),
            metrics: CommandMetrics::new(),
            shown: Counts::default(),
        }
    }

    /// A CONNACK came. What was on its way is published again; to a broker that lost its sessions, after births.
    pub(crate) fn connected(&mut self, resumed: bool, receive_maximum: u16, now: Instant) -> Result<(), Error> {
        let lost = self.flight.lost();
        if resumed {
            lost.for_each(|number| self.open.uncertain(number, now));
        } else {
            drop(lost);
            self.open.all_gone(now);
        }
        self.flight.connected(receive_maximum);
        if self.reader.is_none() {
            let reader = Reader::start(&self.config, Arc::clone(&self.waker))?;
            self.reader = Some(reader);
        }
        Ok(())
    }

    /// The broker's answer to a publish; whether it was one of ours.
    pub(crate) fn puback(&mut self, packet_id: u16) -> bool {
        self.flight.answered(packet_id)
    }

    /// Something came from a vehicle.
    pub(crate) fn arrived(&mut self, sorted: &Sorted, now: Instant) {
        let Some(vehicle) = sorted.vehicle() else { return };
        match sorted.kafka_topic {
            TELEMETRY | COMMAND_REPLIES => self.open.seen(vehicle, now),
            VEHICLE_STATUS => match read_event::<Status>(&sorted.entry.payload).map(|status| status.state) {
                Ok(StatusState::Online) => self.open.born(vehicle, now),
                Ok(StatusState::Offline) => self.open.gone(vehicle),
                Err(_) => {}
            },
            _ => {}
        }
    }

    /// Kafka has it: a reply that is there closes its command. Not before, for who asked reads it there.
    pub(crate) fn delivered(&mut self, sorted: &Sorted) {
        if sorted.kafka_topic == COMMAND_REPLIES
            && let Ok(CommandReply { id, vehicle, .. }) = read_event(&sorted.entry.payload)
        {
            self.open.answered(vehicle, id);
        }
    }

    /// Takes what was read, asks for more only if there is room, and says what may be committed. Whether there was
    /// anything.
    pub(crate) fn advance(&mut self, now: Instant, wall: UnixMillis) -> bool {
        self.open.expire(wall);
        let Some(reader) = &self.reader else { return false };
        let mut worked = false;
        // All of it, also above the limit: what frees room may stand behind what takes some.
        while let Some(event) = reader.next() {
            worked = true;
            match event {
                Event::Read { place, command } => self.open.add(place, command, now, wall),
                Event::Buried { place, reason } => {
                    if self.open.buried(place) {
                        self.metrics.refused(reason);
                    }
                }
                Event::Revoked { partition } => self.open.revoked(partition),
            }
        }
        reader.pause(self.open.is_full());
        if self.open.has_become_full() {
            let (open, limit_mib) = (self.open.len(), self.config.commands.commands_mib);
            tracing::warn!(open, limit_mib, "no more commands are read until some are closed: see --commands-mib");
        }
        if now.duration_since(self.committed_at) >= COMMIT_EVERY {
            self.committed_at = now;
            self.commit();
        }
        worked
    }

    fn commit(&mut self) {
        let commits = self.open.commits();
        if let Some(reader) = self.reader.as_ref().filter(|_| commits != self.commits) {
            reader.commit(commits.clone());
            self.commits = commits;
        }
    }

    /// Publishes what is due, as far as there is room.
    pub(crate) fn publish(&mut self, session: &mut Session, now: Instant, wall: UnixMillis) {
        while let Some(packet_id) = self.flight.free_id() {
            let Some((number, command)) = self.open.next_due(now) else { break };
            // A second more rather than none: the vehicle looks at its clock, too.
            let left_s = (command.deadline.saturating_sub(wall)).max(0).saturating_add(999) / 1_000;
            let left_s = u32::try_from(left_s).unwrap_or(u32::MAX).max(1);
            let mqtt_topic = Channel::Command.topic(&command.vehicle);
            match session.publish_expiring(&mqtt_topic, command.payload.clone(), packet_id, left_s) {
                Added::Yes => {
                    self.flight.left(packet_id, number);
                    self.open.published(number, now);
                }
                Added::NoRoom => break,
                Added::TooLarge { bytes, max } => {
                    let detail = format!("a packet of {bytes} bytes, and the MQTT broker takes {max}");
                    self.refuse(number, &Invalid::unparsed(Reason::Oversize, detail));
                }
            }
        }
    }

    /// It never reaches a vehicle as it is: its dead letter goes in its place.
    fn refuse(&mut self, number: Number, invalid: &Invalid) {
        let Some((command, places)) = self.open.unfit(number) else { return };
        tracing::warn!(id = %command.id, vehicle = %command.vehicle, %invalid, "a command that can't be published");
        // Without a reader nothing is open.
        if let Some(reader) = &self.reader {
            for place in places {
                reader.bury(Unfit { place, command: command.clone(), invalid: invalid.clone() });
            }
        }
    }

    /// When it has something to do, whatever happens; not while the broker is away and nothing could be published.
    pub(crate) fn wake_at(&self, now: Instant, wall: UnixMillis) -> Option<Instant> {
        // What found no packet id or no room waits for the socket.
        self.open.wake_at(now, wall).map(|at| at.max(now + Duration::from_millis(10)))
    }

    /// Reads no more, commits and leaves the group: the next process goes on.
    pub(crate) fn leave(&mut self) {
        self.commit();
        if let Some(reader) = &self.reader {
            reader.stop();
        }
    }

    /// Another edge of this id has taken the session over, or may have, and goes on: it reads again what is open here.
    /// The next connection begins anew.
    pub(crate) fn step_aside(&mut self) {
        if self.reader.is_none() {
            return;
        }
        self.leave();
        // Its thread commits, and ends by itself.
        self.reader = None;
        self.open.all_given_back();
        self.flight = Flight::default();
        self.commits.clear();
    }

    /// Whether the group has been left.
    pub(crate) fn has_left(&self) -> bool {
        self.reader.as_ref().is_none_or(Reader::has_ended)
    }

    /// Brings the metrics up to date.
    pub(crate) fn show(&mut self) {
        let now = self.open.counts();
        self.metrics.show(&self.shown, &now, self.open.len(), self.open.is_full());
        self.shown = now;
    }

    /// For the tally: read = answered + expired + refused + given back + open.
    pub(crate) fn tally(&self) -> [(&'static str, u64); 8] {
        let Counts { read, answered, expired, refused, given_back, published, repeated } = self.open.counts();
        [
            ("commands_read", read),
            ("commands_answered", answered),
            ("commands_expired", expired),
            ("commands_refused", refused),
            ("commands_given_back", given_back),
            ("commands_open", self.open.len() as u64),
            ("commands_published", published),
            ("commands_repeated", repeated),
        ]
    }
}
