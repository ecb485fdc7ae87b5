//! Which tch and which libtorch it is built with, for the card of what it trains.

use std::{env, fs, path::Path};

/// These make tch take another libtorch than `LIBTORCH` names.
const ELSEWHERE: [&str; 3] = ["LIBTORCH_LIB", "LIBTORCH_INCLUDE", "LIBTORCH_USE_PYTORCH"];

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR").map(|folder| Path::new(&folder).join("../..")).unwrap_or_default();
    let lock = root.join("Cargo.lock");
    for name in ["LIBTORCH"].iter().chain(&ELSEWHERE) {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let folder = env::var_os("LIBTORCH").filter(|_| ELSEWHERE.iter().all(|name| env::var_os(name).is_none()));
    // A file that is not there would have this run, and all that depends on it built, each time.
    let libtorch = folder.map(|folder| root.join(folder).join("build-version")).filter(|file| file.is_file());
    for file in [Some(&lock), libtorch.as_ref()].into_iter().flatten().filter(|file| file.is_file()) {
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
