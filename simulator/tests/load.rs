//! `motorcade-simulator load`, and `drive` where the broker judges, against a real mosquitto: what they report, what they
//! enter, and what they survive.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking; figures are small"
)]

mod accounts;
mod bad_ends;
mod broker;
mod disturbances;
mod drive;
mod edge;
mod scenarios;

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use simulator::{ledger, outbox::Key};
use telemetry::{Encoding, PayloadHash};

use self::{broker::Broker, edge::Edge};

/// Beyond it something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn load(broker: &Broker, folder: &Path, arguments: &str) -> Child {
    let (report, ledger) = (folder.join("report.json"), folder.join("ledger"));
    Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
        .args(["load", "--mqtt", &broker.address(), "--report"])
        .arg(report)
        .arg("--ledger")
        .arg(ledger)
        .args(arguments.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for its end; kills it and fails if that does not come.
fn end(mut child: Child) -> (Option<i32>, Output) {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("the load hangs: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output)
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn figure(report: &Value, name: &str) -> u64 {
    let figure = report["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} is not in {report:#}"));
    assert!(figure >= 0.0 && figure.fract() == 0.0, "{name} = {figure}");
    figure as u64
}

/// Waits until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_reading_is_made_when_it_is_due_and_settled_by_the_broker() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 300 --workers 2 --rate 1000 --duration-ms 2000 --judge puback --payload kib";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    assert_eq!(figure(&report, "made_readings"), 2_000);
    // Nobody subscribes, and the broker says so.
    assert_eq!((figure(&report, "unheard_readings"), figure(&report, "puback_0x10_messages")), (2_000, 2_000));
    assert_eq!((figure(&report, "published_messages"), figure(&report, "in_outbox_readings")), (2_000, 0));
    assert_eq!(figure(&report, "established_sockets"), 300);
    for name in ["connect_p99_ms", "schedule_to_written_max_ms", "schedule_to_puback_p999_ms", "ramp_s"] {
        assert!(report["figures"][name].as_f64().unwrap() > 0.0, "{name}");
    }
    let (most, idle) = (figure(&report, "memory_per_vehicle_bytes"), figure(&report, "idle_memory_per_vehicle_bytes"));
    assert!((1..1 << 20).contains(&most) && idle > 0, "{most} and {idle} bytes");
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    assert_eq!((ledger.files, ledger.len(), ledger.vehicles().len()), (2, 2_000, 300));
    let (first, last) = ledger.iter().fold((i64::MAX, 0), |(first, last), (_, _, sent)| {
        assert_eq!(sent.acked, None, "0x10 is no acknowledgement");
        (first.min(sent.scheduled), last.max(sent.scheduled))
    });
    assert_eq!(last - first, 1_999, "one each ms");
}

#[test]
fn what_an_edge_acknowledges_is_what_it_got_and_what_it_leaves_out_is_sent_again() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // It takes the fifth reading of each vehicle only when it comes again.
    let edge = Edge::start(&broker, |seq, again| seq != 5 || again);
    let arguments = "--vehicles 40 --rate 800 --duration-ms 2000 --resend-ms 50 --probe-ms 500 --drain-ms 20000";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    assert_eq!((figure(&report, "made_readings"), figure(&report, "acked_readings")), (1_600, 1_600));
    assert!(figure(&report, "resent_left_out_messages") >= 40, "{report:#}");
    assert_eq!((figure(&report, "refused_ranges"), figure(&report, "unreadable_acks")), (0, 0));
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    let received = edge.stop();
    assert_eq!(ledger.len(), 1_600);
    for payload in received {
        // A resend has the same bytes.
        let record = telemetry::decode(&payload, Encoding::Json, None).unwrap();
        let key = Key::Seq { boot: record.boot, seq: record.seq };
        let sent = ledger.get(record.vehicle.as_str(), key).unwrap();
        assert_eq!((sent.hash, sent.scheduled), (PayloadHash::of(&payload), record.time));
        assert!(sent.acked.is_some_and(|at| at >= sent.scheduled));
    }
}

