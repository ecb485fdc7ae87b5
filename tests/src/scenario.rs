//! A scenario: a small fleet drives through the whole system while something is killed; then the judge speaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use telemetry::kafka_topic;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    control,
    evidence::Evidence,
    judge::{self, Received},
    kafka_reader, poll,
    process::Program,
    report::Verdict,
    stack::{Role, Stack},
};

/// Runs side by side: most of them mostly wait.
const SIDE_BY_SIDE: u32 = 2;
/// The machine's room.
static ROOM: Semaphore = Semaphore::const_new(SIDE_BY_SIDE as usize);

/// Room for one run.
pub async fn room() -> SemaphorePermit<'static> {
    ROOM.acquire().await.expect("never closed")
}

/// Room for one run that trains a model against the clock: nothing runs beside it.
pub async fn whole_room() -> SemaphorePermit<'static> {
    ROOM.acquire_many(SIDE_BY_SIDE).await.expect("never closed")
}

/// Subscribers of every scenario.
const TECHNICIANS: [&str; 2] = ["kim", "alex"];
/// Every stage has caught up this long after the last reading (G6: 30 s after a process died).
const CATCH_UP: Duration = Duration::from_secs(60);

/// The fleet of a scenario.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Vehicles.
    pub vehicles: u32,
    /// Seed, printed on failure with the rest.
    pub seed: u64,
    /// How long it drives, wall time.
    pub drive: Duration,
    /// Where it connects to, instead of the broker.
    pub mqtt: Option<std::net::SocketAddr>,
    /// Whether faults appear.
    pub faults: bool,
    /// Every so many readings one is followed by a malformed payload; 0: never.
    pub poison: u32,
    /// Protobuf instead of JSON.
    pub protobuf: bool,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            vehicles: 60,
            seed: 11,
            drive: Duration::from_secs(15),
            mqtt: None,
            faults: true,
            poison: 0,
            protobuf: false,
        }
    }
}

/// Simulated time runs this much faster: 15 s are 25 minutes, long enough for faults to grow and to be found.
const SPEED: u32 = 100;
/// How long scoring waits for a missing reading: as long as 30 s on the wall, longer than any kill takes.
const LATENESS_MS: i64 = SPEED as i64 * 30 * 1000;
/// Simulated time between two readings of a vehicle.
const INTERVAL_MS: u32 = 10_000;

/// A scenario that runs.
#[derive(Debug)]
pub struct Scenario {
    /// The stack under test.
    pub stack: Stack,
    /// What its services store; for as long as something may still be asserted of it.
    pub evidence: Evidence,
    folder: PathBuf,
    name: &'static str,
    fleet: Fleet,
    _room: SemaphorePermit<'static>,
}

/// What the judge found.
#[derive(Debug)]
pub struct Judged {
    /// By guarantee.
    pub verdicts: BTreeMap<String, Verdict>,
    /// The alerts.
    pub alerts: judge::Alerts,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// How every process ended.
    pub ended: BTreeMap<String, crate::process::Ended>,
    /// Until the last word is said.
    _evidence: Evidence,
}

/// Verdicts, alerts, dead letters.
type Found = (BTreeMap<String, Verdict>, judge::Alerts, BTreeMap<String, u64>);

impl Judged {
    /// Fails with everything that was found unless each verdict is ok.
    pub fn assert_ok(&self) {
        let broken: Vec<_> = self.verdicts.iter().filter(|(_, verdict)| !verdict.ok).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert!(self.verdicts["G1"].checked > 0 && self.verdicts["G2"].checked > 0, "{:#?}", self.verdicts);
    }
}

impl Scenario {
    /// Services, topics, a model, every role but the trainer, two technicians.
    pub async fn start(name: &'static str) -> Result<Self> {
        let mut scenario = Self::bare(name).await?;
        control::publish_trained(scenario.stack.kafka()).await?;
        scenario.stack.set(Role::Scorer, ["--lateness-ms".to_owned(), LATENESS_MS.to_string()]);
        scenario.stack.set(Role::Gateway, ["--listen", "127.0.0.1:0"]);
        for role in [Role::Edge, Role::Twin, Role::Scorer, Role::Alerter, Role::Gateway] {
            scenario.stack.role(role).await?;
        }
        let gateway = scenario.stack.running("gateway")?.address("http").context("the gateway's address")?;
        // The gateway comes back on the same port after a kill.
        scenario.stack.running("gateway")?.program.arguments =
            ["run", "gateway", "--listen", &gateway].map(Into::into).into();
        for technician in TECHNICIANS {
            let url = format!("ws://{gateway}");
            let watch = ["alerts", "watch", "--gateway", &url, "--from", "0", "--json"];
            scenario.stack.spawn(Program::new(technician, "motorcade", watch))?;
        }
        Ok(scenario)
    }

