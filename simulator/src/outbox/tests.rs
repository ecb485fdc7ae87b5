//! Tests of the outbox against a model of a path that loses, repeats and reorders.

use bytes::Bytes;
use proptest::{prelude::*, test_runner::RngSeed};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use telemetry::{
    PayloadHash,
    event::{Ack, AckedRange},
};

use super::{Key, Outbox, Record, Resent, Settings, Times, model};
use crate::load::Judge;

const BOOT: u32 = 7;
const TIMES: Times = Times {
    left_out_ms: 100,
    left_out_max_ms: 1_000,
    probe_ms: 9_000,
    probe_max_ms: 60_000,
    refused_ms: 100,
    refused_max_ms: 1_000,
};

fn record(seq: u64) -> Record {
    Record {
        key: Key::Seq { boot: BOOT, seq },
        content_type: "application/json",
        payload: Bytes::from(seq.to_string()),
    }
}

fn outbox(window: usize, capacity: usize, seqs: u64) -> Outbox {
    let mut outbox =
        Outbox::new(Settings { window, capacity, times: TIMES, obeys: true }, BOOT, ChaCha8Rng::seed_from_u64(1));
    for seq in 1..=seqs {
        outbox.offer(record(seq));
    }
    outbox
}

fn live(window: usize, seqs: u64) -> Outbox {
    let mut outbox = outbox(window, 100, seqs);
    outbox.session(false);
    outbox.connected(0);
    outbox
}

/// Sends what there is and returns the seqs; the broker takes them.
fn send(outbox: &mut Outbox, now: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(transmission) = outbox.next(now) {
        let ordinal = transmission.ordinal;
        if let Key::Seq { seq, .. } = transmission.record.key {
            seqs.push(seq);
        }
        outbox.puback(ordinal, true, now);
    }
    seqs
}

fn ack(ranges: &[(u64, u64)]) -> Ack {
    let ranges = ranges.iter().map(|(from, to)| AckedRange { boot: BOOT, from: *from, to: *to }).collect();
    Ack { ranges, ..Ack::default() }
}

#[test]
fn nothing_is_sent_before_the_acks_are_subscribed_to() {
    let mut outbox = outbox(10, 10, 3);
    assert!(outbox.next(0).is_none());
    outbox.session(false);
    assert!(outbox.next(0).is_none());
    outbox.connected(0);
    assert_eq!(send(&mut outbox, 0), [1, 2, 3]);
}

#[test]
fn the_window_bounds_what_is_sent_and_unacknowledged() {
    let mut outbox = live(2, 5);
    assert_eq!(send(&mut outbox, 0), [1, 2]);
    assert_eq!(outbox.ack(&ack(&[(1, 1)]), 1).len(), 1);
    assert_eq!(send(&mut outbox, 1), [3]);
    assert_eq!(outbox.in_flight(), 2);
}

#[test]
fn an_ack_removes_exactly_what_it_names() {
    let mut outbox = live(10, 6);
    send(&mut outbox, 0);
    let removed = outbox.ack(&ack(&[(5, 5), (2, 3)]), 1);
    let expected = [5, 2, 3].map(|seq| Key::Seq { boot: BOOT, seq });
    assert_eq!(removed, expected);
    let left: Vec<_> = outbox.records().map(|record| record.payload.clone()).collect();
    assert_eq!(left, ["1", "4", "6"]);
}

#[test]
fn a_range_above_the_last_seq_sent_is_refused_whole() {
    let mut outbox = live(3, 5);
    send(&mut outbox, 0);
    assert_eq!(outbox.ack(&ack(&[(1, 4)]), 1), []);
    assert_eq!(outbox.counts().refused_ranges, 1);
    let newer = Ack { ranges: vec![AckedRange { boot: BOOT + 1, from: 1, to: 1 }], ..Ack::default() };
    assert_eq!(outbox.ack(&newer, 1), []);
    assert_eq!(outbox.counts().refused_ranges, 2);
    // An edge that outlived the unit's restart names boots that are long settled.
    let older = Ack { ranges: vec![AckedRange { boot: BOOT - 1, from: 1, to: 900 }], ..Ack::default() };
    assert_eq!(outbox.ack(&older, 1), []);
    assert_eq!(outbox.counts().refused_ranges, 2);
    assert_eq!(outbox.ack(&ack(&[(1, 3)]), 2).len(), 3);
}

