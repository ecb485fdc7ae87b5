//! Holds the cluster to the topic table of the contract: `motorcade topics plan` and `apply`.
//!
//! [`plan`] compares (pure), [`cluster`] asks and changes the cluster.

mod cluster;
mod plan;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use service::{Backoff, Error};
use telemetry::kafka_topic::{DEFAULT_FLEET_PARTITIONS, TABLE};

use self::cluster::Cluster;
pub use self::plan::{Action, Plan, Step};
use crate::{History, KafkaConfig, Marks};

/// Flags that `plan` and `apply` share.
#[derive(clap::Args, Debug, Clone)]
struct Flags {
    #[command(flatten)]
    kafka: KafkaConfig,
    /// Partitions of every topic that is keyed by vehicle.
    #[arg(long, env = "MOTORCADE_FLEET_PARTITIONS", default_value_t = DEFAULT_FLEET_PARTITIONS,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    /// Add partitions where a topic has too few. Keys then move to other partitions: stop all writers first.
    #[arg(long)]
    grow: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Flags of `topics plan`.
#[derive(clap::Args, Debug, Clone)]
pub struct PlanArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Flags of `topics apply`.
#[derive(clap::Args, Debug, Clone)]
pub struct ApplyArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Prints what [`run_apply`] would do; changes nothing.
///
/// # Errors
/// As [`run_apply`].
pub async fn run_plan(args: PlanArgs) -> Result<(), Error> {
    let Flags { kafka, partitions, grow, json } = args.flags;
    let plan = plan(&kafka, partitions, grow).await?;
    print(&plan, json)?;
    plan.verdict()
}

/// Creates what is missing, alters what differs, and prints it. A second run finds nothing to do.
///
/// # Errors
/// If Kafka can't be reached, or [`Error::VerdictFailed`] if a topic differs in a way that is never changed by
/// itself (more partitions than wanted; fewer without `--grow`). Everything else is applied before that.
pub async fn run_apply(args: ApplyArgs) -> Result<(), Error> {
    let Flags { kafka, partitions, grow, json } = args.flags;
    let plan = apply(&kafka, partitions, grow).await?;
    print(&plan, json)?;
    plan.verdict()
}

/// What differs between the table and the cluster.
///
/// # Errors
/// If Kafka can't be reached.
pub async fn plan(kafka: &KafkaConfig, fleet_partitions: u32, grow: bool) -> Result<Plan, Error> {
    let cluster = Cluster::connect(kafka).await?;
    let seen = cluster.observe(TABLE).await?;
    Ok(Plan::compare(TABLE, fleet_partitions, grow, &seen))
}

/// Does what [`plan`] says; gives what was done.
///
/// # Errors
/// If Kafka can't be reached or refuses a change.
pub async fn apply(kafka: &KafkaConfig, fleet_partitions: u32, grow: bool) -> Result<Plan, Error> {
    let cluster = Cluster::connect(kafka).await?;
    let seen = cluster.observe(TABLE).await?;
    let plan = Plan::compare(TABLE, fleet_partitions, grow, &seen);
    for step in &plan.steps {
        cluster.carry_out(step, &seen).await?;
    }
    Ok(plan)
}

/// Creates a topic with the partitions and configs of one of the table, which must be there, unless it exists already.
///
/// # Errors
/// If Kafka can't be reached or lacks that topic; [`Error::BadInput`] if the topic exists with other partitions.
pub async fn create_beside(kafka: &KafkaConfig, name: &str, like: &str) -> Result<(), Error> {
    let cluster = Cluster::connect(kafka).await?;
    let seen = cluster.observe(TABLE).await?;
    let action = plan::beside(TABLE, like, &seen)
        .ok_or_else(|| kafka.unavailable(format!("it has no topic {like:?}; `motorcade topics apply` creates it")))?;
    cluster.carry_out(&Step { kafka_topic: name.to_owned(), action }, &seen).await?;
    let (found, wanted) = (led(kafka, name).await?, History::watermarks(kafka, like).await?);
    if found.len() != wanted.len() {
        let text = format!("{name} has {} partitions where {like} has {}", found.len(), wanted.len());
        return Err(Error::BadInput(text));
    }
    Ok(())
}

/// The marks of a topic, once its partitions have leaders: of a new one they are elected a moment later.
async fn led(kafka: &KafkaConfig, name: &str) -> Result<Marks, Error> {
    let deadline = Instant::now() + kafka.connect_timeout();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match History::watermarks(kafka, name).await {
            Err(Error::Unavailable { .. }) if Instant::now() < deadline => tokio::time::sleep(backoff.next()).await,
            marks => return marks,
        }
    }
}

fn print(plan: &Plan, json: bool) -> Result<(), Error> {
    let text =
        if json { serde_json::to_string(plan).context("write the plan as JSON")? + "\n" } else { plan.to_string() };
    std::io::stdout().lock().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(())
}
