//! What every source file keeps to.

use std::path::{Path, PathBuf};

/// A file above this many lines has a seam somewhere.
const LONGEST: usize = 430;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every file that git knows, as a path from the root.
fn tracked() -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(PathBuf::from).filter(|path| root().join(path).is_file()).collect()
}

fn with_extension(extension: &str) -> Vec<(PathBuf, String)> {
    let files = tracked().into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    files.map(|path| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap())).collect()
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

/// Words that say nothing about what a thing is for.
const VAGUE: [&str; 10] =
    ["manager", "handler", "helper", "helpers", "util", "utils", "utilities", "common", "data", "info"];

/// The name of the module or type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    ["mod", "struct", "enum", "trait", "type"].contains(&words.next()?).then_some(())?;
    let name = words.next()?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The words of a name, in lower case: of `snake_case` and of `CamelCase`.
fn words(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() || c == '_' {
            spaced.push(' ');
        }
        spaced.extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    spaced.split_whitespace().map(Into::into).collect()
}

/// Declarations whose name holds a vague word.
fn vague(text: &str) -> Vec<&str> {
    let is_vague = |name: &str| words(name).iter().any(|word| VAGUE.contains(&word.as_str()));
    text.lines().filter(|line| declared(line).is_some_and(is_vague)).collect()
}

#[test]
fn names_are_the_fields_terms() {
    let wrong: Vec<_> = with_extension("rs")
        .iter()
        .flat_map(|(path, text)| vague(text).into_iter().map(move |line| format!("{}: {line}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_vague_name_is_noticed() {
    for bad in [
        "mod util;",
        "    pub mod test_helpers {",
        "pub(crate) struct SessionManager<T> {",
        "enum Info {",
        "trait DataSource: Send {",
        "pub type Common = u8;",
    ] {
        assert_eq!(vague(bad), [bad]);
    }
    let good = ["// mod util;", "struct Metadata;", "mod database;", "fn helper() {}", "pub mod information_gain;"];
    assert!(good.iter().all(|line| vague(line).is_empty()));
}

/// Who may read the environment by hand, and why. Everybody else has flags, which clap also reads from there.
const READERS: [(&str, &str); 5] = [
    ("tests/", "tests and services take a browser, a JDK and folders from the machine that they run on"),
    ("cloud/motorcade/src/arithmetic.rs", "libtorch takes its settings from the environment, before it is loaded"),
    ("models/detector/build.rs", "cargo tells a build script by the environment where it is and what is linked"),
    ("models/detector/src/card.rs", "the model card records the arithmetic that libtorch was told to use"),
    ("cloud/motorcade/src/alerts/mod.rs", "NO_COLOR is every terminal program's convention, not a setting of ours"),
];

fn reads_the_environment(text: &str) -> bool {
    text.contains("env::var")
}

/// Files that read the environment though nothing allows it.
fn unexpected_readers(files: &[(PathBuf, String)]) -> Vec<&Path> {
    let readers = files.iter().filter(|(_, text)| reads_the_environment(text)).map(|(path, _)| path.as_path());
    readers.filter(|path| !READERS.iter().any(|(allowed, _)| path.starts_with(allowed))).collect()
}

#[test]
fn only_who_has_a_reason_reads_the_environment() {
    let files = with_extension("rs");
    assert_eq!(unexpected_readers(&files), Vec::<&Path>::new());
    for (allowed, why) in READERS {
        let needed = files.iter().any(|(path, text)| path.starts_with(allowed) && reads_the_environment(text));
        assert!(needed, "{allowed} may read the environment because {why}; it does not: take it off the list");
    }
}

#[test]
fn a_read_of_the_environment_is_noticed() {
    let read = "let home = std::env::var(\"HOME\");".to_owned();
    let files = |path: &str| [(PathBuf::from(path), read.clone())];
    assert_eq!(unexpected_readers(&files("edge/src/session.rs")).len(), 1);
    // A folder that is only called as one on the list.
    assert_eq!(unexpected_readers(&files("cloud/tests/src/lib.rs")).len(), 1);
    assert!(unexpected_readers(&files("tests/src/browser.rs")).is_empty());
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
