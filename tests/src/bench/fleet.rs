//! `make bench-fleet`: many thousand vehicles with real sessions on several mosquittos, an edge for each, one Kafka. The
//! fleet connects, holds a rate for minutes, and every sequence number of every vehicle is looked for in Kafka.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::signal::Signal;
use services::{Kind, Options, Services};

use super::{
    goals::{self, Goal},
    load::{Judge, Judged, Load, Pace, Told},
    result::{BenchReport, Figures},
    rig::{audit, end, ended, group_of},
    say,
    topic::Topic,
    usage::{self, Sampler, Used},
};
use crate::{
    process::{Program, Running},
    report::{Report, Verdict},
};

/// How long an edge may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The slowest acks leave after a minute.
const DRAIN: Duration = Duration::from_secs(90);
/// So often it tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Left out of the held rate at either end, s.
const EDGE_S: u64 = 2;

/// A fleet of many thousand vehicles.
#[derive(Debug, Clone, Parser)]
pub struct Settings {
    /// Vehicles.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub vehicles: u32,
    /// Readings of the whole fleet in a second.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// How long it holds that rate, s.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub hold_s: u64,
    /// Vehicles on one mosquitto at most: a process may hold 20,000 files.
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub per_broker: u32,
    /// Connection attempts of the whole fleet in a second.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub connect_rate: u32,
    /// What a reading is.
    #[arg(long, value_name = "FORM", default_value = "change-200")]
    pub payload: String,
    /// Seed of values and pauses.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Folder for services, logs and the ledger; what is in it is removed first.
    #[arg(long, value_name = "DIR", default_value = ".services/bench-fleet")]
    pub folder: PathBuf,
    /// Folder of motorcade-edge and motorcade-simulator.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    pub programs: PathBuf,
    /// Name of the report.
    #[arg(long, value_name = "NAME", default_value = "bench-fleet")]
    pub report: String,
}

/// A mosquitto and its edge.
struct Site {
    broker: Services,
    edge: Running,
}

struct Ground {
    folder: PathBuf,
    programs: PathBuf,
    kafka: Services,
    topic: Topic,
    sites: Vec<Site>,
}

impl Ground {
    async fn start(settings: &Settings) -> Result<Self> {
        let folder = &settings.folder;
        let kafka = Services::start(Options::new(folder.join("kafka")).only(&[Kind::Kafka]).anew()).await?;
        // Nothing of an earlier run may be taken for this one's.
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.ends_with("ledger") {
                std::fs::remove_dir_all(&path)?;
            } else if path.is_file() {
                std::fs::remove_file(&path)?;
            }
        }
        let topic = Topic::create(&kafka.addresses().kafka).await?;
        let programs = settings.programs.canonicalize().context("the folder of programs")?;
        let folder = folder.canonicalize()?;
        let mut ground = Self { folder, programs, kafka, topic, sites: Vec::new() };
        for n in 1..=settings.vehicles.div_ceil(settings.per_broker) {
            let site = ground.site(n).await.with_context(|| format!("broker and edge {n}"))?;
            ground.sites.push(site);
        }
        Ok(ground)
    }

    async fn site(&self, n: u32) -> Result<Site> {
        let options = Options::new(self.folder.join(format!("mosquitto-{n}"))).only(&[Kind::Mosquitto]).anew();
        let broker = Services::start(options).await?;
        let path = self.programs.join("motorcade-edge").display().to_string();
        let id = format!("edge.{n}");
        let kafka = self.kafka.addresses().kafka.clone();
        let mut program = Program::new(&id, &path, ["--id", &id, "--kafka", &kafka]);
        program.environment =
            broker.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut edge = program.start(&self.folder, broker.watcher())?;
        edge.ready(READY_WITHIN).await?;
        Ok(Site { broker, edge })
    }

    /// All programs by name and process group; those of one kind have names that begin alike.
    fn groups(&self) -> Result<Vec<(String, i32)>> {
        let mut groups = vec![("kafka".to_owned(), self.kafka.pid(Kind::Kafka).context("Kafka has ended")?)];
        for (n, site) in self.sites.iter().enumerate() {
            groups.push((format!("edge.{n}"), group_of(&site.edge)?));
            groups.push((format!("mosquitto.{n}"), site.broker.pid(Kind::Mosquitto).context("a mosquitto has ended")?));
        }
        Ok(groups)
    }

    fn load(&self, settings: &Settings) -> Result<Running> {
        let load = Load {
            form: settings.payload.clone(),
            pace: Pace::Rate(settings.rate),
            messages: settings.rate * settings.hold_s,
            vehicles: settings.vehicles,
            first_vehicle: 1,
            connect_rate: settings.connect_rate,
            window: 200,
            judge: Judge::Ack,
            drain: DRAIN,
            seed: settings.seed,
        };
        let brokers: Vec<_> = self.sites.iter().map(|site| site.broker.addresses().mqtt_vehicles.to_string()).collect();
        let report = self.folder.join("load.json");
        let arguments = load.arguments(&brokers.join(","), Some(&self.folder.join("ledger")), &report);
        let path = self.programs.join("motorcade-simulator").display().to_string();
        Program::new("load", &path, arguments).start(&self.folder, self.kafka.watcher())
    }

    async fn stop(self) -> Result<()> {
        for Site { broker, edge } in self.sites {
            end(edge, Signal::SIGTERM).await?;
            broker.stop().await;
        }
        self.kafka.stop().await;
        Ok(())
    }
}

