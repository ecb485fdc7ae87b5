//! `make demo`: see [`tests::demo`]. Exit code 1 when a verdict fails, 64 for a wrong flag, 70 when something else goes
//! wrong, 130 after Ctrl-C before the end.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use tests::demo::{Outcome, Settings, run};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            error.print().ok();
            // Help and version are no errors.
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match Box::pin(run(settings)).await {
        Ok(Outcome::Judged(report)) if report.is_ok() => ExitCode::SUCCESS,
        Ok(Outcome::Judged(_)) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            writeln!(std::io::stderr().lock(), "demo: {error:#}").ok();
            ExitCode::from(70)
        }
    }
}
