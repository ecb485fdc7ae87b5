//! The rules by example, and by property: replays, repeats, one alert per episode.

use proptest::prelude::*;
use telemetry::{
    VehicleId,
    event::{Contribution, Source},
};

use super::*;

const DETECTOR: &str = "autoencoder";

pub(crate) fn score(seq: u64, value: f64) -> Score {
    Score {
        vehicle: VehicleId::parse("veh-1").unwrap(),
        boot: 7,
        seq,
        time: 1_000 * i64::try_from(seq).unwrap(),
        source: Source { partition: 0, offset: i64::try_from(seq).unwrap() },
        model: "autoencoder-1763712000000-3f9a2c1b".into(),
        score: value,
        verdict: if value >= 1.0 { Verdict::Anomalous } else { Verdict::Normal },
        contributions: vec![Contribution {
            signal: "Vehicle.Speed".into(),
            score: value as f32,
            expected: 1.0,
            observed: 2.0,
        }],
        family: None,
        statistic: None,
        payload: None,
    }
}

pub(crate) fn command(alert: &AlertId, action: AlertAction) -> AlertCommand {
    AlertCommand {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        alert: alert.clone(),
        action,
        actor: "kim".into(),
        note: None,
        time: 5,
    }
}

fn feed(track: &mut Track, values: &[(u64, f64)]) -> Vec<AlertEvent> {
    let rules = Rules::default();
    values
        .iter()
        .filter_map(|(seq, value)| match track.score(&rules, DETECTOR, &score(*seq, *value)) {
            Step::Event(event) => Some(*event),
            _ => None,
        })
        .collect()
}

fn run_of(from: u64, n: u64, value: f64) -> Vec<(u64, f64)> {
    (from..from + n).map(|seq| (seq, value)).collect()
}

#[test]
fn an_episode_fires_at_k_of_n_and_resolves_after_m_normal_scores() {
    let mut track = Track::default();
    // Three of six are not enough, and what leaves the window is forgotten.
    assert_eq!(feed(&mut track, &[(1, 1.5), (2, 0.1), (3, 1.5), (4, 0.1), (5, 1.5), (6, 0.1), (7, 0.1)]), []);
    let fired = feed(&mut track, &[(8, 1.2), (9, 1.9), (10, 1.1)]);
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].id.to_string(), "veh-1|autoencoder|7.5");
    assert_eq!(fired[0].trigger.seq, 10);
    assert_eq!((fired[0].severity, fired[0].score, fired[0].revision), (Severity::Warning, 1.9, 1));
    assert_eq!(feed(&mut track, &run_of(11, 11, 0.2)), []);
    assert_eq!(feed(&mut track, &[(22, 1.1)]), [], "the count of normal scores starts over");
    let resolved = feed(&mut track, &run_of(23, 12, 0.2));
    assert_eq!(resolved.len(), 1);
    assert_eq!((resolved[0].state, resolved[0].revision), (AlertState::Resolved, 2));
    assert_eq!(resolved[0].id, fired[0].id);
}

#[test]
fn a_rise_of_severity_is_one_revision_and_holes_are_tolerated() {
    let mut track = Track::default();
    let events = feed(&mut track, &[(1, 1.5), (20, 1.5), (21, 1.5), (22, 1.5), (40, 2.5), (41, 9.0)]);
    assert_eq!(events.iter().map(|e| e.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Critical]);
    assert_eq!(events[1].revision, 2);
    assert_eq!(events[1].state, AlertState::Firing);
}

#[test]
fn commands_move_forward_only_and_repeats_have_no_effect() {
    let mut track = Track::default();
    let fired = feed(&mut track, &run_of(1, 4, 1.5));
    let acknowledge = command(&fired[0].id, AlertAction::Acknowledge);
    let Step::Event(event) = track.command(&acknowledge) else { panic!() };
    assert_eq!((event.state, event.actor.as_deref(), event.revision), (AlertState::Acknowledged, Some("kim"), 2));
    assert_eq!(track.command(&acknowledge), Step::Refused(Refusal::AlreadySo));
    let resolve = command(&fired[0].id, AlertAction::Resolve { outcome: "confirmed".into() });
    let Step::Event(event) = track.command(&resolve) else { panic!() };
    assert_eq!((event.state, event.outcome.as_deref()), (AlertState::Resolved, Some("confirmed")));
    for repeat in [&resolve, &acknowledge] {
        assert_eq!(track.command(repeat), Step::Refused(Refusal::NotOpen));
    }
    assert_eq!(feed(&mut track, &run_of(5, 40, 3.0)), [], "the same episode raises no second alert");
    assert_eq!(feed(&mut track, &run_of(45, 12, 0.1)), []);
    assert_eq!(feed(&mut track, &run_of(60, 4, 1.5)).len(), 1, "the next episode does");
}

