//! `motorcade-simulator`: simulated vehicles with real MQTT sessions, and the judge of what became of their readings.

use std::process::ExitCode;

use service::{Error, Grace, Kind, Outcome, Process};
use simulator::{
    ProgressForm,
    load::{self, scenario::PRESETS},
};

/// What a stop needs after the drain: the ledger, the report and the farewells, ms.
const AFTER_DRAIN_MS: u64 = 2_000;
/// The same for a load, whose workers end before it, ms.
const AFTER_LOAD_MS: u64 = 4_000;

/// Simulates vehicles: `drive` a fleet with physics (also without a subcommand), `load` a system with many, `audit` it.
#[derive(clap::Parser)]
#[command(name = "motorcade-simulator", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    drive: simulator::Config,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Drives a fleet with physics and faults.
    Drive(Box<simulator::Config>),
    /// Loads brokers and bridges with many vehicles that have MQTT sessions but no physics.
    Load(Box<load::Config>),
    /// Lists the scenarios that load knows by name, or prints one.
    Scenarios(load::scenario::Scenarios),
    /// Reads Kafka back and compares it with a ledger: what was lost, altered, invented, duplicated, reordered, late.
    #[cfg(feature = "audit")]
    Audit(simulator::audit::Config),
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
            Command::Drive(config) => drive(*config, process).await,
            Command::Load(config) => load::run(*config, process.stop()).await.map(|()| Outcome::Done),
            Command::Scenarios(scenarios) => load::scenario::show(&scenarios).map(|()| Outcome::Done),
            #[cfg(feature = "audit")]
            Command::Audit(config) => simulator::audit::judge(config).await.map(|()| Outcome::Done),
            Command::Worker => {
                // It never waits for anything but its own epoll.
                let worked = tokio::task::spawn_blocking(load::work).await.map_err(anyhow::Error::from)?;
                Ok(worked.map(|()| Outcome::Done)?)
            }
        }
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

fn check(arguments: &Arguments, grace: Grace) -> Result<Kind, Error> {
    match &arguments.command {
        None => check_drive(&arguments.drive, grace),
        Some(Command::Drive(config)) => check_drive(config, grace),
        Some(Command::Load(config)) => {
            config.validate()?;
            grace.must_hold("stop-drain-ms", config.stop_drain_ms, AFTER_LOAD_MS)?;
            Ok(Kind::Tool)
        }
        #[cfg(feature = "audit")]
        Some(Command::Audit(config)) => {
            config.validate()?;
            Ok(Kind::Tool)
        }
        Some(Command::Worker | Command::Scenarios(_)) => Ok(Kind::Tool),
    }
}

fn check_drive(config: &simulator::Config, grace: Grace) -> Result<Kind, Error> {
    config.validate()?;
    grace.must_hold("stop-drain-ms", config.stop_drain_ms, AFTER_DRAIN_MS)?;
    Ok(Kind::Role)
}
