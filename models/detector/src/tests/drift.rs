//! Drift of a synthetic fleet, watched through its readings and scores.

use telemetry::event::{Drift, DriftSign, Score, Source};

use super::*;
use crate::drift::Watch;

/// Readings of a vehicle after the training.
const AFTER: u64 = 900;
/// A while.
const EVERY: i64 = 200 * STEP;

/// Scores of the fleet's readings after the training; `shift` changes readings before they are seen.
fn driven(shift: impl Fn(&mut Record)) -> Vec<(Record, Score)> {
    let detector = Detector::load(artifact()).unwrap();
    let mut seen = Vec::new();
    for index in 1..=VEHICLES {
        let mut records = records(index, 0.0, AFTER);
        records.iter_mut().filter(|record| record.seq > READINGS).for_each(&shift);
        let (mut track, queries) = (Track::new(), queries(&records));
        let residuals = detector.look(&queries.iter().collect::<Vec<_>>()).unwrap();
        for ((record, query), residual) in records.iter().zip(&queries).zip(&residuals) {
            let judged = detector.judge(Question { vehicle: &record.vehicle, track: &mut track, query }, residual);
            let Some(judgement) = judged.filter(|_| record.seq > READINGS) else { continue };
            let score = Score {
                vehicle: record.vehicle.clone(),
                boot: record.boot,
                seq: record.seq,
                time: record.time,
                source: Source { partition: 0, offset: 0 },
                model: detector.version().into(),
                score: judgement.score,
                verdict: judgement.verdict,
                contributions: Vec::new(),
                family: None,
                statistic: None,
                payload: None,
            };
            seen.push((record.clone(), score));
        }
    }
    seen.sort_by_key(|(record, _)| (record.time, record.vehicle.clone()));
    seen
}

/// What a watch finds, and since when it has seen signs.
fn watch(seen: &[(Record, Score)]) -> (Vec<Drift>, Option<i64>) {
    let detector = Detector::load(artifact()).unwrap();
    let mut watch = Watch::new(detector.version(), detector.card(), EVERY).unwrap();
    let found = seen.iter().filter_map(|(record, score)| {
        let drift = watch.score(score);
        watch.reading(score.source.partition, record, record.time);
        drift
    });
    let found: Vec<Drift> = found.collect();
    (found, watch.onset())
}

#[test]
fn a_fleet_as_it_was_learnt_shows_no_drift_and_the_counts_are_those_of_the_scores() {
    let seen = driven(|_| {});
    let (found, onset) = watch(&seen);
    assert_eq!((found.len(), onset), (4, None), "{found:#?}");
    for (n, drift) in found.iter().enumerate() {
        assert_eq!((drift.signs.as_slice(), drift.asks_for_training), (&[][..], false), "{drift:#?}");
        assert_eq!(drift.signals.len(), 20);
        let within = seen.iter().filter(|(record, _)| (drift.from..drift.to).contains(&record.time)).count();
        let hours = within as f64 * STEP as f64 / 3_600_000.0;
        assert!((drift.hours - hours).abs() < 1e-9 && within == 200 * VEHICLES as usize, "{n}: {within} scores");
        assert!((drift.promised_alarms - hours * 0.05).abs() < 1e-9, "50 per 1,000 h");
        assert_eq!(drift.to - drift.from, EVERY);
    }
    let twice: Vec<_> = seen.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
    let again = watch(&twice).0;
    let counts =
        |found: &[Drift]| found.iter().map(|d| (d.scores_psi, d.alarms, d.hours.to_bits())).collect::<Vec<_>>();
    assert_eq!(counts(&found), counts(&again), "what is delivered twice counts once");
}

#[test]
fn a_shifted_season_is_seen_from_its_first_while_on_and_asks_for_a_new_model() {
    let far = |record: &mut Record| {
        let mut shifted = Signals::new();
        for (number, value) in record.signals.known() {
            let row = signal::CATALOGUE.iter().find(|row| row.number == number).unwrap();
            let place = layout().of_number(number).map(|at| layout().places()[usize::from(at)].role);
            let value = match row.domain {
                signal::Domain::Number { max, .. } if place == Some(Role::Context) => Value::Number(max),
                _ => value.clone(),
            };
            shifted.insert(number, value).unwrap();
        }
        record.signals = shifted;
    };
    let seen = driven(far);
    let (found, onset) = watch(&seen);
    assert!(found.iter().all(|drift| drift.signs.contains(&DriftSign::Context)), "{found:#?}");
    assert!(found[1..].iter().all(|drift| drift.asks_for_training), "{found:#?}");
    assert_eq!(onset, Some(found[0].from));
    let alarms: u64 = found.iter().map(|drift| drift.alarms).sum();
    assert!(alarms > 0 && found.iter().any(|drift| drift.signs.contains(&DriftSign::Scores)), "{found:#?}");
    // The negative control: scores of another model say nothing about this one.
    let others = seen.into_iter().map(|(record, score)| (record, Score { model: "another".into(), ..score }));
    assert_eq!(watch(&others.collect::<Vec<_>>()), (vec![], None));
}

/// What a watch finds where the readings and scores of every other vehicle, which are in a partition of their own, come so
/// much later than the rest, in steps.
fn watch_late(seen: &[(Record, Score)], readings_by: i64, scores_by: i64) -> Vec<Drift> {
    let detector = Detector::load(artifact()).unwrap();
    let mut watch = Watch::new(detector.version(), detector.card(), EVERY).unwrap();
    let partition = |score: &Score| i32::from(score.vehicle.as_str().as_bytes().last().unwrap() % 2);
    let mut events = Vec::new();
    for (n, (_, score)) in seen.iter().enumerate() {
        let late = i64::from(partition(score)) * STEP;
        events.push((score.time + late * readings_by, n, false));
        events.push((score.time + late * scores_by, n, true));
    }
    events.sort_unstable();
    let mut found = Vec::new();
    for (_, n, is_score) in events {
        let (record, mut score) = seen[n].clone();
        score.source.partition = partition(&score);
        if is_score {
            found.extend(watch.score(&score));
        } else {
            watch.reading(score.source.partition, &record, record.time);
        }
    }
    found
}

#[test]
fn a_while_waits_for_a_partition_that_is_behind_but_not_forever() {
    let seen = driven(|_| {});
    let together = watch_late(&seen, 0, 0);
    assert!(together.len() == 4 && together[0].signals.len() == 20, "{together:#?}");
    let (half, one) = (EVERY / STEP / 2, EVERY / STEP);
    for (readings_by, scores_by) in [(0, half), (0, one), (half, 0), (half, one)] {
        let mut apart = watch_late(&seen, readings_by, scores_by);
        // Readings count from the first score on, so that one more or less is there.
        apart[0].signals.clone_from(&together[0].signals);
        // Scores close a while; where readings come last, none is left for the last one.
        let closed = if scores_by == 0 { 3 } else { 4 };
        assert!(apart == together[..closed], "{readings_by} {scores_by}: {apart:#?}");
    }
    let without = watch_late(&seen, 0, 4 * one);
    assert!(without[0].hours < together[0].hours * 0.6, "{without:#?}");
}
