//! What a run ran on, and of which commit.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit of the folder that it runs in, with `+` behind it where the tree has changes.
pub(crate) fn commit() -> String {
    let changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    git(&["rev-parse", "--short=12", "HEAD"])
        .map_or_else(|| "unknown".into(), |hash| if changed { hash + "+" } else { hash })
}

pub(crate) fn machine() -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        rest.map(|rest| rest.trim_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    BTreeMap::from([
        ("cpu".into(), field(&read("/proc/cpuinfo"), "model name")),
        ("cores".into(), cores.to_string()),
        ("memory".into(), field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ])
}
