//! What the rows stand on: Kafka with the product's topics, a trained model, and scorers that are started on them.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use cloud_log::{History, KafkaConfig, Marks, Watermarks};
use services::{Kind, Options, Services};
use telemetry::kafka_topic::SCORES;

use super::{
    Settings,
    fleet::Fleet,
    peer::{environment, export},
    watched::{Told, Watched},
};
use crate::{
    bench::{contender::Contender, topic::Topic},
    control,
    process::{Program, Running, run},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
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
    /// The model as peers take it; none without peers.
    onnx: Option<PathBuf>,
    /// Vehicles so far, and scorers: no row meets another's.
    vehicles: u32,
    scorers: u32,
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
        let onnx = match settings.peers.as_slice() {
            [] => None,
            _ => Some(export(&settings.export, &programs.join("motorcade"), &address, &folder).await?),
        };
        let (seed, flags) = (settings.seed, settings.scorer_flags.clone());
        Ok(Self { folder, programs, kafka, topic, seed, flags, onnx, vehicles: 0, scorers: 0 })
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

    /// Starts a scorer of a group that never was; it begins at the first reading that is there. Ours is ready then; a
    /// peer may still be starting. `transactions` is for ours.
    pub(super) async fn launch(&mut self, contender: &Contender, transactions: bool) -> Result<Watched> {
        self.scorers += 1;
        let group = format!("bench-{}", self.scorers);
        match contender {
            Contender::Motorcade => self.ours(&group, "", transactions).await,
            Contender::Peer { name, command } => self.peer(name, command, &group).await,
        }
    }

    /// Starts one more member of the group of our last scorer, which has ended.
    pub(super) async fn launch_again(&self) -> Result<Watched> {
        self.ours(&format!("bench-{}", self.scorers), "-again", false).await
    }

    async fn ours(&self, group: &str, suffix: &str, transactions: bool) -> Result<Watched> {
        let path = self.programs.join("motorcade").display().to_string();
        let name = format!("scorer-{}{suffix}", self.scorers);
        let program = Program::new(&name, &path, ["run", "scorer", "--kafka", self.kafka(), "--group", group]);
        let from = History::watermarks(&KafkaConfig::new(self.kafka()), SCORES).await?;
        let mut running = program
            .with(&self.flags)
            .with(transactions.then_some("--transactions"))
            .start(&self.folder, self.kafka.watcher())?;
        running.ready(READY_WITHIN).await?;
        Watched::new(running, Told::Metrics(reqwest::Client::new()), from)
    }

    /// Starts the training of the shipped kind on all of telemetry; it publishes nothing.
    pub(super) fn train(&self) -> Result<Running> {
        let path = self.programs.join("motorcade").display().to_string();
        let arguments = ["models", "train", "--detector", "leave-one-out", "--json", "--kafka", self.kafka()];
        Program::new("training", &path, arguments).start(&self.folder, self.kafka.watcher())
    }

    async fn peer(&self, name: &str, command: &str, group: &str) -> Result<Watched> {
        let out = format!("peer-scores-{}", self.scorers);
        self.topic.add(&out).await?;
        let mut program = Program::new(&format!("{name}-{}", self.scorers), "/bin/sh", ["-c", command]);
        let onnx = self.onnx.as_deref().context("a peer without a network")?;
        program.environment = environment(self.kafka(), group, &out, onnx);
        let running = program.start(&self.folder, self.kafka.watcher())?;
        let marks = Watermarks::new(&KafkaConfig::new(self.kafka()))?;
        Watched::new(running, Told::Topic { name: out, marks, topic: self.topic.clone() }, Marks::new())
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.kafka.stop().await;
        Ok(())
    }
}
