//! A trial: mosquitto, Kafka, an edge with a spool and a fleet, each behind a link that can fail.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use services::Kind;
use telemetry::{UnixMillis, kafka_topic};
use tokio::{sync::SemaphorePermit, time::Instant};

use super::edge_state::{self, EdgeState};
use crate::{
    kafka_reader,
    network::Link,
    poll,
    process::{Program, executables},
    stack::{Role, Stack},
};

/// What under-load conditions may take.
const LOADED_WITHIN: Duration = Duration::from_secs(60);
/// Who comes back while others are away waits for them, ms.
const WAIT_FOR_OTHERS_MS: &str = "60000";

/// The vehicles of a trial.
#[derive(Debug, Clone, Copy)]
pub enum Fleet {
    /// With physics and outboxes on disk: it survives a kill.
    Drive {
        /// Vehicles, ten readings a second each.
        vehicles: u32,
        /// For so long.
        drive: Duration,
    },
    /// Of the load engine: many, or fast.
    Load {
        /// Vehicles.
        vehicles: u32,
        /// Readings a second, all together.
        rate: u32,
        /// Bytes of a payload.
        bytes: u32,
        /// Readings of a vehicle that are sent and unacknowledged at most.
        window: u32,
        /// For so long.
        drive: Duration,
    },
}

impl Fleet {
    /// The usual one: 500 readings a second.
    pub fn for_s(seconds: u64) -> Self {
        Self::Drive { vehicles: 50, drive: Duration::from_secs(seconds) }
    }

    /// For how long it makes readings.
    pub fn drive(self) -> Duration {
        match self {
            Self::Drive { drive, .. } | Self::Load { drive, .. } => drive,
        }
    }
}

/// What differs from trial to trial.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Further flags of the edge.
    pub edge: Vec<String>,
    /// Whether everybody goes through links. Not where the rate matters.
    pub links: bool,
    /// Another executable in the place of the edge.
    pub executable: &'static str,
    /// A vehicle sends its oldest reading again after this time without any ack, at first, ms.
    pub probe_ms: u64,
}

impl Setup {
    /// No vehicle sends anything again because it has waited long: only what an ack leaves out.
    #[must_use]
    pub fn without_probes(self) -> Self {
        Self { probe_ms: 600_000, ..self }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self { edge: Vec::new(), links: true, executable: "motorcade-edge", probe_ms: 3_000 }
    }
}

/// The network of a trial.
#[derive(Debug)]
pub struct Links {
    /// Vehicles to the broker.
    pub vehicles: Link,
    /// Edge to the broker.
    pub edge: Link,
    /// Edge to Kafka.
    pub kafka: Link,
}

/// A trial that runs.
#[derive(Debug)]
pub struct Trial {
    /// Services and processes.
    pub stack: Stack,
    /// Where the network fails.
    pub links: Links,
    pub(super) name: &'static str,
    pub(super) folder: PathBuf,
    pub(super) began: Instant,
    pub(super) fleet: Option<Fleet>,
    /// Since when the system has to recover, wall ms.
    pub(super) since: Option<UnixMillis>,
    /// What killed processes of the fleet had sent again.
    pub(super) resent: u64,
    /// Resident memory of the edge, bytes: whenever it was looked at.
    pub(super) memory: Vec<u64>,
    setup: Setup,
    _room: SemaphorePermit<'static>,
}

/// The folder of a row.
pub(super) fn folder(name: &str) -> Result<PathBuf> {
    Ok(executables()?.parent().context("target has a parent")?.join("chaos").join(name))
}

impl Trial {
    /// Services, links and an edge; nobody drives yet.
    pub async fn start(name: &'static str, setup: Setup) -> Result<Self> {
        let room = crate::scenario::room().await;
        let began = Instant::now();
        let folder = folder(name)?;
        let kafka = Link::nowhere().await?;
        let stack = Stack::start_anew_with(&folder, |mut options| {
            options.kafka_through = Some(kafka.address());
            options.only(&[Kind::Mosquitto, Kind::Kafka])
        });
        let stack = stack.await?;
        kafka.lead_to(stack.services.kafka_far());
        let addresses = stack.services.addresses();
        let (vehicles, edge) = (Link::to(addresses.mqtt_vehicles).await?, Link::to(addresses.mqtt_edge).await?);
        let mut trial = Self {
            links: Links { vehicles, edge, kafka },
            name,
            folder,
            began,
            fleet: None,
            since: None,
            resent: 0,
            memory: Vec::new(),
            setup,
            stack,
            _room: room,
        };
        trial.launch_edge().await?;
        Ok(trial)
    }

