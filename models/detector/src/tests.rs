//! The detector on a small synthetic fleet: what it promises, held against it.

use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::{Kind, Record, Signals, Value, VehicleId, event::Verdict, signal};

use crate::{
    Detector, Error, History, Judgement, Options, Query, Span, Window, artifact::Artifact, control, features, train,
};

const START: i64 = 1_763_700_000_000;
const STEP: i64 = 10_000;
const VEHICLES: u32 = 20;
const READINGS: u64 = 320;

fn options() -> Options {
    Options { steps: 400, min_windows: 1_000, budget_per_1000_h: 50.0, ..Options::default() }
}

/// Every signal follows from three hidden quantities, an offset of the vehicle, and a little noise.
struct Synthetic {
    id: VehicleId,
    offset: f64,
    load: f64,
    heat: f64,
    draws: ChaCha8Rng,
}

impl Synthetic {
    fn new(index: u32) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(u64::from(index));
        let offset = draws.random::<f64>() - 0.5;
        Self { id: VehicleId::parse(&format!("veh-{index}")).unwrap(), offset, load: 0.5, heat: 0.5, draws }
    }

    /// `fault` is added to the brake-independent signal "low voltage", in its own range.
    fn read(&mut self, seq: u64, fault: f64) -> Record {
        let pull = self.draws.random::<f64>();
        self.load += 0.5 * (pull - self.load);
        self.heat += 0.1 * (self.load - self.heat);
        let turn = self.draws.random::<f64>();
        let mut signals = Signals::new();
        for (at, feature) in features::FEATURES.iter().enumerate() {
            let row = signal::lookup(feature.number).unwrap();
            let signal::Domain::Number { min, max } = row.domain else { unreachable!("features are numbers") };
            let mix = [0.8 * self.load, 0.8 * self.heat, 0.4 * self.load + 0.4 * turn][at % 3];
            let noise = (self.draws.random::<f64>() - 0.5) * 0.01;
            let added = if feature.number == signal::LOW_VOLTAGE { fault } else { 0.0 };
            let share = 0.1 + 0.8 * (mix + 0.05 * self.offset + noise + added);
            signals.insert(feature.number, Value::Number(min + (max - min) * share.clamp(0.0, 1.0))).unwrap();
        }
        let time = START + seq as i64 * STEP;
        let vehicle = self.id.clone();
        Record { schema: 1, vehicle, boot: 1, seq, time, kind: Kind::Full, signals, position: None }
    }
}

fn history() -> History {
    let mut history = History::new();
    let mut fleet: Vec<_> = (1..=VEHICLES).map(Synthetic::new).collect();
    for seq in 1..=READINGS {
        for vehicle in &mut fleet {
            let record = vehicle.read(seq, 0.0);
            history.push(&record, record.time);
        }
    }
    history.note_span(Span { partition: 0, from: 0, to: 10, count: 10, hash: "0".into() });
    history
}

/// Trained once for all tests; as bytes, because a detector is not shared between threads.
fn artifact() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| train(&history(), &options()).unwrap().save())
}

/// Readings after the training, of a vehicle with this fault from the middle on.
fn later(index: u32, fault: f64, readings: u64) -> Vec<Query> {
    let (mut vehicle, mut window) = (Synthetic::new(index), Window::new());
    let all = (1..=READINGS + readings).filter_map(|seq| {
        let fault = if seq > READINGS + readings / 2 { fault } else { 0.0 };
        window.advance(&vehicle.read(seq, fault)).filter(|_| seq > READINGS)
    });
    all.collect()
}

fn anomalous(judgements: &[Option<Judgement>]) -> usize {
    judgements.iter().flatten().filter(|judgement| judgement.verdict == Verdict::Anomalous).count()
}

#[test]
fn a_broken_relation_is_found_and_named_and_health_is_left_alone() {
    let detector = Detector::load(artifact()).unwrap();
    let healthy = detector.score(&later(3, 0.0, 120)).unwrap();
    assert!(anomalous(&healthy) <= 2, "{} of {}", anomalous(&healthy), healthy.len());
    let faulty = detector.score(&later(3, 0.08, 120)).unwrap();
    assert!(anomalous(&faulty[70..]) >= 40, "{} of {}", anomalous(&faulty[70..]), faulty.len() - 70);
    let last = faulty.last().unwrap().as_ref().unwrap();
    let first = &last.contributions[0];
    assert_eq!(first.signal, "Vehicle.LowVoltageBattery.CurrentVoltage");
    assert!(first.observed > first.expected, "{first:?}");
    assert_eq!(first.score.to_bits(), last.score.to_bits());
    assert!(last.contributions.len() <= 3);
}

