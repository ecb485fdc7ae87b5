//! The command line, and which crate answers it.

use clap::{Parser, Subcommand};
use service::{Error, Kind, Outcome, Process};

use crate::{alerts, commands, topology};

/// The cloud side of Motorcade: roles that run for ever, and tools.
#[derive(Debug, Parser)]
#[command(name = "motorcade", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Roles and tools.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a role until it is stopped.
    #[command(subcommand)]
    Run(Role),
    /// Train, register, compare and promote model versions.
    #[cfg(feature = "torch")]
    #[command(subcommand)]
    Models(Models),
    /// Compare published scores with a replay, bit for bit.
    #[cfg(feature = "torch")]
    #[command(subcommand)]
    Scores(Scores),
    /// Build views anew from the log, beside those that are in use.
    #[cfg(feature = "torch")]
    #[command(subcommand)]
    View(View),
    /// Show twins, or compare them with a fold of the log.
    #[command(subcommand)]
    Twin(Twin),
    /// Watch alerts.
    #[command(subcommand)]
    Alerts(Alerts),
    /// Send commands to vehicles.
    #[command(subcommand)]
    Commands(Commands),
    /// Tables in and out: CSV into telemetry, telemetry into Parquet.
    #[command(subcommand, name = "data")]
    Tables(Tables),
    /// Compare the Kafka topics with the table in code, or create and alter them.
    #[command(subcommand)]
    Topics(Topics),
    /// Print which part reads and writes what.
    Topology(topology::TopologyArgs),
}

/// Roles.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Replays recorded history, fits the detector, publishes it.
    #[cfg(feature = "torch")]
    Trainer(trainer::Config),
    /// Scores telemetry as it arrives.
    #[cfg(feature = "torch")]
    Scorer(scorer::Config),
    /// Turns scores into alerts.
    Alerter(alerter::Config),
    /// Keeps every vehicle's current state in MongoDB.
    Twin(twin::Config),
    /// Serves REST, WebSocket and the page.
    Gateway(gateway::Config),
}

/// Tools around models.
#[cfg(feature = "torch")]
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Train once on recorded history.
    Train(trainer::tools::TrainArgs),
    /// Evaluate a model on recorded history, with labels or without.
    Evaluate(trainer::tools::EvaluateArgs),
    /// Set baselines, tails and limit of a model anew; its weights stay.
    Calibrate(trainer::tools::CalibrateArgs),
    /// List the versions.
    List(trainer::tools::ListArgs),
    /// Show one version: its figures, or with `--json` its whole card.
    Show(trainer::tools::ShowArgs),
    /// Compare two versions side by side.
    Compare(trainer::tools::CompareArgs),
    /// Move an alias to a version; scorers follow `champion`.
    ///
    /// A person's decision: nothing is compared. The version's artefact must load here, and by its card it must keep its
    /// own promise, unless `--force` says why not. What the alias pointed to before is printed and kept: `models rollback`
    /// goes back to it.
    Promote(trainer::tools::PromoteArgs),
    /// Move an alias back to the version that it pointed to before.
    ///
    /// Only the last move is known: a second rollback undoes the first. To go further back, promote the version by its
    /// name.
    Rollback(trainer::tools::RollbackArgs),
    /// Register an artefact file as a version.
    ///
    /// The file is loaded and its golden vector checked first. No alias moves unless `--promote` is given. A file that
    /// is registered already is said to be so, and is no error.
    Register(trainer::tools::RegisterArgs),
    /// Write a version's artefact to a file.
    Export(trainer::tools::ExportArgs),
}

/// Tools around scores.
#[cfg(feature = "torch")]
#[derive(Debug, Subcommand)]
pub enum Scores {
    /// Score a range again from telemetry bytes and compare every bit.
    Verify(scorer::verify::VerifyArgs),
}

/// Tools around views.
#[cfg(feature = "torch")]
#[derive(Debug, Subcommand)]
pub enum View {
    /// Build a view anew under a name of its own.
    #[command(subcommand)]
    Rebuild(Rebuild),
}

/// Views that can be built anew.
#[cfg(feature = "torch")]
#[derive(Debug, Subcommand)]
pub enum Rebuild {
    /// Score all of telemetry by one model, into the topic `scores.NAME`.
    ///
    /// The live scores stay as they are. It ends where telemetry ended when it began; run again, it writes only what is
    /// missing. `motorcade scores verify --as NAME` checks every bit.
    Scores(scorer::rebuild::RebuildArgs),
}

/// Tools around twins.
#[derive(Debug, Subcommand)]
pub enum Twin {
    /// Show one vehicle's twin.
    Show(twin::tools::ShowArgs),
    /// Compare every twin with an independent fold of the log.
    Verify(twin::tools::VerifyArgs),
}

/// Tools around alerts.
#[derive(Debug, Subcommand)]
pub enum Alerts {
    /// Print alerts as they arrive.
    Watch(alerts::WatchArgs),
}

/// Tools around commands to vehicles.
#[derive(Debug, Subcommand)]
pub enum Commands {
    /// Send a command and print its id.
    Send(commands::SendArgs),
}

