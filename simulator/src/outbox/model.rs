//! A model of everything around an outbox: a broker that loses, an edge that forgets, a vehicle that restarts.
//! It asserts after each step what must hold, and at the end that everything arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::{
    PayloadHash,
    event::{Ack, AckedRange},
};

use super::{Counts, Key, Outbox, Record, Settings, Times};
use crate::load::Judge;

const TIMES: Times = Times {
    left_out_ms: 50,
    left_out_max_ms: 2_000,
    probe_ms: 900,
    probe_max_ms: 6_000,
    refused_ms: 50,
    refused_max_ms: 2_000,
};
const CAPACITY: usize = 10_000;

/// An outbox that the world can hold.
pub(crate) trait Subject: Sized {
    /// It takes payloads without identity, too.
    const HASHES: bool;
    /// It can be restored by a later process.
    const PERSISTS: bool;
    fn fresh(settings: Settings, boot: u32, seed: u64) -> Self;
    fn offer(&mut self, record: Record) -> Option<Key>;
    /// What an earlier outbox held; returns how many do not fit.
    fn restore(&mut self, old: &Self, last_seqs: &BTreeMap<u32, u64>) -> usize;
    fn session(&mut self, present: bool);
    fn connected(&mut self, now: u64);
    fn disconnected(&mut self, now: u64);
    /// Ordinal and name of the next transmission.
    fn next(&mut self, now: u64) -> Option<(u64, Key)>;
    fn puback(&mut self, ordinal: u64, taken: bool, now: u64);
    fn settle(&mut self, ordinal: u64, now: u64) -> Option<Key>;
    fn ack(&mut self, ack: &Ack, now: u64) -> Vec<Key>;
    fn wake_at(&self) -> Option<u64>;
    fn keys(&self) -> Vec<Key>;
    fn in_flight(&self) -> usize;
    fn counts(&self) -> Counts;
}

impl Subject for Outbox {
    const HASHES: bool = true;
    const PERSISTS: bool = true;

    fn fresh(settings: Settings, boot: u32, seed: u64) -> Self {
        Self::new(settings, boot, ChaCha8Rng::seed_from_u64(seed))
    }

    fn offer(&mut self, record: Record) -> Option<Key> {
        self.offer(record).map(|record| record.key)
    }

    fn restore(&mut self, old: &Self, last_seqs: &BTreeMap<u32, u64>) -> usize {
        self.restore(old.records().cloned().collect(), last_seqs).len()
    }

    fn session(&mut self, present: bool) {
        self.session(present);
    }

    fn connected(&mut self, now: u64) {
        self.connected(now);
    }

    fn disconnected(&mut self, now: u64) {
        self.disconnected(now);
    }

    fn next(&mut self, now: u64) -> Option<(u64, Key)> {
        self.next(now).map(|transmission| (transmission.ordinal, transmission.record.key))
    }

    fn puback(&mut self, ordinal: u64, taken: bool, now: u64) {
        self.puback(ordinal, taken, now);
    }

    fn settle(&mut self, ordinal: u64, now: u64) -> Option<Key> {
        self.settle(ordinal, now)
    }

    fn ack(&mut self, ack: &Ack, now: u64) -> Vec<Key> {
        self.ack(ack, now)
    }

    fn wake_at(&self) -> Option<u64> {
        self.wake_at()
    }

    fn keys(&self) -> Vec<Key> {
        self.records().map(|record| record.key).collect()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn counts(&self) -> Counts {
        self.counts().clone()
    }
}

pub(crate) struct World<O> {
    judge: Judge,
    rng: ChaCha8Rng,
    loss: u32,
    window: usize,
    now: u64,
    outbox: O,
    connected: bool,
    boot: u32,
    seq: u64,
    /// The last seq of earlier boots, kept with the outbox.
    last_seqs: BTreeMap<u32, u64>,
    /// Everything that must arrive.
    expected: BTreeSet<Key>,
    /// What waits in the broker for the edge.
    queue: VecDeque<Key>,
    edge_there: bool,
    /// What the edge process has seen delivered.
    ranges: BTreeMap<u32, BTreeSet<u64>>,
    hashes: Vec<PayloadHash>,
    /// What has arrived: in Kafka, or, where the broker judges, there.
    kafka: BTreeSet<Key>,
    acks: Vec<Ack>,
}

impl<O: Subject> World<O> {
    pub(crate) fn new(judge: Judge, seed: u64, loss: u32, window: usize) -> Self {
        let mut world = Self {
            judge,
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss,
            window,
            now: 0,
            outbox: fresh(window, 1, seed),
            connected: false,
            boot: 1,
            seq: 0,
            last_seqs: BTreeMap::new(),
            expected: BTreeSet::new(),
            queue: VecDeque::new(),
            edge_there: true,
            ranges: BTreeMap::new(),
            hashes: Vec::new(),
            kafka: BTreeSet::new(),
            acks: Vec::new(),
        };
        world.connect(false);
        world
    }

