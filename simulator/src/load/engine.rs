//! What the vehicles of a worker share: buffers, counts, ledger, and the rules by which a vehicle makes readings,
//! sends them. What it hears is in [`super::answers`], how it connects in [`super::link`], the loop around all in
//! [`super::worker`].

use std::{
    io::{self, Write},
    time::Instant,
};

use bytes::BytesMut;
use telemetry::UnixMillis;

use super::{
    arrivals::Arrivals,
    counts::{Counts, Stage, Stages, count},
    outbox::Rules,
    payload::Payloads,
    plan::Plan,
    schedule::Schedule,
    stream::Security,
    trouble::NEVER,
    vehicle::{Link, Vehicle},
};
use crate::{account::Credentials, ledger::batch::BatchWriter};

/// Bytes read at once, and packed together at most before they are written.
const BLOCK: usize = 64 * 1024;
/// Readings that a vehicle makes before others get their turn.
const BATCH: usize = 64;

/// Why a connection is at its end.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rumqttc::v5::mqttbytes::Error> for Lost {
    fn from(error: rumqttc::v5::mqttbytes::Error) -> Self {
        Self(format!("protocol: {error}"))
    }
}

/// When the load began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// On this worker's clock, µs.
    pub(super) us: u64,
    /// Wall time, µs since the epoch: the same for all workers.
    pub(super) wall_us: u64,
}

impl Start {
    /// The wall time of a moment after the start, ms since the epoch.
    fn wall(self, due_us: u64) -> UnixMillis {
        UnixMillis::try_from((self.wall_us + due_us) / 1_000).unwrap_or(UnixMillis::MAX / 2)
    }
}

/// See the module.
pub(super) struct Engine {
    pub(super) plan: Plan,
    pub(super) rules: Rules,
    pub(super) counts: Counts,
    pub(super) stages: Stages,
    pub(super) payloads: Payloads,
    pub(super) ledger: Option<BatchWriter>,
    /// The ledger could not be written.
    pub(super) failure: Option<io::Error>,
    pub(super) start: Option<Start>,
    /// When readings are due.
    pub(super) schedule: Schedule,
    /// Readings are made.
    pub(super) making: bool,
    /// How many more may be made.
    pub(super) quota: u64,
    /// The next free turn to connect, µs.
    pub(super) next_turn_us: u64,
    origin: Instant,
    pub(super) security: Option<Security>,
    pub(super) credentials: Credentials,
    pub(super) scratch: Box<[u8]>,
    pub(super) stream: BytesMut,
    pub(super) payload: Vec<u8>,
    pub(super) outgoing: BytesMut,
}

impl Engine {
    pub(super) fn new(plan: Plan, rules: Rules, origin: Instant, ledger: Option<BatchWriter>) -> anyhow::Result<Self> {
        Ok(Self {
            payloads: Payloads::new(plan.form, plan.seed, plan.boot),
            quota: plan.share_of_messages().unwrap_or(u64::MAX),
            security: plan.tls.as_ref().map(|(tls, _)| Security::new(tls)).transpose()?,
            credentials: plan.account.open()?,
            schedule: Schedule::new(plan.arrivals.clone()),
            plan,
            rules,
            counts: Counts::default(),
            stages: Stages::new()?,
            ledger,
            failure: None,
            start: None,
            making: false,
            next_turn_us: 0,
            origin,
            scratch: vec![0; BLOCK].into(),
            stream: BytesMut::with_capacity(2 * BLOCK),
            payload: Vec::new(),
            outgoing: BytesMut::with_capacity(2 * BLOCK),
        })
    }

    /// µs since this worker began.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Readings that are neither acknowledged nor given up.
    pub(super) fn in_hand(&self) -> u64 {
        let counts = &self.rules.counts;
        counts.offered - counts.given_up - self.counts.acked - self.counts.unheard
    }

    /// The event time of a reading: when it was due.
    pub(super) fn time(&self, due_us: u64) -> UnixMillis {
        self.start.map_or(0, |start| start.wall(due_us))
    }

    pub(super) fn after_start_us(&self) -> Option<u64> {
        self.now_us().checked_sub(self.start?.us)
    }