    /// Services and topics only.
    pub async fn bare(name: &'static str) -> Result<Self> {
        crate::process::build_executables()?;
        let room = room().await;
        let folder = crate::process::executables()?.parent().context("target has a parent")?.join("e2e").join(name);
        let mut stack = Stack::start_anew(&folder).await?;
        let evidence = Evidence::of(stack.services.dir());
        stack.set(Role::Edge, ["--ack-min-ms", "500", "--ack-max-ms", "2000"]);
        Ok(Self { stack, evidence, folder, name, fleet: Fleet::default(), _room: room })
    }

    /// The folder with logs and ledger.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Lets the fleet drive.
    pub async fn drive(&mut self, fleet: Fleet) -> Result<()> {
        tracing::info!(scenario = self.name, ?fleet, "driving");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let timeline = crate::demo::timeline::Timeline::new(i64::try_from(now)?, fleet.drive, SPEED);
        let ledger = self.folder.join("ledger");
        let mut flags = vec![
            ("--vehicles", fleet.vehicles.to_string()),
            ("--seed", fleet.seed.to_string()),
            ("--speed", SPEED.to_string()),
            ("--start", timeline.start.to_string()),
            ("--duration-ms", timeline.duration_ms.to_string()),
            ("--interval-ms", INTERVAL_MS.to_string()),
            ("--connect-rate", "200".into()),
            ("--changes", "4".into()),
            ("--encoding", if fleet.protobuf { "protobuf" } else { "json" }.into()),
            ("--poison", fleet.poison.to_string()),
            // Short times: a scenario has seconds where a vehicle has minutes.
            ("--probe-ms", "3000".into()),
            ("--probe-max-ms", "12000".into()),
            ("--resend-ms", "500".into()),
            ("--drain-ms", "60000".into()),
            ("--ledger", ledger.display().to_string()),
            ("--outbox", self.folder.join("outbox").display().to_string()),
            ("--truth", self.folder.join("truth.jsonl").display().to_string()),
            ("--faults", if fleet.faults { "demo" } else { "none" }.into()),
            ("--faults-from-ms", (timeline.duration_ms / 8).to_string()),
            ("--faults-for-ms", (timeline.duration_ms - timeline.duration_ms / 8).to_string()),
            ("--progress", "json".into()),
        ];
        if let Some(mqtt) = fleet.mqtt {
            flags.push(("--mqtt", mqtt.to_string()));
        }
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let mut program = Program::new("simulator", "motorcade-simulator", flags);
        // The grace period covers the drain.
        program.arguments.extend(["--grace-ms".into(), "70000".into()]);
        self.stack.launch(program).await?;
        self.fleet = fleet;
        Ok(())
    }

    /// Waits until so many readings were acknowledged: the system is under load.
    pub async fn acknowledged(&mut self, readings: u64) -> Result<()> {
        let stack = &mut self.stack;
        poll::until("readings are acknowledged", Duration::from_secs(60), async || {
            let progress = stack.running("simulator")?.last("progress");
            Ok(progress.and_then(|line| line["sent"].as_u64()).filter(|acked| *acked >= readings))
        })
        .await
        .map(|_| ())
    }

    /// Waits until a technician was shown an alert that is not resolved: whoever dies now dies with an open alert.
    pub async fn an_alert_is_open(&mut self) -> Result<()> {
        let stack = &mut self.stack;
        poll::until("a technician sees an open alert", self.fleet.drive, async || {
            let mut open = BTreeSet::new();
            for line in stack.running(TECHNICIANS[0])?.events() {
                let Some(id) = line["event"]["id"].as_str() else { continue };
                if line["event"]["state"] == "resolved" {
                    open.remove(id);
                } else {
                    open.insert(id.to_owned());
                }
            }
            Ok((!open.is_empty()).then_some(()))
        })
        .await
    }

    /// Records that the edge has written to Kafka so far, repeats included.
    pub async fn in_kafka(&self) -> Result<u64> {
        let kafka = self.stack.kafka().to_owned();
        let written = [kafka_topic::TELEMETRY, kafka_topic::DEAD_LETTER, kafka_topic::VEHICLE_STATUS];
        let count = move || written.iter().map(|name| kafka_reader::count(&kafka, name)).sum();
        tokio::task::spawn_blocking(count).await?
    }