#[test]
fn what_was_never_sent_is_in_the_ledger_too() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // Nobody acknowledges: a window of one stays closed until the reading in it is given up.
    let arguments = "--vehicles 10 --rate 1000 --duration-ms 1000 --window 1 --outbox-records 5 --drain-ms 100";
    let (_, output) = end(load(&broker, folder.path(), arguments));
    let report = report(folder.path());
    assert_eq!((figure(&report, "made_readings"), figure(&report, "in_outbox_readings")), (1_000, 50), "{output:?}");
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    assert_eq!(ledger.len() + ledger.unsent.len(), 1_000);
    let sent = ledger.iter().map(|(_, _, sent)| sent.given_up);
    let given_up = sent.chain(ledger.unsent.iter().map(|unsent| unsent.given_up)).filter(|given_up| *given_up).count();
    assert_eq!((given_up as u64, figure(&report, "given_up_readings")), (950, 950));
    assert!(ledger.unsent.iter().filter(|unsent| !unsent.given_up).count() >= 40, "all but one of each vehicle");
    let last = ledger.unsent.iter().filter_map(|unsent| unsent.scheduled).max();
    assert!(last.is_some_and(|last| ledger.latest >= last + 100), "the run ends after its drain");
}

#[test]
fn a_blast_ends_with_its_last_message_and_idle_vehicles_stay_connected() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // The window is above what the broker takes unanswered (its Receive Maximum is 100).
    let arguments = "--vehicles 20 --workers 3 --blast --messages 20000 --window 500 --payload record-protobuf";
    let (code, output) = end(load(&broker, folder.path(), &format!("{arguments} --judge puback --keep-alive-s 1")));
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    assert_eq!((figure(&report, "made_readings"), figure(&report, "unheard_readings")), (20_000, 20_000));
    assert_eq!((figure(&report, "published_messages"), figure(&report, "connections_lost")), (20_000, 0));
    // And a quiet one: a reading in two seconds, so that pings alone keep its connections.
    let arguments = "--vehicles 4 --interval-ms 2000 --duration-ms 5000 --judge puback --keep-alive-s 1";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(0), "{output:?}");
    let report = self::report(folder.path());
    assert_eq!((figure(&report, "made_readings"), figure(&report, "connections_lost")), (10, 0));
    assert!(figure(&report, "pings") >= 8, "{report:#}");
}

#[test]
fn a_broker_that_dies_is_survived_and_nothing_goes_missing() {
    let (mut broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 100 --rate 500 --duration-ms 4000 --judge puback --reconnect-ms 100 --drain-ms 20000";
    let child = load(&broker, folder.path(), arguments);
    let ledger = folder.path().join("ledger");
    until("a second of readings", || ledger::read(&ledger).is_ok_and(|ledger| ledger.len() > 500));
    broker.kill_and_restart();
    let (code, output) = end(child);
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    assert_eq!((figure(&report, "made_readings"), figure(&report, "unheard_readings")), (2_000, 2_000));
    assert_eq!((figure(&report, "connections_lost"), figure(&report, "reconnects")), (100, 100));
    assert_eq!(report["verdicts"]["G4"]["checked"], 2_000);
}

#[test]
fn a_worker_that_dies_fails_the_run() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 50 --workers 2 --interval-ms 100 --duration-ms 30000 --judge puback --drain-ms 500";
    let child = load(&broker, folder.path(), arguments);
    let workers = format!("/proc/{0}/task/{0}/children", child.id());
    let ledger = folder.path().join("ledger");
    until("readings of both workers", || {
        ledger::read(&ledger)
            .is_ok_and(|ledger| ledger.files == 2 && ledger.vehicles().len() == 50 && ledger.len() > 100)
    });
    let workers = std::fs::read_to_string(workers).unwrap();
    let workers: Vec<_> = workers.split_whitespace().collect();
    assert_eq!(workers.len(), 2);
    assert!(Command::new("kill").args(["-9", workers[1]]).status().unwrap().success());
    let (code, output) = end(child);
    assert_eq!(code, Some(1), "{output:?}");
    let verdicts = &report(folder.path())["verdicts"];
    assert_eq!((&verdicts["workers"]["ok"], &verdicts["workers"]["dead"]), (&false.into(), &1.into()));
    assert_eq!(verdicts["G4"]["ok"], false, "what a dead worker had in hand is not known");
    until("the other worker has gone, too", || !Path::new(&format!("/proc/{}", workers[0])).exists());
}

