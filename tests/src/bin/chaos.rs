//! `make chaos`: see [`tests::chaos`]. Exit code 1 when a verdict fails, 64 for a wrong flag or row, 70 when something
//! else goes wrong.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use tests::chaos::{Settings, run};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match Box::pin(run(&settings)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            writeln!(std::io::stderr().lock(), "chaos: {error:#}").ok();
            ExitCode::from(70)
        }
    }
}