    pub(super) fn enter(&mut self, note: impl FnOnce(&mut BatchWriter) -> io::Result<()>) {
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = note(ledger)
        {
            self.failure.get_or_insert(error);
        }
    }

    /// When the next reading of a vehicle is due, on this worker's clock; none in a load that does not follow one.
    fn due(&self, vehicle: &Vehicle) -> Option<u64> {
        let start = self.start.filter(|_| self.making && self.quota > 0)?;
        let due = self.schedule.due_us(vehicle.place, vehicle.made)?;
        self.plan.duration_us.is_none_or(|duration| due < duration).then(|| start.us + due)
    }

    /// When a vehicle may be cut off next, on this worker's clock. Nobody is any more when no readings are made.
    pub(super) fn cut_at(&self, vehicle: &Vehicle) -> Option<u64> {
        let start = self.start.filter(|_| self.making && vehicle.cut_at_us < NEVER)?;
        start.us.checked_add(vehicle.cut_at_us)
    }

    /// Whether another reading of this vehicle will be made.
    pub(super) fn more_will_come(&self, vehicle: &Vehicle) -> bool {
        self.due(vehicle).is_some()
    }

    /// Makes what is due by now.
    pub(super) fn make(&mut self, vehicle: &mut Vehicle, number: u32) {
        for _ in 0..BATCH {
            let Some((start, due)) = self.start.zip(self.due(vehicle)).filter(|(_, due)| *due <= self.now_us()) else {
                break;
            };
            self.offer(vehicle, number, due - start.us);
        }
    }

    /// Whether a reading of this vehicle is late.
    pub(super) fn is_due(&self, vehicle: &Vehicle) -> bool {
        self.due(vehicle).is_some_and(|due| due <= self.now_us())
    }

    pub(super) fn offer(&mut self, vehicle: &mut Vehicle, number: u32, due_us: u64) {
        self.quota -= 1;
        vehicle.made += 1;
        self.counts.last_made_us = self.after_start_us().unwrap_or(0);
        if let Some(left) = vehicle.outbox.offer(&mut self.rules, due_us) {
            let age_us = self.after_start_us().unwrap_or(0).saturating_sub(left.due_us);
            self.stages.record(Stage::Unanswered, age_us);
            self.enter_given_up(number, left);
        }
    }

    /// In a blast: a new reading, if nothing waits and the window has room.
    fn blast(&mut self, vehicle: &mut Vehicle, number: u32) {
        if self.plan.arrivals != Arrivals::Blast || !self.making || self.quota == 0 || vehicle.outbox.waits() {
            return;
        }
        if let Some(due_us) = self.after_start_us().filter(|_| vehicle.outbox.in_flight() < self.plan.manners.window) {
            self.offer(vehicle, number, due_us);
        }
    }

    /// Sends what may be sent.
    pub(super) fn pump(&mut self, vehicle: &mut Vehicle, number: u32) -> Result<(), Lost> {
        while vehicle.link == Link::Up {
            self.outgoing.clear();
            let now = self.now_ms();
            while vehicle.has_room() && self.outgoing.len() < BLOCK {
                self.blast(vehicle, number);
                let Some(transmission) = vehicle.outbox.next(&mut self.rules, now) else { break };
                self.transmit(vehicle, number, transmission);
            }
            self.catch_up(vehicle);
            if self.outgoing.is_empty() {
                break;
            }
            self.write(vehicle)?;
        }
        Ok(())
    }

