//! A vehicle that reports far above its limit, against an edge that discards what is above it.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use telemetry::event::{Ack, AckedRange};

use super::{Key, Outbox, Record, Resent, Settings, Times, restraint::LASTS_MS};

const BOOT: u32 = 7;
/// What the edge allows: a reading each 100 ms, and 20 at once; it asks for an eighth more.
const ALLOWED_MS: u64 = 100;
const BURST: u64 = 20;
const ASKED_MS: u64 = 113;
const TIMES: Times = Times {
    left_out_ms: 1_000,
    left_out_max_ms: 60_000,
    probe_ms: 90_000,
    probe_max_ms: 600_000,
    refused_ms: 1_000,
    refused_max_ms: 60_000,
};

/// The edge: a token bucket as the moment at which it is full, and acks as they leave: at once and once a second where
/// it discards, each 5 s otherwise.
struct Edge {
    full_at: u64,
    delivered: Vec<u64>,
    discarded: u64,
    asks: bool,
    said_at: u64,
    asked_at: u64,
}

impl Edge {
    fn new() -> Self {
        Self { full_at: 0, delivered: Vec::new(), discarded: 0, asks: false, said_at: 0, asked_at: 0 }
    }

    fn take(&mut self, seq: u64, now: u64) {
        let debt = self.full_at.saturating_sub(now);
        if debt > ALLOWED_MS * (BURST - 1) {
            self.discarded += 1;
            self.asks = true;
        } else {
            self.full_at = now + debt + ALLOWED_MS;
            self.delivered.push(seq);
        }
    }

    fn ack(&mut self, now: u64) -> Option<Ack> {
        let asks = self.asks && now >= self.asked_at;
        if !asks && now < self.said_at + 5_000 {
            return None;
        }
        self.said_at = now;
        if asks {
            self.asked_at = now + 1_000;
            self.asks = false;
        }
        let mut seqs = self.delivered.clone();
        seqs.sort_unstable();
        let mut ranges: Vec<AckedRange> = Vec::new();
        for seq in seqs {
            match ranges.last_mut() {
                Some(range) if range.to + 1 >= seq => range.to = seq,
                _ => ranges.push(AckedRange { boot: BOOT, from: seq, to: seq }),
            }
        }
        ranges.reverse();
        Some(Ack { ranges, slow_down_ms: asks.then_some(ASKED_MS), ..Ack::default() })
    }
}

fn outbox(obeys: bool) -> Outbox {
    let settings = Settings { window: 200, capacity: 10_000, times: TIMES, obeys };
    let mut outbox = Outbox::new(settings, BOOT, ChaCha8Rng::seed_from_u64(1));
    outbox.session(false);
    outbox.connected(0);
    outbox
}

fn offer(outbox: &mut Outbox, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let key = Key::Seq { boot: BOOT, seq };
        assert!(outbox.offer(Record { key, content_type: "", payload: bytes::Bytes::new() }).is_none());
    }
}

/// Sends what may be sent, and hears what there is to hear.
fn step(outbox: &mut Outbox, edge: &mut Edge, now: u64) {
    while let Some(transmission) = outbox.next(now) {
        let (ordinal, key) = (transmission.ordinal, transmission.record.key);
        let Key::Seq { seq, .. } = key else { panic!("{key:?}") };
        edge.take(seq, now);
        outbox.puback(ordinal, true, now);
    }
    if let Some(ack) = edge.ack(now) {
        outbox.ack(&ack, now);
    }
}

/// 20 readings a second for 10 s where 10 are allowed. Until everything has arrived, but not beyond two minutes:
/// discards in the first 10 s, and after them.
fn drive(obeys: bool) -> (Outbox, Edge, u64) {
    let (mut outbox, mut edge) = (outbox(obeys), Edge::new());
    let (mut seq, mut early) = (0, 0);
    for now in (0..120_000_u64).step_by(10) {
        if now < 10_000 && now.is_multiple_of(50) {
            seq += 1;
            offer(&mut outbox, seq..=seq);
        }
        step(&mut outbox, &mut edge, now);
        if now < 10_000 {
            early = edge.discarded;
        } else if outbox.is_empty() {
            break;
        }
    }
    (outbox, edge, early)
}

