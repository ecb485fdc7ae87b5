//! Vehicles that are told to slow down: at once, rarely, and without losing anything else that is to be said.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_vehicle_is_told_at_once_even_with_nothing_else_to_say() {
    let (mut acks, now) = (Acks::new(PACE, 10), Instant::now());
    acks.slow_down("veh-1", 250, now);
    let (who, ack) = leave(&mut acks).unwrap();
    assert_eq!((who, ack), (vehicle(1), Ack { slow_down_ms: Some(250), ..Ack::default() }));
    assert!(acks.next_due().is_none());
    // Once was enough.
    acks.report(vehicle(1), seq(1), now);
    assert_eq!(everything(&mut acks).slow_down_ms, None);
}

#[test]
fn not_more_often_than_once_a_second_and_then_with_the_last_word() {
    let (mut acks, start) = (Acks::new(PACE, 10), Instant::now());
    acks.slow_down("veh-1", 1, start);
    assert_eq!(leave(&mut acks).unwrap().1.slow_down_ms, Some(1));
    for n in 2..10 {
        acks.slow_down("veh-1", n, start + 100 * n as u32 * Duration::from_millis(1));
        assert!(acks.next_due().is_none());
    }
    assert_eq!(acks.next_check(), Some(start + SECOND));
    acks.tick(start + SECOND - Duration::from_millis(1));
    assert!(acks.next_due().is_none());
    acks.tick(start + SECOND);
    assert_eq!(leave(&mut acks).unwrap().1.slow_down_ms, Some(9));
    // Silence ends by itself, and nothing is left to wake up for.
    acks.tick(start + 2 * SECOND);
    assert_eq!((acks.next_due(), acks.next_check()), (None, None));
}

#[test]
fn what_leaves_anyway_carries_it() {
    let (mut acks, start) = (Acks::new(PACE, 10), Instant::now());
    acks.slow_down("veh-1", 1, start);
    leave(&mut acks).unwrap();
    acks.slow_down("veh-1", 2, start);
    for n in 1..=100 {
        acks.report(vehicle(1), seq(n), start);
    }
    let (_, ack) = leave(&mut acks).unwrap();
    assert_eq!((named(&ack), ack.slow_down_ms), (vec![(7, 1, 100)], Some(2)));
    assert_queues_are_sound(&acks);
    acks.tick(start + SECOND);
    assert!(acks.next_due().is_none(), "it was said");
}

#[test]
fn the_silence_is_the_vehicles_own_and_ends_for_who_takes_its_place() {
    let (mut acks, start) = (Acks::new(PACE, 1), Instant::now());
    acks.slow_down("veh-1", 1, start);
    leave(&mut acks).unwrap();
    acks.slow_down("veh-2", 2, start);
    assert!(acks.next_due().is_none());
    acks.tick(start + SECOND);
    assert_eq!(leave(&mut acks).unwrap(), (vehicle(2), Ack { slow_down_ms: Some(2), ..Ack::default() }));
    assert_queues_are_sound(&acks);
}

#[test]
fn a_text_that_is_no_vehicle_has_no_effect() {
    let (mut acks, now) = (Acks::new(PACE, 10), Instant::now());
    for bad in ["", "a/b", &"x".repeat(65)] {
        acks.slow_down(bad, 1, now);
        acks.report(bad, seq(1), now);
    }
    acks.all_due();
    assert_eq!((acks.vehicles(), acks.next_due()), (0, None));
}

#[derive(Debug, Clone)]
enum Event {
    Report(u32, u64),
    SlowDown(u32),
    Pass(u64),
    /// So many acks leave; the rest finds no room.
    Leave(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_u32..8, 1_u64..60).prop_map(|(who, seq)| Event::Report(who, seq)),
        1 => (0_u32..8).prop_map(Event::SlowDown),
        2 => (0_u64..3_000).prop_map(Event::Pass),
        2 => (0_usize..4).prop_map(Event::Leave),
    ];
    vec(event, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queues_stay_sound_and_all_that_is_owed_is_said(events in events(), room in 2_usize..10) {
        let (mut acks, mut now) = (Acks::new(PACE, room), Instant::now());
        let mut pressed: std::collections::BTreeMap<VehicleId, Instant> = std::collections::BTreeMap::new();
        for event in events {
            match event {
                Event::Report(who, n) => acks.report(vehicle(who), seq(n), now),
                Event::SlowDown(who) => acks.slow_down(vehicle(who), 7, now),
                Event::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    acks.tick(now);
                    prop_assert!(acks.next_check().is_none_or(|check| check > now), "what was due was left behind");
                }
                Event::Leave(most) => for _ in 0..most {
                    let first = acks.queues.first(Place::Due);
                    let only_for_that = first.is_some_and(|at| acks.slots[at as usize].new == 0);
                    let Some((who, ack)) = leave(&mut acks) else { break };
                    prop_assert!(ack.slow_down_ms.is_some() || !only_for_that, "an ack without a reason");
                    // Only where nobody moves: the silence belongs to the slot.
                    if only_for_that && room >= 8 {
                        let last = pressed.insert(who, now);
                        prop_assert!(last.is_none_or(|last| now >= last + SECOND), "pressed twice within a second");
                    }
                },
            }
            assert_queues_are_sound(&acks);
        }
        acks.all_due();
        acks.tick(now + SECOND);
        while leave(&mut acks).is_some() {}
        prop_assert!(acks.slots.iter().all(|slot| slot.new == 0 && slot.slow_down_ms().is_none()), "something was not said");
    }
}
