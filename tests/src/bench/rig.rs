//! The bench's ground: one Kafka for all rows, a fresh mosquitto with the shipped configuration for each, and programs
//! of ours from their folder.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use services::{Kind, Options, Services};

use super::{
    contender::Contender,
    load::{Judge, Load, Pace, Told},
    topic::Topic,
};
use crate::{
    poll,
    process::{Program, Running, run},
};

/// How long a bridge may take until a reading comes through.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a program may take to end.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Index of the vehicle that asks whether a bridge is there: none of a load's.
const PROBE_VEHICLE: u32 = 999_999;

/// Services, topics and programs.
#[derive(Debug)]
pub struct Rig {
    folder: PathBuf,
    programs: PathBuf,
    /// Mosquitto and Kafka.
    pub services: Services,
    /// Where bridges write to.
    pub topic: Topic,
    seed: u64,
}

impl Rig {
    /// Starts the services in `folder`, which is emptied.
    ///
    /// # Errors
    /// If a service does not start, or `programs` lacks ours.
    pub async fn start(folder: &Path, programs: &Path, seed: u64) -> Result<Self> {
        for program in ["motorcade-edge", "motorcade-simulator"] {
            ensure!(programs.join(program).is_file(), "{} has no {program}: see `make bench-edge`", programs.display());
        }
        let options = Options::new(folder.join("services")).only(&[Kind::Mosquitto, Kind::Kafka]).anew();
        let services = Services::start(options).await?;
        let topic = Topic::create(&services.addresses().kafka).await?;
        let programs = programs.canonicalize()?;
        Ok(Self { folder: folder.canonicalize()?, programs, services, topic, seed })
    }

    /// The folder of services, logs and ledgers.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of our programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A broker without sessions, a topic without records, a folder without ledgers.
    ///
    /// # Errors
    /// If one of them can't be had.
    pub async fn fresh(&mut self) -> Result<()> {
        self.services.restart(Kind::Mosquitto).await?;
        // Kafka may have been killed a moment ago.
        let forget = async || Ok(self.topic.forget().await.ok());
        poll::until("the topic is empty", READY_WITHIN, forget).await?;
        for entry in ["ledger", "spool"] {
            let path = self.folder.join(entry);
            if path.exists() {
                std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The process group of a service.
    ///
    /// # Errors
    /// If it does not run.
    pub fn group_of(&self, kind: Kind) -> Result<i32> {
        self.services.pid(kind).with_context(|| format!("{kind} does not run"))
    }

    /// Starts a bridge, ready or not.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn launch(&self, contender: &Contender, flags: &[OsString]) -> Result<Running> {
        let program = contender.program(&self.programs, self.services.addresses(), flags);
        program.start(&self.folder, self.services.watcher())
    }

    /// Starts a bridge, waits until a reading has come through, and forgets the reading.
    ///
    /// # Errors
    /// If none comes.
    pub async fn launch_ready(&self, contender: &Contender, flags: &[OsString]) -> Result<Running> {
        let running = self.launch(contender, flags)?;
        let probe = Load { form: "change-200".into(), first_vehicle: PROBE_VEHICLE, ..self.lead_in(1, Pace::Blast) };
        let told = async {
            // The broker refuses it as long as nobody subscribes, and the vehicle sends it again.
            ended(self.load(&Load { vehicles: 1, ..probe }, None).await?, READY_WITHIN).await?;
            self.wait_for(1, READY_WITHIN).await
        };
        told.await.with_context(|| format!("{} bridges nothing\n{}", contender.name(), running.log_tail()))?;
        self.topic.forget().await?;
        Ok(running)
    }

    /// A load that nobody measures: it brings a bridge, the broker and Kafka to work.
    pub fn lead_in(&self, messages: u64, pace: Pace) -> Load {
        Load {
            form: "change-200".into(),
            pace,
            messages,
            vehicles: 100,
            first_vehicle: 1,
            connect_rate: 3_000,
            window: 100,
            judge: Judge::Puback,
            drain: Duration::from_secs(30),
            seed: self.seed,
        }
    }

    /// Runs such a load through a running bridge and forgets its records.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn warm(&self, load: &Load) -> Result<()> {
        ended(self.load(load, None).await?, END_WITHIN).await?;
        self.wait_for(load.messages, Duration::from_secs(60)).await.context("the lead-in")?;
        self.topic.forget().await
    }

    /// Starts a load; its report is [`Rig::told`] once it has ended.
    ///
    /// # Errors
    /// If there is no such program.
    pub async fn load(&self, load: &Load, ledger: Option<&Path>) -> Result<Running> {
        let mqtt = self.services.addresses().mqtt_vehicles.to_string();
        let report = self.report_path();
        if report.exists() {
            tokio::fs::remove_file(&report).await?;
        }
        let path = self.programs.join("motorcade-simulator").display().to_string();
        let program = Program::new("load", &path, load.arguments(&mqtt, ledger, &report));
        program.start(&self.folder, self.services.watcher())
    }

    /// Where a load leaves its ledger.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    fn report_path(&self) -> PathBuf {
        self.folder.join("load.json")
    }