    /// Hands what is packed to the kernel; what it has no room for stays with the vehicle.
    pub(super) fn write(&mut self, vehicle: &mut Vehicle) -> Result<(), Lost> {
        vehicle.sent_ms = self.now_ms();
        let mut rest = &self.outgoing[..];
        if vehicle.unsent.is_empty()
            && let Some(stream) = &mut vehicle.stream
        {
            while !rest.is_empty() {
                match stream.write(rest) {
                    Ok(n) => {
                        self.counts.bytes_out += n as u64;
                        rest = &rest[n..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if !rest.is_empty() {
            let mut unsent = std::mem::take(&mut vehicle.unsent).into_vec();
            unsent.extend_from_slice(rest);
            vehicle.unsent = unsent.into();
        }
        self.outgoing.clear();
        self.note_written(vehicle);
        Ok(())
    }

    /// There is room again in the kernel.
    pub(super) fn writable(&mut self, vehicle: &mut Vehicle, number: u32) -> Result<(), Lost> {
        if !vehicle.unsent.is_empty() {
            let unsent = std::mem::take(&mut vehicle.unsent);
            self.outgoing.clear();
            self.outgoing.extend_from_slice(&unsent);
            self.write(vehicle)?;
        }
        self.pump(vehicle, number)
    }

    fn note_written(&mut self, vehicle: &mut Vehicle) {
        let Some(now) = self.after_start_us().filter(|_| vehicle.unsent.is_empty()) else { return };
        for out in vehicle.outstanding.iter_mut().rev().take_while(|out| !out.written) {
            out.written = true;
            // What a connection took with it before the kernel had it is first written when it is sent again.
            if vehicle.outbox.written(out.seq).unwrap_or(!out.again) {
                self.stages.record(Stage::Written, now.saturating_sub(out.due_us));
            }
        }
    }

    /// Counts the end of a connection or of an attempt.
    pub(super) fn count_lost(&mut self, was: Link, reason: &str) {
        let counts = &mut self.counts;
        match was {
            Link::Up => {
                counts.connected -= 1;
                count(&mut counts.lost, reason, 1);
            }
            _ => count(&mut counts.failed, reason, 1),
        }
    }

    /// When the clock alone asks for this vehicle, µs.
    pub(super) fn deadline(&self, vehicle: &Vehicle) -> Option<u64> {
        let attempt = self.plan.manners.attempt_ms * 1_000;
        let link = match vehicle.link {
            Link::Down { at_us, .. } => Some(at_us),
            Link::Opening { since_us } | Link::Greeting { since_us } | Link::Subscribing { since_us } => {
                Some(since_us + attempt)
            }
            Link::Up => {
                let kept = vehicle.keep_alive_ms().map(|(ping, silence)| ping.min(silence));
                // Without room, what is due waits for what makes room.
                let resend = vehicle.outbox.wake_at(&self.rules.settings).filter(|_| vehicle.has_room());
                kept.into_iter().chain(resend).min().map(|ms| ms * 1_000)
            }
            Link::Leaving { since_us } => Some(since_us + super::link::GOODBYE_US),
            Link::Left => return None,
        };
        link.into_iter().chain(self.due(vehicle)).chain(self.cut_at(vehicle)).min()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::load::Config;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    /// An engine whose load has begun, and a vehicle that is up.
    fn begun(arguments: &[&str]) -> (Engine, Vehicle) {
        let config = Arguments::parse_from(["load"].iter().chain(arguments)).config;
        let plan = config.plan(0, &[], 1_760_000_000_000);
        let rules = Rules::of(&plan);
        let mut vehicle = Vehicle::new(crate::vehicle::vehicle_id(1), 0, 1, &rules, &plan.manners, 0);
        let mut engine = Engine::new(plan, rules, Instant::now(), None).unwrap();
        engine.start = Some(Start { us: 0, wall_us: 1_760_000_000_000_000 });
        vehicle.link = Link::Up;
        vehicle.outbox.connected(0);
        (engine, vehicle)
    }

    #[test]
    fn a_reading_that_a_lost_connection_took_with_it_is_timed_until_the_kernel_has_it() {
        let (mut engine, mut vehicle) = begun(&["--rate", "10"]);
        vehicle.outbox.offer(&mut engine.rules, 0);
        let timed = |engine: &Engine| engine.stages.get(Stage::Written).len();
        // It waits for room in the kernel when the connection ends.
        let first = vehicle.outbox.next(&mut engine.rules, 0).unwrap();
        engine.transmit(&mut vehicle, 0, first);
        vehicle.unsent = [0].into();
        engine.note_written(&mut vehicle);
        assert_eq!(timed(&engine), 0);
        for session in [true, false] {
            vehicle.disconnect();
            vehicle.outbox.disconnected(1);
            vehicle.outbox.session(session);
            vehicle.outbox.connected(1);
            let again = vehicle.outbox.next(&mut engine.rules, 1).unwrap();
            assert!(again.again.is_some());
            engine.transmit(&mut vehicle, 0, again);
            engine.note_written(&mut vehicle);
            assert_eq!(timed(&engine), 1, "once, however often it is sent");
        }
    }
}