    /// For scenarios without the cloud side: waits for the fleet, judges G1 alone, stops all but the services.
    pub async fn finish_with_ledger_only(&mut self) -> Result<Verdict> {
        let patience = self.fleet.drive + Duration::from_secs(90);
        self.stack.wait_for_end("simulator", patience).await?;
        let (verdict, _) = judge::judge_ledger(self.stack.kafka(), &self.folder.join("ledger")).await?;
        self.stack.stop_programs().await?;
        Ok(verdict)
    }

    /// [`Scenario::finish`], and G8: `scores verify` finds nothing, and one flipped bit is found. Scores that are built anew
    /// are the same.
    pub async fn finish_with_replay(self) -> Result<Judged> {
        self.judged(true).await
    }

    /// Waits until every vehicle has everything acknowledged and every stage has caught up; judges; stops all.
    pub async fn finish(self) -> Result<Judged> {
        self.judged(false).await
    }

    async fn judged(mut self, replay: bool) -> Result<Judged> {
        let found = self.judge(replay).await;
        let ended = self.stack.shut_down().await;
        let ((mut verdicts, alerts, dead_letters), ended) = match found.and_then(|found| Ok((found, ended?))) {
            Ok(all) => all,
            Err(error) => {
                self.evidence.keep();
                return Err(error);
            }
        };
        let tallied = ended.iter().filter(|(name, _)| !TECHNICIANS.contains(&name.as_str()));
        verdicts.insert("G4".into(), judge::judge_tallies(tallied));
        tracing::info!(scenario = self.name, ?verdicts, "judged");
        Ok(Judged { verdicts, alerts, dead_letters, ended, _evidence: self.evidence })
    }

    /// What can be judged while the services run, as it stands in [`Judged`].
    async fn judge(&mut self, replay: bool) -> Result<Found> {
        let patience = self.fleet.drive + Duration::from_secs(90);
        let fleet = self.stack.wait_for_end("simulator", patience).await?;
        ensure!(fleet.code == Some(0), "the simulator ended with {:?}", fleet.code);
        let in_hand = fleet.tally.as_ref().context("the simulator's tally")?.in_hand;

        crate::demo::stages::catch_up(&mut self.stack, CATCH_UP).await?;

        let mut verdicts = BTreeMap::new();
        let (mut durable, facts) = judge::judge_ledger(self.stack.kafka(), &self.folder.join("ledger")).await?;
        durable.ok &= in_hand == 0;
        durable.counts.insert("still_unacknowledged".into(), in_hand);
        verdicts.insert("G1".into(), durable);
        verdicts.insert("G2".into(), judge::judge_twins(&self.stack).await?);

        let kafka = self.stack.kafka().to_owned();
        let alerts = tokio::task::spawn_blocking(move || judge::read_alerts(&kafka)).await??;
        let expected = alerts.events.len();
        let stack = &mut self.stack;
        poll::until("technicians have caught up", CATCH_UP, async || {
            let behind = TECHNICIANS
                .iter()
                .try_fold(false, |behind, name| anyhow::Ok(behind || stack.running(name)?.events().len() < expected))?;
            Ok((!behind).then_some(()))
        })
        .await
        .ok();
        let mut received = Vec::new();
        for name in TECHNICIANS {
            received.push(Received::from_lines(name, &self.stack.running(name)?.events()));
        }
        let mut shown = judge::judge_alerts(&alerts, &received);
        // A fleet with faults has alerts; a check of none is no check.
        shown.ok &= !self.fleet.faults || shown.checked > 0;
        verdicts.insert("G3".into(), shown);

        if replay {
            verdicts.insert("G8".into(), judge::judge_replay(&self.stack, LATENESS_MS).await?);
            let kafka = self.stack.kafka().to_owned();
            let live = tokio::task::spawn_blocking(move || kafka_reader::read(&kafka, kafka_topic::SCORES)).await??;
            let live = judge::Scores::of(&live)?.readings;
            verdicts.insert("rebuilt".into(), judge::judge_rebuilt(&self.stack, LATENESS_MS, live).await?);
            control::flipped_bit_is_found(self.stack.kafka(), LATENESS_MS).await?;
        }
        self.stack.stop_programs().await?;
        Ok((verdicts, alerts, facts.dead_letters))
    }
}
