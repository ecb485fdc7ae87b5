//! Ranges against the set of what was reported; the rules of time against a naive reading of them.

mod scale;
mod slow_down;

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use telemetry::event::MAX_ACK_RANGES;

use super::*;

const PACE: Pace = Pace {
    records: 100,
    min_records: 10,
    min_pause: Duration::from_millis(5_000),
    max_pause: Duration::from_millis(60_000),
};

fn vehicle(n: u32) -> VehicleId {
    VehicleId::parse(&format!("veh-{n}")).unwrap()
}

fn seq(seq: u64) -> Reading {
    Reading::Sequence { boot: 7, seq }
}

fn leave(acks: &mut Acks) -> Option<(VehicleId, Ack)> {
    let due = acks.next_due()?;
    acks.left();
    Some(due)
}

fn everything(acks: &mut Acks) -> Ack {
    acks.all_due();
    leave(acks).unwrap().1
}

fn named(ack: &Ack) -> Vec<(u32, u64, u64)> {
    ack.ranges.iter().map(|range| (*range).into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_cover_exactly_what_was_reported(reports in vec((1_u32..3, 1_u64..120), 1..400)) {
        let (mut acks, now, who) = (Acks::new(PACE, 10), Instant::now(), vehicle(1));
        let mut reported = BTreeSet::new();
        for (boot, seq) in reports {
            acks.report(&who, Reading::Sequence { boot, seq }, now);
            reported.insert((boot, seq));
            let ack = acks.slots[0].ack().1;
            let newest = ack.ranges[0];
            prop_assert!(newest.boot == boot && (newest.from..=newest.to).contains(&seq), "the newest comes first");
            let covered: Vec<_> = ack.ranges.iter().flat_map(|r| (r.from..=r.to).map(|seq| (r.boot, seq))).collect();
            let distinct: BTreeSet<_> = covered.iter().copied().collect();
            prop_assert_eq!(covered.len(), distinct.len(), "ranges overlap");
            // 2 boots of 119 in runs: never more than 64 ranges unless both are scattered.
            prop_assert!(distinct.is_subset(&reported));
            prop_assert!(ack.ranges.len() <= MAX_ACK_RANGES);
            if runs(&reported) <= MAX_ACK_RANGES && ack.ranges.len() < MAX_ACK_RANGES {
                prop_assert_eq!(ack.ranges.len(), runs(&distinct), "ranges that adjoin were not merged");
            }
        }
    }

    #[test]
    fn nothing_is_forgotten_while_the_limits_hold(reports in vec(1_u64..100, 1..300)) {
        let (mut acks, now, who) = (Acks::new(PACE, 10), Instant::now(), vehicle(1));
        let mut reported = BTreeSet::new();
        // 99 sequence numbers make at most 50 runs.
        for seq in reports {
            acks.report(&who, self::seq(seq), now);
            reported.insert((7, seq));
            let ack = acks.slots[0].ack().1;
            let covered: BTreeSet<_> = ack.ranges.iter().flat_map(|r| (r.from..=r.to).map(|seq| (r.boot, seq))).collect();
            prop_assert_eq!(&covered, &reported);
        }
    }

    #[test]
    fn an_ack_leaves_neither_early_nor_late(pauses in vec(0_u64..4_000, 1..400)) {
        let (mut acks, start, who) = (Acks::new(PACE, 10), Instant::now(), vehicle(1));
        let mut now = start;
        let (mut new, mut since) = (0_u32, start);
        for (n, pause) in pauses.into_iter().enumerate() {
            // Time passes, the timer fires where it asked for it.
            let until = now + Duration::from_millis(pause);
            while let Some(check) = acks.next_check().filter(|check| *check <= until) {
                now = now.max(check);
                acks.tick(now);
                if leave(&mut acks).is_some() {
                    prop_assert!(new > 0);
                    prop_assert!(now >= since + PACE.max_pause || (new >= 10 && now >= since + PACE.min_pause));
                    new = 0;
                }
            }
            now = until;
            prop_assert!(new == 0 || now < since + PACE.max_pause, "late");
            prop_assert!(new < 10 || now < since + PACE.min_pause, "late");
            if new == 0 {
                since = now;
            }
            acks.report(&who, seq(n as u64 + 1), now);
            new += 1;
            let due = new >= PACE.records || (new >= 10 && now >= since + PACE.min_pause);
            prop_assert_eq!(leave(&mut acks).is_some(), due);
            if due {
                new = 0;
            }
        }
    }
}

fn runs(set: &BTreeSet<(u32, u64)>) -> usize {
    set.iter().filter(|(boot, seq)| !set.contains(&(*boot, seq - 1))).count()
}

#[test]
fn a_restarted_edge_says_only_what_it_delivered() {
    let mut acks = Acks::new(PACE, 10);
    acks.report(vehicle(1), seq(501), Instant::now());
    assert_eq!(named(&everything(&mut acks)), [(7, 501, 501)]);
}

#[test]
fn a_duplicate_makes_an_ack_due_and_comes_first() {
    let (mut acks, now) = (Acks::new(PACE, 10), Instant::now());
    for n in [1, 5, 9] {
        acks.report(vehicle(1), seq(n), now);
    }
    assert_eq!(named(&everything(&mut acks)), [(7, 9, 9), (7, 5, 5), (7, 1, 1)]);
    assert!(acks.next_due().is_none());
    acks.report(vehicle(1), seq(1), now);
    assert_eq!(acks.next_check(), Some(now + PACE.min_pause));
    acks.tick(now + PACE.max_pause - Duration::from_millis(1));
    assert!(acks.next_due().is_none());
    acks.tick(now + PACE.max_pause);
    assert_eq!(named(&leave(&mut acks).unwrap().1), [(7, 1, 1), (7, 9, 9), (7, 5, 5)]);
    for _ in 0..100 {
        acks.report(vehicle(1), seq(1), now + PACE.max_pause);
    }
    assert!(acks.next_due().is_some());
}

#[test]
fn the_largest_sequences_do_not_wrap() {
    let (mut acks, now) = (Acks::new(PACE, 10), Instant::now());
    for n in [u64::MAX, 1, u64::MAX - 1] {
        acks.report(vehicle(1), Reading::Sequence { boot: u32::MAX, seq: n }, now);
    }
    assert_eq!(named(&everything(&mut acks)), [(u32::MAX, u64::MAX - 1, u64::MAX), (u32::MAX, 1, 1)]);
}

#[test]
fn scattered_readings_are_said_before_they_are_forgotten() {
    let (mut acks, now) = (Acks::new(PACE, 10), Instant::now());
    let mut heard = BTreeSet::new();
    for n in 0..500 {
        acks.report(vehicle(1), seq(1 + 2 * n), now);
        acks.report(vehicle(2), Reading::Hash(PayloadHash(n)), now);
        while let Some((who, ack)) = leave(&mut acks) {
            let bytes = ack.encode();
            let ack = Ack::decode(&bytes).unwrap();
            heard.extend(ack.ranges.iter().map(|range| (who.clone(), range.from)));
            heard.extend(ack.hashes.iter().map(|hash| (who.clone(), hash.0)));
        }
    }
    acks.all_due();
    while let Some((who, ack)) = leave(&mut acks) {
        heard.extend(ack.ranges.iter().map(|range| (who.clone(), range.from)));
        heard.extend(ack.hashes.iter().map(|hash| (who.clone(), hash.0)));
    }
    assert_eq!(heard.len(), 1_000);
}

#[test]
fn beyond_the_limit_an_idle_vehicle_is_forgotten_and_no_ack_goes_astray() {
    let (mut acks, now) = (Acks::new(PACE, 100), Instant::now());
    for round in 0..50 {
        for n in 0..10 {
            acks.report(vehicle(n), seq(round + 1), now);
        }
        // Strangers push each other out, not those who report all the time.
        for n in 0..50 {
            acks.report(vehicle(1_000 + 50 * round as u32 + n), seq(1_000_000 + u64::from(n)), now);
        }
        if round % 7 == 0 {
            acks.all_due();
            while let Some((who, ack)) = leave(&mut acks) {
                let stranger = who.as_str().len() > "veh-9".len();
                assert!(ack.ranges.iter().all(|range| (range.from >= 1_000_000) == stranger), "{who}: {ack:?}");
            }
        }
        acks.tick(now);
    }
    assert_eq!(acks.vehicles(), 100);
    assert_eq!(acks.by_vehicle.len(), 100);
    assert_queues_are_sound(&acks);
    let regular = acks.slots.iter().find(|slot| slot.vehicle() == "veh-3").unwrap();
    assert_eq!(named(&regular.ack().1), [(7, 1, 50)]);
}

/// Every slot stands in the queue that it says, once, and the queues of reports are in order of time.
fn assert_queues_are_sound(acks: &Acks) {
    let mut standing = 0;
    for place in [Place::Early, Place::Late, Place::Due] {
        let all = acks.queues.all(&acks.slots, place);
        assert!(all.iter().all(|at| acks.slots[*at as usize].place() == place), "{place:?}");
        let owed = |at: &u32| acks.slots[*at as usize].new > 0 || acks.slots[*at as usize].slow_down_ms().is_some();
        assert!(all.iter().all(owed), "{place:?} holds one with nothing to say");
        let waited = all.iter().map(|at| acks.waited(*at));
        assert!(place == Place::Due || waited.is_sorted_by(|a, b| a >= b), "{place:?} is out of order");
        standing += all.len();
    }
    let owing = acks.slots.iter().filter(|slot| slot.place() != Place::Nowhere).count();
    assert_eq!(standing, owing);
    assert!(acks.slots.iter().all(|slot| slot.new == 0 || slot.place() != Place::Nowhere), "one is forgotten");
    let hushed = acks.hushed.iter().map(|(_, at)| *at).collect::<BTreeSet<_>>();
    assert_eq!(hushed.len(), acks.hushed.len());
    assert_eq!(hushed.len(), acks.slots.iter().filter(|slot| slot.hushed).count());
}

#[test]
fn nothing_changes_when_the_clock_of_the_slots_begins_anew() {
    let (mut acks, start) = (Acks::new(PACE, 10), Instant::now());
    acks.tick(start);
    // Two seconds before 2^32 ms are over.
    let now = start + Duration::from_millis(u64::from(u32::MAX) - 2_000);
    acks.report(vehicle(1), seq(1), now);
    acks.report(vehicle(2), seq(1), now + Duration::from_secs(3));
    assert_eq!(acks.next_check(), Some(now + PACE.min_pause));
    acks.tick(now + PACE.min_pause);
    assert_eq!(acks.next_check(), Some(now + Duration::from_secs(3) + PACE.min_pause));
    acks.tick(now + PACE.max_pause - Duration::from_millis(1));
    assert!(acks.next_due().is_none());
    assert_eq!(acks.next_check(), Some(now + PACE.max_pause));
    acks.tick(now + PACE.max_pause);
    assert_eq!(leave(&mut acks).unwrap().0, vehicle(1));
    assert!(acks.next_due().is_none());
}
