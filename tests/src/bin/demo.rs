//! `make demo`: see [`tests::demo`]. Exit code 1 when a verdict fails, 130 after Ctrl-C.

use std::process::ExitCode;

use clap::Parser;
use tests::demo::{Outcome, Settings, run};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    match Box::pin(run(settings)).await {
        Ok(Outcome::Judged(report)) if report.is_ok() => ExitCode::SUCCESS,
        Ok(Outcome::Judged(_)) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(70)
        }
    }
}
