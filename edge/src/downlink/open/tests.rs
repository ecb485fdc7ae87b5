//! Tests of the open commands: against the model, and rule by rule.

use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::{
    model::{Model, Name},
    *,
};

const PAUSE: Duration = Duration::from_millis(100);

fn vehicle(number: u8) -> VehicleId {
    VehicleId::parse(&format!("veh-{number}")).unwrap()
}

fn command((whose, id): Name, deadline: UnixMillis) -> Command {
    Command { id: Uuid::from_u128(id.into()), vehicle: vehicle(whose), payload: Bytes::from_static(b"{}"), deadline }
}

fn at(partition: i32, offset: i64) -> Place {
    Place { partition, offset }
}

/// Publishes everything that is due.
fn publish(open: &mut Open, now: Instant) -> Vec<(String, u128)> {
    let mut published = Vec::new();
    while let Some((number, command)) = open.next_due(now) {
        published.push((command.vehicle.to_string(), command.id.as_u128()));
        open.published(number, now);
    }
    published
}

#[derive(Debug, Clone)]
enum Op {
    Read { partition: i32, gap: i64, name: Name, life: i64 },
    Unreadable { partition: i32 },
    Bury { which: usize },
    Answer(Name),
    Advance(u64),
    Seen(u8),
    Born(u8),
    Gone(u8),
    AllGone,
    Uncertain(Name),
    Revoke(i32),
    Publish,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || (0..4_u8, 0..6_u8);
    prop_oneof![
        6 => (0..3, 0..2_i64, name(), -10..3_000_i64)
            .prop_map(|(partition, gap, name, life)| Op::Read { partition, gap, name, life }),
        1 => (0..3).prop_map(|partition| Op::Unreadable { partition }),
        1 => any::<usize>().prop_map(|which| Op::Bury { which }),
        3 => name().prop_map(Op::Answer),
        3 => (0..500_u64).prop_map(Op::Advance),
        2 => (0..4_u8).prop_map(Op::Seen),
        2 => (0..4_u8).prop_map(Op::Born),
        1 => (0..4_u8).prop_map(Op::Gone),
        1 => Just(Op::AllGone),
        1 => name().prop_map(Op::Uncertain),
        1 => (0..3).prop_map(Op::Revoke),
        4 => Just(Op::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn it_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let start = Instant::now();
        let (mut now_ms, mut ends) = (0_u64, [0_i64; 3]);
        let mut open = Open::new(usize::MAX, PAUSE, 1_000);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        let mut model = Model::new(millis(PAUSE), millis(LONGEST_PAUSE));
        let mut end = |partition: i32, gap: i64| {
            let end = &mut ends[usize::try_from(partition).unwrap()];
            *end += gap + 1;
            at(partition, *end - 1)
        };
        for op in ops {
            let now = start + Duration::from_millis(now_ms);
            let wall = i64::try_from(now_ms).unwrap();
            match op {
                Op::Read { partition, gap, name, life } => {
                    let place = end(partition, gap);
                    open.add(place, Some(command(name, wall + life)), now, wall);
                    model.add(place, Some(name), wall + life, now_ms, wall);
                }
                Op::Unreadable { partition } => {
                    let place = end(partition, 0);
                    open.add(place, None, now, wall);
                    model.add(place, None, 0, now_ms, wall);
                }
                Op::Bury { which } => {
                    let unreadable: Vec<Place> =
                        model.records.iter().filter(|record| record.name.is_none()).map(|record| record.place).collect();
                    if !unreadable.is_empty() {
                        let place = unreadable[which % unreadable.len()];
                        open.buried(place);
                        model.buried(place);
                    }
                }
                Op::Answer(name) => {
                    open.answered(vehicle(name.0), Uuid::from_u128(name.1.into()));
                    model.answered(name);
                }
                Op::Advance(ms) => {
                    now_ms += ms;
                    open.expire(i64::try_from(now_ms).unwrap());
                    model.expire(i64::try_from(now_ms).unwrap());
                }
                Op::Seen(whose) => {
                    open.seen(vehicle(whose).as_str(), now);
                    model.heard_of(whose, false, now_ms);
                }
                Op::Born(whose) => {
                    open.born(vehicle(whose).as_str(), now);
                    model.heard_of(whose, true, now_ms);
                }
                Op::Gone(whose) => {
                    open.gone(vehicle(whose).as_str());
                    model.gone(whose);
                }
                Op::AllGone => {
                    open.all_gone(now);
                    model.all_gone(now_ms);
                }
                Op::Uncertain(name) => {
                    let number = open.by_name.get(&(Uuid::from_u128(name.1.into()), vehicle(name.0))).copied();
                    open.uncertain(number.unwrap_or(Number::MAX), now);
                    model.uncertain(name, now_ms);
                }
                Op::Revoke(partition) => {
                    open.revoked(partition);
                    model.revoked(partition);
                }
                Op::Publish => {
                    let expected: Vec<_> = model.publish(now_ms).into_iter()
                        .map(|(whose, id)| (vehicle(whose).to_string(), u128::from(id))).collect();
                    prop_assert_eq!(publish(&mut open, now), expected);
                }
            }
            prop_assert_eq!(open.commits(), model.commits());
            prop_assert_eq!(open.len(), model.open());
            let Counts { read, answered, expired, refused, given_back, .. } = open.counts();
            prop_assert_eq!(
                (answered, expired, refused, given_back),
                (model.answered, model.expired, model.refused, model.given_back)
            );
            prop_assert_eq!(read, answered + expired + refused + given_back + open.len() as u64);
        }
        // Nothing that has been closed is left behind.
        open.expire(i64::MAX);
        open.all_given_back();
        prop_assert!(open.commands.is_empty() && open.by_name.is_empty() && open.by_vehicle.is_empty());
        prop_assert!(open.by_deadline.is_empty() && open.due.is_empty() && open.len() == 0);
    }
}

#[test]
fn the_commit_stands_before_the_first_that_is_open() {
    let now = Instant::now();
    let mut open = Open::new(usize::MAX, PAUSE, 10);
    assert_eq!(open.commits(), BTreeMap::new(), "nothing is known of a partition before its first record");
    for (offset, id) in [(5, 1), (6, 2), (9, 3)] {
        open.add(at(0, offset), Some(command((1, id), 1_000)), now, 0);
    }
    open.answered(vehicle(1), Uuid::from_u128(2));
    assert_eq!(open.commits(), [(0, 5)].into());
    open.answered(vehicle(2), Uuid::from_u128(1));
    assert_eq!(open.commits(), [(0, 5)].into(), "nobody answers for another");
    open.answered(vehicle(1), Uuid::from_u128(1));
    assert_eq!(open.commits(), [(0, 9)].into());
    open.expire(1_000);
    assert_eq!(open.commits(), [(0, 10)].into());
}

#[test]
fn a_vehicle_that_never_answers_holds_its_place_until_the_life_ends() {
    let now = Instant::now();
    let mut open = Open::new(2 * RECORD_BYTES, PAUSE, 10);
    open.add(at(0, 0), Some(command((1, 1), 500)), now, 0);
    // A gateway's retry takes a place, too.
    open.add(at(0, 1), Some(command((1, 1), 500)), now, 0);
    assert!(open.is_full());
    // It waits for Kafka only.
    open.add(at(0, 2), None, now, 0);
    assert!(open.buried(at(0, 2)));
    open.born("veh-1", now);
    assert_eq!(publish(&mut open, now).len(), 1, "once per id");
    assert_eq!(open.wake_at(now, 0), Some(now + PAUSE));
    open.expire(499);
    assert!(open.is_full());
    open.expire(500);
    assert_eq!((open.len(), open.counts().expired), (0, 2));
    assert_eq!(open.commits(), [(0, 3)].into());
}

#[test]
fn large_commands_fill_it_sooner_than_small_ones() {
    let now = Instant::now();
    let mut open = Open::new(2 * RECORD_BYTES, PAUSE, 10);
    let large = Command { payload: vec![b' '; RECORD_BYTES].into(), ..command((1, 1), i64::MAX) };
    open.add(at(0, 0), Some(large), now, 0);
    assert!(open.is_full());
    open.revoked(0);
    open.add(at(1, 0), Some(command((1, 1), i64::MAX)), now, 0);
    assert!(!open.is_full(), "nothing is left of it");
}

#[test]
fn that_it_is_full_is_news_once_until_it_was_half_empty() {
    let now = Instant::now();
    let mut open = Open::new(4 * RECORD_BYTES, PAUSE, 10);
    let add = |open: &mut Open, id: u8| {
        open.add(at(0, id.into()), Some(command((1, id), i64::from(id) + 1)), now, 0);
        open.has_become_full()
    };
    let close_first = |open: &mut Open, n: i64| {
        open.expire(n);
        open.has_become_full()
    };
    assert_eq!([1, 2, 3, 4].map(|id| add(&mut open, id)), [false, false, false, true]);
    assert!(!add(&mut open, 5));
    // One goes, another one comes.
    assert!(!close_first(&mut open, 3) && !open.is_full() && !add(&mut open, 6) && open.is_full());
    assert!(!close_first(&mut open, 6) && open.len() == 1);
    assert_eq!([7, 8, 9].map(|id| add(&mut open, id)), [false, false, true]);
}

#[test]
fn it_is_published_when_its_vehicle_is_there_again_at_birth_and_after_doubling_pauses() {
    let start = Instant::now();
    let mut open = Open::new(usize::MAX, PAUSE, 10);
    open.add(at(0, 0), Some(command((1, 1), i64::MAX)), start, 0);
    assert_eq!(publish(&mut open, start), [("veh-1".to_owned(), 1)], "it may be there, and silent");
    assert!(publish(&mut open, start + LONGEST_PAUSE).is_empty(), "nobody has heard of the vehicle");
    open.seen("veh-1", start);
    assert_eq!(publish(&mut open, start), [("veh-1".to_owned(), 1)]);
    open.seen("veh-1", start);
    assert!(publish(&mut open, start).is_empty());
    for pause in [1, 2, 4] {
        let due = open.wake_at(start, 0).unwrap();
        assert!(publish(&mut open, due - Duration::from_millis(1)).is_empty());
        assert_eq!(publish(&mut open, due).len(), 1);
        assert_eq!(open.wake_at(due, 0), Some(due + 2 * pause * PAUSE));
    }
    open.born("veh-1", start);
    assert_eq!(publish(&mut open, start).len(), 1);
    assert_eq!(open.wake_at(start, 0), Some(start + PAUSE), "pauses begin anew");
    open.gone("veh-1");
    assert!(publish(&mut open, start + LONGEST_PAUSE).is_empty());
    let Counts { published, repeated, .. } = open.counts();
    assert_eq!((published, repeated), (6, 5));
}

/// What the next process of an edge meets: vehicles that stayed connected, and say nothing.
#[test]
fn a_command_for_a_vehicle_that_nobody_has_heard_of_is_published_once() {
    let start = Instant::now();
    let mut open = Open::new(usize::MAX, PAUSE, 10);
    open.add(at(0, 0), Some(command((1, 1), i64::MAX)), start, 0);
    let (number, _) = open.next_due(start).unwrap();
    assert_eq!(publish(&mut open, start).len(), 1);
    assert_eq!(open.wake_at(start, i64::MAX), Some(start), "only the end of its life");
    assert!(open.next_due(start + LONGEST_PAUSE).is_none());
    // That one may be lost with its connection.
    open.uncertain(number, start);
    assert_eq!(publish(&mut open, start).len(), 1);
    assert!(open.next_due(start + LONGEST_PAUSE).is_none());
    open.born("veh-1", start);
    assert_eq!(publish(&mut open, start).len(), 1);
    assert!(open.next_due(start + PAUSE).is_some(), "it is here");
    // The broker restarts, and a command is read before we are back.
    open.add(at(0, 1), Some(command((2, 2), i64::MAX)), start, 0);
    open.all_gone(start);
    assert_eq!(publish(&mut open, start + LONGEST_PAUSE), [("veh-2".to_owned(), 2)]);
}

#[test]
fn an_unreadable_record_is_open_until_its_dead_letter_is_in_kafka() {
    let now = Instant::now();
    let mut open = Open::new(usize::MAX, PAUSE, 10);
    open.add(at(3, 7), None, now, 0);
    open.expire(i64::MAX);
    assert_eq!(open.commits(), [(3, 7)].into());
    assert!(open.buried(at(3, 7)) && !open.buried(at(3, 7)));
    assert_eq!((open.commits(), open.counts().refused), ([(3, 8)].into(), 1));
}

#[test]
fn a_command_that_can_not_be_published_is_open_until_its_dead_letters_are_in_kafka() {
    let now = Instant::now();
    let mut open = Open::new(2 * RECORD_BYTES, PAUSE, 10);
    open.add(at(0, 4), Some(command((1, 1), 500)), now, 0);
    open.add(at(0, 5), Some(command((1, 1), 500)), now, 0);
    let (number, _) = open.next_due(now).unwrap();
    assert!(open.unfit(number).is_none(), "its vehicle may be at a broker that takes more");
    assert!(open.next_due(now + LONGEST_PAUSE).is_none() && open.len() == 2, "it waits for its vehicle");
    open.seen("veh-1", now);
    assert_eq!(open.next_due(now).map(|(number, _)| number), Some(number));
    let (unfit, places) = open.unfit(number).unwrap();
    assert_eq!((unfit, &places[..]), (command((1, 1), 500), &[at(0, 4), at(0, 5)][..]));
    assert!(open.next_due(now + LONGEST_PAUSE).is_none() && open.unfit(number).is_none());
    assert!(!open.is_full(), "others may come");
    // Neither the end of its life nor an answer closes it now.
    open.expire(i64::MAX);
    open.answered(vehicle(1), Uuid::from_u128(1));
    assert_eq!((open.commits(), open.len()), ([(0, 4)].into(), 2));
    assert!(open.buried(at(0, 4)));
    assert_eq!(open.commits(), [(0, 5)].into());
    assert!(open.buried(at(0, 5)));
    let Counts { read, refused, expired, answered, .. } = open.counts();
    assert_eq!((read, refused, expired, answered, open.len()), (2, 2, 0, 0, 0));
    assert_eq!(open.commits(), [(0, 6)].into());
}
