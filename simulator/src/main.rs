//! `motorcade-simulator`: a fleet of simulated vehicles.

use std::process::ExitCode;

use simulator::ProgressForm;

/// Drives a fleet of simulated vehicles that report by MQTT 5.
#[derive(clap::Parser)]
#[command(name = "motorcade-simulator", version)]
struct Arguments {
    #[command(flatten)]
    config: simulator::Config,
}

fn main() -> ExitCode {
    service::run("motorcade-simulator", |arguments: Arguments, process| async move {
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