#[test]
fn readings_that_no_edge_acknowledges_fail_the_run() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let arguments = "--vehicles 5 --rate 50 --duration-ms 1000 --refused-ms 100 --drain-ms 500";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(1), "{output:?}");
    let report = report(folder.path());
    assert_eq!((figure(&report, "acked_readings"), figure(&report, "in_outbox_readings")), (0, 50));
    // Rule 4: nobody subscribes, so each is sent again and again.
    assert!(figure(&report, "resent_refused_messages") >= 50, "{report:#}");
    assert_eq!(
        (&report["verdicts"]["acknowledged"]["ok"], &report["verdicts"]["G4"]["ok"]),
        (&false.into(), &true.into())
    );
}

#[test]
fn a_configuration_file_named_by_the_environment_is_for_the_load_and_not_for_its_workers() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let (file, path) = (folder.path().join("load.toml"), folder.path().join("report.json"));
    std::fs::write(&file, "vehicles = 4\nrate = 40\nduration-ms = 500\njudge = 'puback'\n").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
        .args(["load", "--mqtt", &broker.address(), "--report"])
        .arg(path)
        .env("MOTORCADE_CONFIG", file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, output) = end(child);
    assert_eq!(code, Some(0), "{output:?}");
    assert_eq!(figure(&report(folder.path()), "made_readings"), 20);
}

#[test]
fn a_fleet_has_more_sockets_than_a_process_begins_with_and_no_more_than_it_may_have() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let limited = |limit: &str| {
        let program = env!("CARGO_BIN_EXE_motorcade-simulator");
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh", program, "load", "--mqtt", &broker.address()])
            .args("--vehicles 300 --rate 300 --duration-ms 500 --judge puback --report".split(' '))
            .arg(folder.path().join("report.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        end(child.unwrap())
    };
    let (code, output) = limited("-Sn 200");
    assert_eq!(code, Some(0), "{output:?}");
    assert_eq!(figure(&report(folder.path()), "established_sockets"), 300);
    let (code, output) = limited("-n 200");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("--workers") && error.contains("at least 3 workers"), "{error}");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::nowhere();
    let (code, output) = end(load(&broker, folder.path(), "--vehicles 3 --blast --ramp-ms 1000"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(code, Some(69), "{error}");
    assert!(
        error.contains(&broker.address()) && error.contains("0 of 3 vehicles") && error.contains("refused"),
        "{error}"
    );
}

#[test]
fn conditions_decide_how_a_run_ends_and_a_second_has_its_place_in_the_report() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let page = folder.path().join("page.html");
    let arguments = format!(
        "--vehicles 50 --rate 500 --duration-ms 3000 --judge puback --progress json --json --html {} \
         --fail-if p99_ms>9999,made<1500 --fail-if lost>0 --fail-if schedule_to_ack_p99_ms>9999",
        page.display()
    );
    let (code, output) = end(load(&broker, folder.path(), &arguments));
    assert_eq!(code, Some(1), "{output:?}");
    let report = report(folder.path());
    let failed = report["verdicts"].as_object().unwrap().iter().filter(|(_, verdict)| verdict["ok"] == false);
    let failed: Vec<_> = failed.map(|(name, _)| name.as_str()).collect();
    assert_eq!(failed, ["fail-if schedule_to_ack_p99_ms>9999"], "no edge, so no ack was timed");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("schedule_to_ack_p99_ms was not measured"), "{error}");
    // Lines of progress, and at last the report itself.
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, progress) = lines.split_last().unwrap();
    assert_eq!(*last, report);
    assert!(progress.len() >= 2 && progress.iter().all(|line| line["event"] == "progress"), "{progress:?}");
    // Every reading has its second.
    let series = &report["series"][0];
    let values = |name: &str| -> Vec<f64> {
        let line = series["lines"].as_array().unwrap().iter().find(|line| line["name"] == name).unwrap();
        line["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap_or(0.0)).collect()
    };
    let at: Vec<_> = series["at"].as_array().unwrap().iter().map(|at| at.as_f64().unwrap()).collect();
    let mut made = 0.0;
    for (place, rate) in values("made_readings_per_s").iter().enumerate() {
        made += rate * (at[place] - if place == 0 { 0.0 } else { at[place - 1] });
    }
    assert!((made - 1_500.0).abs() < 2.0, "{made} of 1500 readings, {series:#}");
    assert_eq!(values("connected_vehicles").iter().copied().fold(0.0, f64::max), 50.0);
    assert!(values("p99_ms").iter().any(|ms| *ms > 0.0));
    assert!(std::fs::read_to_string(page).unwrap().contains("</svg>"));
}

