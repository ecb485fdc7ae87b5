//! What every source file keeps to.

use std::path::{Path, PathBuf};

/// A file above this many lines has a seam somewhere.
const LONGEST: usize = 430;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git knows.
fn tracked() -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(|name| root().join(name)).filter(|path| path.is_file()).collect()
}

fn with_extension(extension: &str) -> Vec<(PathBuf, String)> {
    let files = tracked().into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    files.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn every_rust_file_says_what_it_is_for_and_has_a_readable_length() {
    let files = with_extension("rs");
    assert!(files.len() > 50, "only {} files found", files.len());
    let wrong: Vec<_> = files
        .iter()
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            if lines > LONGEST {
                Some(format!("{}: {lines} lines", path.display()))
            } else if !text.starts_with("//!") {
                Some(format!("{}: does not open with //!", path.display()))
            } else {
                None
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_are_the_fields_terms() {
    let banned = ["Manager", "Handler", "Helper", "Util", "Common"];
    let wrong: Vec<_> = with_extension("rs")
        .iter()
        .flat_map(|(path, text)| {
            text.lines()
                .filter(|line| ["struct ", "enum ", "trait ", "mod "].iter().any(|keyword| line.contains(keyword)))
                .filter(|line| !line.trim_start().starts_with("//"))
                .filter(|line| banned.iter().any(|word| line.contains(word)))
                .map(|line| format!("{}: {line}", path.display()))
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.contains("banned"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_mains_and_the_process_shell_read_the_environment() {
    let may = ["models/service/", "tests/", "cloud/motorcade/src/arithmetic.rs", "build.rs"];
    let wrong: Vec<_> = with_extension("rs")
        .into_iter()
        .filter(|(path, _)| !may.iter().any(|part| path.to_string_lossy().contains(part)))
        .filter(|(_, text)| text.contains("env::var"))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_model_is_committed() {
    let wrong: Vec<_> = tracked()
        .into_iter()
        .filter(|path| {
            path.extension().is_some_and(|e| ["safetensors", "ot", "pt", "onnx", "bin"].iter().any(|x| e == *x))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
