//! The session at the MQTT broker: connects, greets, subscribes, keeps alive, connects again.
//!
//! Nothing here waits. [`Session::advance`] does what can be done now; [`Session::next`] gives what came of it,
//! one by one, decoded where it lies in the buffer; what is to be sent gathers until [`Session::flush`].

mod identity;
mod packets;
#[cfg(test)]
mod tests;
mod up;
mod wire;

use std::{
    collections::VecDeque,
    os::fd::RawFd,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use service::{Address, Backoff, Error};
use telemetry::UnixMillis;

use crate::{config::Config, spool::Entry};
pub(crate) use identity::{Identity, Will};
use packets::Came;
use up::Up;
use wire::Wire;

/// The broker has to hear from us this often, s; after one and a half it takes us for dead.
const KEEP_ALIVE_S: u16 = 5;
const PING_EVERY: Duration = Duration::from_millis(2_500);
/// A pause longer than this was ours: we did not listen. The loop never rests for so long.
pub(crate) const DEAF: Duration = Duration::from_secs(3);
/// Each step of opening a connection.
const OPENING: Duration = Duration::from_secs(5);
/// After a connection of this length the pauses between tries start small again.
const LASTING: Duration = Duration::from_secs(10);
/// Unwritten bytes above which no acks are added: PUBACKs are to have room.
const ROOM: usize = 256 * 1024;

/// What happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// CONNACK; whether the broker still had our session, how many publishes of QoS 1 it takes ahead of its PUBACKs,
    /// and the largest packet that it takes, bytes.
    Connected { resumed: bool, receive_maximum: u16, max_packet_size: u32 },
    /// SUBACK: everything published from now on comes to us.
    Subscribed,
    /// A publish; without a packet id it is of QoS 0.
    Publish { packet_id: Option<u16>, entry: Entry },
    /// The broker took, or refused, a publish of ours.
    Puback { packet_id: u16, taken: bool, reason: String },
    /// The connection is gone, or could not be made. It will be tried again.
    Lost(String),
    /// The broker does not want us; it will be tried again.
    Refused(String),
    /// The answer to a ping.
    Pong,
    /// Another client connected with our name.
    TakenOver,
    /// Another try would only do harm.
    Fatal(String),
}

/// What became of a publish that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is on its way.
    Yes,
    /// There is no room now.
    NoRoom,
    /// The broker takes no packet of this size; the largest has `max` bytes.
    TooLarge { bytes: usize, max: u32 },
}

enum Link {
    Down { retry_at: Instant },
    Opening(Receiver<Result<Wire, String>>),
    Up(Up),
}

/// The session.
pub(crate) struct Session {
    config: Config,
    broker: Address,
    identity: Identity,
    link: Link,
    /// Sockets so far.
    opened: u64,
    backoff: Backoff,
    happenings: VecDeque<Happening>,
}

impl Session {
    /// Prepares the connection; [`Self::advance`] makes it.
    ///
    /// # Errors
    /// [`Error::Usage`] for an address, a password file or a certificate that can't be used.
    pub(crate) fn new(config: &Config, identity: Identity) -> Result<Self, Error> {
        config.password()?;
        config.secure.mqtt()?;
        Ok(Self {
            broker: config.broker()?,
            config: config.clone(),
            identity,
            link: Link::Down { retry_at: Instant::now() },
            opened: 0,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            happenings: VecDeque::new(),
        })
    }

    /// A CONNACK came, and no failure since.
    pub(crate) fn connected(&self) -> bool {
        matches!(&self.link, Link::Up(Up { greeted: true, .. }))
    }

    /// Whether there is room for another ack. A flood of acks must not hold up PUBACKs.
    pub(crate) fn has_room(&self) -> bool {
        matches!(&self.link, Link::Up(up) if up.greeted && up.wire.unwritten() < ROOM)
    }

    /// Whether everything that was to be sent has been written to the socket.
    pub(crate) fn written(&self) -> bool {
        match &self.link {
            Link::Up(up) => up.wire.unwritten() == 0,
            _ => true,
        }
    }

