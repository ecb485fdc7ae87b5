//! `make bench-edge`, `make bench-fleet`, `make bench-model`, `make BENCHMARKS.md`: see [`tests::bench`]. Exit code 1 when
//! a verdict fails, 64 for a wrong flag, 70 when something else goes wrong.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use tests::bench::{edge, fleet, model, page, result::BenchReport};

/// Measures the edge, a fleet, and writes down what was measured.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The edge beside other bridges, row by row; writes `bench-edge.json`.
    Edge(edge::Settings),
    /// A fleet of many thousand vehicles; writes `bench-fleet.json`.
    Fleet(fleet::Settings),
    /// What scoring costs and how long it takes; writes `bench-model.json`.
    Model(model::Settings),
    /// BENCHMARKS.md out of the reports.
    Write(page::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            // Help and version are no errors.
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let done = match arguments.command {
        Command::Edge(settings) => Box::pin(edge::run(settings)).await.map(|report| told(&report)),
        Command::Fleet(settings) => Box::pin(fleet::run(settings)).await.map(|report| told(&report)),
        Command::Model(settings) => Box::pin(model::run(settings)).await.map(|report| told(&report)),
        Command::Write(settings) => page::write(&settings).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            writeln!(std::io::stderr().lock(), "bench: {error:#}").ok();
            ExitCode::from(70)
        }
    }
}

/// Prints how a bench ended; whether every verdict is ok.
fn told(report: &BenchReport) -> bool {
    let mut out = std::io::stdout().lock();
    // Whoever read it may have gone.
    for goal in &report.goals {
        writeln!(out, "{goal}").ok();
    }
    for (name, verdict) in &report.report.verdicts {
        let word = if verdict.ok { "ok" } else { "FAILED" };
        writeln!(out, "{name}: {word}, {} checked {:?} {:?}", verdict.checked, verdict.counts, verdict.examples).ok();
    }
    report.report.is_ok()
}