#[test]
fn two_acks_that_leave_a_record_out_make_it_sent_again() {
    let mut outbox = live(10, 4);
    send(&mut outbox, 0);
    outbox.ack(&ack(&[(3, 3)]), 10);
    assert_eq!(send(&mut outbox, 8_000), [] as [u64; 0], "one ack is no evidence");
    // 4 was sent after everything that these acks cover.
    outbox.ack(&ack(&[(3, 3)]), 8_000);
    assert_eq!(send(&mut outbox, 8_000 + TIMES.left_out_ms), [1, 2]);
    assert_eq!(outbox.counts().resent[Resent::LeftOut as usize], 2);
}

/// Ninety readings wait in the spool of an edge without Kafka; the oldest was sent again as a probe. When they come
/// to Kafka in order, a few with each ack, none of them is lost, and none is sent again.
#[test]
fn an_ack_of_a_probe_does_not_make_what_is_on_its_way_look_lost() {
    let mut outbox = live(100, 90);
    send(&mut outbox, 0);
    assert_eq!(send(&mut outbox, TIMES.probe_ms), [1]);
    for last in 1..=8 {
        outbox.ack(&ack(&[(1, 10 * last)]), 10_000 + last);
        assert_eq!(send(&mut outbox, 12_000), [] as [u64; 0], "after the ack of 1 to {}", 10 * last);
    }
    // What is really lost behind a probe is found by the next one.
    let mut outbox = live(100, 90);
    send(&mut outbox, 0);
    assert_eq!(send(&mut outbox, TIMES.probe_ms), [1]);
    outbox.ack(&ack(&[(1, 1)]), 10_000);
    assert_eq!(send(&mut outbox, 10_000 + TIMES.probe_ms), [2]);
    outbox.ack(&ack(&[(1, 2)]), 20_000);
    assert_eq!(send(&mut outbox, 20_000 + TIMES.left_out_ms).len(), 88);
}

/// The pauses that `rule` draws one after the other with each of 50 seeds: the longest of each turn.
fn longest_pauses(rule: impl Fn(&mut Outbox, u64) -> u64) -> Vec<u64> {
    let pauses = |seed| {
        let settings = Settings { window: 100, capacity: 100, times: TIMES, obeys: true };
        let mut outbox = Outbox::new(settings, BOOT, ChaCha8Rng::seed_from_u64(seed));
        outbox.offer(record(1));
        outbox.connected(0);
        (0..6).map(|turn| rule(&mut outbox, turn)).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..50).map(pauses).collect();
    (0..6).map(|turn| all.iter().map(|pauses| pauses[turn]).max().unwrap_or(0)).collect()
}

/// Drawn evenly from zero to `base`, doubled each turn up to `max`: the longest of 50 lies in the upper half.
fn assert_doubling(longest: &[u64], base: u64, max: u64) {
    for (turn, pause) in longest.iter().enumerate() {
        let bound = (base << turn).min(max);
        assert!(*pause <= bound && *pause > bound / 2, "turn {turn} up to {bound}: {longest:?}");
    }
}

#[test]
fn the_pause_of_what_is_left_out_doubles() {
    let longest = longest_pauses(|outbox, turn| {
        let (now, newer) = (10_000 * turn, turn + 2);
        outbox.offer(record(newer));
        send(outbox, now);
        for _ in 0..2 {
            outbox.ack(&ack(&[(newer, newer)]), now);
        }
        outbox.due.first().map(|(when, _)| when - now).unwrap()
    });
    assert_doubling(&longest, TIMES.left_out_ms, TIMES.left_out_max_ms);
}

