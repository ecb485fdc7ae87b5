//! `motorcade-edge`: the bridge from the MQTT broker to Kafka.

use std::process::ExitCode;

/// Bridges MQTT to Kafka and acknowledges to vehicles what Kafka has.
#[derive(clap::Parser)]
#[command(name = "motorcade-edge", version)]
struct Arguments {
    #[command(flatten)]
    config: edge::Config,
}

fn main() -> ExitCode {
    service::run("motorcade-edge", |arguments: Arguments, process| async move {
        let edge = edge::connect(arguments.config).await?;
        process.ready(&edge.addresses());
        Ok(edge.run(process.stop()).await?.into())
    })
}
