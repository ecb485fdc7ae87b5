//! The detector on a small synthetic fleet: what it promises, held against it.

use std::sync::{Arc, OnceLock};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::{Record, Signals, Value, VehicleId, event::Verdict, signal};

use crate::{
    Detector, Error, History, Judgement, Kind, Layout, Options, Query, Question, Reading, Recorded, Span, Split, Track,
    Values, Window, artifact::Artifact, control, keeps_its_promise, layout::Role, track::STATISTICS, train,
};

mod drift;
mod frozen;
mod kinds;
mod promise;
mod python;
mod rivals;

const START: i64 = 1_763_700_000_000;
const STEP: i64 = 10_000;
const VEHICLES: u32 = 20;
const READINGS: u64 = 640;

fn options() -> Options {
    Options { steps: 300, budget_per_1000_h: 50.0, ..Options::default() }
}

fn layout() -> Arc<Layout> {
    static LAYOUT: OnceLock<Arc<Layout>> = OnceLock::new();
    Arc::clone(LAYOUT.get_or_init(|| Arc::new(Layout::default())))
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

    /// `fault` is added to the low voltage, as a share of its range.
    fn read(&mut self, seq: u64, fault: f64) -> Record {
        let pull = self.draws.random::<f64>();
        self.load += 0.5 * (pull - self.load);
        self.heat += 0.1 * (self.load - self.heat);
        let turn = self.draws.random::<f64>();
        let mut signals = Signals::new();
        for (at, row) in signal::CATALOGUE.iter().filter(|row| row.number <= 20).enumerate() {
            let signal::Domain::Number { min, max } = row.domain else { unreachable!("the first twenty are numbers") };
            let mix = [0.8 * self.load, 0.8 * self.heat, 0.4 * self.load + 0.4 * turn][at % 3];
            let noise = (self.draws.random::<f64>() - 0.5) * 0.01;
            let added = if row.number == signal::LOW_VOLTAGE { fault } else { 0.0 };
            let share = 0.1 + 0.8 * (mix + 0.05 * self.offset + noise + added);
            signals.insert(row.number, Value::Number(min + (max - min) * share.clamp(0.0, 1.0))).unwrap();
        }
        let time = START + seq as i64 * STEP;
        let vehicle = self.id.clone();
        Record { schema: 1, vehicle, boot: 1, seq, time, kind: telemetry::Kind::Full, signals, position: None }
    }
}

/// What a fleet shows; `fault` says what is added at which reading.
fn history(fault: impl Fn(u64) -> f64) -> Recorded {
    let mut history = Recorded::new(layout());
    for index in 1..=VEHICLES {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=READINGS {
            let record = vehicle.read(seq, fault(seq));
            history.push(&record, record.time);
        }
    }
    history.note_span(Span {
        kafka_topic: "telemetry".into(),
        partition: 0,
        from: 0,
        to: 10,
        count: 10,
        hash: "0".into(),
    });
    history
}

fn healthy() -> &'static Recorded {
    static HISTORY: OnceLock<Recorded> = OnceLock::new();
    HISTORY.get_or_init(|| history(|_| 0.0))
}

/// Trained once for all tests; as bytes, because a detector is not shared between threads.
fn artifact() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| train(healthy(), &options()).unwrap().save())
}

/// What a vehicle's window says at each of these records.
fn queries(records: &[Record]) -> Vec<Query> {
    let (mut window, mut values) = (Window::new(layout()), Values::default());
    let query = |record: &Record| {
        layout().extract(&record.signals, &mut values);
        window.advance(&Reading::of(record, record.time, &values))
    };
    records.iter().filter_map(query).collect()
}

/// A vehicle from its first reading on, with this fault from the middle of the readings after the training on.
fn records(index: u32, fault: f64, readings: u64) -> Vec<Record> {
    let mut vehicle = Synthetic::new(index);
    let from = READINGS + readings / 2;
    (1..=READINGS + readings).map(|seq| vehicle.read(seq, if seq > from { fault } else { 0.0 })).collect()
}

/// Judgements of the last so many of a vehicle's records.
fn judged(detector: &Detector, records: &[Record], last: usize) -> Vec<Option<Judgement>> {
    let (queries, mut track) = (queries(records), Track::new());
    let residuals = detector.look(&queries.iter().collect::<Vec<_>>()).unwrap();
    let judge = |(query, residual)| {
        let question = Question { vehicle: &records[0].vehicle, track: &mut track, query };
        detector.judge(question, residual)
    };
    let judgements: Vec<_> = queries.iter().zip(&residuals).map(judge).collect();
    judgements[judgements.len() - last..].to_vec()
}

fn anomalous(judgements: &[Option<Judgement>]) -> usize {
    judgements.iter().flatten().filter(|judgement| judgement.verdict == Verdict::Anomalous).count()
}

