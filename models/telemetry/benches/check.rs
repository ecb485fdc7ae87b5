//! What a verdict costs: `check` beside `decode`, and how often each allocates.
//!
//! `cargo bench -p telemetry --bench check`

use std::hint::black_box;

use telemetry::{
    Checked, Encoding, Invalid, Kind, Record, SCHEMA, Signals, Value, VehicleId, encode,
    signal::{self, CATALOGUE, Domain},
};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const VEHICLE: &str = "veh-00042";

fn main() {
    divan::main();
}

/// A payload to judge.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// About 200 bytes with 3 signals.
    ChangeJson,
    /// 20 signals of 17 digits each.
    FullJson,
    /// The same record.
    FullProtobuf,
    /// A full record with a speed out of its range: what a bad one costs.
    BadJson,
}

const CASES: [Case; 4] = [Case::ChangeJson, Case::FullJson, Case::FullProtobuf, Case::BadJson];

impl Case {
    fn encoding(self) -> Encoding {
        if matches!(self, Self::FullProtobuf) { Encoding::Protobuf } else { Encoding::Json }
    }

    fn payload(self) -> Vec<u8> {
        let mut signals = Signals::new();
        let numbers = if matches!(self, Self::ChangeJson) {
            [signal::SPEED, signal::BATTERY_CURRENT, signal::LOW_VOLTAGE].to_vec()
        } else {
            (1..=20).collect()
        };
        for number in numbers {
            let domain = CATALOGUE[usize::from(number) - 1].domain;
            let Domain::Number { min, max } = domain else { unreachable!("the first 20 are numbers") };
            let third = min + (max - min) / 3.0;
            let value = match self {
                Self::ChangeJson => (third * 10.0).round() / 10.0,
                Self::BadJson if number == 1 => max + 1.0,
                _ => third,
            };
            signals.insert(number, Value::Number(value)).expect("each number once");
        }
        let record = Record {
            schema: SCHEMA,
            vehicle: VehicleId::parse(VEHICLE).expect("well-formed"),
            boot: 1_763_712_000,
            seq: 17,
            time: 1_763_712_345_678,
            kind: Kind::Change,
            signals,
            position: None,
        };
        encode(&record, self.encoding()).expect("finite numbers")
    }
}

#[divan::bench(args = CASES)]
fn check(bencher: divan::Bencher<'_, '_>, case: Case) {
    let payload = case.payload();
    let count = divan::counter::BytesCount::of_slice(&payload);
    bencher.counter(count).bench_local(|| -> Result<Checked, Invalid> {
        telemetry::check(black_box(&payload), case.encoding(), Some(VEHICLE))
    });
}

#[divan::bench(args = CASES)]
fn decode(bencher: divan::Bencher<'_, '_>, case: Case) {
    let payload = case.payload();
    let count = divan::counter::BytesCount::of_slice(&payload);
    let vehicle = VehicleId::parse(VEHICLE).expect("well-formed");
    bencher.counter(count).bench_local(|| -> Result<Record, Invalid> {
        telemetry::decode(black_box(&payload), case.encoding(), Some(&vehicle))
    });
}
