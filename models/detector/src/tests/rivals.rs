//! Detectors side by side on the same readings: losses, and scores behind another layout.

use std::collections::BTreeSet;

use evaluation::{Paired, paired};

use super::*;
use crate::{View, calibrate, judged_by_both, losses, score};

/// The held-out part of [`artifact`].
fn held_out() -> (i64, i64) {
    (Detector::load(artifact()).unwrap().card().limit_until, i64::MAX)
}

/// How much lower the second's losses are, vehicle by vehicle.
fn gain(champion: &[u8], challenger: &[u8]) -> Paired {
    let card = |bytes: &[u8]| Artifact::read(bytes).unwrap().card;
    let signals = judged_by_both(&card(champion), &card(challenger));
    assert!(signals.len() > 10);
    let of = |bytes: &[u8]| losses(bytes, healthy(), held_out(), &signals, (20_000, 2)).unwrap();
    let (champion, challenger) = (of(champion), of(challenger));
    let differences: Vec<f64> = champion.iter().zip(&challenger).map(|(a, b)| a.unwrap() - b.unwrap()).collect();
    paired(&differences).unwrap()
}

fn trained(options: &Options) -> Vec<u8> {
    control::ungated(healthy(), options).unwrap().save()
}

#[test]
fn a_model_that_forgot_everything_loses_and_an_identical_one_draws() {
    let detector = Detector::load(artifact()).unwrap();
    let shuffled = control::shuffled(&detector, healthy(), &options(), 5).unwrap().save();
    assert!(gain(&shuffled, artifact()).low > 0.3, "{:?}", gain(&shuffled, artifact()));
    assert!(gain(artifact(), &shuffled).high < -0.3);
    let same = gain(artifact(), artifact());
    assert_eq!((same.low, same.mean, same.high), (0.0, 0.0, 0.0));
}

#[test]
fn reconstruction_is_not_told_the_value_that_it_is_asked_for() {
    // Told, it would seem to expect anything closely; hidden, it has to know how signals hang together.
    let of = |kind| trained(&Options { kind, ..options() });
    assert!(gain(&of(Kind::RobustZ), artifact()).low > 0.3);
    assert!(gain(&of(Kind::Pca), artifact()).low > 0.0);
}

#[test]
fn losses_do_not_depend_on_threads_nor_on_how_signals_are_scaled() {
    let signals: BTreeSet<String> = ["Vehicle.Speed".to_owned()].into();
    let of = |threads| losses(artifact(), healthy(), held_out(), &signals, (2_000, threads)).unwrap();
    assert_eq!(of(1), of(3));
    let none = losses(artifact(), healthy(), (0, 5), &signals, (2_000, 1)).unwrap();
    assert!(none.iter().all(Option::is_none), "no reading lies there");
}

#[test]
fn a_history_of_another_layout_is_scored_by_what_both_know() {
    let wider = Arc::new(Layout::new(["pump.flow".into()], 5_000).unwrap());
    let mut history = Recorded::new(Arc::clone(&wider));
    for record in records(3, 0.0, 60) {
        history.push(&record, record.time);
    }
    let mut own = Recorded::new(layout());
    for record in records(3, 0.0, 60) {
        own.push(&record, record.time);
    }
    let of = |history: &Recorded| score(artifact(), history, (i64::MIN, i64::MAX), 2).unwrap();
    let (seen, known) = (of(&history), of(&own));
    assert_eq!(seen[0].times, known[0].times);
    assert_eq!(
        seen[0].scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>(),
        known[0].scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>()
    );
}

#[test]
fn weights_that_are_there_are_calibrated_anew() {
    let detector = Detector::load(artifact()).unwrap();
    let changed = Options { budget_per_1000_h: 80.0, ..options() };
    let again = calibrate(&detector, healthy(), &changed).unwrap();
    assert_eq!(again.card().calibration.budget_per_1000_h, 80.0);
    let tensors = |bytes: &[u8]| Artifact::read(bytes).unwrap().tensors;
    let (before, after) = (tensors(artifact()), tensors(&again.save()));
    for (name, tensor) in before.iter().filter(|(name, _)| name.starts_with("network.") || name.starts_with("scaler."))
    {
        assert_eq!(after[name], *tensor, "{name}");
    }
    // On the same history with the same budget it is the same model.
    assert_eq!(calibrate(&detector, healthy(), &options()).unwrap().save(), artifact());
    // What has forgotten everything does not pass the gate by being calibrated.
    let shuffled = control::shuffled(&detector, healthy(), &options(), 5).unwrap();
    assert!(matches!(calibrate(&shuffled, healthy(), &options()), Err(Error::Refused(_))));
    let view = View::new(healthy(), Arc::new(Layout::new(["x".into()], STEP).unwrap()));
    assert!(matches!(calibrate(&detector, &view, &options()), Err(Error::Malformed(_))));
}