fn bits(judgements: &[Option<Judgement>]) -> Vec<Vec<u64>> {
    let numbers = |judgement: &Judgement| {
        let of = judgement.contributions.iter().flat_map(|c| [c.score, c.expected, c.observed]);
        std::iter::once(judgement.score.to_bits()).chain(of.map(|number| u64::from(number.to_bits()))).collect()
    };
    judgements.iter().map(|judgement| judgement.as_ref().map(numbers).unwrap_or_default()).collect()
}

#[test]
fn a_broken_relation_is_found_and_named_and_health_is_left_alone() {
    let detector = Detector::load(artifact()).unwrap();
    let healthy = judged(&detector, &records(3, 0.0, 120), 120);
    assert!(anomalous(&healthy) <= 6, "{} of {}", anomalous(&healthy), healthy.len());
    let faulty = judged(&detector, &records(3, 0.12, 120), 50);
    assert!(anomalous(&faulty) >= 45, "{} of {}", anomalous(&faulty), faulty.len());
    let last = faulty.last().unwrap().as_ref().unwrap();
    let first = &last.contributions[0];
    assert_eq!(first.signal, "Vehicle.LowVoltageBattery.CurrentVoltage");
    assert_eq!(last.family, Some("low-voltage supply"));
    // 0.12 of 80 % of 30 V.
    assert!((2.0..3.8).contains(&(first.observed - first.expected)), "{first:?}");
    assert_eq!(f64::from(first.score).to_bits(), last.score.to_bits());
    assert!(last.contributions.len() <= 3);
}

#[test]
fn a_vehicle_that_no_training_saw_is_judged_by_a_measure_of_its_own() {
    let detector = Detector::load(artifact()).unwrap();
    let mut doubled = Artifact::read(artifact()).unwrap();
    let limit = doubled.f32("judge.strangers.limit", &[1]).unwrap()[0];
    assert_eq!(detector.card().calibration.strangers.limit, f64::from(limit));
    assert_ne!(doubled.f32("judge.limit", &[1]).unwrap()[0], limit);
    doubled.put_f32("judge.strangers.limit", &[1], &[2.0 * limit]);
    let doubled = Detector::load(&doubled.to_bytes().unwrap()).unwrap();
    let scores = |detector: &Detector, index| -> Vec<f64> {
        judged(detector, &records(index, 0.12, 60), 60).iter().flatten().map(|judgement| judgement.score).collect()
    };
    assert_eq!(scores(&doubled, 3), scores(&detector, 3), "one that it knows");
    let (half, whole) = (scores(&doubled, VEHICLES + 1), scores(&detector, VEHICLES + 1));
    assert!(whole.iter().any(|score| *score > 1.0));
    assert!(
        half.iter().zip(&whole).all(|(half, whole)| (2.0 * half - whole).abs() < 1e-6 * whole),
        "{half:?} {whole:?}"
    );
}

#[test]
fn with_shuffled_weights_the_detection_vanishes() {
    let detector = Detector::load(artifact()).unwrap();
    let shuffled = control::shuffled(&detector, healthy(), &options(), 7).unwrap();
    assert_ne!(shuffled.version(), detector.version());
    let faulty = judged(&shuffled, &records(3, 0.12, 120), 50);
    assert!(anomalous(&faulty) <= 6, "{} of {}", anomalous(&faulty), faulty.len());
}

#[test]
fn the_same_history_gives_the_same_artefact_whatever_the_threads() {
    let again = train(healthy(), &Options { threads: 1, ..options() }).unwrap();
    assert_eq!(again.save(), artifact());
    let other = train(healthy(), &Options { seed: 2, ..options() }).unwrap();
    assert_ne!(other.save(), artifact());
}

#[test]
fn saved_and_loaded_it_judges_the_same_bits() {
    let detector = Detector::load(artifact()).unwrap();
    let again = Detector::load(&detector.save()).unwrap();
    assert_eq!(detector.version(), again.version());
    assert!(detector.version().starts_with(&format!("leave-one-out-{}-", START + READINGS as i64 * STEP)));
    let records = records(5, 0.02, 30);
    assert_eq!(bits(&judged(&detector, &records, 60)), bits(&judged(&again, &records, 60)));
}

#[test]
fn borders_and_order_of_batches_do_not_change_a_bit() {
    let detector = Detector::load(artifact()).unwrap();
    let all: Vec<Query> = (1..=6).flat_map(|index| queries(&records(index, 0.03, 40)[READINGS as usize..])).collect();
    let whole = detector.look(&all.iter().collect::<Vec<_>>()).unwrap();
    let mut draws = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..4 {
        let mut order: Vec<usize> = (0..all.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, draws.random_range(0..=at));
        }
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (batch, tail) = rest.split_at(draws.random_range(1..=rest.len().min(37)));
            let asked: Vec<&Query> = batch.iter().map(|at| &all[*at]).collect();
            for (at, found) in batch.iter().zip(detector.look(&asked).unwrap()) {
                assert_eq!(format!("{found:?}"), format!("{:?}", whole[*at]), "seed 11, window {at}");
            }
            rest = tail;
        }
    }
}