#[test]
fn with_shuffled_weights_the_detection_vanishes() {
    let detector = Detector::load(artifact()).unwrap();
    let shuffled = control::shuffled(&detector, &history(), &options(), 7).unwrap();
    assert_ne!(shuffled.version(), detector.version());
    let faulty = shuffled.score(&later(3, 0.08, 120)).unwrap();
    assert!(anomalous(&faulty) <= 6, "{} of {}", anomalous(&faulty), faulty.len());
}

#[test]
fn the_same_history_gives_the_same_artefact() {
    let again = train(&history(), &options()).unwrap();
    assert_eq!(again.save(), artifact());
    let other = train(&history(), &Options { seed: 2, ..options() }).unwrap();
    assert_ne!(other.save(), artifact());
}

#[test]
fn saved_and_loaded_it_judges_the_same_bits() {
    let detector = Detector::load(artifact()).unwrap();
    let again = Detector::load(&detector.save()).unwrap();
    assert_eq!(detector.version(), again.version());
    assert!(detector.version().starts_with(&format!("autoencoder-{}-", START + READINGS as i64 * STEP)));
    let queries = later(5, 0.02, 30);
    assert_eq!(bits(&detector.score(&queries).unwrap()), bits(&again.score(&later(5, 0.02, 30)).unwrap()));
}

fn bits(judgements: &[Option<Judgement>]) -> Vec<Vec<u64>> {
    let numbers = |judgement: &Judgement| {
        let of = judgement.contributions.iter().flat_map(|c| [c.score, c.expected, c.observed]);
        std::iter::once(judgement.score).chain(of).map(f64::to_bits).collect()
    };
    judgements.iter().map(|judgement| judgement.as_ref().map(numbers).unwrap_or_default()).collect()
}

/// Queries of many vehicles, mixed, without what an earlier judgement remembered.
fn fresh() -> Vec<Query> {
    (1..=6).flat_map(|vehicle| later(vehicle, 0.03, 40)).collect()
}

#[test]
fn borders_and_order_of_batches_do_not_change_a_bit() {
    let detector = Detector::load(artifact()).unwrap();
    let whole = bits(&detector.score(&fresh()).unwrap());
    let mut draws = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..4 {
        let queries = fresh();
        let mut order: Vec<usize> = (0..queries.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, draws.random_range(0..=at));
        }
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (batch, tail) = rest.split_at(draws.random_range(1..=rest.len().min(37)));
            let asked: Vec<Query> = batch.iter().map(|at| queries[*at].clone()).collect();
            for (at, found) in batch.iter().zip(bits(&detector.score(&asked).unwrap())) {
                assert_eq!(found, whole[*at], "seed 11, window {at}");
            }
            rest = tail;
        }
    }
}

#[test]
fn a_window_restored_from_bytes_judges_the_same() {
    let detector = Detector::load(artifact()).unwrap();
    let (mut vehicle, mut window) = (Synthetic::new(4), Window::new());
    for seq in 1..60 {
        let record = vehicle.read(seq, 0.0);
        let mut restored = Window::from_bytes(&window.to_bytes()).unwrap();
        let (a, b) = (window.advance(&record), restored.advance(&record));
        assert_eq!(window.to_bytes(), restored.to_bytes());
        let (a, b) = (Vec::from_iter(a), Vec::from_iter(b));
        assert_eq!(bits(&detector.score(&a).unwrap()), bits(&detector.score(&b).unwrap()), "seq {seq}");
    }
    assert!(Window::from_bytes(&window.to_bytes()[1..]).is_err());
}

#[test]
fn what_lies_further_back_than_the_memory_has_no_part() {
    // A sparse stream: a `full` now and then, else only the speed.
    let sparse = |record: &Record| {
        let mut record = record.clone();
        if !record.seq.is_multiple_of(20) {
            record.kind = Kind::Change;
            let speed = record.signals.get(signal::SPEED).unwrap().clone();
            record.signals = Signals::new();
            record.signals.insert(signal::SPEED, speed).unwrap();
        }
        record
    };
    let mut vehicle = Synthetic::new(9);
    let records: Vec<Record> = (1..=300).map(|seq| sparse(&vehicle.read(seq, 0.0))).collect();
    let (mut whole, mut part) = (Window::new(), Window::new());
    let from = records.len() - features::MEMORY;
    let whole = records.iter().filter_map(|record| whole.advance(record)).last();
    let part = records[from..].iter().filter_map(|record| part.advance(record)).last();
    let detector = Detector::load(artifact()).unwrap();
    assert_eq!(bits(&detector.score(&[whole.unwrap()]).unwrap()), bits(&detector.score(&[part.unwrap()]).unwrap()));
}