    /// Whether something came that was not decoded. The socket may have no news of it any more.
    pub(crate) fn has_undecoded(&mut self) -> bool {
        let Link::Up(up) = &mut self.link else { return false };
        !up.wire.inbox().is_empty()
    }

    /// The number of the connection and its socket, if there is one, for a poll.
    pub(crate) fn socket(&self) -> Option<(u64, RawFd)> {
        match &self.link {
            Link::Up(up) => Some((self.opened, up.wire.fd())),
            _ => None,
        }
    }

    /// When [`Self::advance`] is wanted, whatever comes on the socket. Never where it may not connect: what allows it
    /// has a timer of its own.
    pub(crate) fn wanted_at(&self, now: Instant, may_connect: bool) -> Option<Instant> {
        match &self.link {
            Link::Down { retry_at } => may_connect.then_some((*retry_at).max(now + Duration::from_millis(1))),
            // Its thread wakes nobody.
            Link::Opening(_) => Some(now + Duration::from_millis(5)),
            Link::Up(up) => Some(up.pinged_at + PING_EVERY),
        }
    }

    /// Does what can be done now: connects if it may, reads if `listen`, pings. Returns how many bytes came, or are
    /// there where nothing was read, because enough is there.
    /// `alone`: no other edge with the same name is known to bridge.
    pub(crate) fn advance(&mut self, now: Instant, may_connect: bool, listen: bool, alone: bool) -> usize {
        match &mut self.link {
            Link::Down { retry_at } if *retry_at <= now && may_connect => {
                self.link = self.open();
                0
            }
            Link::Down { .. } => 0,
            Link::Opening(opening) => {
                match opening.try_recv() {
                    // Another one was quicker: it is not thrown out.
                    Ok(Ok(_)) if !alone => self.go_down(now),
                    Ok(Ok(wire)) => self.greet(wire, now),
                    Ok(Err(why)) => self.lost(why, now),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => self.lost("the attempt was given up".to_owned(), now),
                }
                0
            }
            Link::Up(up) => match up.advance(now, listen) {
                Ok(came) => came,
                Err(why) => {
                    self.lost(why, now);
                    0
                }
            },
        }
    }

    /// On a thread of its own: names are looked up and hands are shaken by waiting.
    fn open(&self) -> Link {
        let (sender, receiver) = sync_channel(1);
        let (broker, secure) = (self.broker.clone(), self.config.secure.clone());
        let opened = std::thread::Builder::new().name("mqtt-open".to_owned()).spawn(move || {
            // Certificates are short-lived: whoever renews them writes new files.
            let tls = secure.mqtt().map_err(|error| error.to_string());
            let opened =
                tls.and_then(|tls| Wire::open(&broker, tls.as_ref(), OPENING).map_err(|error| error.to_string()));
            // Nobody may be waiting any more.
            sender.send(opened).ok();
        });
        // Without the thread the sender is gone, which counts as a failed attempt.
        if let Err(error) = opened {
            tracing::warn!(%error, "no thread for a connection");
        }
        Link::Opening(receiver)
    }

    fn greet(&mut self, mut wire: Wire, now: Instant) {
        // It may have been changed, and the broker asks for the new one.
        let password = match self.config.password() {
            Ok(password) => password,
            Err(error) => return self.lost(error.to_string(), now),
        };
        packets::connect(&self.config, password, &self.identity, KEEP_ALIVE_S, wire.outbox());
        self.link = Link::Up(Up::new(wire, now));
        self.opened += 1;
    }

    fn lost(&mut self, why: String, now: Instant) {
        self.go_down(now);
        self.happenings.push_back(Happening::Lost(why));
    }

    fn go_down(&mut self, now: Instant) {
        // Only a connection that lasted counts as a success: two edges with one id would otherwise throw each
        // other out as fast as they can.
        if matches!(&self.link, Link::Up(up) if up.greeted && now.duration_since(up.since) >= LASTING) {
            self.backoff.reset();
        }
        // What it had read and nobody has taken goes with it: the broker sends it again.
        self.link = Link::Down { retry_at: now + self.backoff.next() };
    }