#[test]
fn a_track_restored_from_bytes_judges_the_same() {
    let detector = Detector::load(artifact()).unwrap();
    let records = records(4, 0.03, 120);
    let queries = queries(&records);
    let residuals = detector.look(&queries.iter().collect::<Vec<_>>()).unwrap();
    let mut track = Track::new();
    for (at, (query, residual)) in queries.iter().zip(&residuals).enumerate() {
        let mut restored = Track::from_bytes(&track.to_bytes()).unwrap();
        let ask = |track| detector.judge(Question { vehicle: &records[0].vehicle, track, query }, residual);
        let (a, b) = (ask(&mut track), ask(&mut restored));
        assert_eq!(bits(&[a]), bits(&[b]), "reading {at}");
        assert_eq!(track.to_bytes(), restored.to_bytes(), "reading {at}");
    }
    assert!(Track::from_bytes(&track.to_bytes()[1..]).is_err());
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
    artifact.card.form += 1;
    assert!(matches!(Detector::load(&artifact.to_bytes().unwrap()), Err(Error::Form { program: 3, artefact: 4 })));
    artifact.card.form -= 1;
    let shape = [artifact.card.signals.len(), 1, 4];
    let mut bias = artifact.f32("network.heads.bias", &shape).unwrap();
    bias[0] += 1e-4;
    artifact.put_f32("network.heads.bias", &shape, &bias);
    let error = Detector::load(&artifact.to_bytes().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    bias[0] = f32::NAN;
    artifact.put_f32("network.heads.bias", &shape, &bias);
    assert!(matches!(Detector::load(&artifact.to_bytes().unwrap()), Err(Error::Golden { .. })));
    artifact.put_f32("network.heads.bias", &[1], &[0.0]);
    assert!(matches!(Detector::load(&artifact.to_bytes().unwrap()), Err(Error::Malformed(_))));
}

#[test]
fn a_damaged_byte_that_the_golden_vector_does_not_reach_is_noticed() {
    let place = |name: &str| {
        let tensors = safetensors::SafeTensors::deserialize(artifact()).unwrap();
        tensors.tensor(name).unwrap().data().as_ptr().addr() - artifact().as_ptr().addr()
    };
    for name in [
        "baselines.key",
        "baselines.center",
        "baselines.spread",
        "judge.tails",
        "judge.limit",
        "judge.strangers.limit",
        "scaler.center",
    ] {
        let mut bytes = artifact().to_vec();
        bytes[place(name)] ^= 1;
        let error = Detector::load(&bytes).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{name}: {error}");
    }
    // One from before there was such a sum: its card has none.
    let mut old = artifact().to_vec();
    let field = b"tensors_sha256";
    let at = old.windows(field.len()).position(|bytes| bytes == field).unwrap();
    old[at] = b'T';
    assert_eq!(Detector::load(&old).unwrap().card().tensors_sha256, None);
    old[place("judge.limit")] ^= 1;
    Detector::load(&old).unwrap();
    // What no training gives is refused whether or not there is a sum.
    let mut artifact = Artifact::read(artifact()).unwrap();
    let shape = [artifact.card.signals.len(), STATISTICS, 4];
    let mut tails = artifact.f32("judge.tails", &shape).unwrap();
    tails[2] = 0.0;
    artifact.put_f32("judge.tails", &shape, &tails);
    let error = Detector::load(&artifact.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("judge.tails"), "{error}");
}

#[test]
fn a_card_says_where_its_readings_stand_and_what_computed_it() {
    let mut card = Detector::load(artifact()).unwrap().card().clone();
    let version_of = |package: &str| {
        let lock = include_str!("../../../Cargo.lock");
        let (_, behind) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap();
        format!("{package} {}", behind.split_once('"').unwrap().0)
    };
    assert_eq!(card.versions[..2], [version_of("detector"), version_of("tch")]);
    let libtorch = card.versions[2].strip_prefix("libtorch ").unwrap();
    assert!(libtorch.starts_with(|first: char| first.is_ascii_digit()), "{libtorch}: it has the file `build-version`");
    // Older cards name no topic.
    let mut span = serde_json::to_value(&card.spans[0]).unwrap();
    assert_eq!(span.as_object_mut().unwrap().remove("kafka_topic").unwrap(), "telemetry");
    assert_eq!(serde_json::from_value::<Span>(span).unwrap(), card.spans[0]);
    // Of another class than here, whatever class that is.
    assert_eq!(card.other_cpu(), None);
    card.cpu_capability += "512";
    assert_eq!(card.other_cpu().unwrap().0, card.cpu_capability);
}
