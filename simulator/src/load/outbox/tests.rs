//! The compact outbox and the one it is a twin of, in one world: every answer has to be the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::{prelude::*, test_runner::RngSeed};
use rand::SeedableRng;
use telemetry::event::AckedRange;

use super::*;
use crate::{
    load::Judge,
    outbox::{
        Key, Outbox as Reference, Record,
        model::{Subject, World},
    },
};

/// Both, asked the same. With the same seed they draw the same pauses, as long as they draw in the same order.
struct Twins {
    reference: Reference,
    compact: Outbox,
    rules: Rules,
}

impl Twins {
    fn agree(&self) {
        assert_eq!(self.reference.counts(), &self.rules.counts);
        assert_eq!(self.reference.in_flight(), self.compact.in_flight());
        assert_eq!(self.reference.wake_at(), self.compact.wake_at(&self.rules.settings));
        let keys: Vec<_> = self.reference.records().map(|record| record.key).collect();
        let compact: Vec<_> = self.compact.slots.iter().map(|slot| key(&self.rules, slot.seq)).collect();
        assert_eq!(keys, compact);
    }
}

fn key(rules: &Rules, seq: u32) -> Key {
    Key::Seq { boot: rules.boot, seq: seq.into() }
}

impl Subject for Twins {
    const HASHES: bool = false;
    const PERSISTS: bool = false;

    fn fresh(settings: Settings, boot: u32, seed: u64) -> Self {
        let rng = || ChaCha8Rng::seed_from_u64(seed);
        let rules = Rules { settings, boot, rng: rng(), counts: Counts::default() };
        Self { reference: Reference::new(settings, boot, rng()), compact: Outbox::new(&rules), rules }
    }

    fn offer(&mut self, record: Record) -> Option<Key> {
        let Key::Seq { seq, .. } = record.key else { panic!("a payload without identity") };
        // Its time is a function of its seq, so that a mix-up shows.
        let left = self.compact.offer(&mut self.rules, seq * 10);
        let left = left.map(|Settled { seq, due_us }| {
            assert_eq!(due_us, u64::from(seq) * 10);
            key(&self.rules, seq)
        });
        assert_eq!(self.reference.offer(record).map(|record| record.key), left);
        self.agree();
        left
    }

    fn restore(&mut self, _: &Self, _: &BTreeMap<u32, u64>) -> usize {
        panic!("a load vehicle keeps nothing")
    }

    fn session(&mut self, present: bool) {
        self.reference.session(present);
        self.compact.session(present);
        self.agree();
    }

    fn connected(&mut self, now: u64) {
        self.reference.connected(now);
        self.compact.connected(now);
        self.agree();
    }

    fn disconnected(&mut self, now: u64) {
        self.reference.disconnected(now);
        self.compact.disconnected(now);
        self.agree();
    }

    fn next(&mut self, now: u64) -> Option<(u64, Key)> {
        let compact = self.compact.next(&mut self.rules, now);
        let reference = self.reference.next(now).map(|sent| (sent.ordinal, sent.record.key, sent.again));
        assert_eq!(
            reference.map(|(_, key, again)| (key, again)),
            compact.map(|sent| (key(&self.rules, sent.seq), sent.again))
        );
        assert!(compact.is_none_or(|sent| sent.due_us == u64::from(sent.seq) * 10));
        self.agree();
        reference.map(|(ordinal, key, _)| (ordinal, key))
    }

    fn puback(&mut self, ordinal: u64, taken: bool, now: u64) {
        self.reference.puback(ordinal, taken, now);
        // One boot, nothing restored: ordinals are seqs from 0.
        let seq = u32::try_from(ordinal + 1).unwrap();
        self.compact.puback(&mut self.rules, seq, taken, now);
        self.agree();
    }

    fn settle(&mut self, ordinal: u64, now: u64) -> Option<Key> {
        let reference = self.reference.settle(ordinal, now);
        let seq = u32::try_from(ordinal + 1).unwrap();
        let compact = self.compact.settle(&mut self.rules, seq, now);
        assert!(compact.is_none_or(|settled| settled.due_us == u64::from(seq) * 10));
        assert_eq!(reference, compact.map(|settled| key(&self.rules, settled.seq)));
        self.agree();
        reference
    }

