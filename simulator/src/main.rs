//! `motorcade-simulator`: simulated vehicles with real MQTT sessions, and the judge of what became of their readings.

use std::{io::Write, process::ExitCode};

use service::{Error, Grace, Kind, Outcome, Process};
use simulator::{
    ProgressForm, compare, fault,
    load::{self, scenario::PRESETS},
};

/// What a stop needs after the drain: the ledger, the report and the farewells, ms.
const AFTER_DRAIN_MS: u64 = 2_000;
/// The same for a load, whose workers end before it, ms.
const AFTER_LOAD_MS: u64 = 4_000;

const EXAMPLES: &str = "\
Examples:
  A thousand cars that break now and then, with the truth about it for a judge:
    motorcade-simulator drive --vehicles 1000 --cycle wltp --faults prevalence --truth truth.jsonl
  Is this broker fast enough? The exit code tells:
    motorcade-simulator load --judge puback --vehicles 10000 --rate 5000 --duration-ms 60000 --fail-if 'p99_ms>50'
  How much does it hold?
    motorcade-simulator load --judge puback --vehicles 10000 --rate 2000 --find-capacity --fail-if 'p99_ms>50'
  Did the bridge lose anything?
    motorcade-simulator audit --ledger ledger --fail-if 'duplicated>0'";

const DRIVE_EXAMPLES: &str = "\
Examples:
  motorcade-simulator drive --vehicles 200 --mqtt 127.0.0.1:1883
  motorcade-simulator drive --vehicles 50 --speed 60 --start 2025-10-09T06:00:00Z --duration-ms 3600000 --progress json
  motorcade-simulator drive --drivetrain mixed --cycle wltp --faults prevalence --truth truth.jsonl --ledger ledger
  Any broker, without an edge that acknowledges:
    motorcade-simulator drive --judge puback --vehicles 50 --mqtt broker.example:1883";

const LOAD_EXAMPLES: &str = "\
Examples:
  5,000 readings a second for a minute; exit code 1 if the broker takes longer than 50 ms for one in a hundred:
    motorcade-simulator load --judge puback --rate 5000 --duration-ms 60000 --fail-if 'p99_ms>50,given_up>0'
  A broker alone, without an edge that acknowledges; a page with plots:
    motorcade-simulator load --judge puback --rate 1000 --duration-ms 30000 --html load.html
  The highest rate that holds, to within a few per cent:
    motorcade-simulator load --judge puback --rate 1000 --find-capacity --fail-if 'p99_ms>50,lost>0' --bisections 3
  For scripts: progress and report as JSON lines on standard output:
    motorcade-simulator load --rate 1000 --duration-ms 30000 --progress json --json";

#[cfg(feature = "audit")]
const AUDIT_EXAMPLES: &str = "\
Examples:
  What became of what a load has sent; exit code 1 if an acknowledged reading is lost, altered or invented:
    motorcade-simulator audit --ledger ledger --kafka 127.0.0.1:9092
  Also if one came twice:
    motorcade-simulator audit --ledger ledger --fail-if 'duplicated>0' --html audit.html
  Any other bridge; also if one reading in a hundred took longer than a second until in Kafka, which only a topic
  with message.timestamp.type=LogAppendTime tells:
    motorcade-simulator audit --ledger ledger --kafka-topic other.bridge --fail-if 'p99_ms>1000'";

const COMPARE_EXAMPLES: &str = "\
Examples:
  motorcade-simulator compare before.json after.json
  motorcade-simulator compare before.json after.json --fail-if 'p99_ms>+10%,rate<-5%'";