    fn lost(&mut self) -> bool {
        self.rng.random_range(0..100) < self.loss
    }

    fn connect(&mut self, present: bool) {
        self.outbox.session(present);
        self.outbox.connected(self.now);
        self.connected = true;
    }

    fn disconnect(&mut self) {
        self.outbox.disconnected(self.now);
        self.connected = false;
        // Acks are QoS 0: nobody keeps them for the absent.
        self.acks.clear();
    }

    /// One step in a world where anything may happen.
    pub(crate) fn trouble(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.measure(),
            30..50 => self.send(8, true),
            50..68 => self.edge(true),
            68..78 => self.acknowledge(),
            78..90 => self.hear(),
            90 => self.edge_there = !self.edge_there,
            // The edge restarts: it knows no ranges any more.
            91 => self.restart_edge(),
            // The broker restarts: queue and sessions are gone.
            92 => {
                self.queue.clear();
                self.disconnect();
                self.connect(false);
            }
            93 | 94 => self.disconnect(),
            95 | 96 => {
                if !self.connected {
                    let present = self.rng.random_bool(0.7);
                    self.connect(present);
                }
            }
            97 => self.restart_vehicle(O::PERSISTS),
            98 => self.restart_vehicle(O::PERSISTS && !self.seq.is_multiple_of(8)),
            _ => self.now += self.rng.random_range(0..2_000),
        }
        self.now += self.rng.random_range(0..30);
        self.check();
    }

    fn measure(&mut self) {
        for _ in 0..self.rng.random_range(1..6) {
            let key = if O::HASHES && self.rng.random_range(0..12) == 0 {
                Key::Hash(PayloadHash(self.rng.random()))
            } else {
                self.seq += 1;
                Key::Seq { boot: self.boot, seq: self.seq }
            };
            assert_eq!(self.outbox.offer(record(key)), None, "the outbox is never full here");
            self.expected.insert(key);
        }
    }

    fn send(&mut self, most: usize, lossy: bool) {
        for _ in 0..most {
            let Some((ordinal, key)) = self.outbox.next(self.now) else { break };
            if !self.edge_there {
                // No subscriber.
                self.outbox.puback(ordinal, false, self.now);
            } else if lossy && self.lost() {
                // Dropped by the broker: with a PUBACK, or with the connection before one came.
                if self.rng.random_bool(0.8) {
                    self.taken(ordinal, key);
                }
            } else {
                self.queue.push_back(key);
                if !lossy || self.rng.random_bool(0.9) {
                    self.taken(ordinal, key);
                }
            }
        }
    }

    /// A PUBACK without error.
    fn taken(&mut self, ordinal: u64, key: Key) {
        if self.judge == Judge::Ack {
            self.outbox.puback(ordinal, true, self.now);
            return;
        }
        self.kafka.insert(key);
        assert_eq!(self.outbox.settle(ordinal, self.now), Some(key), "it is answered while it is out");
        assert_eq!(self.outbox.settle(ordinal, self.now), None, "and leaves once");
    }

    fn edge(&mut self, lossy: bool) {
        if !self.edge_there {
            return;
        }
        for _ in 0..self.rng.random_range(1..16) {
            let Some(key) = self.queue.pop_front() else { break };
            self.kafka.insert(key);
            match key {
                Key::Seq { boot, seq } => {
                    self.ranges.entry(boot).or_default().insert(seq);
                }
                Key::Hash(hash) => {
                    self.hashes.retain(|known| *known != hash);
                    self.hashes.push(hash);
                }
            }
            // A duplicate: the edge's PUBACK was lost.
            if lossy && self.lost() {
                self.queue.push_back(key);
            }
        }
    }