#[test]
fn a_silence_holds_alerts_back_until_its_end() {
    let mut track = Track::default();
    let other = AlertId {
        episode: Episode { boot: 1, seq: 1 },
        ..feed(&mut Track::default(), &run_of(1, 4, 1.5))[0].id.clone()
    };
    assert_eq!(track.command(&command(&other, AlertAction::Silence { until: 10_000 })), Step::Changed);
    assert_eq!(feed(&mut track, &run_of(1, 9, 1.5)), []);
    assert_eq!(feed(&mut track, &run_of(10, 1, 1.5)).len(), 1);
}

#[test]
fn the_detector_is_the_first_part_of_a_version() {
    for (model, detector) in [
        ("autoencoder-1763712000000-3f9a2c1b", "autoencoder"),
        ("tyre-leak-12-ab", "tyre-leak"),
        ("rule", "rule"),
        ("a-b-c", "a-b-c"),
    ] {
        assert_eq!(detector_of(model), detector);
    }
}

/// Scores with runs of both verdicts, so that episodes begin and end.
fn scores() -> impl Strategy<Value = Vec<(u64, f64)>> {
    prop::collection::vec((1_u64..3, prop_oneof![Just(0.3), Just(1.3), Just(2.7)], 1_usize..15), 1..20).prop_map(
        |runs| {
            let mut seq = 0;
            runs.into_iter()
                .flat_map(|(gap, value, n)| std::iter::repeat_n((gap, value), n))
                .map(|(gap, value)| {
                    seq += gap;
                    (seq, value)
                })
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn repeats_change_nothing(values in scores(), backs in prop::collection::vec((0_usize..300, 1_usize..30), 0..6)) {
        let expected = feed(&mut Track::default(), &values);
        let mut delivered = Vec::new();
        for (at, value) in values.iter().enumerate() {
            delivered.push(*value);
            for (point, back) in &backs {
                if point % values.len() == at {
                    delivered.extend_from_slice(&values[at.saturating_sub(*back)..=at]);
                }
            }
        }
        prop_assert_eq!(feed(&mut Track::default(), &delivered), expected);
    }

    #[test]
    fn a_replay_from_any_kept_state_gives_the_same_bytes(values in scores(), kept in 0_usize..300) {
        let expected: Vec<String> =
            feed(&mut Track::default(), &values).iter().map(|e| serde_json::to_string(e).unwrap()).collect();
        let kept = kept % values.len();
        let mut track = Track::default();
        let before = feed(&mut track, &values[..kept]);
        let text = serde_json::to_string(&track).unwrap();
        let mut revived: Track = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&revived, &track);
        // The replay starts before the kept state, as committed offsets do.
        let after = feed(&mut revived, &values[kept.saturating_sub(20)..]);
        let all: Vec<String> = before.iter().chain(&after).map(|e| serde_json::to_string(e).unwrap()).collect();
        prop_assert_eq!(all, expected);
    }

    #[test]
    fn one_alert_per_episode_and_none_leaves_resolved(values in scores(), acts in prop::collection::vec((0_usize..300, 0_u8..3), 0..8)) {
        let mut track = Track::default();
        let mut events: Vec<AlertEvent> = Vec::new();
        for (at, (seq, value)) in values.iter().enumerate() {
            let steps = std::iter::once(track.score(&Rules::default(), DETECTOR, &score(*seq, *value)));
            let mut steps: Vec<Step> = steps.collect();
            for (point, act) in &acts {
                if point % values.len() == at && let Some(known) = events.last() {
                    let action = match act {
                        0 => AlertAction::Acknowledge,
                        1 => AlertAction::Resolve { outcome: "confirmed".into() },
                        _ => AlertAction::Silence { until: 0 },
                    };
                    steps.push(track.command(&command(&known.id, action)));
                }
            }
            events.extend(steps.into_iter().filter_map(|step| match step { Step::Event(e) => Some(*e), _ => None }));
        }
        for pair in events.windows(2) {
            if pair[0].id == pair[1].id {
                prop_assert_eq!(pair[1].revision, pair[0].revision + 1);
                prop_assert_ne!(pair[0].state, AlertState::Resolved);
                prop_assert!(pair[1].severity >= pair[0].severity);
            } else {
                prop_assert_eq!(pair[0].state, AlertState::Resolved, "one alert at a time");
                prop_assert_eq!(pair[1].revision, 1);
                prop_assert!(pair[1].id.episode > pair[0].trigger);
            }
        }
    }
}
