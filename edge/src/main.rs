//! `motorcade-edge`: the bridge from the MQTT broker to Kafka.

use std::process::ExitCode;

use service::{Error, Grace, Kind, Tally};

/// Bridges MQTT to Kafka and acknowledges to vehicles what Kafka has.
#[derive(clap::Parser)]
#[command(name = "motorcade-edge", version)]
struct Arguments {
    #[command(flatten)]
    config: edge::Config,
}

fn main() -> ExitCode {
    service::run_checked("motorcade-edge", check, |arguments: Arguments, process| async move {
        let connected = tokio::select! {
            connected = edge::connect(arguments.config) => connected?,
            // Nothing was taken in yet.
            () = process.stop().cancelled_owned() => return Ok(Tally::default().into()),
        };
        let edge = connected.telling(process.readiness());
        process.ready(&edge.addresses());
        Ok(edge.run(process.stop()).await?.into())
    })
}

fn check(arguments: &Arguments, grace: Grace) -> Result<Kind, Error> {
    arguments.config.validate()?;
    // What is left after the drain is for the last acks and the farewells, which have half a second each.
    grace.must_hold("drain-timeout-ms", arguments.config.drain_timeout_ms, 1_500)?;
    Ok(Kind::Role)
}