#[test]
fn the_pause_of_what_is_refused_doubles() {
    let longest = longest_pauses(|outbox, turn| {
        let now = 5_000 * turn;
        let ordinal = outbox.next(now).unwrap().ordinal;
        outbox.puback(ordinal, false, now);
        outbox.due.first().map(|(when, _)| when - now).unwrap()
    });
    assert_doubling(&longest, TIMES.refused_ms, TIMES.refused_max_ms);
}

#[test]
fn only_successive_acks_count() {
    let mut outbox = live(10, 2);
    send(&mut outbox, 0);
    outbox.ack(&ack(&[(2, 2)]), 10);
    // A restarted edge that has seen nothing of this vehicle but an old boot.
    outbox.ack(&ack(&[]), 20);
    outbox.ack(&ack(&[(2, 2)]), 30);
    assert_eq!(send(&mut outbox, 5_000), [] as [u64; 0]);
    outbox.ack(&ack(&[(2, 2)]), 5_000);
    assert_eq!(send(&mut outbox, 5_100), [1]);
}

#[test]
fn silence_makes_the_oldest_a_probe_and_the_pause_doubles() {
    let mut outbox = live(10, 3);
    assert_eq!(send(&mut outbox, 0), [1, 2, 3]);
    assert_eq!(outbox.wake_at(), Some(9_000));
    assert_eq!(send(&mut outbox, 8_999), [] as [u64; 0]);
    assert_eq!(send(&mut outbox, 9_000), [1]);
    assert_eq!(outbox.wake_at(), Some(27_000));
    assert_eq!(send(&mut outbox, 27_000), [1]);
    assert_eq!(outbox.wake_at(), Some(63_000));
    assert_eq!(send(&mut outbox, 63_000), [1]);
    assert_eq!(outbox.wake_at(), Some(123_000), "no pause is longer than the maximum");
    outbox.ack(&ack(&[(1, 1)]), 70_000);
    assert_eq!(outbox.wake_at(), Some(79_000));
    // Only connected time counts.
    outbox.disconnected(72_000);
    assert_eq!(outbox.wake_at(), None);
    outbox.session(true);
    outbox.connected(100_000);
    assert_eq!(outbox.wake_at(), Some(107_000));
}

#[test]
fn a_refused_record_is_sent_again_after_a_pause() {
    let mut outbox = live(10, 1);
    let ordinal = outbox.next(0).unwrap().ordinal;
    outbox.puback(ordinal, false, 0);
    let when = outbox.wake_at().unwrap();
    assert!(when <= TIMES.refused_ms, "{when}");
    assert_eq!(send(&mut outbox, when), [1]);
    assert_eq!(outbox.counts().resent[Resent::Refused as usize], 1);
}

#[test]
fn the_word_of_the_broker_settles_a_reading_once_and_makes_room_for_the_next() {
    let mut outbox = live(2, 3);
    let sent: Vec<_> = std::iter::from_fn(|| outbox.next(0).map(|transmission| transmission.ordinal)).collect();
    assert_eq!(sent.len(), 2, "the window is full");
    assert_eq!(outbox.settle(sent[1], 5), Some(Key::Seq { boot: BOOT, seq: 2 }));
    assert_eq!(outbox.settle(sent[1], 5), None);
    assert_eq!((outbox.len(), outbox.in_flight(), outbox.counts().acked), (2, 1, 1));
    assert_eq!(outbox.wake_at(), Some(5 + TIMES.probe_ms), "it is a word like an ack");
    assert_eq!(send(&mut outbox, 5), [3]);
}

#[test]
fn a_lost_session_sends_everything_again_and_a_kept_one_what_was_not_taken() {
    let mut outbox = live(10, 3);
    send(&mut outbox, 0);
    outbox.offer(record(4));
    assert_eq!(outbox.next(1).map(|transmission| transmission.ordinal), Some(3));
    outbox.disconnected(2);
    outbox.session(true);
    outbox.connected(3);
    assert_eq!(send(&mut outbox, 3), [4]);
    outbox.disconnected(4);
    outbox.session(false);
    outbox.connected(5);
    assert_eq!(send(&mut outbox, 5), [1, 2, 3, 4]);
}