    fn ack(&mut self, ack: &Ack, now: u64) -> Vec<Key> {
        let mut left = Vec::new();
        self.compact.ack(&mut self.rules, ack, now, |settled| left.push(settled));
        assert!(left.is_sorted_by_key(|settled| settled.seq));
        let left: Vec<_> = left.into_iter().map(|settled| key(&self.rules, settled.seq)).collect();
        let mut reference = self.reference.ack(ack, now);
        reference.sort_unstable();
        assert_eq!(reference, left);
        self.agree();
        left
    }

    fn wake_at(&self) -> Option<u64> {
        self.compact.wake_at(&self.rules.settings)
    }

    fn keys(&self) -> Vec<Key> {
        self.compact.slots.iter().map(|slot| key(&self.rules, slot.seq)).collect()
    }

    fn in_flight(&self) -> usize {
        self.compact.in_flight()
    }

    fn counts(&self) -> Counts {
        self.rules.counts.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compact_outbox_answers_as_its_twin(
        judge in prop_oneof![Just(Judge::Ack), Just(Judge::Puback)],
        seed in any::<u64>(), loss in 0..60_u32, window in 1..40_usize,
    ) {
        let mut world = World::<Twins>::new(judge, seed, loss, window);
        for _ in 0..400 {
            world.trouble();
        }
        world.heal();
    }
}

const BOOT: u32 = 7;

fn twins(window: usize, capacity: usize) -> Twins {
    let times = Times {
        left_out_ms: 100,
        left_out_max_ms: 1_000,
        probe_ms: 9_000,
        probe_max_ms: 60_000,
        refused_ms: 100,
        refused_max_ms: 1_000,
    };
    let mut twins = Twins::fresh(Settings { window, capacity, times, obeys: true }, BOOT, 1);
    twins.session(false);
    twins.connected(0);
    twins
}

fn offer(twins: &mut Twins, seq: u64) -> Option<Key> {
    let key = Key::Seq { boot: BOOT, seq };
    twins.offer(Record { key, content_type: "application/json", payload: Bytes::new() })
}

#[test]
fn a_full_outbox_gives_up_the_oldest_sent_or_not() {
    let mut twins = twins(2, 3);
    (1..=3).for_each(|seq| assert_eq!(offer(&mut twins, seq), None));
    while let Some((ordinal, _)) = twins.next(0) {
        // Refused: a resend is planned when it is given up.
        twins.puback(ordinal, false, 0);
    }
    for seq in 4..=9 {
        assert_eq!(offer(&mut twins, seq), Some(Key::Seq { boot: BOOT, seq: seq - 3 }));
        while twins.next(seq).is_some() {}
    }
    assert_eq!(twins.counts().given_up, 6);
}

#[test]
fn ranges_of_other_boots_and_beyond_what_was_sent_remove_nothing() {
    let mut twins = twins(10, 10);
    (1..=5).for_each(|seq| assert_eq!(offer(&mut twins, seq), None));
    (0..4).for_each(|_| assert!(twins.next(0).is_some()));
    let range = |boot, from, to| Ack { ranges: vec![AckedRange { boot, from, to }], ..Ack::default() };
    assert_eq!(twins.ack(&range(BOOT + 1, 1, 2), 1), []);
    assert_eq!(twins.ack(&range(BOOT, 1, 5), 1), [], "5 was not sent: the range is refused whole");
    assert_eq!(twins.ack(&range(BOOT - 1, 1, 4), 1), []);
    assert_eq!(twins.counts().refused_ranges, 2);
    let overlapping = [(1, 3), (2, 4)].map(|(from, to)| AckedRange { boot: BOOT, from, to });
    assert_eq!(twins.ack(&Ack { ranges: overlapping.to_vec(), ..Ack::default() }, 1).len(), 4);
}

#[test]
fn the_word_of_the_broker_settles_a_reading_once() {
    let mut twins = twins(2, 10);
    let (rules, outbox) = (&mut twins.rules, &mut twins.compact);
    (0..3).for_each(|n| assert_eq!(outbox.offer(rules, n), None));
    while outbox.next(rules, 0).is_some() {}
    assert_eq!((outbox.in_flight(), outbox.waits()), (2, true));
    assert_eq!(outbox.settle(rules, 2, 5), Some(Settled { seq: 2, due_us: 1 }));
    assert_eq!(outbox.settle(rules, 2, 5), None);
    assert_eq!(outbox.next(rules, 5).map(|sent| sent.seq), Some(3), "the window has room again");
    // First answers are told from later ones.
    assert_eq!(outbox.puback(rules, 1, true, 6), Some(true));
    assert_eq!(outbox.puback(rules, 1, true, 7), Some(false));
    assert_eq!(outbox.puback(rules, 2, true, 7), None);
}