#[test]
fn a_hole_or_a_new_boot_starts_the_window_anew() {
    let (mut vehicle, mut window) = (Synthetic::new(1), Window::new());
    let full = |window: &mut Window, vehicle: &mut Synthetic, from: u64, boot: u32| {
        (from..from + features::DEPTH as u64)
            .map(|seq| window.advance(&Record { boot, ..vehicle.read(seq, 0.0) }).is_some())
            .collect::<Vec<_>>()
    };
    let mut expected = vec![false; features::DEPTH];
    expected[features::DEPTH - 1] = true;
    assert_eq!(full(&mut window, &mut vehicle, 1, 1), expected);
    assert_eq!(full(&mut window, &mut vehicle, 100, 1), expected);
    assert_eq!(full(&mut window, &mut vehicle, 1, 2), expected);
}

#[test]
fn a_damaged_artefact_is_refused() {
    assert!(matches!(Detector::load(b"nothing"), Err(Error::Malformed(_))));
    let mut artifact = Artifact::read(artifact()).unwrap();
    let original = artifact.card.clone();
    artifact.card.schema = "0123456789abcdef".into();
    let error = Detector::load(&artifact.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("0123456789abcdef") && error.contains(&original.schema), "{error}");
    artifact.card = original;
    let mut bias = artifact.f32("network.decoder.2.bias", &[2 * features::COUNT]).unwrap();
    bias[0] += 0.5;
    artifact.put_f32("network.decoder.2.bias", &[2 * features::COUNT], &bias);
    let error = Detector::load(&artifact.to_bytes().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    artifact.put_f32("network.decoder.2.bias", &[1], &[0.0]);
    assert!(matches!(Detector::load(&artifact.to_bytes().unwrap()), Err(Error::Malformed(_))));
}

#[test]
fn a_signal_that_no_vehicle_sends_is_not_judged_and_a_short_history_is_refused() {
    let mut silent = History::new();
    let mut short = History::new();
    for index in 1..=VEHICLES {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=READINGS {
            let mut record = vehicle.read(seq, 0.0);
            if seq <= 40 {
                short.push(&record, record.time);
            }
            record.signals = record.signals.known().filter(|(number, _)| *number != signal::LOW_VOLTAGE).fold(
                Signals::new(),
                |mut signals, (number, value)| {
                    signals.insert(number, value.clone()).unwrap();
                    signals
                },
            );
            silent.push(&record, record.time);
        }
    }
    let detector = train(&silent, &options()).unwrap();
    let low_voltage = detector.card().signals.iter().find(|s| s.path.contains("LowVoltage")).unwrap();
    assert!(!low_voltage.judged && low_voltage.limit == 0.0, "{low_voltage:?}");
    let faulty = Detector::load(&detector.save()).unwrap().score(&later(3, 0.08, 120)).unwrap();
    assert!(faulty.iter().flatten().all(|judgement| judgement.score.is_finite()));
    let refusal = train(&short, &Options { min_windows: 500, ..options() }).map(|_| ()).unwrap_err().to_string();
    assert!(refusal.contains("too few"), "{refusal}");
}

/// The fleet changes after the threshold was set: much, and alarms tell; a little, and the tail of the scores tells.
#[test]
fn a_model_that_does_not_hold_what_it_promises_is_refused() {
    for (fault, reason) in [(0.08, "alarms in"), (0.005, "scores grow")] {
        let mut history = History::new();
        for index in 1..=VEHICLES {
            let mut vehicle = Synthetic::new(index);
            for seq in 1..=READINGS {
                let record = vehicle.read(seq, if seq > READINGS * 93 / 100 { fault } else { 0.0 });
                history.push(&record, record.time);
            }
        }
        let refusal = train(&history, &options()).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn too_little_history_and_an_untrained_network_are_refused() {
    assert!(matches!(train(&History::new(), &options()), Err(Error::TooLittle(_))));
    let untrained = Options { steps: 1, ..options() };
    assert!(matches!(train(&history(), &untrained), Err(Error::Refused(_))));
}
