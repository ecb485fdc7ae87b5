//! Which tch and which libtorch it is built with, for the card of what it trains.

use std::{env, fs, path::Path};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lock = root.join("Cargo.lock");
    let libtorch = env::var_os("LIBTORCH").map(|folder| root.join(folder).join("build-version"));
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    if let Some(file) = &libtorch {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let tch = fs::read_to_string(lock).ok().and_then(|lock| version_of(&lock, "tch"));
    let libtorch = libtorch.and_then(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned());
    for (name, version) in [("TCH_VERSION", tch), ("LIBTORCH_VERSION", libtorch)] {
        println!("cargo::rustc-env={name}={}", version.as_deref().unwrap_or("unknown"));
    }
}

/// The version of a package in a lock file: it stands in the line behind its name.
fn version_of(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let line = lock.lines().skip_while(|line| *line != name).nth(1)?;
    Some(line.strip_prefix("version = ")?.trim_matches('"').to_owned())
}