    /// The edge's spool.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// Where the ledger lies.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    /// The folder with logs, ledger and spool.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The edge as it is started.
    pub fn edge_program(&self) -> Program {
        let mut flags = vec![
            ("--spool", self.spool().display().to_string()),
            // Short times: a row has seconds where a vehicle has minutes.
            ("--ack-min-ms", "200".into()),
            ("--ack-max-ms", "1000".into()),
            ("--connect-timeout-ms", WAIT_FOR_OTHERS_MS.into()),
        ];
        if self.setup.links {
            flags.push(("--mqtt", self.links.edge.address().to_string()));
            flags.push(("--kafka", self.links.kafka.address().to_string()));
        }
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        Program::new("edge", self.setup.executable, flags.chain(self.setup.edge.iter().cloned()))
    }

    /// Starts the edge and waits until it is ready.
    pub async fn launch_edge(&mut self) -> Result<()> {
        let program = self.edge_program();
        self.stack.launch(program).await.map(|_| ())
    }

    /// Lets the fleet drive.
    pub async fn drive(&mut self, fleet: Fleet) -> Result<()> {
        self.fleet = Some(fleet);
        let program = self.fleet_program(fleet)?;
        match fleet {
            Fleet::Drive { .. } => self.stack.launch(program).await.map(|_| ()),
            Fleet::Load { .. } => self.stack.spawn(program).map(|_| ()),
        }
    }