#[test]
fn a_condition_on_a_figure_that_does_not_exist_is_refused_before_anything_connects() {
    let (broker, folder) = (Broker::nowhere(), tempfile::tempdir().unwrap());
    let (code, output) = end(load(&broker, folder.path(), "--vehicles 3 --blast --fail-if p98_ms>1"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((code, error.lines().count()), (Some(64), 1), "{error}");
    assert!(
        error.contains("--fail-if") && error.contains("p99_ms") && error.contains("whatever a report has"),
        "{error}"
    );
}

#[test]
fn the_capacity_lies_where_a_condition_begins_to_come_true() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // A condition that the machine does not decide: what is made in a second breaks it above 700.
    let arguments = "--vehicles 40 --rate 200 --judge puback --find-capacity --step-factor 2 --step-ms 3000 --bisections 1 \
                     --fail-if made_readings_per_s>700,capacity<300";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(0), "{output:?}");
    let report = report(folder.path());
    // 200 and 400 hold, 800 does not, 600 does.
    assert_eq!(figure(&report, "capacity_readings_per_s"), 600, "{report:#}");
    let rows = report["tables"]["Capacity"]["rows"].as_array().unwrap();
    let rates: Vec<_> = rows.iter().map(|row| row[0].as_u64().unwrap()).collect();
    assert_eq!(rates, [200, 400, 800, 600]);
    for row in rows {
        let (asked, made) = (row[0].as_f64().unwrap(), row[1].as_f64().unwrap());
        assert!((made / asked - 1.0).abs() < 0.05, "a step has its own rate: {row}");
        assert!(row[4].as_f64().unwrap() > 0.0, "and its own latencies: {row}");
    }
    let verdict = &report["verdicts"]["capacity"];
    assert_eq!((&verdict["ok"], &verdict["checked"]), (&true.into(), &4.into()));
    assert_eq!(report["verdicts"]["G4"]["ok"], true);
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("no: fail-if made_readings_per_s>700"),
        "the table says why"
    );
}

#[test]
fn a_rate_that_never_holds_is_no_capacity() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // Nobody sends acks: no step has a latency, so none passes.
    let arguments = "--vehicles 5 --rate 50 --find-capacity --step-ms 3000 --bisections 0 --drain-ms 500 \
                     --fail-if p99_ms>60000";
    let (code, output) = end(load(&broker, folder.path(), arguments));
    assert_eq!(code, Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.matches("judges by ack").count(), 1, "paced acks are no measure of speed: {error}");
    let report = report(folder.path());
    assert_eq!(report["verdicts"]["capacity"]["ok"], false);
    assert!(report["figures"].get("capacity_readings_per_s").is_none());
    assert!(report["verdicts"]["capacity"]["examples"][0].as_str().unwrap().contains("was not measured"), "{report:#}");
}