/// Simulates connected vehicles, loads a telemetry pipeline with them, and judges what became of their readings.
/// Without a subcommand it drives a fleet.
#[derive(clap::Parser)]
#[command(name = "motorcade-simulator", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    drive: simulator::Config,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Drives a fleet with physics and faults.
    #[command(after_help = DRIVE_EXAMPLES)]
    Drive(Box<simulator::Config>),
    /// Loads brokers and bridges with many vehicles that have MQTT sessions but no physics; finds what they hold.
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<load::Config>),
    /// Lists the scenarios that load knows by name, or prints one.
    Scenarios(load::scenario::Scenarios),
    /// Reads Kafka back and compares it with a ledger: what was lost, altered, invented, duplicated, reordered, late.
    #[cfg(feature = "audit")]
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(simulator::audit::Config),
    /// Sets two reports side by side: what became better, what worse, and what else differed.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(compare::Config),
    /// Makes a page with plots of a report.
    Report(compare::Page),
    /// Lists the faults that vehicles may have: size, the signal that shows it, and how clearly.
    Faults {
        /// Prints JSON instead of the table.
        #[arg(long, env = "MOTORCADE_FAULTS_JSON")]
        json: bool,
    },
    /// A worker of `load`, which starts it.
    #[command(name = load::WORKER, hide = true)]
    Worker,
}

impl Arguments {
    fn command(self) -> Command {
        self.command.unwrap_or_else(|| Command::Drive(Box::new(self.drive)))
    }
}

fn main() -> ExitCode {
    service::run_with_presets("motorcade-simulator", PRESETS, check, |arguments: Arguments, process| async move {
        match arguments.command() {
            Command::Drive(config) => return drive(*config, process).await,
            Command::Load(config) => load::run(*config, process.stop()).await?,
            Command::Scenarios(scenarios) => load::scenario::show(&scenarios)?,
            #[cfg(feature = "audit")]
            Command::Audit(config) => simulator::audit::judge(config).await?,
            Command::Compare(config) => compare::compare(&config)?,
            Command::Report(config) => compare::page(&config)?,
            Command::Faults { json } => list_faults(json)?,
            Command::Worker => {
                // It never waits for anything but its own epoll.
                tokio::task::spawn_blocking(load::work).await.map_err(anyhow::Error::from)??;
            }
        }
        Ok(Outcome::Done)
    })
}

async fn drive(config: simulator::Config, process: Process) -> Result<Outcome, Error> {
    let progress = config.progress;
    let simulator = simulator::connect(config).await?;
    process.ready(&simulator.addresses());
    let (reporter, teller) = (simulator.reporter(), process.clone());
    let telling = tokio::spawn(reporter.each_second(move |now| {
        if progress == ProgressForm::Json {
            teller.announce(now);
        }
    }));
    let tally = simulator.run(process.stop()).await;
    telling.abort();
    Ok(tally?.into())
}

fn list_faults(json: bool) -> Result<(), Error> {
    let text = match json {
        true => serde_json::to_string_pretty(&fault::listed()).map_err(anyhow::Error::from)? + "\n",
        false => fault::table().to_string(),
    };
    // Whoever reads may have gone.
    write!(std::io::stdout().lock(), "{text}").ok();
    Ok(())
}

fn check(arguments: &Arguments, grace: Grace) -> Result<Kind, Error> {
    match &arguments.command {
        None => return check_drive(&arguments.drive, grace),
        Some(Command::Drive(config)) => return check_drive(config, grace),
        Some(Command::Load(config)) => {
            config.validate()?;
            grace.must_hold("stop-drain-ms", config.stop_drain_ms, AFTER_LOAD_MS)?;
        }
        #[cfg(feature = "audit")]
        Some(Command::Audit(config)) => config.validate()?,
        Some(
            Command::Compare(_) | Command::Report(_) | Command::Faults { .. } | Command::Scenarios(_) | Command::Worker,
        ) => {}
    }
    Ok(Kind::Tool)
}

fn check_drive(config: &simulator::Config, grace: Grace) -> Result<Kind, Error> {
    config.validate()?;
    grace.must_hold("stop-drain-ms", config.stop_drain_ms, AFTER_DRAIN_MS)?;
    Ok(Kind::Role)
}
