//! What learning from much history costs: simulated readings are spooled as a replay would spool them, then a detector
//! is trained on them. Tells seconds and the most memory.
//!
//! `ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 target/release/examples/ten_million --help`

use std::{collections::BTreeMap, io::Write, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use clap::Parser;
use cloud_log::InRecord;
use detector::{Kind as Family, Options, control};
use simulator::vehicle::{Cycle, Drivetrains, FleetSeed, Vehicle, World, vehicle_id};
use telemetry::{Encoding, Kind, Record, SCHEMA, kafka_topic, kafka_topic::header};
use trainer::{
    replay::Range,
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

/// The simulator's time is told apart from the spool's.
fn spool(flags: &Flags, mut spooler: Spooler) -> Result<Spooler> {
    let seed = FleetSeed { seed: 7, start: START };
    let mut fleet: Vec<Vehicle> = (1..=flags.vehicles).map(|index| Vehicle::of_world(seed, index, WORLD)).collect();
    let mut offsets = [0_i64; PARTITIONS as usize];
    let topic: Arc<str> = Arc::from(kafka_topic::TELEMETRY);
    let (mut spooled_s, mut records) = (0.0, Vec::new());
    for seq in 1..=flags.records / u64::from(flags.vehicles) {
        let time = START + seq as i64 * STEP_MS;
        for (index, vehicle) in (1..).zip(&mut fleet) {
            let signals = vehicle.step(time, &[]).signals;
            let (vehicle, kind) = (vehicle_id(index), Kind::Full);
            let record = Record { schema: SCHEMA, vehicle, boot: 1, seq, time, kind, signals, position: None };
            let partition = index % PARTITIONS;
            let offset = &mut offsets[partition as usize];
            records.push(InRecord {
                kafka_topic: Arc::clone(&topic),
                partition: partition as i32,
                offset: *offset,
                timestamp: time,
                key: None,
                payload: Some(telemetry::encode(&record, Encoding::Protobuf).context("encode")?),
                headers: vec![(header::CONTENT_TYPE.into(), Encoding::Protobuf.content_type().into())],
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
