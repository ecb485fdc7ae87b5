//! A model of the log around a shard: owners die between any two writes, and a reader that drops what it has seen
//! by (id, revision) still ends with what the alerter believes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use telemetry::event::{AlertAction, AlertId, AlertState};

use super::*;
use crate::lifecycle::tests::{command, score};

#[derive(Debug, Clone)]
enum Input {
    Acknowledge,
    Resolve,
}

/// One owner's turn: how many records of each log it takes, in which order, and how far it gets.
#[derive(Debug, Clone)]
struct Turn {
    scores: usize,
    commands: usize,
    commands_first: bool,
    /// 0: dies before the states · 1: before the events · 2: before the commit · 3: lives on.
    reaches: u8,
}

#[derive(Default)]
struct Logs {
    states: Vec<(String, StateRecord)>,
    alerts: Vec<AlertEvent>,
    committed: (usize, usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    (1_usize..12, 0_usize..3, any::<bool>(), 0_u8..4).prop_map(|(scores, commands, commands_first, reaches)| Turn {
        scores,
        commands,
        commands_first,
        reaches,
    })
}

fn play(scores: &[f64], commands: &[Input], turns: &[Turn]) -> (Logs, Shard) {
    let mut logs = Logs::default();
    let mut owner: Option<Shard> = None;
    let id: AlertId = "veh-1|autoencoder|7.1".parse().unwrap();
    let last = Turn { scores: usize::MAX, commands: usize::MAX, commands_first: true, reaches: 3 };
    for turn in turns.iter().chain([&last]) {
        let shard = owner.get_or_insert_with(|| {
            let shard = Shard::recover(logs.states.clone());
            logs.states.push((EPOCH_KEY.into(), shard.marker()));
            let (s, c) = logs.committed;
            logs.alerts.extend(shard.unconfirmed(i64::try_from(s).unwrap(), i64::try_from(c).unwrap()));
            shard
        });
        let (from_scores, from_commands) = logs.committed;
        let to_scores = from_scores.saturating_add(turn.scores).min(scores.len());
        let to_commands = from_commands.saturating_add(turn.commands).min(commands.len());
        let take_scores = |shard: &mut Shard| {
            for (at, value) in scores.iter().enumerate().take(to_scores).skip(from_scores) {
                shard.score(&Rules::default(), i64::try_from(at).unwrap(), &score(at as u64 + 1, *value));
            }
        };
        if !turn.commands_first {
            take_scores(shard);
        }
        for (at, input) in commands.iter().enumerate().take(to_commands).skip(from_commands) {
            let action = match input {
                Input::Acknowledge => AlertAction::Acknowledge,
                Input::Resolve => AlertAction::Resolve { outcome: "confirmed".into() },
            };
            shard.command(i64::try_from(at).unwrap(), &command(&id, action));
        }
        if turn.commands_first {
            take_scores(shard);
        }
        let pending = shard.pending();
        if turn.reaches >= 1 {
            logs.states.extend(pending.states);
        }
        if turn.reaches >= 2 {
            logs.alerts.extend(pending.events);
        }
        if turn.reaches >= 3 {
            logs.committed = (to_scores, to_commands);
        } else {
            owner = None;
        }
    }
    (logs, owner.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whoever_dies_when_a_reader_ends_with_the_alerters_view(
        lengths in prop::collection::vec((1_usize..14, prop_oneof![Just(0.3), Just(1.3), Just(2.7)]), 1..8),
        commands in prop::collection::vec(prop_oneof![Just(Input::Acknowledge), Just(Input::Resolve)], 0..4),
        turns in prop::collection::vec(turn(), 0..12),
    ) {
        // The first episode is always 7.1, so that commands find their alert.
        let mut scores = vec![1.5; 4];
        scores.extend(lengths.iter().flat_map(|(n, value)| std::iter::repeat_n(*value, *n)));
        let (logs, shard) = play(&scores, &commands, &turns);
        let mut seen: BTreeMap<(AlertId, u64), AlertEvent> = BTreeMap::new();
        for event in logs.alerts {
            let first = seen.entry((event.id.clone(), event.revision)).or_insert_with(|| event.clone());
            prop_assert_eq!(&*first, &event, "a revision has one meaning");
        }
        let mut view: BTreeMap<AlertId, AlertEvent> = BTreeMap::new();
        for ((id, revision), event) in seen {
            let expected = view.get(&id).map_or(1, |known| known.revision + 1);
            prop_assert_eq!(revision, expected, "no revision is missing");
            view.insert(id, event);
        }
        let open: Vec<&AlertEvent> = view.values().filter(|e| e.state != AlertState::Resolved).collect();
        let believed: Vec<&AlertEvent> = shard.tracks.values().filter_map(|r| r.track.open()).collect();
        prop_assert_eq!(open.len(), believed.len());
        for (shown, held) in open.iter().zip(&believed) {
            prop_assert_eq!((&shown.id, shown.revision, shown.state), (&held.id, held.revision, held.state));
        }
    }
}

#[test]
fn a_late_record_of_a_killed_owner_loses() {
    let record = |epoch, scores_next| StateRecord { epoch, scores_next, ..StateRecord::default() };
    let shard = Shard::recover([
        ("v|a".to_owned(), record(2, 90)),
        ("v|a".to_owned(), record(1, 100)),
        (EPOCH_KEY.to_owned(), record(4, 0)),
    ]);
    assert_eq!(shard.tracks["v|a"].epoch, 2);
    assert_eq!(shard.marker().epoch, 5);
}

#[test]
fn a_healthy_vehicle_costs_no_state() {
    let mut shard = Shard::default();
    for seq in 1..100 {
        shard.score(&Rules::default(), 0, &score(seq, 0.4));
    }
    assert!(shard.is_empty());
    assert_eq!(shard.pending(), Pending::default());
}
