//! Flags and environment names of the manifests exist in the executables.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use serde_json::Value;

use super::objects::{environment, is_ours, list, name, pod, text, workloads};

/// Images of ours, and the executable that each starts.
pub(crate) const IMAGES: [(&str, &str); 4] = [
    ("motorcade-edge", "motorcade-edge"),
    ("motorcade-simulator", "motorcade-simulator"),
    ("motorcade-light", "motorcade"),
    ("motorcade", "motorcade"),
];

/// What the image without libtorch can't do.
const NEEDS_LIBTORCH: [&[&str]; 5] = [&["run", "trainer"], &["run", "scorer"], &["models"], &["scores"], &["view"]];

fn executable(its_name: &str) -> PathBuf {
    tests::process::build_executables().unwrap();
    let path = tests::process::executables().unwrap().join(its_name);
    assert!(path.exists(), "{its_name} is not built: cargo build --workspace --bins");
    path
}

/// Flags and environment names of a program's help, which says `[env: NAME=…]`.
fn accepted(program: &str, arguments: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(executable(program));
    // With the arguments themselves, so that an unknown one or a value that can't be parsed is refused.
    let output = command.args(arguments).arg("--help").output().unwrap();
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let help = String::from_utf8(output.stdout).unwrap();
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    Ok(words.filter(|word| word.starts_with("--") || word.starts_with("MOTORCADE_")).map(ToOwned::to_owned).collect())
}

/// Everything in the manifests that the executables don't know.
pub(crate) fn unknown(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for workload in workloads(objects) {
        for container in list(pod(workload), "/containers").iter().filter(|container| is_ours(container)) {
            let who = name(workload);
            let image = text(container, "/image").rsplit_once(':').unwrap_or_default().0;
            let image = image.rsplit('/').next().unwrap_or_default();
            let Some((_, program)) = IMAGES.iter().find(|(known, _)| *known == image) else {
                found.push(format!("{who}: no Dockerfile makes {image}"));
                continue;
            };
            let arguments: Vec<_> = list(container, "/args").iter().filter_map(Value::as_str).collect();
            if image == "motorcade-light" && NEEDS_LIBTORCH.iter().any(|verb| arguments.starts_with(verb)) {
                found.push(format!("{who}: {image} can't {arguments:?}"));
            }
            let known = match accepted(program, &arguments) {
                Ok(known) => known,
                Err(refused) => {
                    found.push(format!("{who}: {refused}"));
                    continue;
                }
            };
            let flags = arguments.iter().filter(|argument| argument.starts_with("--"));
            let flags = flags.map(|flag| flag.split('=').next().unwrap_or_default().to_owned());
            let variables = environment(objects, container).into_keys().filter(|name| name != "POD_NAME");
            found.extend(
                flags
                    .chain(variables)
                    .filter(|word| !known.contains(word))
                    .map(|word| format!("{who}: {program} does not know {word}")),
            );
        }
    }
    found
}
