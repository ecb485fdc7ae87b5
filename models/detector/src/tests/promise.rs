//! What training promises and what it refuses.

use super::*;

#[test]
fn the_card_says_what_was_learnt() {
    let detector = Detector::load(artifact()).unwrap();
    let card = detector.card();
    assert_eq!((card.records, card.vehicles, card.baselines), (u64::from(VEHICLES) * READINGS, 20, 20));
    assert_eq!(card.signals.len(), 20);
    let speed = &card.signals[0];
    assert_eq!((speed.path.as_str(), speed.unit.as_str(), speed.judged), ("Vehicle.Speed", "km/h", true));
    assert!(
        speed.bins.bounds.is_sorted() && (speed.bins.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
        "{:?}",
        speed.bins
    );
    let scores = card.calibration.scores.as_ref().unwrap();
    assert!(scores.bounds.is_sorted() && scores.bounds[8] < 1.0, "{scores:?}");
    assert!(card.signals.iter().any(|signal| !signal.judged));
    assert!(
        card.from_time < card.train_until && card.train_until < card.limit_until && card.limit_until < card.to_time
    );
    assert!(card.calibration.limit_hours > card.calibration.held_out_hours && card.calibration.held_out_hours > 0.0);
    let budgets = &card.calibration.other_budgets;
    assert!(budgets.windows(2).all(|pair| pair[0].1 >= pair[1].1), "more alarms, a lower limit: {budgets:?}");
    assert_eq!(card.memory_ms, crate::memory_ms(&layout()));
}

/// A signal is only an input if the fleet sends it, and a detector without it works.
#[test]
fn a_signal_that_no_vehicle_sends_is_no_input_and_one_that_never_changes_does_no_harm() {
    let mut silent = Recorded::new(layout());
    let without = |record: &Record| {
        let mut signals = Signals::new();
        for (number, value) in record.signals.known().filter(|(number, _)| *number != signal::LOW_VOLTAGE) {
            let value = if number == signal::VIBRATION { Value::Number(2.0) } else { value.clone() };
            signals.insert(number, value).unwrap();
        }
        Record { signals, ..record.clone() }
    };
    for index in 1..=VEHICLES {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=READINGS {
            let record = without(&vehicle.read(seq, 0.0));
            silent.push(&record, record.time);
        }
    }
    let detector = control::ungated(&silent, &options()).unwrap();
    assert!(detector.card().signals.iter().all(|signal| !signal.path.contains("LowVoltage")));
    let judgements = judged(&detector, &records(3, 0.08, 120), 120);
    assert!(judgements.iter().flatten().all(|judgement| judgement.score.is_finite()));
    // The vehicle of the test sends the vibration that training saw resting.
    assert!(anomalous(&judgements) > 100);
}

/// A reading of a vehicle that stands still: its signals rest at values of its own, or of vehicle 1.
fn still(one_for_all: bool, index: u32, seq: u64, fault: f64) -> Record {
    let mut source = Synthetic::new(if one_for_all { 1 } else { index });
    let vehicle = VehicleId::parse(&format!("veh-{index}")).unwrap();
    Record { vehicle, seq, time: START + seq as i64 * STEP, ..source.read(1, fault) }
}

/// A fleet of such vehicles.
fn still_fleet(one_for_all: bool) -> Recorded {
    let mut history = Recorded::new(layout());
    for (index, seq) in (1..=VEHICLES).flat_map(|index| (1..=READINGS).map(move |seq| (index, seq))) {
        let record = still(one_for_all, index, seq, 0.0);
        history.push(&record, record.time);
    }
    history
}

/// A network learns by heart what rests.
#[test]
fn strangers_are_quiet_because_limits_come_of_networks_that_have_not_learnt_from_the_vehicles() {
    let (history, options) = (still_fleet(false), Options { split: Split::Shares([0.6, 0.92]), ..options() });
    let detector = control::ungated(&history, &options).unwrap();
    let not_cross_fitted = control::not_cross_fitted(&detector, &history, &options).unwrap();
    let alarms = |detector: &Detector| -> usize {
        let of = |index| -> Vec<Record> { (1..=120).map(|seq| still(false, index, seq, 0.0)).collect() };
        (1_001..=1_020).filter(|index| anomalous(&judged(detector, &of(*index), 60)) > 0).count()
    };
    let (found, without) = (alarms(&detector), alarms(&not_cross_fitted));
    assert!(found <= 1 && without >= 5, "{found} of 20 strangers alarm, {without} without cross-fitting");
    let told = [&detector, &not_cross_fitted].map(|detector| detector.card().calibration.strangers.networks);
    assert_eq!(told, [3, 0]);
}

#[test]
fn a_cross_fitted_artefact_depends_neither_on_threads_nor_on_who_fits_it() {
    let options =
        Options { split: Split::Shares([0.6, 0.92]), steps: 150, budget_per_1000_h: 200.0, threads: 2, ..options() };
    let detector = train(healthy(), &options).unwrap();
    assert_eq!(detector.card().calibration.strangers.networks, 3);
    let again = train(healthy(), &Options { threads: 1, ..options }).unwrap();
    assert!(again.save() == detector.save(), "one thread");
    // Whatever is wanted of a training, the networks of a calibration learn as long as the one that is there.
    let calibrated = crate::calibrate(&detector, healthy(), &Options { steps: 1, ..options }).unwrap();
    assert!(calibrated.save() == detector.save(), "calibrated on the same history");
    // A negative control has none of them, whether it learns and forgets at once or one after the other.
    let shuffled = control::shuffled(&detector, healthy(), &options, 7).unwrap();
    let forgotten = control::forgotten(healthy(), &options, 7).unwrap();
    assert!(forgotten.save() == shuffled.save() && shuffled.card().calibration.strangers.networks == 0);
}

#[test]
fn where_no_vehicle_changes_every_kind_is_quiet_and_where_nothing_does_none_learns() {
    for (kind, one_for_all) in Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let trained = train(&still_fleet(one_for_all), &Options { kind, ..options() });
        if one_for_all {
            let refusal = trained.unwrap_err();
            assert!(matches!(&refusal, Error::TooLittle(why) if why.contains("ever changes")), "{kind}: {refusal}");
            continue;
        }
        let detector = trained.unwrap();
        let later = |fault| -> Vec<Record> {
            let fault = |seq| if seq > READINGS { fault } else { 0.0 };
            (1..=READINGS + 60).map(|seq| still(one_for_all, 3, seq, fault(seq))).collect()
        };
        let (quiet, moved) = (judged(&detector, &later(0.0), 60), judged(&detector, &later(0.3), 60));
        assert!(quiet.iter().chain(&moved).flatten().all(|judgement| judgement.score.is_finite()), "{kind}");
        assert_eq!((anomalous(&quiet), anomalous(&moved) > 50), (0, true), "{kind}");
    }
}