    /// The next thing that happened; of what came on the socket only if `listen`. `ingest` is the time of now.
    pub(crate) fn next(&mut self, now: Instant, ingest: UnixMillis, listen: bool) -> Option<Happening> {
        loop {
            if let Some(happening) = self.happenings.pop_front() {
                return Some(happening);
            }
            let Link::Up(up) = &mut self.link else { return None };
            if !listen {
                return None;
            }
            match packets::next(up.wire.inbox(), ingest) {
                Ok(None) => return None,
                Ok(Some(Came::Happening(happening))) => return Some(self.digest(happening, now)),
                Ok(Some(Came::Nothing)) => {}
                Err(why) => self.lost(why, now),
            }
        }
    }

    fn digest(&mut self, happening: Happening, now: Instant) -> Happening {
        match &happening {
            Happening::Connected { max_packet_size, .. } => {
                if let Link::Up(up) = &mut self.link {
                    up.greeted = true;
                    up.max_packet_size = *max_packet_size;
                    // After every CONNACK, whatever it says of the session: a broker that lost it says so, one
                    // that was upgraded or whose access list was mended may not.
                    packets::subscribe(&self.identity.filters, up.wire.outbox());
                }
            }
            Happening::Lost(_) | Happening::Refused(_) | Happening::Fatal(_) | Happening::TakenOver => {
                self.go_down(now);
            }
            Happening::Subscribed | Happening::Publish { .. } | Happening::Puback { .. } | Happening::Pong => {}
        }
        happening
    }

    /// Adds a PUBACK; false without a connection.
    #[must_use]
    pub(crate) fn puback(&mut self, packet_id: u16) -> bool {
        let Link::Up(up @ Up { greeted: true, .. }) = &mut self.link else { return false };
        packets::puback(packet_id, up.wire.outbox());
        true
    }

    /// Adds a publish, of QoS 1 if it has a packet id; false if there is no room now.
    #[must_use]
    pub(crate) fn publish(&mut self, mqtt_topic: &str, payload: Vec<u8>, packet_id: Option<u16>) -> bool {
        if !self.has_room() {
            return false;
        }
        if let Link::Up(up) = &mut self.link {
            packets::publish(mqtt_topic, payload, packet_id, false, up.wire.outbox());
        }
        true
    }

    /// Adds a retained publish of QoS 0; false if there is no room now.
    #[must_use]
    pub(crate) fn retain(&mut self, mqtt_topic: &str, payload: Vec<u8>) -> bool {
        if !self.has_room() {
            return false;
        }
        if let Link::Up(up) = &mut self.link {
            packets::publish(mqtt_topic, payload, None, true, up.wire.outbox());
        }
        true
    }

    /// Adds a JSON publish of QoS 1 that the broker keeps for at most `expiry_s`.
    #[must_use]
    pub(crate) fn publish_expiring(
        &mut self,
        mqtt_topic: &str,
        payload: Bytes,
        packet_id: u16,
        expiry_s: u32,
    ) -> Added {
        if !self.has_room() {
            return Added::NoRoom;
        }
        let Link::Up(up) = &mut self.link else { return Added::NoRoom };
        let max = up.max_packet_size;
        match packets::publish_expiring(mqtt_topic, payload, packet_id, expiry_s, max, up.wire.outbox()) {
            Ok(()) => Added::Yes,
            Err(bytes) => Added::TooLarge { bytes, max },
        }
    }

    /// Adds a ping beside the regular ones.
    pub(crate) fn ping(&mut self) {
        if let Link::Up(up) = &mut self.link {
            packets::ping(up.wire.outbox());
        }
    }

    /// Writes what has gathered, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        if let Link::Up(up) = &mut self.link
            && up.broken.is_none()
            && let Err(error) = up.wire.flush()
        {
            // A broker that turns somebody away says why, and closes: writing then fails before that is read.
            up.broken = Some(error.to_string());
        }
    }

    /// Says goodbye, waiting at most until `deadline`; the session stays at the broker. False if the broker did not
    /// take it in time.
    pub(crate) fn disconnect(&mut self, deadline: Instant) -> bool {
        let Link::Up(up) = &mut self.link else { return true };
        packets::disconnect(up.wire.outbox());
        while up.wire.unwritten() > 0 {
            if up.wire.flush().is_err() || Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        up.wire.close();
        true
    }
}