/// Tools around tables.
#[derive(Debug, Subcommand)]
pub enum Tables {
    /// Turn CSV tables into telemetry in Kafka, by a mapping of columns.
    ///
    /// Rows of one vehicle have to come in the order of their times, or near it (--sort-window). The same tables give the
    /// same identities (vehicle, boot, seq), so that what is imported twice is there once for every reader. Nothing is sent
    /// before all tables have been read once. A mapping to start from: `motorcade data import --print-example skab`.
    Import(tabular::tools::ImportArgs),
    /// Write telemetry as Parquet files with one column a signal.
    ///
    /// The folder gets a file `telemetry-P.parquet` for each partition that has records, rows in the order of the log, and a
    /// `manifest.json`. It appears when everything is in it. Columns: partition, offset, vehicle, boot, seq, kind,
    /// event_time, ingest_time, the position where there is one, then one a signal by its path: a double for numbers. A
    /// `change` record has only what changed. Of readings with the same (vehicle, boot, seq) the first in the log is
    /// written, others are counted, unless --keep-duplicates says otherwise.
    Export(tabular::tools::ExportArgs),
}

/// Tools around Kafka topics.
#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Say what `apply` would do; exit code 1 where it would refuse something.
    Plan(cloud_log::topics::PlanArgs),
    /// Create missing topics, alter differing configs.
    Apply(cloud_log::topics::ApplyArgs),
}

/// Checks the flags of a role before any port is opened. A tool opens none, and checks its own when it starts.
///
/// # Errors
/// [`Error::Usage`] that names the flag.
pub fn check(command: &Command) -> Result<Kind, Error> {
    let Command::Run(role) = command else { return Ok(Kind::Tool) };
    match role {
        #[cfg(feature = "torch")]
        Role::Trainer(config) => config.validate(),
        #[cfg(feature = "torch")]
        Role::Scorer(config) => config.validate(),
        Role::Alerter(config) => config.validate(),
        Role::Twin(config) => config.validate(),
        Role::Gateway(config) => config.validate(),
    }?;
    Ok(Kind::Role)
}

/// Runs what was asked for until it ends or the process is stopped.
pub async fn start(command: Command, process: Process) -> Result<Outcome, Error> {
    match command {
        Command::Run(role) => run(role, &process).await.map(Outcome::Tally),
        #[cfg(feature = "torch")]
        Command::Models(models) => done(run_models(models).await),
        #[cfg(feature = "torch")]
        Command::Scores(Scores::Verify(args)) => done(scorer::verify::run_verify(args).await),
        #[cfg(feature = "torch")]
        Command::View(View::Rebuild(Rebuild::Scores(args))) => {
            done(Box::pin(scorer::rebuild::run_rebuild(args, process.stop())).await)
        }
        Command::Twin(Twin::Show(args)) => done(twin::tools::run_show(args).await),
        Command::Twin(Twin::Verify(args)) => done(twin::tools::run_verify(args).await),
        Command::Alerts(Alerts::Watch(args)) => done(alerts::run_watch(args, process.stop()).await),
        Command::Commands(Commands::Send(args)) => done(commands::run_send(args).await),
        Command::Tables(Tables::Import(args)) => done(tabular::tools::run_import(args, process.stop()).await),
        Command::Tables(Tables::Export(args)) => done(tabular::tools::run_export(args, process.stop()).await),
        Command::Topics(Topics::Plan(args)) => done(cloud_log::topics::run_plan(args).await),
        Command::Topics(Topics::Apply(args)) => done(cloud_log::topics::run_apply(args).await),
        Command::Topology(args) => done(topology::run_topology(&args)),
    }
}

#[cfg(feature = "torch")]
async fn run_models(models: Models) -> Result<(), Error> {
    match models {
        Models::Train(args) => trainer::tools::run_train(args).await,
        Models::Evaluate(args) => trainer::tools::run_evaluate(args).await,
        Models::Calibrate(args) => trainer::tools::run_calibrate(args).await,
        Models::List(args) => trainer::tools::run_list(args).await,
        Models::Show(args) => trainer::tools::run_show(args).await,
        Models::Compare(args) => trainer::tools::run_compare(args).await,
        Models::Promote(args) => trainer::tools::run_promote(args).await,
        Models::Rollback(args) => trainer::tools::run_rollback(args).await,
        Models::Register(args) => trainer::tools::run_register(args).await,
        Models::Export(args) => trainer::tools::run_export(args).await,
    }
}

fn done(result: Result<(), Error>) -> Result<Outcome, Error> {
    result.map(|()| Outcome::Done)
}

async fn run(role: Role, process: &Process) -> Result<service::Tally, Error> {
    /// Every role has the same shape: connect, say that it is ready, run. It may start before the topics are there.
    macro_rules! role {
        ($role:ident, $config:expr) => {{
            let mut config = $config;
            config.kafka.waits_for_topics = true;
            let role = Box::pin($role::connect(config)).await?;
            process.ready(&[]);
            Box::pin(role.run(process.stop())).await
        }};
    }
    match role {
        #[cfg(feature = "torch")]
        Role::Trainer(config) => role!(trainer, config),
        #[cfg(feature = "torch")]
        Role::Scorer(config) => role!(scorer, config),
        Role::Alerter(config) => role!(alerter, config),
        Role::Twin(config) => role!(twin, config),
        Role::Gateway(mut config) => {
            config.kafka.waits_for_topics = true;
            let metrics = process.clone();
            let gateway =
                Box::pin(gateway::connect(config, std::sync::Arc::new(move || metrics.render_metrics()))).await?;
            process.ready(&[("http", gateway.address().to_string())]);
            Box::pin(gateway.run(process.stop())).await
        }
    }
}