/// The fleet changes after the limit was set: much, and alarms tell; a little, and the tail of the levels tells.
#[test]
fn a_model_that_does_not_hold_what_it_promises_is_refused() {
    // With a budget that large every vehicle may alarm.
    for (fault, budget_per_1000_h, reason) in [(0.08, 50.0, "alarms in"), (0.02, 5_000.0, "scores grow")] {
        let changed = history(|seq| if seq > READINGS * 93 / 100 { fault } else { 0.0 });
        let options = Options { budget_per_1000_h, ..options() };
        let refusal = train(&changed, &options).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn too_little_history_and_an_untrained_network_are_refused() {
    let empty = Recorded::new(layout());
    assert!(matches!(train(&empty, &options()), Err(Error::TooLittle(_))));
    let untrained = Options { steps: 1, ..options() };
    assert!(matches!(train(healthy(), &untrained), Err(Error::Refused(_))));
    // All readings at one moment: nothing is left to set a limit with.
    let mut moment = Recorded::new(layout());
    for index in 1..=VEHICLES {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=READINGS {
            moment.push(&vehicle.read(seq, 0.0), START);
        }
    }
    assert!(matches!(train(&moment, &options()), Err(Error::TooLittle(_))), "no time passes");
    // One signal alone can't be expected from others.
    let mut lonely = Recorded::new(layout());
    for record in (1..=VEHICLES).flat_map(|index| records(index, 0.0, 1)) {
        let mut signals = Signals::new();
        signals.insert(signal::SPEED, record.signals.get(signal::SPEED).unwrap().clone()).unwrap();
        lonely.push(&Record { signals, ..record.clone() }, record.time);
    }
    let refusal = train(&lonely, &options()).map(|_| ()).unwrap_err().to_string();
    assert!(refusal.contains("at least 2 are needed"), "{refusal}");
}

#[test]
fn alarms_about_strangers_count_where_most_vehicles_are_strangers() {
    let mut card = Detector::load(artifact()).unwrap().card().clone();
    assert_eq!(card.calibration.strangers.held_out_hours, card.calibration.held_out_hours, "all have a baseline");
    card.calibration.strangers.held_out_alarms = card.calibration.strangers.allowed_alarms + 1;
    keeps_its_promise(&card).unwrap();
    (card.vehicles, card.baselines) = (5_000, 2_000);
    let refusal = keeps_its_promise(&card).unwrap_err().to_string();
    assert!(refusal.contains("2000 of 5000 vehicles have one"), "{refusal}");
}

#[test]
fn many_vehicles_with_a_few_minutes_each_are_judged_by_the_fleets_measure() {
    let mut history = Recorded::new(layout());
    for index in 1..=80 {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=90 {
            let record = vehicle.read(seq, 0.0);
            history.push(&record, record.time);
        }
    }
    let detector = control::ungated(&history, &options()).unwrap();
    let (card, artifact) = (detector.card(), Artifact::read(&detector.save()).unwrap());
    assert_eq!((card.vehicles, artifact.f32("judge.limit", &[1]).unwrap()[0]), (80, card.calibration.limit as f32));
    assert_eq!(card.calibration.limit, card.calibration.strangers.limit);
    assert!(card.calibration.limit_hours > 5.0, "{:?}", card.calibration);
    let faulty = judged(&detector, &records(3, 0.3, 120), 50);
    assert!(anomalous(&faulty) >= 40, "{} of {}", anomalous(&faulty), faulty.len());
}

#[test]
fn foreign_signals_train_and_judge_like_any_other() {
    let layout = Arc::new(Layout::new(["pump.flow".into(), "pump.heat".into(), "pump.load".into()], STEP).unwrap());
    let record = |index: u32, seq: u64, draws: &mut ChaCha8Rng, fault: f64| {
        let load = draws.random::<f64>();
        let mut signals = Signals::new();
        for (path, value) in [("pump.load", load), ("pump.flow", 2.0 * load + fault), ("pump.heat", 1.0 - load)] {
            signals.insert_path(path, Value::Number(value + 0.01 * draws.random::<f64>())).unwrap();
        }
        let vehicle = VehicleId::parse(&format!("pump-{index}")).unwrap();
        let time = START + seq as i64 * STEP;
        Record { schema: 1, vehicle, boot: 1, seq, time, kind: telemetry::Kind::Full, signals, position: None }
    };
    let mut history = Recorded::new(Arc::clone(&layout));
    for index in 1..=6 {
        let mut draws = ChaCha8Rng::seed_from_u64(u64::from(index));
        for seq in 1..=READINGS {
            let record = record(index, seq, &mut draws, 0.0);
            history.push(&record, record.time);
        }
    }
    let detector = train(&history, &options()).unwrap();
    assert!(detector.card().signals.iter().all(|signal| signal.judged && signal.unit.is_empty()));
    let (mut window, mut track, mut values) = (Window::new(Arc::clone(&layout)), Track::new(), Values::default());
    let mut draws = ChaCha8Rng::seed_from_u64(77);
    let mut last = None;
    for seq in 1..=100 {
        let record = record(1, seq, &mut draws, if seq > 60 { 0.4 } else { 0.0 });
        layout.extract(&record.signals, &mut values);
        let query = window.advance(&Reading::of(&record, record.time, &values)).unwrap();
        let question = Question { vehicle: &record.vehicle, track: &mut track, query: &query };
        last = detector.score(vec![question]).unwrap().remove(0);
    }
    let last = last.unwrap();
    assert_eq!((last.verdict, last.family), (Verdict::Anomalous, Some("other")));
    assert_eq!(history.vehicles().len(), 6);
    assert!(layout.places().iter().any(|place| place.role == Role::Judged && place.path == "pump.flow"));
}
