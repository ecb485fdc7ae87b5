//! Every scenario that is built in, in short: none rots.

use std::process::Command;

use super::{broker::Broker, edge::Edge, end, figure, load, report};

fn simulator(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_motorcade-simulator")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What a scenario must have done, as a figure of its report.
fn expected(name: &str) -> &'static str {
    match name {
        "tunnel" => "cut_by_tunnel_connections",
        "regional-blackout" => "cut_by_blackout_connections",
        "reconnect-storm" => "cut_by_storm_connections",
        "drifting-clocks" => "skewed_readings",
        "messy-network" => "reordered_readings",
        "day" => "snapshot_readings",
        _ => "acked_readings",
    }
}

#[test]
fn every_scenario_runs_and_does_what_it_is_named_after() {
    let (code, list, _) = simulator(&["scenarios"]);
    let names: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(code == Some(0) && names.len() >= 7, "{list}");
    // Side by side: each is a matter of waiting.
    std::thread::scope(|scope| names.into_iter().for_each(|name| drop(scope.spawn(move || in_short(name)))));
}

/// The shape that a scenario's rate must have had, as a parameter of its report.
fn shape(name: &str) -> &'static str {
    match name {
        "bursts" => "burst",
        "rush-hour" => "ramp",
        "steps" => "steps",
        "day" => "day",
        _ => "constant",
    }
}

/// What compresses a scenario to seconds.
fn compressed(name: &str) -> &'static str {
    match name {
        "bursts" => "--low-rate 60 --period-ms 2500 --burst-ms 500",
        "rush-hour" | "steps" => "--low-rate 60 --period-ms 2500",
        "day" => "--period-ms 2500",
        "reconnect-storm" => "--storm-every-ms 800",
        "regional-blackout" => "--blackout-at-ms 500 --blackout-ms 500",
        "tunnel" => "--tunnel-every-ms 16000 --tunnel-ms 4000",
        "messy-network" => "--storm-every-ms 800 --tunnel-every-ms 16000 --tunnel-ms 4000",
        _ => "--clock-offset-ms 600000",
    }
}

fn in_short(name: &str) {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let edge = Edge::start(&broker, |_, _| true);
    // The line goes before the file; what is compressed here stands there in minutes.
    let arguments = format!(
        "--scenario {name} --vehicles 60 --rate 600 --duration-ms 2500 {} --resend-ms 100 --probe-ms 500 \
         --reconnect-ms 100 --drain-ms 20000",
        compressed(name),
    );
    let (code, output) = end(load(&broker, folder.path(), &arguments));
    assert_eq!(code, Some(0), "{name}: {output:?}");
    edge.stop();
    let report = report(folder.path());
    assert_eq!((&report["name"], &report["parameters"]["scenario"]), (&name.into(), &name.into()));
    assert_eq!(report["parameters"]["profile"], shape(name), "{name}: {report:#}");
    assert!(figure(&report, expected(name)) > 0, "{name}: {report:#}");
    assert_eq!(figure(&report, "acked_readings"), figure(&report, "made_readings"), "{name}: {report:#}");
}

#[test]
fn a_scenario_of_ones_own_starts_from_one_that_is_built_in_and_its_mistakes_are_named() {
    let (_, tunnel, _) = simulator(&["scenarios", "tunnel"]);
    let folder = tempfile::tempdir().unwrap();
    let (broker, own) = (Broker::start(), folder.path().join("own.toml"));
    let run = |text: &str| {
        std::fs::write(&own, text).unwrap();
        let scenario = own.to_str().unwrap();
        let arguments = format!("--scenario {scenario} --interval-ms 100 --judge puback --duration-ms 300");
        let (code, output) = end(load(&broker, folder.path(), &arguments));
        (code, String::from_utf8(output.stderr).unwrap())
    };
    // --interval-ms on the line goes before the rate of the file.
    let (code, errors) = run(&tunnel.replace("vehicles = 2000", "vehicles = 7"));
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(figure(&report(folder.path()), "made_readings"), 3 * 7);
    for (text, names) in [
        (format!("{tunnel}\ntunel-ms = 5"), "tunel-ms"),
        (format!("{tunnel}\nstorm-share = 7"), "--storm-share"),
        ("description = 5".to_owned(), "description"),
        ("rate = ".to_owned(), "own.toml"),
    ] {
        let (code, errors) = run(&text);
        assert!(code == Some(64) && errors.contains(names), "{names}: {errors}");
    }
    let (code, _, errors) = simulator(&["load", "--scenario", "no-such"]);
    assert!(code == Some(64) && errors.contains("no-such"), "{errors}");
    let (code, _, errors) = simulator(&["scenarios", "no-such"]);
    assert!(code == Some(64) && errors.contains("no-such"), "{errors}");
}
