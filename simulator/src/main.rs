//! `motorcade-simulator`: a fleet of simulated vehicles.

use std::process::ExitCode;

use service::{Error, Grace, Kind};
use simulator::ProgressForm;

/// What a stop needs after the drain: the ledger, the report and the farewells, ms.
const AFTER_DRAIN_MS: u64 = 2_000;

/// Drives a fleet of simulated vehicles that report by MQTT 5.
#[derive(clap::Parser)]
#[command(name = "motorcade-simulator", version)]
struct Arguments {
    #[command(flatten)]
    config: simulator::Config,
}

fn main() -> ExitCode {
    service::run_checked("motorcade-simulator", check, |arguments: Arguments, process| async move {
        let progress = arguments.config.progress;
        let simulator = simulator::connect(arguments.config).await?;
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
    })
}

fn check(arguments: &Arguments, grace: Grace) -> Result<Kind, Error> {
    arguments.config.validate()?;
    grace.must_hold("stop-drain-ms", arguments.config.stop_drain_ms, AFTER_DRAIN_MS)?;
    Ok(Kind::Role)
}