#[test]
fn a_vehicle_far_above_its_limit_slows_down_and_loses_nothing() {
    let (outbox, edge, early) = drive(true);
    assert!(outbox.is_empty(), "{:?}", outbox.counts());
    assert_eq!((outbox.counts().acked, outbox.counts().given_up, edge.delivered.len()), (200, 0, 200), "none twice");
    let counts = outbox.counts();
    assert!((1..=3).contains(&early) && edge.discarded == early, "{early}, then {}: it was told", edge.discarded);
    assert!(counts.slow_downs >= 1 && counts.resent[Resent::SlowedDown as usize] >= early);
    assert!(counts.held_back > 50 && counts.held_back_ms > 50 * ASKED_MS / 2, "{counts:?}");
}

/// Negative control: the world of these tests does not let a vehicle get away with it.
#[test]
fn a_vehicle_that_does_not_obey_goes_on_being_discarded() {
    let (outbox, edge, early) = drive(false);
    assert!(early > 50 && edge.discarded > early, "{early}, then {}", edge.discarded);
    assert_eq!((outbox.counts().held_back, outbox.counts().given_up), (0, 0));
    assert!(outbox.counts().slow_downs >= 10, "{:?}", outbox.counts());
}

#[test]
fn a_backlog_that_was_discarded_whole_arrives_without_a_later_reading() {
    let (mut outbox, mut edge) = (outbox(true), Edge::new());
    // The window and nothing behind it: no later transmission shows what is missing.
    offer(&mut outbox, 1..=200);
    let mut now = 0;
    while !outbox.is_empty() {
        step(&mut outbox, &mut edge, now);
        now += 10;
        assert!(now < 60_000, "{:?}", outbox.counts());
    }
    assert_eq!(edge.delivered.len(), 200);
    // The one transmission that the pace of 113 ms and a bucket for 100 ms leave out is none.
    assert_eq!(edge.discarded, 180, "once each");
}

#[test]
fn the_pause_is_kept_by_whatever_is_sent_and_nobody_wakes_before_its_end() {
    let mut outbox = outbox(true);
    offer(&mut outbox, 1..=3);
    assert!(outbox.next(0).is_some());
    outbox.ack(&Ack { slow_down_ms: Some(500), ..Ack::default() }, 10);
    assert_eq!((outbox.next(509).map(|sent| sent.ordinal), outbox.wake_at()), (None, Some(510)));
    assert_eq!(outbox.next(510).map(|sent| sent.ordinal), Some(1));
    assert_eq!((outbox.next(600).map(|sent| sent.ordinal), outbox.wake_at()), (None, Some(1_010)));
    // A session that is gone does not loosen it.
    outbox.disconnected(700);
    outbox.session(false);
    outbox.connected(800);
    assert_eq!((outbox.next(1_009).map(|sent| sent.ordinal), outbox.wake_at()), (None, Some(1_010)));
    assert_eq!(outbox.next(1_010).map(|sent| sent.ordinal), Some(0));
    assert_eq!((outbox.counts().held_back, outbox.counts().held_back_ms), (2, 1 + 410));
}

#[test]
fn it_ends_with_the_backlog_or_when_the_edge_has_not_asked_for_long() {
    let (mut outbox, long) = (outbox(true), Ack { slow_down_ms: Some(u64::MAX), ..Ack::default() });
    offer(&mut outbox, 1..=5);
    assert!(outbox.next(0).is_some());
    outbox.ack(&long, 0);
    assert_eq!(outbox.wake_at(), Some(LASTS_MS), "no word mutes a vehicle for longer");
    assert!(outbox.next(LASTS_MS).is_some());
    let ended = 2 * LASTS_MS;
    assert!(outbox.next(ended).is_some() && outbox.next(ended).is_some(), "the limit is tried again");
    let all = vec![AckedRange { boot: BOOT, from: 1, to: 3 }];
    outbox.ack(&Ack { slow_down_ms: Some(500), ..Ack::default() }, ended);
    outbox.ack(&Ack { ranges: all, ..Ack::default() }, ended);
    assert!(outbox.next(ended + 1).is_none(), "something is left");
}
