//! What a load vehicle hears: PUBACKs, acks, commands, and the broker's part of connecting.

use std::io::{self, Read};

use telemetry::event::Ack;

use super::{
    counts::Stage,
    engine::{Engine, Lost},
    outbox::Settled,
    plan::Judge,
    vehicle::{Link, Vehicle},
    wire::{self, Incoming},
};

impl Engine {
    /// Reads all that has come, then sends what that made room for. `to_the_end`: the broker closes.
    pub(super) fn readable(&mut self, vehicle: &mut Vehicle, number: u32, to_the_end: bool) -> Result<(), Lost> {
        loop {
            let Some(stream) = &mut vehicle.stream else { return Ok(()) };
            match stream.read(&mut self.scratch) {
                Ok(0) => return Err(Lost("closed by the broker".to_owned())),
                Ok(n) => {
                    self.counts.bytes_in += n as u64;
                    vehicle.heard_ms = self.now_ms();
                    self.take_in(vehicle, number, n)?;
                    // The kernel tells when more comes, but not again that the broker has closed.
                    if n < self.scratch.len() && !to_the_end {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pump(vehicle, number)
    }

    fn take_in(&mut self, vehicle: &mut Vehicle, number: u32, bytes: usize) -> Result<(), Lost> {
        let mut stream = std::mem::take(&mut self.stream);
        stream.clear();
        stream.extend_from_slice(&vehicle.inbound);
        stream.extend_from_slice(&self.scratch[..bytes]);
        let heard = loop {
            match wire::read(&mut stream) {
                Ok(Some(incoming)) => {
                    if let Err(lost) = self.hear(vehicle, number, incoming) {
                        break Err(lost);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        vehicle.inbound = stream[..].into();
        self.stream = stream;
        heard
    }

    fn hear(&mut self, vehicle: &mut Vehicle, number: u32, incoming: Incoming) -> Result<(), Lost> {
        match (vehicle.link, incoming) {
            (Link::Greeting { since_us }, Incoming::Greeted(greeting)) => {
                self.greeted(vehicle, &greeting, since_us)?;
            }
            (_, Incoming::Unwelcome(code)) => return Err(Lost(format!("refused: {code}"))),
            (Link::Subscribing { since_us }, Incoming::Subscribed(true)) => {
                self.counts.connections += 1;
                self.counts.connected += 1;
                self.stages.record(Stage::Connect, self.now_us().saturating_sub(since_us));
                vehicle.link = Link::Up;
                vehicle.failures = 0;
                vehicle.outbox.connected(self.now_ms());
            }
            (Link::Subscribing { .. }, Incoming::Subscribed(false)) => {
                return Err(Lost("subscription refused".to_owned()));
            }
            (_, Incoming::Taken { id, reason }) => self.taken(vehicle, number, id, reason),
            (_, Incoming::Ack(payload)) => self.acknowledged(vehicle, number, &payload),
            (_, Incoming::Message { id }) => {
                self.counts.messages += 1;
                if id > 0 {
                    self.outgoing.clear();
                    wire::puback(id, &mut self.outgoing)?;
                    self.write(vehicle)?;
                }
            }
            (_, Incoming::Farewell(reason)) => return Err(Lost(format!("disconnected: {reason}"))),
            (_, Incoming::Pong | Incoming::Other) => {}
            (link, other) => return Err(Lost(format!("{:?} while {link:?}", std::mem::discriminant(&other)))),
        }
        Ok(())
    }

    fn taken(&mut self, vehicle: &mut Vehicle, number: u32, id: u16, reason: u8) {
        let Some(out) = vehicle.answered(id) else {
            self.counts.stray_pubacks += 1;
            return;
        };
        *self.counts.pubacks.entry(reason).or_default() += 1;
        let now = self.now_ms();
        let settles = self.plan.judge == Judge::Puback && reason < 0x80;
        let first = if settles {
            vehicle.outbox.settle(&mut self.rules, out.seq, now).map(|_| {
                if reason == 0 {
                    self.counts.acked += 1;
                    let at = self.ledger_time();
                    self.enter(|ledger| ledger.acknowledged(number, out.seq, at));
                } else {
                    self.counts.unheard += 1;
                }
                true
            })
        } else {
            vehicle.outbox.puback(&mut self.rules, out.seq, reason == 0, now)
        };
        // A refusal is an answer, but where the broker judges, it acknowledges nothing: the time goes on until it does.
        let told = match self.plan.judge {
            Judge::Puback => settles && first.is_some(),
            Judge::Ack => first.unwrap_or(!out.again),
        };
        if told {
            let us = self.after_start_us().unwrap_or(0).saturating_sub(out.due_us);
            self.stages.record(Stage::Puback, us);
        }
    }

    fn acknowledged(&mut self, vehicle: &mut Vehicle, number: u32, payload: &[u8]) {
        let Some(ack) = Ack::decode(payload).filter(|_| self.plan.judge == Judge::Ack) else {
            self.counts.unreadable_acks += 1;
            return;
        };
        let (now, at, after_start) = (self.now_ms(), self.ledger_time(), self.after_start_us().unwrap_or(0));
        let Self { rules, counts, stages, ledger, failure, .. } = self;
        vehicle.outbox.ack(rules, &ack, now, |Settled { seq, due_us }| {
            counts.acked += 1;
            stages.record(Stage::Ack, after_start.saturating_sub(due_us));
            if let Some(ledger) = ledger
                && let Err(error) = ledger.acknowledged(number, seq, at)
            {
                failure.get_or_insert(error);
            }
        });
    }

    /// Ms after the time at which the ledger's clock begins.
    pub(super) fn ledger_time(&self) -> u32 {
        let wall = self.time(self.after_start_us().unwrap_or(0));
        u32::try_from(wall - self.plan.began).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use clap::Parser;

    use super::*;
    use crate::load::{
        Config,
        engine::Start,
        outbox::Rules,
        vehicle::{Outstanding, Vehicle},
    };

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    /// How many latencies until the PUBACK there are after each of these answers to one reading.
    fn timed(judge: &str, reasons: &[u8]) -> Vec<u64> {
        let config = Arguments::parse_from(["load", "--rate", "10", "--judge", judge]).config;
        let plan = config.plan(0, &[], 1_760_000_000_000);
        let rules = Rules::of(&plan);
        let mut vehicle = Vehicle::new(crate::vehicle::vehicle_id(1), 0, 1, &rules, &plan.manners, 0);
        let mut engine = Engine::new(plan, rules, Instant::now(), None).unwrap();
        engine.start = Some(Start { us: 0, wall_us: 1_760_000_000_000_000 });
        vehicle.outbox.connected(0);
        vehicle.outbox.offer(&mut engine.rules, 0);
        let sent = vehicle.outbox.next(&mut engine.rules, 0).unwrap();
        let mut timed = Vec::new();
        for (id, reason) in (2..).zip(reasons) {
            let out = Outstanding { due_us: sent.due_us, seq: sent.seq, id, again: id > 2, written: true };
            vehicle.outstanding.push_back(out);
            engine.taken(&mut vehicle, 0, id, *reason);
            timed.push(engine.stages.get(Stage::Puback).len());
        }
        timed
    }

    #[test]
    fn a_refusal_acknowledges_nothing_where_the_broker_judges() {
        assert_eq!(timed("puback", &[0x97, 0x97, 0x00, 0x00]), [0, 0, 1, 1]);
        assert_eq!(timed("puback", &[0x10]), [1], "it took it, though nobody listens");
        assert_eq!(timed("ack", &[0x97, 0x00]), [1, 1], "the edge judges, and this is the broker's first answer");
    }
}