/// What was watched.
struct Watched {
    /// Resident memory of everything before there was a vehicle, by kind.
    idle: BTreeMap<String, u64>,
    /// While the rate was held.
    held: BTreeMap<String, Used>,
    /// Over all the time.
    all: BTreeMap<String, Used>,
    /// Records that came while the rate was held.
    records: u64,
    /// In this time.
    took: Duration,
}

/// Runs a fleet to its end and writes the report.
///
/// # Errors
/// If services or programs do not start, or the report can't be written.
pub async fn run(settings: Settings) -> Result<BenchReport> {
    let began = Instant::now();
    let mut report = Report::new(&settings.report);
    report.parameters = parameters(&settings);
    let ground = Ground::start(&settings).await?;
    say(&format!(
        "{} mosquittos, an edge each and Kafka run; {} vehicles connect",
        ground.sites.len(),
        settings.vehicles
    ));
    let watched = watch(&ground, &settings).await?;
    say("every reading of every vehicle is looked for in Kafka");
    let told = Told::read(&ground.folder.join("load.json"))?;
    let kafka = ground.kafka.addresses().kafka.clone();
    let audited =
        audit(&ground.programs, &kafka, &ground.folder.join("ledger"), &ground.folder.join("audit.json")).await?;
    let stored = ground.kafka.dir().to_owned();
    ground.stop().await?;

    report.figures = figures(&settings, &told, &audited, &watched)?;
    let goals = goals::of_fleet(&report.figures, settings.vehicles.into(), rate(settings.rate));
    report.verdicts = verdicts(&told, &audited, &goals)?;
    report.duration_s = began.elapsed().as_secs_f64();
    let report = BenchReport::new(report, Vec::new(), goals);
    report.write()?;
    if report.report.is_ok() {
        services::remove_stored_in(&stored)?;
    }
    Ok(report)
}

async fn watch(ground: &Ground, settings: &Settings) -> Result<Watched> {
    let groups = ground.groups()?;
    let numbers: Vec<_> = groups.iter().map(|(_, group)| *group).collect();
    let idle = usage::of_groups(&numbers);
    let idle = groups.iter().map(|(name, group)| (name.clone(), idle.get(group).map_or(0, |usage| usage.resident)));
    let idle = by_kind(idle);

    let mut load = ground.load(settings)?;
    let named: Vec<_> = groups.iter().map(|(name, group)| (name.as_str(), *group)).collect();
    let named: Vec<_> = named.into_iter().chain([("load", group_of(&load)?)]).collect();
    let all = Sampler::start(&named);
    // The load tells itself when its fleet does not come to connect.
    while ground.topic.count().await? == 0 {
        ensure!(load.is_running(), "the load ended before a reading was made\n{}", load.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(EDGE_S)).await;
    let (from, before) = (Instant::now(), ground.topic.count().await?);
    let held = Sampler::start(&named);
    let until = from + Duration::from_secs(settings.hold_s.saturating_sub(2 * EDGE_S));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        say(&format!("{} s to go; {} readings in Kafka", left.as_secs(), ground.topic.count().await?));
        tokio::time::sleep(left.min(TELL_EVERY)).await;
    }
    let (records, took) = (ground.topic.count().await? - before, from.elapsed());
    let held = held.finish();
    say("the vehicles wait for their last acknowledgements");
    ended(load, DRAIN * 3).await?;
    Ok(Watched { idle, held, all: all.finish(), records, took })
}

