//! `motorcade models export`: a version's artefact becomes a file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cloud_log::KafkaConfig;
use serde_json::json;
use service::Error;

use super::print;
use crate::{alias::resolve, registry};

/// Write a version's artefact to a file.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version or alias.
    pub version: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Overwrite the file if it is there.
    #[arg(long)]
    pub force: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl ExportArgs {
    /// Checks the flags and the place of the file; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        check_place(&self.out, self.force).map_err(|detail| Error::Usage { flag: "out", detail })
    }
}

/// Runs `models export`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such version, or its artefact is gone or damaged; no file is then written.
pub async fn run_export(args: ExportArgs) -> Result<(), Error> {
    args.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let version = resolve(&registry, &args.version).map_err(Error::BadInput)?;
    let bytes = registry::artifact_of(&args.kafka, version).await?;
    write(&args.out, &bytes)?;
    if args.json {
        return print(
            &json!({"version": version.version, "artifact": version.artifact, "file": args.out, "bytes": bytes.len()})
                .to_string(),
        );
    }
    print(&format!("{}: {} bytes in {}", version.version, bytes.len(), args.out.display()))
}

fn check_place(out: &Path, force: bool) -> Result<(), String> {
    let name = out.display();
    if out.is_dir() || out.file_name().is_none() {
        return Err(format!("{name} is no name of a file"));
    }
    if out.exists() && !force {
        return Err(format!("{name} is there already; --force overwrites it"));
    }
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(format!("{} is no folder", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Beside its place first: nobody finds half an artefact.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    std::fs::write(&part, bytes).with_context(|| format!("write {}", part.display()))?;
    std::fs::rename(&part, out).with_context(|| format!("rename {} to {}", part.display(), out.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_only_overwritten_if_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("model.safetensors");
        check_place(&out, false).unwrap();
        write(&out, b"one").unwrap();
        assert!(check_place(&out, false).unwrap_err().contains("--force"));
        check_place(&out, true).unwrap();
        write(&out, b"two").unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_place_that_can_not_be_is_refused_before_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_place(dir.path(), true).unwrap_err().contains("no name of a file"));
        assert!(check_place(&dir.path().join("no/model"), false).unwrap_err().contains("no folder"));
        check_place(Path::new("no-such-file-here"), false).unwrap();
    }
}