    fn fleet_program(&self, fleet: Fleet) -> Result<Program> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let addresses = self.stack.services.addresses();
        let broker = if self.setup.links { self.links.vehicles.address() } else { addresses.mqtt_vehicles };
        let drive = fleet.drive().as_millis().to_string();
        let mut flags = vec![
            ("--mqtt", broker.to_string()),
            ("--seed", "11".into()),
            ("--ledger", path("ledger")),
            ("--duration-ms", drive),
            // Nobody goes before the last ack has come.
            ("--drain-ms", "240000".into()),
            ("--resend-ms", "500".into()),
            ("--refused-ms", "500".into()),
            ("--probe-ms", self.setup.probe_ms.to_string()),
            ("--reconnect-ms", "200".into()),
        ];
        let subcommand = match fleet {
            Fleet::Drive { vehicles, .. } => {
                flags.extend([
                    ("--vehicles", vehicles.to_string()),
                    ("--interval-ms", "100".into()),
                    ("--changes", "4".into()),
                    // A process that comes back goes on where the first one would be.
                    ("--start", wall_now().to_string()),
                    ("--outbox", path("outbox")),
                    ("--probe-max-ms", self.setup.probe_ms.max(12_000).to_string()),
                    ("--resend-max-ms", "5000".into()),
                    ("--refused-max-ms", "5000".into()),
                    ("--reconnect-max-ms", "2000".into()),
                    ("--connect-timeout-ms", WAIT_FOR_OTHERS_MS.into()),
                    ("--progress", "json".into()),
                ]);
                "drive"
            }
            Fleet::Load { vehicles, rate, bytes, window, .. } => {
                flags.extend([
                    ("--vehicles", vehicles.to_string()),
                    ("--rate", rate.to_string()),
                    ("--payload", bytes.to_string()),
                    ("--window", window.to_string()),
                    // Readings wait there for the whole of an outage.
                    ("--outbox-records", "20000".into()),
                    ("--report", path("load.json")),
                    ("--keep-alive-s", "5".into()),
                    ("--attempt-ms", "5000".into()),
                ]);
                "load"
            }
        };
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        Ok(Program::new("simulator", "motorcade-simulator", [subcommand.to_owned()]).with(flags))
    }

    /// From here on the system has to recover.
    pub fn recovers_from_now(&mut self) {
        self.since = Some(wall_now());
    }

    /// SIGKILL.
    pub async fn kill(&mut self, name: &str) -> Result<Program> {
        self.look_at_memory();
        if name == "simulator" {
            let progress = self.stack.running("simulator")?.last("progress");
            self.resent += progress.and_then(|line| line["resent"].as_u64()).unwrap_or_default();
        }
        self.stack.kill(name).await
    }

    /// SIGKILL, and the same program again.
    pub async fn kill_and_restart(&mut self, name: &str) -> Result<()> {
        let program = self.kill(name).await?;
        self.stack.launch(program).await.map(|_| ())
    }

    /// Stops a service where it stands, or lets it go on: its connections stay, and nobody answers.
    pub fn signal_service(&self, kind: Kind, signal: Signal) -> Result<()> {
        let leader = self.stack.services.pid(kind).with_context(|| format!("{kind} runs"))?;
        killpg(Pid::from_raw(leader), signal).with_context(|| format!("signal {kind}"))
    }

    /// Readings in Kafka, copies included.
    pub async fn in_kafka(&self) -> Result<u64> {
        let kafka = self.stack.kafka().to_owned();
        tokio::task::spawn_blocking(move || kafka_reader::count(&kafka, kafka_topic::TELEMETRY)).await?
    }

    /// Waits until so many more readings are in Kafka: the system is under load.
    pub async fn stored(&mut self, readings: u64) -> Result<()> {
        let before = self.in_kafka().await?;
        self.stored_in_all(before + readings).await
    }

    /// Waits until so many readings are in Kafka.
    pub async fn stored_in_all(&mut self, readings: u64) -> Result<()> {
        let what = format!("{readings} readings are in Kafka");
        poll::until(&what, LOADED_WITHIN, async || Ok((self.in_kafka().await? >= readings).then_some(()))).await
    }

    /// What the edge says of itself.
    pub async fn edge(&mut self) -> Result<EdgeState> {
        self.look_at_memory();
        edge_state::read(&mut self.stack).await
    }

    /// Waits until the edge is in a state.
    pub async fn edge_is(&mut self, what: &str, within: Duration, holds: impl Fn(&EdgeState) -> bool) -> Result<()> {
        poll::until(what, within, async || {
            let state = self.edge().await?;
            Ok(holds(&state).then_some(()))
        })
        .await
    }

    /// Waits until so many readings are in the spool and nowhere else.
    pub async fn spooled(&mut self, readings: u32) -> Result<()> {
        let what = format!("{readings} readings are in the spool");
        self.edge_is(&what, LOADED_WITHIN, |edge| edge.in_spool >= f64::from(readings)).await
    }

    /// The fault stays for so long; the edge has to be there all the time.
    pub async fn stays(&mut self, long: Duration) -> Result<()> {
        let until = Instant::now() + long;
        while Instant::now() < until {
            ensure!(self.stack.running("edge")?.is_running(), "the edge has ended by itself: {}", self.edge_log()?);
            self.look_at_memory();
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
        Ok(())
    }

    pub(super) fn edge_log(&mut self) -> Result<String> {
        Ok(self.stack.running("edge")?.log_tail())
    }

    /// Notes what the edge has resident.
    pub(super) fn look_at_memory(&mut self) {
        let pid = self.stack.running("edge").ok().and_then(|edge| edge.pid());
        self.memory.extend(pid.and_then(resident_bytes));
    }

    /// Starts the edge of the product in the place of another one.
    pub async fn honest_edge(&mut self) -> Result<()> {
        self.setup.executable = Setup::default().executable;
        self.launch_edge().await
    }

    /// How often the edge's memory has been looked at.
    pub fn memory_samples(&self) -> usize {
        self.memory.len()
    }

    /// The most that the edge had resident since so many samples, bytes.
    pub fn edge_memory_since(&self, samples: usize) -> u64 {
        self.memory.iter().skip(samples).copied().max().unwrap_or_default()
    }

    /// Stops the edge in good order.
    pub async fn stop_edge(&mut self) -> Result<()> {
        self.look_at_memory();
        self.stack.stop(Role::Edge.name()).await.map(|_| ())
    }
}

/// Ms since the epoch.
pub(super) fn wall_now() -> UnixMillis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(now.as_millis()).unwrap_or(UnixMillis::MAX)
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
