//! A worker: one thread, one epoll, its part of the fleet.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use mio::{Events, Interest, Poll, Token, event::Event};

use super::{
    arrivals::Arrivals,
    control::{self, Mailbox, Order, Tick, Word},
    counts::{Stage, Stages},
    deadlines::Deadlines,
    engine::{Engine, Start},
    machine,
    memory::Memory,
    outbox::Rules,
    plan::Plan,
    vehicle::{Link, Vehicle},
};
use crate::{ledger::batch::BatchWriter, vehicle::vehicle_id};

/// Beyond every vehicle.
const CONTROL: Token = Token(usize::MAX);
const TICK_US: u64 = 1_000_000;
/// Vehicles whose deadlines have come, before events are looked at again.
const TURNS: usize = 256;
/// Payloads rendered to learn what one takes.
const RENDERED: u32 = 20_000;

/// Runs a worker that a parent has started, with orders on standard input.
///
/// # Errors
/// If the parent can't be talked to; everything else is told to it.
pub fn work() -> anyhow::Result<()> {
    let origin = Instant::now();
    machine::raise_open_files().context("raise the limit of open files")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut stream = UnixStream::from(stdin);
    let order = control::receive(&mut stream).context("read the plan")?;
    let Some(Order::Connect(plan)) = order else { anyhow::bail!("a worker is started by a load, not by hand") };
    stream.set_nonblocking(true)?;
    let mailbox = Mailbox::new(mio::net::UnixStream::from_std(stream));
    Worker::new(*plan, mailbox, origin)?.run()
}

struct Worker {
    engine: Engine,
    vehicles: Vec<Vehicle>,
    deadlines: Deadlines,
    poll: Poll,
    mailbox: Mailbox,
    memory: Memory,
    /// All vehicles have been connected at once.
    complete: bool,
    /// The parent told to stop, or has gone.
    told: bool,
    /// It has gone: nobody is told anything any more.
    alone: bool,
    /// When it is left, whatever is unacknowledged, µs.
    leave_at_us: Option<u64>,
    /// The parent knows that there is nothing more to wait for,
    done: bool,
    /// and told to leave then.
    may_leave: bool,
    leaving: bool,
    /// Until when the counts are those of the load, µs after its start.
    counted_until_us: u64,
    next_tick_us: u64,
}

