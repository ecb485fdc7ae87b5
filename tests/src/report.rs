//! Where the reports of the demo, the benches and the chaos suite lie: `target/reports/<name>.json`.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub use ::report::{Report, Verdict};

/// Writes `target/reports/<name>.json`, for a report's own name.
///
/// # Errors
/// If the file can't be written.
pub fn write(report: &Report) -> Result<PathBuf> {
    let folder = crate::process::executables()?.parent().context("target/<profile> has a parent")?.join("reports");
    let path = folder.join(format!("{}.json", report.name));
    report.write(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
