//! How a load vehicle connects, keeps alive, and leaves.

use std::time::Duration;

use mio::{Interest, Registry, Token, net::TcpStream};
use rand::RngExt;
use socket2::SockRef;

use super::{
    counts::count,
    engine::{Engine, Lost},
    plan::Manners,
    stream::Stream,
    trouble::Absence,
    vehicle::{Link, Vehicle},
    wire::{self, Greeting, Introduction},
};
use crate::outbox::doubled;

/// How long the broker may take to close after a DISCONNECT, µs.
pub(super) const GOODBYE_US: u64 = 2_000_000;

impl Engine {
    /// The clock asks for this vehicle.
    pub(super) fn turn(&mut self, registry: &Registry, vehicle: &mut Vehicle, number: u32) -> Result<(), Lost> {
        self.make(vehicle, number);
        self.disturb(vehicle);
        let now_us = self.now_us();
        let attempt_us = self.plan.manners.attempt_ms * 1_000;
        match vehicle.link {
            Link::Down { at_us, paced: false } if at_us <= now_us => {
                let turn = self.next_turn_us.max(now_us);
                self.next_turn_us = turn + 1_000_000 / u64::from(self.plan.connect_rate.max(1));
                vehicle.link = Link::Down { at_us: turn, paced: true };
            }
            Link::Down { at_us, paced: true } if at_us <= now_us => {
                self.counts.attempts += 1;
                vehicle.stream = Some(self.open(registry, vehicle, number)?);
                vehicle.link = Link::Opening { since_us: now_us };
            }
            Link::Opening { since_us } | Link::Greeting { since_us } | Link::Subscribing { since_us }
                if since_us + attempt_us <= now_us =>
            {
                return Err(Lost(format!("no session within {} ms", self.plan.manners.attempt_ms)));
            }
            Link::Leaving { since_us } if since_us + GOODBYE_US <= now_us => {
                return Err(Lost("no end after DISCONNECT".to_owned()));
            }
            Link::Up => {
                self.keep_alive(vehicle)?;
                self.pump(vehicle, number)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Cuts off whoever is to lose its connection by now.
    fn disturb(&mut self, vehicle: &mut Vehicle) {
        while let Some((start, at)) = self.start.zip(self.cut_at(vehicle)).filter(|(_, at)| *at <= self.now_us()) {
            let (place, at) = (vehicle.place, at - start.us);
            vehicle.cut_at_us = self.plan.troubles.next_cut(place, Some(at));
            if let Some((why, until)) = self.plan.troubles.away(place, at) {
                self.cut(vehicle, why, start.us.saturating_add(until));
            }
        }
    }

    /// The vehicle is away until then, and comes back after a pause that is drawn, so that not all come at once.
    fn cut(&mut self, vehicle: &mut Vehicle, why: Absence, until_us: u64) {
        let pause_us = self.rules.rng.random_range(0..=self.plan.manners.reconnect_ms.0) * 1_000;
        let mut back_us = self.now_us().max(until_us) + pause_us;
        match vehicle.link {
            Link::Leaving { .. } | Link::Left => return,
            // It was away already.
            Link::Down { at_us, .. } if why == Absence::Storm => back_us = at_us,
            Link::Down { at_us, .. } => back_us = back_us.max(at_us),
            was => {
                if let Some(stream) = &vehicle.stream {
                    // Without a DISCONNECT, and with what the kernel still has to send thrown away.
                    SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)).ok();
                }
                self.counts.connected -= u64::from(was == Link::Up);
                count(&mut self.counts.cut, why.as_str(), 1);
                vehicle.disconnect();
                vehicle.outbox.disconnected(self.now_ms());
            }
        }
        vehicle.link = Link::Down { at_us: back_us, paced: false };
    }

    fn open(&self, registry: &Registry, vehicle: &Vehicle, number: u32) -> Result<Stream, Lost> {
        let Manners { socket_buffer, .. } = self.plan.manners;
        let broker = vehicle.place as usize % self.plan.brokers.len();
        let mut stream = TcpStream::connect(self.plan.brokers[broker])?;
        stream.set_nodelay(true)?;
        if socket_buffer > 0 {
            let socket = SockRef::from(&stream);
            socket.set_recv_buffer_size(socket_buffer)?;
            socket.set_send_buffer_size(socket_buffer)?;
        }
        registry.register(&mut stream, Token(number as usize), Interest::READABLE | Interest::WRITABLE)?;
        Ok(match (&self.security, &self.plan.tls) {
            (Some(security), Some((_, hosts))) => security.secure(stream, &hosts[broker], &vehicle.id)?,
            _ => Stream::Plain(stream),
        })
    }

    /// The socket may be connected: then shakes hands, where TLS is spoken, and introduces the vehicle.
    pub(super) fn opened(&mut self, vehicle: &mut Vehicle, since_us: u64) -> Result<(), Lost> {
        let Some(stream) = &mut vehicle.stream else { return Ok(()) };
        if let Some(error) = stream.socket().take_error()? {
            return Err(error.into());
        }
        if stream.socket().peer_addr().is_err() || !stream.shake_hands()? {
            // Not yet.
            return Ok(());
        }
        let (user, password) = self.credentials.of(&vehicle.id).map_err(Lost)?;
        let introduction = Introduction {
            user,
            password,
            // Nothing is known of an earlier process: its session is not ours.
            clean_start: !vehicle.known,
            keep_alive_s: self.plan.manners.keep_alive_s,
            session_expiry_s: self.plan.manners.session_expiry_s,
        };
        self.outgoing.clear();
        wire::connect(&vehicle.id, introduction, &mut self.outgoing)?;
        vehicle.link = Link::Greeting { since_us };
        self.write(vehicle)
    }

    pub(super) fn greeted(&mut self, vehicle: &mut Vehicle, greeting: &Greeting, since_us: u64) -> Result<(), Lost> {
        if !greeting.acknowledges {
            return Err(Lost("the broker takes only QoS 0".to_owned()));
        }
        let longest = self.payloads.longest() + wire::PUBLISH_HEAD + "v1//telemetry".len() + vehicle.id.as_str().len();
        let longest = longest + self.payloads.content_type().len();
        if longest > greeting.max_packet as usize {
            let most = greeting.max_packet;
            return Err(Lost(format!("the broker takes packets of {most} bytes, a reading needs {longest}")));
        }
        vehicle.outbox.session(greeting.session_present && vehicle.known);
        vehicle.known = true;
        vehicle.receive_maximum = greeting.receive_maximum;
        vehicle.keep_alive_s = greeting.keep_alive_s.unwrap_or(self.plan.manners.keep_alive_s);
        self.outgoing.clear();
        wire::subscribe(&vehicle.id, self.plan.judge, &mut self.outgoing)?;
        vehicle.link = Link::Subscribing { since_us };
        self.write(vehicle)
    }

    fn keep_alive(&mut self, vehicle: &mut Vehicle) -> Result<(), Lost> {
        let Some((ping, silence)) = vehicle.keep_alive_ms() else { return Ok(()) };
        let now = self.now_ms();
        if silence <= now {
            return Err(Lost("silent beyond the keep-alive".to_owned()));
        }
        if ping <= now {
            self.counts.pings += 1;
            self.outgoing.clear();
            wire::ping(&mut self.outgoing)?;
            self.write(vehicle)?;
        }
        Ok(())
    }

    /// The connection or the attempt has ended: counts why, and says when to try again.
    pub(super) fn lost(&mut self, vehicle: &mut Vehicle, lost: &Lost) {
        let was = vehicle.link;
        if let (Link::Greeting { .. } | Link::Subscribing { .. }, Some(stream)) = (was, &vehicle.stream) {
            // With a reset: a busy broker would find our CONNECT in its backlog later, and throw the vehicle's next
            // connection out for it. What the kernel says to that changes nothing.
            SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)).ok();
        }
        vehicle.disconnect();
        if let Link::Leaving { .. } | Link::Left = was {
            vehicle.link = Link::Left;
            return;
        }
        self.count_lost(was, &lost.0);
        vehicle.outbox.disconnected(self.now_ms());
        let (first, most) = self.plan.manners.reconnect_ms;
        let pause = self.rules.rng.random_range(0..=doubled(first, most, u32::from(vehicle.failures)));
        vehicle.failures = vehicle.failures.saturating_add(1);
        vehicle.link = Link::Down { at_us: self.now_us() + pause * 1_000, paced: false };
    }

    /// Takes leave.
    pub(super) fn leave(&mut self, vehicle: &mut Vehicle) {
        vehicle.outbox.disconnected(self.now_ms());
        if vehicle.link == Link::Up {
            self.counts.connected -= 1;
            self.outgoing.clear();
            let said = wire::disconnect(&mut self.outgoing).map_err(Lost::from);
            if said.and_then(|()| self.write(vehicle)).is_ok() {
                vehicle.link = Link::Leaving { since_us: self.now_us() };
                return;
            }
        }
        vehicle.disconnect();
        vehicle.link = Link::Left;
    }
}
