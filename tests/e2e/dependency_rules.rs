//! Which crate may depend on which: the arrows of `ARCHITECTURE.md`, checked against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Allowed arrows between crates of the workspace, outside tests. A crate that is not named here fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("detector", &["telemetry", "evaluation"]),
    ("evaluation", &["telemetry"]),
    ("service", &[]),
    ("report", &[]),
    ("motorcade-edge", &["telemetry", "service"]),
    ("motorcade-simulator", &["telemetry", "service", "report"]),
    ("cloud-log", &["telemetry", "service"]),
    ("store", &["telemetry", "service"]),
    ("trainer", &["telemetry", "detector", "evaluation", "report", "service", "cloud-log"]),
    ("scorer", &["telemetry", "detector", "service", "cloud-log"]),
    ("alerter", &["telemetry", "service", "cloud-log", "store"]),
    ("twin", &["telemetry", "service", "cloud-log", "store"]),
    ("gateway", &["telemetry", "service", "cloud-log", "store"]),
    ("tabular", &["telemetry", "evaluation", "service", "cloud-log"]),
    (
        "motorcade",
        &[
            "telemetry",
            "detector",
            "service",
            "cloud-log",
            "store",
            "trainer",
            "scorer",
            "alerter",
            "twin",
            "gateway",
            "tabular",
        ],
    ),
    ("services", &[]),
    ("detection", &["telemetry", "detector", "evaluation", "report", "motorcade-simulator"]),
    (
        "tests",
        &[
            "telemetry",
            "detector",
            "evaluation",
            "service",
            "report",
            "cloud-log",
            "store",
            "trainer",
            "scorer",
            "alerter",
            "twin",
            "gateway",
            "services",
            "motorcade",
            "motorcade-edge",
            "motorcade-simulator",
        ],
    ),
];

/// Crates that must stay pure: nothing that opens a socket or runs a task.
const PURE: &[&str] = &["telemetry", "detector", "evaluation"];
const IMPURE: &[&str] = &["tokio", "rdkafka", "rumqttc", "mongodb", "axum", "tokio-tungstenite", "reqwest"];

/// Each vendor's crate stays in these crates.
const VENDORS: &[(&str, &[&str])] = &[
    ("rumqttc", &["motorcade-edge", "motorcade-simulator", "services", "tests"]),
    ("rdkafka", &["motorcade-edge", "motorcade-simulator", "cloud-log", "tests"]),
    ("mongodb", &["store", "services", "tests"]),
    ("tch", &["detector"]),
    ("axum", &["gateway", "service"]),
    ("csv", &["tabular"]),
    ("parquet", &["tabular"]),
];

fn metadata(arguments: &[&str]) -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    command.other_options(arguments.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    command.exec().unwrap()
}

/// Direct dependencies of every workspace member, without those of its tests.
fn direct(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let dependencies = package.dependencies.iter();
            let names = dependencies.filter(|d| d.kind != DependencyKind::Development).map(|d| d.name.clone());
            (package.name.to_string(), names.collect())
        })
        .collect()
}

/// Arrows of a workspace graph that the rules do not allow.
fn violations(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (package, dependencies) in graph {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            found.push(format!("{package} has no rule"));
            continue;
        };
        let ours = dependencies.iter().filter(|dependency| graph.contains_key(*dependency));
        found.extend(ours.filter(|d| !allowed.contains(&d.as_str())).map(|d| format!("{package} -> {d}")));
        if PURE.contains(&package.as_str()) {
            let impure = dependencies.iter().filter(|d| IMPURE.contains(&d.as_str()));
            found.extend(impure.map(|d| format!("{package} is pure, yet -> {d}")));
        }
        for (vendor, homes) in VENDORS {
            if dependencies.contains(*vendor) && !homes.contains(&package.as_str()) {
                found.push(format!("{vendor} belongs in {homes:?}, not in {package}"));
            }
        }
    }
    found
}

#[test]
fn crates_depend_only_where_an_arrow_is_drawn() {
    assert_eq!(violations(&direct(&metadata(&["--no-deps"]))), Vec::<String>::new());
}

#[test]
fn a_role_that_depends_on_another_role_is_noticed() {
    let mut graph = direct(&metadata(&["--no-deps"]));
    graph.get_mut("alerter").unwrap().insert("twin".into());
    graph.get_mut("telemetry").unwrap().insert("tokio".into());
    graph.get_mut("gateway").unwrap().insert("mongodb".into());
    assert_eq!(violations(&graph).len(), 3, "{:?}", violations(&graph));
}

/// Every package that is built for `package` with these features.
fn built_for(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package", package])
        .args(features)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(Into::into).collect()
}

#[test]
fn only_what_needs_libtorch_links_it_and_only_the_cloud_knows_mongodb() {
    assert!(built_for("motorcade", &[]).contains("torch-sys"), "the check itself must see torch-sys");
    for (package, features) in [
        ("motorcade-edge", &[][..]),
        ("motorcade-simulator", &["--all-features"]),
        ("motorcade", &["--no-default-features"]),
    ] {
        assert!(!built_for(package, features).contains("torch-sys"), "{package} {features:?}");
    }
    assert!(built_for("twin", &[]).contains("mongodb"), "the check itself must see mongodb");
    for package in ["motorcade-edge", "motorcade-simulator"] {
        assert!(!built_for(package, &["--all-features"]).contains("mongodb"), "{package}");
    }
}