impl Worker {
    fn new(plan: Plan, mut mailbox: Mailbox, origin: Instant) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut mailbox.stream, CONTROL, Interest::READABLE | Interest::WRITABLE)?;
        let memory = Memory::new(machine::resident_bytes());
        let name = |place| vehicle_id(plan.first_vehicle + place);
        let ledger = plan.ledger.as_ref().map(|dir| {
            let created = BatchWriter::create(dir, plan.vehicles().map(name), plan.boot, plan.began);
            created.with_context(|| dir.display().to_string())
        });
        let rules = Rules::of(&plan);
        let gap_us = 1_000_000 / u64::from(plan.connect_rate.max(1));
        let vehicle = |(turn, place): (u64, u32)| {
            let index = plan.first_vehicle + place;
            Vehicle::new(name(place), place, index, &rules, &plan.manners, turn * gap_us)
        };
        let vehicles: Vec<_> = (0..).zip(plan.vehicles()).map(vehicle).collect();
        let mut deadlines = Deadlines::new(vehicles.len());
        for number in 0..vehicles.len() {
            deadlines.set(number, Some(gap_us * number as u64));
        }
        let mut engine = Engine::new(plan, rules, origin, ledger.transpose()?)?;
        // Ticks of all workers fall on whole seconds of the wall clock, so that the parent, which looks in between,
        // has one of each in every second.
        let next_tick_us = engine.now_us() + TICK_US - wall_us() % TICK_US;
        engine.next_turn_us = gap_us * vehicles.len() as u64;
        Ok(Self {
            engine,
            vehicles,
            deadlines,
            poll,
            mailbox,
            memory,
            complete: false,
            told: false,
            alone: false,
            leave_at_us: None,
            done: false,
            may_leave: false,
            leaving: false,
            counted_until_us: 0,
            next_tick_us,
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let failure = self.drive().err().map(|error| format!("{error:#}"));
        let closed = self.engine.close_ledger(&self.vehicles);
        let failure = failure.or_else(|| closed.err().map(|error| format!("the ledger can't be written: {error}")));
        if self.alone {
            return Ok(());
        }
        self.tick()?;
        self.mailbox.post(&Word::Ended { failure })?;
        let mut events = Events::with_capacity(8);
        let until = Instant::now() + Duration::from_secs(5);
        while !self.mailbox.is_empty() && Instant::now() < until {
            self.poll.poll(&mut events, Some(Duration::from_millis(100)))?;
            self.mailbox.flush()?;
        }
        Ok(())
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        loop {
            let now = self.engine.now_us();
            let next = self.deadlines.first().unwrap_or(u64::MAX).min(self.next_tick_us);
            match self.poll.poll(&mut events, Some(Duration::from_micros(next.saturating_sub(now)))) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    CONTROL => self.obey()?,
                    Token(number) => self.happened(number, event),
                }
            }
            // Some at a time, the latest last: a backlog of connections must not keep the loop from what it hears.
            let now = self.engine.now_us();
            for _ in 0..TURNS {
                let Some(number) = self.deadlines.pop(now) else { break };
                let vehicle = &mut self.vehicles[number];
                if let Err(lost) = self.engine.turn(self.poll.registry(), vehicle, index(number)) {
                    self.engine.lost(vehicle, &lost);
                }
                self.set_deadline(number, now);
            }
            if !self.complete && self.engine.counts.connected == self.vehicles.len() as u64 {
                self.complete = true;
                self.tell_connected()?;
            }
            if now >= self.next_tick_us {
                self.next_tick_us += TICK_US * ((now - self.next_tick_us) / TICK_US + 1);
                self.tick()?;
            }
            if let Some(error) = self.engine.failure.take() {
                return Err(anyhow::Error::from(error).context("write the ledger"));
            }
            if self.has_ended(now)? {
                return Ok(());
            }
        }
    }

    /// A deadline that has passed counts from now on, so that one vehicle can't keep the loop to itself.
    fn set_deadline(&mut self, number: usize, now: u64) {
        let deadline = self.engine.deadline(&self.vehicles[number]);
        self.deadlines.set(number, deadline.map(|at| at.max(now + 1)));
    }

    fn happened(&mut self, number: usize, event: &Event) {
        let (vehicle, engine) = (&mut self.vehicles[number], &mut self.engine);
        let mut result = Ok(());
        if let Link::Opening { since_us } = vehicle.link {
            result = engine.opened(vehicle, since_us);
        } else if event.is_writable() {
            result = engine.writable(vehicle, index(number));
        }
        if result.is_ok() && (event.is_readable() || event.is_read_closed() || event.is_error()) {
            result = engine.readable(vehicle, index(number), event.is_read_closed() || event.is_error());
        }
        if let Err(lost) = result {
            engine.lost(vehicle, &lost);
        }
        let now = self.engine.now_us();
        self.set_deadline(number, now);
    }

    fn obey(&mut self) -> anyhow::Result<()> {
        let mut orders = Vec::new();
        if !self.mailbox.read(&mut orders)? {
            self.alone = true;
            self.may_leave = true;
            self.stop(0);
        }
        for order in orders {
            match order {
                Order::Connect(_) => anyhow::bail!("a second plan"),
                Order::Start { at_us } => self.start(at_us),
                Order::Rate { at_us, per_s } => self.change_rate(at_us, per_s),
                Order::Look => self.look()?,
                Order::Stop { drain_ms } => self.stop(drain_ms),
                Order::Leave => self.may_leave = true,
            }
        }
        self.mailbox.flush()?;
        Ok(())
    }

    fn start(&mut self, wall_us: u64) {
        let us = on_own_clock(wall_us, self::wall_us(), self.engine.now_us());
        self.engine.start = Some(Start { us, wall_us });
        self.engine.making = !self.told;
        for number in 0..self.vehicles.len() {
            // A blast follows no clock: everybody is asked once, and then by what happens.
            let blast = self.engine.plan.arrivals == Arrivals::Blast;
            let vehicle = &mut self.vehicles[number];
            vehicle.cut_at_us = self.engine.plan.troubles.next_cut(vehicle.place, None);
            let deadline = self.engine.deadline(&self.vehicles[number]);
            let first = Some(us).filter(|_| blast);
            self.deadlines.set(number, deadline.into_iter().chain(first).min());
        }
    }

    fn change_rate(&mut self, wall_us: u64, per_s: u64) {
        let Some(start) = self.engine.start else { return };
        self.engine.schedule.change(wall_us.saturating_sub(start.wall_us), self.engine.plan.fleet, per_s);
        let now = self.engine.now_us();
        for number in 0..self.vehicles.len() {
            self.set_deadline(number, now);
        }
    }

    fn stop(&mut self, drain_ms: u64) {
        self.told = true;
        self.engine.making = false;
        let at = self.engine.now_us() + drain_ms * 1_000;
        self.leave_at_us = Some(self.leave_at_us.map_or(at, |before| before.min(at)));
    }

    fn has_ended(&mut self, now: u64) -> anyhow::Result<bool> {
        let engine = &mut self.engine;
        if let Some(start) = engine.start.filter(|_| engine.making) {
            let over = engine.plan.duration_us.is_some_and(|duration| now >= start.us + duration);
            // What was due before the end is made first, however late.
            let blast = engine.plan.arrivals == Arrivals::Blast;
            if engine.quota == 0 || (over && (blast || !self.vehicles.iter().any(|v| engine.is_due(v)))) {
                engine.making = false;
                let at = now + engine.plan.drain_ms * 1_000;
                self.leave_at_us = Some(self.leave_at_us.map_or(at, |before| before.min(at)));
            }
        }
        if !self.leaving {
            let over = self.leave_at_us.is_some_and(|at| engine.in_hand() == 0 || now >= at);
            if over && !engine.making && !self.done {
                self.done = true;
                self.counted_until_us = engine.after_start_us().unwrap_or(0);
                if !self.alone {
                    self.mailbox.post(&Word::Done)?;
                }
            }
            if self.done && self.may_leave {
                self.leaving = true;
                // What is unanswered now stays so.
                let after_start_us = engine.after_start_us().unwrap_or(0);
                note_unanswered(&self.vehicles, after_start_us, &mut engine.stages);
                for number in 0..self.vehicles.len() {
                    self.engine.leave(&mut self.vehicles[number]);
                    self.set_deadline(number, now);
                }
            }
            return Ok(false);
        }
        Ok(self.vehicles.iter().all(|vehicle| vehicle.link == Link::Left))
    }

    fn tell_connected(&mut self) -> anyhow::Result<()> {
        let memory = (self.memory.before, self.look_at_memory());
        let (mut payload, began) = (Vec::new(), Instant::now());
        let vehicle = &self.vehicles[0];
        for seq in 0..RENDERED {
            payload.clear();
            let time = self.engine.plan.began + i64::from(seq);
            self.engine.payloads.render(&vehicle.id, vehicle.index, seq, time, &mut payload);
            // Otherwise nobody needs the bytes, and the optimiser may know.
            std::hint::black_box(&payload);
        }
        let payload_ns = began.elapsed().as_nanos() / u128::from(RENDERED);
        let payload_ns = u64::try_from(payload_ns).unwrap_or(u64::MAX);
        Ok(self.mailbox.post(&Word::Connected { memory, payload_ns })?)
    }

    /// How much is resident now, bytes.
    fn look_at_memory(&mut self) -> u64 {
        let resident = machine::resident_bytes();
        self.memory.look(resident, self.vehicles.iter().map(|vehicle| vehicle.outbox.bytes()).sum());
        resident
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.tick()?;
        let mut stages = Stages::new()?;
        note_unanswered(&self.vehicles, self.engine.after_start_us().unwrap_or(0), &mut stages);
        Ok(self.mailbox.post(&Word::Unanswered(Box::new(stages.take())))?)
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if let Some(ledger) = &mut self.engine.ledger {
            ledger.write()?;
        }
        self.look_at_memory();
        if self.alone || !self.mailbox.has_room() {
            return Ok(());
        }
        let mut counts = self.engine.counts.clone();
        counts.of_outboxes(&self.engine.rules.counts);
        if !self.done {
            // Farewells are no time in which anything could have been acknowledged.
            self.counted_until_us = self.engine.after_start_us().unwrap_or(0);
        }
        counts.until_us = self.counted_until_us;
        counts.in_outbox = self.vehicles.iter().map(|vehicle| vehicle.outbox.len() as u64).sum();
        counts.memory_bytes = self.memory.peak;
        let recorded = self.engine.stages.take();
        Ok(self.mailbox.post(&Word::Tick(Box::new(Tick { counts, recorded })))?)
    }
}

/// Records the ages of all readings in hand.
fn note_unanswered(vehicles: &[Vehicle], after_start_us: u64, to: &mut Stages) {
    for due_us in vehicles.iter().flat_map(|vehicle| vehicle.outbox.due_us()) {
        to.record(Stage::Unanswered, after_start_us.saturating_sub(due_us));
    }
}

/// A wall time on this worker's clock, µs. One that has passed stays where it is: who hears of the start late is late
/// with its first readings, and they show it.
fn on_own_clock(wall_us: u64, wall_now_us: u64, now_us: u64) -> u64 {
    (now_us + wall_us).saturating_sub(wall_now_us)
}

/// µs since the epoch.
fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn index(number: usize) -> u32 {
    // A process holds 20,000 files at most.
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_is_heard_of_late_lies_in_the_past() {
        let wall = 1_760_000_000_000_000;
        assert_eq!(on_own_clock(wall + 300, wall, 5_000_000), 5_000_300);
        assert_eq!(on_own_clock(wall, wall + 2_000_000, 5_000_000), 3_000_000, "two seconds late");
        assert_eq!(on_own_clock(wall, wall + 9_000_000, 5_000_000), 0, "before there was a clock");
    }
}
