//! Other scorers: what their command lines are told, and the network that they are given.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use telemetry::kafka_topic::TELEMETRY;

use crate::process::{Program, run};

/// What `--help` says about a peer's command line.
pub(super) const PEER_HELP: &str = "Another scorer, to be measured beside ours where readings are JSON: a name and a \
shell command, which stays in the foreground. It reads KAFKA_TOPIC from its beginning as consumer group GROUP and writes, \
outside of transactions, one JSON record for each reading into OUT_TOPIC, with the reading's place in it: \
{\"source\": {\"partition\": …, \"offset\": …}, …}. Beside these it finds in its environment: KAFKA_BOOTSTRAP, and ONNX: the \
network that our scorer runs; beside that file, with the ending .json, the signals that are its inputs (paths), centre and \
spread that scale them, and the clip. SIGTERM ends it. May be given several times; tests/peers/scoring has some";

/// What `--help` says about the command line that makes ONNX.
pub(super) const EXPORT_HELP: &str = "Shell command that turns the artefact in the file MODEL into ONNX in the file ONNX, \
and writes the JSON beside it; both are in its environment. Run once, for peers";

/// How long the export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(120);

/// What a peer finds in its environment.
pub(super) fn environment(kafka: &str, group: &str, out: &str, onnx: &Path) -> Vec<(String, OsString)> {
    [
        ("KAFKA_BOOTSTRAP", kafka.into()),
        ("KAFKA_TOPIC", TELEMETRY.into()),
        ("OUT_TOPIC", out.into()),
        ("GROUP", group.into()),
        ("ONNX", onnx.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Writes the champion into `folder`, has it turned into ONNX, and says where that is.
pub(super) async fn export(command: &str, motorcade: &Path, kafka: &str, folder: &Path) -> Result<PathBuf> {
    let [model, onnx] = ["network.safetensors", "network.onnx"].map(|name| folder.join(name));
    let out = model.display().to_string();
    let arguments = ["models", "export", "champion", "--kafka", kafka, "--out", &out, "--force"];
    ended_well(&Program::new("models", &motorcade.display().to_string(), arguments)).await?;
    let mut program = Program::new("export", "/bin/sh", ["-c", command]);
    program.environment = [("MODEL", &model), ("ONNX", &onnx)].map(|(name, path)| (name.into(), path.into())).into();
    ended_well(&program).await.context("the network as ONNX: see --export")?;
    for file in [onnx.clone(), onnx.with_extension("json")] {
        ensure!(file.is_file(), "the export wrote no {}", file.display());
    }
    Ok(onnx)
}

async fn ended_well(program: &Program) -> Result<()> {
    let ended = tokio::time::timeout(EXPORT_WITHIN, run(program)).await;
    let (code, _, err) = ended.with_context(|| format!("{} does not end", program.name))??;
    ensure!(code == Some(0), "{} ended with {code:?}: {err}", program.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_everything_that_the_help_names() {
        let told = environment("127.0.0.1:9", "bench-3", "peer-scores-3", Path::new("/tmp/network.onnx"));
        for (name, value) in &told {
            assert!(PEER_HELP.contains(name.as_str()) && !value.is_empty(), "{name}");
        }
        assert_eq!(told.len(), 5);
    }

    #[test]
    fn the_export_reads_the_artefacts_of_today() {
        let script = include_str!("../../../peers/scoring/onnx_export.py");
        let form = detector::artifact::FORM;
        assert!(script.lines().any(|line| line == format!("FORM = {form}")), "it reads another form than {form}");
    }

    #[tokio::test]
    async fn an_export_that_fails_says_why() {
        let said = async |command: &str| {
            let dir = tempfile::tempdir().unwrap();
            // What stands in for motorcade writes no model; the export is told where it would be.
            let done = export(command, Path::new("/bin/true"), "127.0.0.1:9", dir.path()).await;
            done.map_or_else(|error| format!("{error:#}"), |onnx| onnx.display().to_string())
        };
        assert!(said("echo no numpy >&2; exit 3").await.contains("no numpy"));
        assert!(said("touch \"$ONNX\"").await.ends_with("network.json"));
        assert!(said("touch \"$ONNX\" \"${ONNX%.onnx}.json\"").await.ends_with("network.onnx"));
    }
}
