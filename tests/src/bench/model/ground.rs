//! What the rows stand on: Kafka with the product's topics, a trained model, and a scorer that is watched.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use services::{Kind, Options, Services};
use telemetry::kafka_topic::SCORES;

use super::{Settings, fleet::Fleet};
use crate::{
    bench::{rig::group_of, topic::Topic, usage},
    control,
    demo::stages::sums,
    process::{Ended, Program, Running, run},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(60);
/// So much older than now is a fleet's first reading: a backlog of a million readings of 100 vehicles ends before now.
const PAST_MS: i64 = 200_000_000;

/// Kafka, topics, model.
pub(super) struct Ground {
    folder: PathBuf,
    programs: PathBuf,
    kafka: Services,
    pub(super) topic: Topic,
    seed: u64,
    flags: Vec<String>,
    /// Vehicles so far, and scorers: no row meets another's.
    vehicles: u32,
    scorers: u32,
}

/// How far a scorer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) at_s: f64,
    /// Records that it is through with.
    pub(super) records: f64,
    /// Scores that Kafka has.
    pub(super) scores: f64,
    pub(super) cpu_s: f64,
    pub(super) state_bytes: f64,
    /// Peak of resident memory.
    pub(super) peak_mb: f64,
}

/// A scorer that runs and is watched.
pub(super) struct Watched {
    running: Running,
    client: reqwest::Client,
    began: Instant,
    group: i32,
}

impl Ground {
    pub(super) async fn start(settings: &Settings) -> Result<Self> {
        let programs = settings.programs.canonicalize().context("the folder of programs")?;
        ensure!(
            programs.join("motorcade").is_file(),
            "{} has no motorcade: see `make bench-model`",
            programs.display()
        );
        let kafka = Services::start(Options::new(settings.folder.join("kafka")).only(&[Kind::Kafka]).anew()).await?;
        let folder = settings.folder.canonicalize()?;
        let address = kafka.addresses().kafka.clone();
        // These two tell when a record was appended.
        let topic = Topic::create_with(&address, &[SCORES]).await?;
        let apply = Program::new(
            "topics",
            &programs.join("motorcade").display().to_string(),
            ["topics", "apply", "--kafka", &address],
        );
        let (code, _, err) = run(&apply).await?;
        ensure!(code == Some(0), "create the topics: {err}");
        control::publish_trained(&address).await.context("train a model")?;
        let (seed, flags) = (settings.seed, settings.scorer_flags.clone());
        Ok(Self { folder, programs, kafka, topic, seed, flags, vehicles: 0, scorers: 0 })
    }

    pub(super) fn kafka(&self) -> &str {
        &self.kafka.addresses().kafka
    }

    /// Vehicles that no other row has.
    pub(super) async fn fleet(&mut self, vehicles: u32) -> Result<Fleet> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let first = self.vehicles + 1;
        self.vehicles += vehicles;
        Fleet::new(self.kafka(), self.seed, first, vehicles, i64::try_from(now)? - PAST_MS).await
    }

    /// Starts a scorer of a group that never was; it begins at the first reading that is there.
    pub(super) async fn scorer(&mut self) -> Result<Watched> {
        self.scorer_with(&[]).await
    }

    /// As [`Ground::scorer`], with further flags.
    pub(super) async fn scorer_with(&mut self, flags: &[&str]) -> Result<Watched> {
        self.scorers += 1;
        let group = format!("bench-{}", self.scorers);
        let path = self.programs.join("motorcade").display().to_string();
        let name = format!("scorer-{}", self.scorers);
        let program = Program::new(&name, &path, ["run", "scorer", "--kafka", self.kafka(), "--group", &group]);
        let began = Instant::now();
        let mut running = program.with(&self.flags).with(flags).start(&self.folder, self.kafka.watcher())?;
        running.ready(READY_WITHIN).await?;
        let group = group_of(&running)?;
        Ok(Watched { running, client: reqwest::Client::new(), began, group })
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.kafka.stop().await;
        Ok(())
    }
}

impl Watched {
    pub(super) async fn look(&self) -> Result<Progress> {
        let admin = self.running.admin().context("a scorer without an admin address")?;
        let text = self.client.get(format!("http://{admin}/metrics")).send().await?.error_for_status()?.text().await?;
        let at_s = self.began.elapsed().as_secs_f64();
        let counters = sums(&text);
        let count = |name: &str| counters.get(name).copied().unwrap_or_default();
        let used = usage::of_groups(&[self.group]).remove(&self.group).context("the scorer has ended")?;
        let scores = count("scorer_records_sent_total");
        #[expect(clippy::cast_precision_loss, reason = "memory in MB")]
        let peak_mb = used.peak as f64 / 1e6;
        Ok(Progress {
            at_s,
            records: scores + count("scorer_records_discarded_total"),
            scores,
            cpu_s: used.cpu.as_secs_f64(),
            state_bytes: count("scorer_state_bytes_total"),
            peak_mb,
        })
    }

    /// Stops it; whether its tally balances with so many records in it.
    pub(super) async fn stop(self, records: u64) -> Result<bool> {
        let Ended { code, tally } = self.running.stop(END_WITHIN).await?;
        ensure!(code == Some(0), "the scorer ended with {code:?}");
        let tally = tally.context("a scorer without a tally")?;
        Ok(tally.balances() && tally.received == records)
    }
}
