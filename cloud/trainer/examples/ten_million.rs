//! What learning from much history costs: simulated readings are spooled as a replay would spool them, then a detector
//! is trained on them. With `--kafka` they are written there first and replayed. Tells seconds and the most memory.
//!
//! `ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 target/release/examples/ten_million --help`

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use clap::Parser;
use cloud_log::{InRecord, KafkaConfig, OutRecord, Producer};
use detector::{Kind as Family, Options, control};
use simulator::vehicle::{Cycle, Drivetrains, FleetSeed, Vehicle, World, vehicle_id};
use telemetry::{Encoding, Kind, Record, SCHEMA, kafka_topic, kafka_topic::header};
use trainer::{
    replay::{Range, Spooling, replay},
    spool::{Folder, Source, Spooler},
};

/// How much, and what to train.
#[derive(Debug, Parser)]
struct Flags {
    /// Readings.
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Vehicles; half of them have combustion engines.
    #[arg(long, default_value_t = 250)]
    vehicles: u32,
    /// What to train.
    #[arg(long, default_value_t = Family::LeaveOneOut)]
    detector: Family,
    /// Windows that the network is fitted on.
    #[arg(long, default_value_t = 1_000_000)]
    sample: usize,
    /// Steps of the optimiser.
    #[arg(long, default_value_t = 4_000)]
    steps: u32,
    /// Write the readings to this Kafka's empty `telemetry`, replay them from there, and train on nothing.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// A folder that stays: the second time the readings are there already.
    #[arg(long)]
    spool: Option<PathBuf>,
}

const START: i64 = 1_778_803_200_000;
const STEP_MS: i64 = 10_000;
const PARTITIONS: u32 = 6;
const WORLD: World = World { drivetrains: Drivetrains::Mixed, cycle: Cycle::Classic };

fn main() -> Result<()> {
    let flags = Flags::parse();
    if let Some(kafka) = &flags.kafka {
        return tokio::runtime::Runtime::new()?.block_on(through_kafka(&flags, &KafkaConfig::new(kafka)));
    }
    let ends = |partition: u32| {
        let vehicles = (1..=flags.vehicles).filter(|index| index % PARTITIONS == partition).count() as u64;
        (partition as i32, 0..(vehicles * (flags.records / u64::from(flags.vehicles))) as i64)
    };
    let offsets: BTreeMap<i32, _> = (0..PARTITIONS).map(ends).collect();
    let source = Source { cluster: "none".into(), asked: Range::Offsets(offsets.clone()), offsets };
    let folder = Folder::open(flags.spool.as_deref())?;
    let spooler = match folder.checkpoint(&source.asked)? {
        Some(checkpoint) => {
            let started = Instant::now();
            let spooler = Spooler::resume(folder, checkpoint)?;
            tell(&format!("taken up again in {:.1} s", started.elapsed().as_secs_f64()));
            spooler
        }
        None => spool(&flags, Spooler::new(folder, source))?,
    };
    let started = Instant::now();
    let (history, _) = spooler.finish()?;
    tell(&format!("{} readings made ready in {:.1} s", history.records(), started.elapsed().as_secs_f64()));
    let started = Instant::now();
    let options = Options { kind: flags.detector, sample: flags.sample, steps: flags.steps, ..Options::default() };
    let detector = control::ungated(&history, &options)?;
    tell(&format!("{} trained in {:.1} s", detector.version(), started.elapsed().as_secs_f64()));
    Ok(())
}

async fn through_kafka(flags: &Flags, kafka: &KafkaConfig) -> Result<()> {
    let producer = Producer::connect(kafka).await?;
    let (mut fleet, mut offset) = (fleet(flags), 0);
    for seq in 1..=flags.records / u64::from(flags.vehicles) {
        for (index, vehicle) in (1..).zip(&mut fleet) {
            let record = drive(index, vehicle, seq);
            let mut out = OutRecord::new(kafka_topic::TELEMETRY, record.vehicle.as_str(), encoded(&record)?);
            out.headers = [(header::CONTENT_TYPE, Encoding::Protobuf.content_type())].into();
            producer.send(out).await?;
            offset += 1;
        }
    }
    producer.flush().await?;
    tell(&format!("{offset} readings are in Kafka"));
    let started = Instant::now();
    let replayed = replay(kafka, &Range::ALL, &Spooling { folder: flags.spool.clone(), most: None }).await?;
    let seconds = started.elapsed().as_secs_f64();
    tell(&format!("{} of {} replayed in {seconds:.1} s", replayed.history.records(), replayed.received));
    Ok(())
}

fn fleet(flags: &Flags) -> Vec<Vehicle> {
    let seed = FleetSeed { seed: 7, start: START };
    (1..=flags.vehicles).map(|index| Vehicle::of_world(seed, index, WORLD)).collect()
}

fn drive(index: u32, vehicle: &mut Vehicle, seq: u64) -> Record {
    let time = START + seq as i64 * STEP_MS;
    let signals = vehicle.step(time, &[]).signals;
    Record { schema: SCHEMA, vehicle: vehicle_id(index), boot: 1, seq, time, kind: Kind::Full, signals, position: None }
}

fn encoded(record: &Record) -> Result<Vec<u8>> {
    telemetry::encode(record, Encoding::Protobuf).context("encode")
}

/// The simulator's time is told apart from the spool's.
fn spool(flags: &Flags, mut spooler: Spooler) -> Result<Spooler> {
    let mut fleet = fleet(flags);
    let mut offsets = [0_i64; PARTITIONS as usize];
    let (mut spooled_s, mut records) = (0.0, Vec::new());
    for seq in 1..=flags.records / u64::from(flags.vehicles) {
        for (index, vehicle) in (1..).zip(&mut fleet) {
            let record = drive(index, vehicle, seq);
            let partition = index % PARTITIONS;
            let offset = &mut offsets[partition as usize];
            records.push(InRecord {
                kafka_topic: kafka_topic::TELEMETRY.into(),
                partition: partition as i32,
                offset: *offset,
                timestamp: record.time,
                key: None,
                payload: Some(encoded(&record)?.into()),
                headers: [(header::CONTENT_TYPE, Encoding::Protobuf.content_type())].into(),
            });
            *offset += 1;
        }
        let started = Instant::now();
        records.drain(..).try_for_each(|record| spooler.take(&record))?;
        spooled_s += started.elapsed().as_secs_f64();
    }
    tell(&format!("{} readings decoded and spooled in {spooled_s:.1} s", flags.records));
    Ok(spooler)
}

fn tell(line: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    // Whoever watched may have gone.
    writeln!(std::io::stdout().lock(), "{line}; at most {most} of memory so far").ok();
}
