//! Ends that a load must not gloss over: brokers that stop answering or die, and a search that is stopped.

use std::process::Command;

use simulator::ledger;

use super::{broker::Broker, end, figure, load, report, until};

#[test]
fn a_broker_that_hangs_is_as_slow_as_what_it_never_answered_is_old() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments =
        "--vehicles 20 --rate 500 --duration-ms 5000 --judge puback --drain-ms 500 --fail-if p99_ms>1500,made<1";
    let child = load(&broker, folder.path(), arguments);
    let ledger = folder.path().join("ledger");
    until("a second of readings", || ledger::read(&ledger).is_ok_and(|ledger| ledger.len() > 500));
    broker.freeze();
    let (code, output) = end(child);
    assert_eq!(code, Some(1), "{output:?}");
    let report = report(folder.path());
    let failed = report["verdicts"].as_object().unwrap().iter().filter(|(_, verdict)| verdict["ok"] == false);
    assert_eq!(failed.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["fail-if p99_ms>1500"], "{report:#}");
    assert!(figure(&report, "unheard_readings") > 0, "it did answer at first");
    let ms = |name: &str| report["figures"][name].as_f64().unwrap();
    assert_eq!(ms("schedule_to_puback_max_ms").to_bits(), ms("unanswered_for_max_ms").to_bits());
}

#[test]
fn vehicles_that_the_broker_has_dropped_by_the_end_are_no_sockets_that_stood() {
    let (mut broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 30 --workers 2 --rate 300 --duration-ms 2500 --judge puback --drain-ms 500";
    let child = load(&broker, folder.path(), arguments);
    let ledger = folder.path().join("ledger");
    until("a second of readings", || ledger::read(&ledger).is_ok_and(|ledger| ledger.len() > 300));
    broker.kill();
    let (code, output) = end(child);
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    let sockets = ["established_sockets", "established_after_ramp_sockets", "established_at_end_sockets"];
    assert_eq!(sockets.map(|name| figure(&report, name)), [0, 30, 0]);
}

#[test]
fn a_search_that_is_stopped_has_found_no_capacity() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 10 --rate 50 --judge puback --find-capacity --step 1 --step-ms 3000 --drain-ms 500";
    let child = load(&broker, folder.path(), arguments);
    let ledger = folder.path().join("ledger");
    // The first step holds, and the second has begun.
    until("a step", || ledger::read(&ledger).is_ok_and(|ledger| ledger.len() > 250));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let (code, output) = end(child);
    assert_eq!(code, Some(1), "{output:?}");
    let report = report(folder.path());
    let verdict = &report["verdicts"]["capacity"];
    assert_eq!((&verdict["ok"], &report["verdicts"]["G4"]["ok"]), (&false.into(), &true.into()));
    assert!(verdict["examples"][0].as_str().unwrap().starts_with("the search was broken off"), "{report:#}");
    assert!(report["figures"].get("capacity_readings_per_s").is_none());
}