#[test]
fn a_full_outbox_gives_up_the_oldest_and_counts_it() {
    let mut outbox = outbox(10, 3, 3);
    assert_eq!(outbox.offer(record(4)), Some(record(1)));
    assert_eq!((outbox.len(), outbox.counts().given_up), (3, 1));
}

#[test]
fn a_restored_outbox_believes_acks_up_to_what_the_earlier_process_sent() {
    let mut outbox = Outbox::new(
        Settings { window: 10, capacity: 10, times: TIMES, obeys: true },
        BOOT + 1,
        ChaCha8Rng::seed_from_u64(1),
    );
    outbox.restore(vec![record(5)], &[(BOOT, 9)].into());
    outbox.session(true);
    outbox.connected(0);
    assert_eq!(outbox.ack(&ack(&[(1, 10)]), 0), []);
    assert_eq!(outbox.ack(&ack(&[(1, 9)]), 0).len(), 1);
    assert!(outbox.is_empty());
}

#[test]
fn a_reboot_sends_everything_again_and_believes_acks_of_both_boots() {
    let mut outbox = live(10, 3);
    assert_eq!(send(&mut outbox, 0), [1, 2, 3]);
    outbox.disconnected(1);
    outbox.reboot(BOOT + 1);
    outbox.offer(Record { key: Key::Seq { boot: BOOT + 1, seq: 1 }, ..record(1) });
    outbox.session(true);
    outbox.connected(2);
    assert_eq!(send(&mut outbox, 2), [1, 2, 3, 1]);
    assert_eq!(outbox.ack(&ack(&[(1, 4)]), 3), [], "more than was sent in the old one");
    assert_eq!(outbox.ack(&ack(&[(1, 3)]), 3).len(), 3);
    let range = AckedRange { boot: BOOT + 1, from: 1, to: 1 };
    assert_eq!(outbox.ack(&Ack { ranges: vec![range], ..Ack::default() }, 3).len(), 1);
    // What is settled is forgotten: reboots cost nothing that grows.
    outbox.reboot(BOOT + 2);
    assert_eq!(outbox.last_sent.keys().collect::<Vec<_>>(), [&(BOOT + 2)]);
}

#[test]
fn a_hash_removes_what_was_sent_with_these_bytes() {
    let mut outbox = live(1, 0);
    let bad = |payload: &'static [u8]| Record {
        key: Key::Hash(PayloadHash::of(payload)),
        content_type: "application/json",
        payload: Bytes::from_static(payload),
    };
    outbox.offer(bad(b"{"));
    outbox.offer(bad(b"{"));
    send(&mut outbox, 0);
    let named = Ack { hashes: vec![PayloadHash::of(b"{")], ..Ack::default() };
    assert_eq!(outbox.ack(&named, 0).len(), 1, "the second one has not been sent");
    send(&mut outbox, 0);
    assert_eq!(outbox.ack(&named, 0).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    /// Losses, duplicates, reordered and lost acks, brokers wiped, edges and vehicles restarted: see the model.
    #[test]
    fn every_reading_arrives_whatever_happens(seed in any::<u64>(), loss in 0..60_u32, window in 1..40_usize) {
        let mut world = model::World::<Outbox>::new(Judge::Ack, seed, loss, window);
        for _ in 0..400 {
            world.trouble();
        }
        world.heal();
    }

    /// The same without an edge that says anything: the broker's word is enough.
    #[test]
    fn the_word_of_the_broker_alone_empties_the_outbox(seed in any::<u64>(), loss in 0..60_u32, window in 1..40_usize) {
        let mut world = model::World::<Outbox>::new(Judge::Puback, seed, loss, window);
        for _ in 0..400 {
            world.trouble();
        }
        world.heal();
    }
}