    /// The last load's report.
    ///
    /// # Errors
    /// If it left none.
    pub fn told(&self) -> Result<Told> {
        Told::read(&self.report_path())
    }

    /// Compares the ledger with Kafka. What it finds is a figure here, not a failure.
    ///
    /// # Errors
    /// If it can't be done.
    pub async fn audit(&self) -> Result<Told> {
        let json = self.folder.join("audit.json");
        audit(&self.programs, &self.services.addresses().kafka, &self.ledger(), &json).await
    }

    /// Waits until Kafka holds at least so many records; fails if that takes too long.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn wait_for(&self, records: u64, within: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            // While Kafka is away there is no answer, and that is part of some rows.
            let count = self.topic.count().await.ok();
            if count.is_some_and(|count| count >= records) {
                return Ok(());
            }
            if start.elapsed() > within {
                bail!("of {records} records {count:?} came within {} s", within.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until so many records are there, or none came for `standstill`; returns how many there are.
    ///
    /// # Errors
    /// If they go on coming for too long.
    pub async fn settle(&self, records: u64, standstill: Duration, within: Duration) -> Result<u64> {
        let (mut seen, mut moved) = (None, Instant::now());
        poll::until("the records come to an end", within, async || {
            let count = self.topic.count().await.ok();
            if count != seen {
                (seen, moved) = (count, Instant::now());
            }
            Ok(count.filter(|count| *count >= records || moved.elapsed() > standstill))
        })
        .await
    }
}

/// Runs `motorcade-simulator audit`.
///
/// # Errors
/// If it can't do its work.
pub async fn audit(programs: &Path, kafka: &str, ledger: &Path, json: &Path) -> Result<Told> {
    let flags: [(&str, OsString); 4] = [
        ("--ledger", ledger.into()),
        ("--kafka", kafka.into()),
        ("--kafka-topic", Topic::NAME.into()),
        ("--json", json.into()),
    ];
    let flags = flags.into_iter().flat_map(|(name, value)| [name.into(), value]);
    let arguments = std::iter::once(OsString::from("audit")).chain(flags);
    let program = Program::new("audit", &programs.join("motorcade-simulator").display().to_string(), arguments);
    let (code, _, err) = run(&program).await?;
    // 1: a verdict failed, which is an answer.
    ensure!(matches!(code, Some(0 | 1)), "the audit ended with {code:?}: {err}");
    Told::read(json)
}

/// The process group that a program leads.
///
/// # Errors
/// If it has ended.
pub fn group_of(running: &Running) -> Result<i32> {
    let pid = running.pid().with_context(|| format!("{} has ended\n{}", running.name(), running.log_tail()))?;
    i32::try_from(pid).context("a process id")
}

/// Waits until a program ends by itself.
///
/// # Errors
/// If it takes too long.
pub async fn ended(mut running: Running, within: Duration) -> Result<()> {
    let waited = poll::until("it ends", within, async || Ok((!running.is_running()).then_some(()))).await;
    waited.with_context(|| format!("{}\n{}", running.name(), running.log_tail()))
}

/// Ends a program and everything that it started, with this signal; fails if it had ended before.
///
/// # Errors
/// If it had ended, or does not end.
pub async fn end(running: Running, signal: Signal) -> Result<()> {
    let group = Pid::from_raw(group_of(&running)?);
    killpg(group, signal).with_context(|| format!("{signal} to {}", running.name()))?;
    ended(running, END_WITHIN).await?;
    if signal != Signal::SIGKILL {
        // A shell may have gone before what it started.
        poll::until("the whole group ends", END_WITHIN, async || Ok(killpg(group, None).is_err().then_some(())))
            .await?;
    }
    Ok(())
}
