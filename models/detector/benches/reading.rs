//! What a reading costs on its way to a judgement: window, network (in batches of 256, and of a dozen) and judgement, one thread.
//!
//! `ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 cargo bench -p detector`

use std::{hint::black_box, sync::Arc};

use detector::{
    Detector, Kind, Layout, Options, Query, Question, Reading, Recorded, Residual, Track, Values, Window, control,
};
use divan::{Bencher, counter::ItemsCount};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::{Record, Signals, Value, VehicleId, signal};

const READINGS: u64 = 512;
const VEHICLES: u32 = 8;
const BATCH: usize = 256;

fn main() {
    divan::main();
}

/// The signals of an electric vehicle with everything, 25 numbers.
fn record(vehicle: u32, seq: u64, draws: &mut ChaCha8Rng) -> Record {
    let mut signals = Signals::new();
    let load = draws.random::<f64>();
    for row in signal::CATALOGUE.iter().filter(|row| row.number <= 20 || row.number > 35) {
        if let signal::Domain::Number { min, max } = row.domain {
            let share = 0.2 + 0.5 * load + 0.05 * draws.random::<f64>();
            signals.insert(row.number, Value::Number(min + (max - min) * share)).expect("numbers ascend");
        }
    }
    let id = VehicleId::parse(&format!("veh-{vehicle}")).expect("a pseudonym");
    let time = 1_763_700_000_000 + seq as i64 * 10_000;
    Record { schema: 1, vehicle: id, boot: 1, seq, time, kind: telemetry::Kind::Full, signals, position: None }
}

struct Ready {
    detector: Detector,
    records: Vec<Record>,
    queries: Vec<Query>,
    residuals: Vec<Residual>,
}

fn ready(kind: Kind) -> Ready {
    let layout = Arc::new(Layout::default());
    let mut history = Recorded::new(Arc::clone(&layout));
    let mut draws = ChaCha8Rng::seed_from_u64(1);
    let mut records = Vec::new();
    for vehicle in 1..=VEHICLES {
        for seq in 1..=READINGS {
            let record = record(vehicle, seq, &mut draws);
            history.push(&record, record.time);
            records.push(record);
        }
    }
    let options = Options { kind, steps: 20, ..Options::default() };
    let detector = control::ungated(&history, &options).expect("enough history");
    records.truncate(READINGS as usize);
    let (mut window, mut values) = (Window::new(layout.clone()), Values::default());
    let query = |record: &Record| {
        layout.extract(&record.signals, &mut values);
        window.advance(&Reading::of(record, record.time, &values))
    };
    let queries: Vec<Query> = records.iter().filter_map(query).collect();
    let residuals = detector.look(&queries.iter().collect::<Vec<_>>()).expect("libtorch works");
    Ready { detector, records, queries, residuals }
}

#[divan::bench]
fn window(bencher: Bencher<'_, '_>) {
    let Ready { records, detector, .. } = ready(Kind::RobustZ);
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        let (mut window, mut values) = (Window::new(detector.layout().clone()), Values::default());
        for record in &records {
            detector.layout().extract(&record.signals, &mut values);
            black_box(window.advance(&Reading::of(record, record.time, &values)));
        }
    });
}

#[divan::bench(args = [Kind::RobustZ, Kind::Pca, Kind::Autoencoder, Kind::LeaveOneOut])]
fn network(bencher: Bencher<'_, '_>, kind: Kind) {
    let Ready { queries, detector, .. } = ready(kind);
    let batch: Vec<&Query> = queries.iter().take(BATCH).collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| black_box(detector.look(&batch)).is_ok());
}

#[divan::bench(args = [Kind::RobustZ, Kind::Pca, Kind::Autoencoder, Kind::LeaveOneOut])]
fn network_of_a_dozen(bencher: Bencher<'_, '_>, kind: Kind) {
    let Ready { queries, detector, .. } = ready(kind);
    let batch: Vec<&Query> = queries.iter().take(12).collect();
    bencher.counter(ItemsCount::new(batch.len())).bench_local(|| black_box(detector.look(&batch)).is_ok());
}

#[divan::bench]
fn judgement(bencher: Bencher<'_, '_>) {
    let Ready { detector, records, queries, residuals } = ready(Kind::LeaveOneOut);
    bencher.counter(ItemsCount::new(queries.len())).bench_local(|| {
        let mut track = Track::new();
        for (query, residual) in queries.iter().zip(&residuals) {
            let question = Question { vehicle: &records[0].vehicle, track: &mut track, query };
            black_box(detector.judge(question, residual));
        }
    });
}