/// Sums of what has names that begin alike, up to a dot.
fn by_kind(named: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (name, value) in named {
        let kind = name.split('.').next().unwrap_or_default().to_owned();
        *sums.entry(kind).or_default() += value;
    }
    sums
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn rate(n: u64) -> f64 {
    n as f64
}

fn figures(settings: &Settings, told: &Told, audited: &Told, watched: &Watched) -> Result<Figures> {
    let vehicles = f64::from(settings.vehicles);
    let mut figures = Figures::new();
    for name in [
        "established_sockets",
        "ramp_s",
        "ramp_connections_per_s",
        "connections_lost",
        "made_readings",
        "acked_readings",
        "unheard_readings",
        "given_up_readings",
        "in_outbox_readings",
        "acks_messages",
        "published_messages",
    ] {
        figures.insert(name.to_owned(), told.figure(name)?);
    }
    for (name, value) in [
        ("lost_readings", rate(audited.g1("lost")?)),
        ("altered_readings", rate(audited.g1("altered")?)),
        // This Kafka is the bench's own: there are no records of others.
        ("invented_readings", rate(audited.g1("invented")?) + audited.figure("foreign_records")?),
        ("found_readings", audited.figure("found_readings")?),
        ("duplicate_readings", audited.figure("duplicate_records")?),
        ("reordered_readings", audited.figure("reordered_readings")?),
        ("verified_readings", audited.figure("verified_readings")?),
        ("verified_vehicles", audited.figure("verified_vehicles")?),
        ("held_per_s", rate(watched.records) / watched.took.as_secs_f64()),
        ("acks_per_reading", told.figure("acks_messages")? / told.figure("acked_readings")?.max(1.0)),
        ("load_memory_per_vehicle_bytes", told.figure("memory_per_vehicle_bytes")?),
    ] {
        figures.insert(name.to_owned(), value);
    }
    for percentile in ["p50", "p99", "p999", "max"] {
        let ms = audited.figure(&format!("schedule_to_kafka_{percentile}_ms"))?;
        figures.insert(format!("latency_{percentile}_ms"), ms);
    }
    let cpu = by_kind(
        watched.held.iter().map(|(name, used)| (name.clone(), u64::try_from(used.cpu.as_micros()).unwrap_or(u64::MAX))),
    );
    for (kind, us) in cpu {
        figures.insert(format!("{kind}_cpu_us"), rate(us) / rate(watched.records.max(1)));
        figures.insert(format!("{kind}_core_percent"), rate(us) / watched.took.as_secs_f64() / 1e4);
    }
    let peak = by_kind(watched.all.iter().map(|(name, used)| (name.clone(), used.peak)));
    for (kind, bytes) in peak {
        figures.insert(format!("{kind}_peak_mb"), rate(bytes) / 1e6);
        if let Some(idle) = watched.idle.get(&kind).filter(|_| kind != "kafka") {
            let grown = rate(bytes.saturating_sub(*idle));
            figures.insert(format!("{kind}_memory_per_vehicle_bytes"), grown / vehicles);
        }
    }
    Ok(figures)
}

fn parameters(settings: &Settings) -> BTreeMap<String, serde_json::Value> {
    [
        ("vehicles", settings.vehicles.into()),
        ("rate", settings.rate.into()),
        ("hold_s", settings.hold_s.into()),
        ("brokers", settings.vehicles.div_ceil(settings.per_broker).into()),
        ("connect_rate", settings.connect_rate.into()),
        ("payload", settings.payload.clone().into()),
        ("seed", settings.seed.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What the load and the audit say, and the goals.
fn verdicts(told: &Told, audited: &Told, goals: &[Goal]) -> Result<BTreeMap<String, Verdict>> {
    for (report, verdict) in [(told, "G4"), (audited, "G1")] {
        ensure!(report.verdicts.contains_key(verdict), "a report has no verdict {verdict}");
    }
    let copied = |(name, judged): (&String, &Judged)| {
        let Judged { ok, checked, counts, examples } = judged.clone();
        (name.clone(), Verdict { ok, checked, counts, examples })
    };
    let mut verdicts: BTreeMap<_, _> = told.verdicts.iter().chain(&audited.verdicts).map(copied).collect();
    let missed: Vec<_> =
        goals.iter().filter(|goal| goal.reached() != Some(true)).map(|goal| goal.what.clone()).collect();
    let goals = super::result::none_of("missed", goals.len() as u64, missed.len() as u64, missed);
    verdicts.insert("goals".to_owned(), goals);
    verdicts.insert("found".to_owned(), found(told, audited)?);
    Ok(verdicts)
}

/// Every reading that was made is in Kafka, acknowledged or not, and nothing else is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, written as floats")]
fn found(told: &Told, audited: &Told) -> Result<Verdict> {
    let (made, found) = (told.figure("made_readings")? as u64, audited.figure("found_readings")? as u64);
    let foreign = audited.figure("foreign_records")? as u64;
    Ok(Verdict {
        ok: found == made && made > 0 && foreign == 0,
        checked: made,
        counts: [("found".to_owned(), found), ("foreign".to_owned(), foreign)].into(),
        examples: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
