//! The tools that need no service: `faults`, `compare`, `report`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use report::{Report, Verdict};
use serde_json::Value;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_motorcade-simulator")).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn written(folder: &Path, name: &str, p99_ms: f64) -> String {
    let mut report = Report::new(name);
    report.parameters.insert("judge".into(), "puback".into());
    report.figures.insert("schedule_to_puback_p99_ms".into(), p99_ms);
    let path = folder.join(format!("{name}.json"));
    report.write(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn faults_are_listed_for_people_and_for_programs() {
    let (code, text, _) = run(&["faults"]);
    assert_eq!((code, text.lines().count()), (Some(0), 21), "{text}");
    let (code, json, _) = run(&["faults", "--json"]);
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, rows.as_array().unwrap().len()), (Some(0), 20));
    assert_eq!((&rows[0]["fault"], &rows[0]["signal_unit"]), (&"tyre_leak".into(), &"kPa".into()));
}

#[test]
fn a_comparison_ends_with_the_code_that_its_conditions_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (written(folder.path(), "a", 10.0), written(folder.path(), "b", 20.0));
    let (code, text, _) = run(&["compare", &a, &b]);
    assert!(code == Some(0) && text.contains("differs: name: a | b") && text.contains("worse"), "{text}");
    let (code, json, error) = run(&["compare", &a, &b, "--json", "--fail-if", "p99_ms>+50%,p99_ms>30"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert_eq!(json["verdicts"]["fail-if p99_ms>+50%"]["ok"], false);
    assert_eq!(json["verdicts"]["fail-if p99_ms>30"]["ok"], true);
    let mut broken = Report::read(Path::new(&b)).unwrap();
    broken
        .verdicts
        .insert("workers".into(), Verdict { examples: vec!["worker 1 is lost".into()], ..Verdict::default() });
    let path = folder.path().join("broken.json");
    broken.write(&path).unwrap();
    let (code, text, error) = run(&["compare", &a, path.to_str().unwrap(), "--fail-if", "p99_ms>+110%"]);
    assert!(code == Some(1) && error.contains("verdict workers of b: FAILED (worker 1 is lost)"), "{error}");
    assert!(text.contains("differs: verdict workers: none | FAILED (worker 1 is lost)"), "{text}");
    let (code, _, error) = run(&["compare", &a, &b, "--fail-if", "p98_ms>1"]);
    assert!(code == Some(64) && error.contains("--fail-if"), "{error}");
    let (code, _, error) = run(&["compare", &a, "no/such.json"]);
    assert!(code == Some(65) && error.contains("no/such.json"), "{error}");
}

#[test]
fn a_page_is_made_of_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("new/page.html");
    let (code, _, error) = run(&["report", &written(folder.path(), "a", 10.0), "--html", page.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{error}");
    assert!(std::fs::read_to_string(page).unwrap().contains("schedule_to_puback_p99_ms"));
}
