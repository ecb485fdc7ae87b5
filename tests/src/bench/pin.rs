//! Keeps processes on chosen cores, so that a figure of one core is one core's.

use anyhow::{Context, Result, ensure};

/// Whether there is a core for the one that is measured and another for the rest.
pub fn is_possible() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Moves a process with all its threads to these cores, as `taskset` names them.
///
/// # Errors
/// If the system does not allow it.
pub async fn process(pid: i32, cores: &str) -> Result<()> {
    let output = tokio::process::Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", cores, &pid.to_string()])
        .output()
        .await
        .context("run taskset (of util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// All cores of the machine, as `taskset` names them.
pub fn all() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("0-{}", cores - 1)
}