    fn restart_edge(&mut self) {
        self.ranges.clear();
        self.hashes.clear();
    }

    fn acknowledge(&mut self) {
        if self.judge == Judge::Puback {
            return;
        }
        if !self.edge_there || !self.connected || (self.ranges.is_empty() && self.hashes.is_empty()) {
            return;
        }
        let mut ack = Ack { hashes: self.hashes.iter().rev().copied().collect(), ..Ack::default() };
        for (boot, seqs) in self.ranges.iter().rev() {
            let mut runs: Vec<AckedRange> = Vec::new();
            for seq in seqs {
                match runs.last_mut() {
                    Some(run) if run.to + 1 == *seq => run.to = *seq,
                    _ => runs.push(AckedRange { boot: *boot, from: *seq, to: *seq }),
                }
            }
            ack.ranges.extend(runs.iter().rev());
        }
        // Sometimes it asks for a pause, whether it discarded something or not.
        ack.slow_down_ms = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..60));
        // Within the limits of the wire, what is oldest is left out.
        self.acks.push(Ack::decode(&ack.encode()).unwrap());
    }

    /// One ack arrives: any one, perhaps not for the last time, or it is lost.
    fn hear(&mut self) {
        if self.acks.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.acks.len());
        let ack = if self.rng.random_range(0..10) == 0 { self.acks[at].clone() } else { self.acks.remove(at) };
        if !self.lost() {
            self.take(&ack);
        }
    }

    fn take(&mut self, ack: &Ack) {
        for key in self.outbox.ack(ack, self.now) {
            assert!(self.kafka.contains(&key), "{key:?} left the outbox and is not in Kafka");
        }
    }

    fn restart_vehicle(&mut self, persisted: bool) {
        self.disconnect();
        self.balance();
        let old = std::mem::replace(&mut self.outbox, fresh(self.window, self.boot + 1, self.rng.random()));
        if persisted {
            self.last_seqs.insert(self.boot, self.seq);
            assert_eq!(self.outbox.restore(&old, &self.last_seqs), 0);
        } else {
            // They were never acknowledged, so nothing was promised.
            for key in old.keys() {
                self.expected.remove(&key);
            }
            self.last_seqs.clear();
        }
        self.boot += 1;
        self.seq = 0;
        self.connect(persisted);
    }

    fn check(&self) {
        assert!(self.outbox.in_flight() <= self.window, "{} in flight", self.outbox.in_flight());
        assert_eq!(self.outbox.counts().refused_ranges, 0, "this edge never names what was not sent");
        self.balance();
    }

    fn balance(&self) {
        let Counts { offered, restored, acked, given_up, .. } = self.outbox.counts();
        assert_eq!(offered + restored, acked + given_up + self.outbox.keys().len() as u64);
    }

    /// Nothing goes wrong any more: what is left must arrive in bounded time.
    pub(crate) fn heal(mut self) {
        self.edge_there = true;
        if !self.connected {
            self.connect(true);
        }
        let healed_at = self.now;
        while !self.outbox.keys().is_empty() {
            self.send(usize::MAX, false);
            while !self.queue.is_empty() {
                self.edge(false);
            }
            // Coalesced: not after each record, but one ack for what has come since the last.
            self.acks.clear();
            self.acknowledge();
            if let Some(ack) = self.acks.pop() {
                self.take(&ack);
            }
            self.check();
            if let Some(wake_at) = self.outbox.wake_at() {
                self.now = self.now.max(wake_at);
            }
            self.now += 1;
            assert!(
                self.now - healed_at < 600_000,
                "{} still here, {:?}",
                self.outbox.keys().len(),
                self.outbox.counts()
            );
        }
        assert_eq!(self.expected.difference(&self.kafka).count(), 0);
    }
}

fn fresh<O: Subject>(window: usize, boot: u32, seed: u64) -> O {
    O::fresh(Settings { window, capacity: CAPACITY, times: TIMES, obeys: true }, boot, seed)
}

fn record(key: Key) -> Record {
    Record { key, content_type: "application/json", payload: Bytes::new() }
}
