//! Models for scenarios and for the negative control, made by a process of its own (`bin/control.rs`): libtorch's
//! arithmetic has to be pinned before it is loaded.

use anyhow::{Context, Result, ensure};

use crate::process::{Program, executables, run};

async fn control(arguments: &[&str]) -> Result<()> {
    let (code, out, err) = run(&Program::new("control", "control", arguments)).await?;
    ensure!(code == Some(0), "control {arguments:?}: exit code {code:?}: {err}{out}");
    Ok(())
}

/// Publishes the scenarios' model: trained once, on the healthy past of their fleet, and kept below `target`.
pub async fn publish_trained(kafka: &str) -> Result<()> {
    let folder = executables()?.parent().context("target has a parent")?.join("e2e");
    std::fs::create_dir_all(&folder)?;
    let cache = folder.join("model");
    control(&["trained", "--kafka", kafka, "--cache", &cache.display().to_string()]).await
}

/// Trains on what is recorded, shuffles every weight, calibrates anew to the same budget, publishes.
pub async fn publish_shuffled(kafka: &str, seed: u64) -> Result<()> {
    control(&["shuffled", "--kafka", kafka, "--seed", &seed.to_string()]).await
}

/// Verifies scores against telemetry with one flipped bit; fails unless exactly that is found.
pub async fn flipped_bit_is_found(kafka: &str, lateness_ms: i64) -> Result<()> {
    control(&["flipped", "--kafka", kafka, "--lateness-ms", &lateness_ms.to_string()]).await
}
