//! Wrong flags and unreachable services: one line that names the flag and the address, exit code 64 or 69,
//! nothing half-started.

use std::net::TcpListener;

use tests::process::{Program, build_executables, run};
use tokio::task::JoinSet;

/// A port on loopback that nobody listens on: taken and given back.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

const ROLES: [&str; 5] = ["trainer", "scorer", "alerter", "twin", "gateway"];
/// Those that reach for MongoDB first.
const WITH_MONGO: [&str; 3] = ["alerter", "twin", "gateway"];

/// A command line that has to fail.
struct Case {
    executable: &'static str,
    arguments: Vec<String>,
    code: i32,
    names: Vec<String>,
}

/// The command line is told as people type it; `names` has to stand in the one line of the error.
fn case(line: &str, code: i32, names: &[&str]) -> Case {
    let (program, arguments) = line.split_once(' ').unwrap();
    let executable = ["motorcade-edge", "motorcade-simulator", "motorcade"].into_iter().find(|name| *name == program);
    Case {
        executable: executable.unwrap(),
        // A pair of quotes stands for an empty value.
        arguments: arguments.split(' ').map(|word| word.replace("''", "")).collect(),
        code,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

async fn check(cases: Vec<Case>) {
    build_executables().unwrap();
    let mut running = JoinSet::new();
    for Case { executable, arguments, code, names } in cases {
        running.spawn(async move {
            let (ended, out, err) = run(&Program::new("tool", executable, &arguments)).await.unwrap();
            assert_eq!(ended, Some(code), "{executable} {arguments:?}\n{err}{out}");
            assert_eq!(err.lines().count(), 1, "{executable} {arguments:?} says more or less than a line:\n{err}");
            for name in names {
                assert!(err.contains(&name), "{executable} {arguments:?}: {name} is not in {err:?}");
            }
            assert_eq!(out, "", "{executable} {arguments:?} said something");
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_works_everywhere_and_names_the_environment() {
    build_executables().unwrap();
    let mut cases = vec![("motorcade-edge", vec![]), ("motorcade-simulator", vec![]), ("motorcade", vec![])];
    cases.extend(["drive", "load", "audit"].map(|command| ("motorcade-simulator", vec![command])));
    cases.extend(ROLES.map(|role| ("motorcade", vec!["run", role])));
    for (executable, mut arguments) in cases {
        arguments.push("--help");
        let (code, out, err) = run(&Program::new("tool", executable, &arguments)).await.unwrap();
        assert_eq!(code, Some(0), "{executable} {arguments:?}: {err}");
        assert!(out.contains("Usage:"), "{out}");
        if arguments.len() != 1 || executable != "motorcade" {
            assert!(
                out.contains("MOTORCADE_KAFKA") || out.contains("MOTORCADE_MQTT"),
                "{executable} {arguments:?}: {out}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_flag_is_a_usage_error() {
    let mut cases = vec![
        case("motorcade-edge --no-such-flag", 64, &["--no-such-flag"]),
        case("motorcade-edge --kafka 127.0.0.1:1 --mqtt nonsense", 64, &["--mqtt", "nonsense"]),
        case("motorcade-edge --drain-timeout-ms 10000", 64, &["--drain-timeout-ms", "--grace-ms"]),
        case("motorcade-edge --grace-ms 5000", 64, &["--drain-timeout-ms", "--grace-ms 5000"]),
        case("motorcade-simulator --mqtt 127.0.0.1:1 --vehicles 0", 64, &["--vehicles"]),
        case("motorcade-simulator --mqtt 127.0.0.1:1 --encoding xml", 64, &["--encoding", "xml"]),
        case("motorcade-simulator --stop-drain-ms 8001", 64, &["--stop-drain-ms", "--grace-ms"]),
        case("motorcade-simulator drive --vehicles 0", 64, &["--vehicles"]),
        case("motorcade-simulator load --vehicles 10", 64, &["--rate", "--interval-ms", "--blast"]),
        case("motorcade-simulator load --blast --payload 100", 64, &["--payload", "200"]),
        case("motorcade-simulator load --blast --vehicles 40000 --workers 2", 64, &["--workers"]),
        case("motorcade-simulator load --blast --stop-drain-ms 8001", 64, &["--stop-drain-ms", "--grace-ms"]),
        case("motorcade-simulator load --blast --fail-if p98_ms>1", 64, &["--fail-if", "p98_ms", "p99_ms"]),
        case("motorcade-simulator load --blast --find-capacity", 64, &["--find-capacity", "--rate"]),
        case("motorcade-simulator compare no/such.json no/such.json", 65, &["no/such.json"]),
        case("motorcade-simulator audit --ledger no/such/folder", 64, &["--ledger", "no/such/folder"]),
        case("motorcade run gateway --max-connections 18446744073709551615", 64, &["--max-connections"]),
        case("motorcade run gateway --listen 0.0.0.0:0", 64, &["--listen", "--token-file"]),
        case("motorcade topics plan --kafka nowhere", 64, &["--kafka", "nowhere"]),
        case("motorcade modles list", 64, &["modles", "similar", "'models'"]),
        case("motorcade twin show", 64, &["<VEHICLE>"]),
        case("motorcade data import --mapping no/such.toml no/such.csv", 65, &["--mapping", "no/such.toml"]),
        case("motorcade data import no/such.csv", 64, &["--mapping"]),
        case("motorcade data export --out .", 64, &["--out", "there already"]),
        case("motorcade models promote", 64, &["<VERSION>"]),
        case("motorcade models promote pca-1-ab --alias a/b", 64, &["--alias", "a/b"]),
        case("motorcade models rollback --kafka nowhere", 64, &["--kafka", "nowhere"]),
        case("motorcade models rollback --reason ''", 64, &["--reason"]),
        case("motorcade models compare champion", 64, &["<B>"]),
        case("motorcade models register no/such.file", 65, &["no/such.file"]),
        case("motorcade models register Cargo.toml", 65, &["Cargo.toml", "models/python"]),
        case("motorcade models register Cargo.toml --alias challenger", 64, &["--promote"]),
        case("motorcade models register Cargo.toml --reason why", 64, &["--reason", "--promote"]),
        case("motorcade models evaluate no/such.file", 65, &["no/such.file"]),
        case("motorcade models evaluate champion --labels no/such.jsonl", 65, &["no/such.jsonl"]),
        case("motorcade models evaluate champion --from 5 --to 4", 64, &["--to", "--from 5"]),
        case("motorcade models evaluate champion --from 2024-01-02 --to 2024-01-01T12:00:00Z", 64, &["--to"]),
        case("motorcade models evaluate champion --from yesterday", 64, &["--from", "a date"]),
        case("motorcade models evaluate champion --threads 0", 64, &["--threads"]),
        case("motorcade models calibrate champion --alarm-budget 0", 64, &["--alarm-budget"]),
        case("motorcade models train --force because", 64, &["--publish"]),
        case("motorcade models train --offsets 0:5", 64, &["--offsets"]),
        case("motorcade models train --spool src", 64, &["--spool", "something else"]),
        case("motorcade models train --detector forest", 64, &["--detector", "auto"]),
        case("motorcade models export champion", 64, &["--out"]),
        case("motorcade models export champion --out no/such/file", 64, &["--out", "no/such"]),
        case("motorcade models export champion --out Cargo.toml", 64, &["--out", "--force"]),
        case("motorcade view rebuild scores", 64, &["--as"]),
        case("motorcade view rebuild scores --as ../x", 64, &["--as", "../x"]),
        case("motorcade view rebuild scores --as v2 --kafka nowhere", 64, &["--kafka", "nowhere"]),
        case("motorcade view rebuild scores --as v2 --workers 0", 64, &["--workers"]),
        case("motorcade scores verify --as V2", 64, &["--as", "V2"]),
        case("motorcade run scorer --workers 0", 64, &["--workers"]),
        case("motorcade run scorer --shadow-share 1.5", 64, &["--shadow-share"]),
    ];
    for role in ROLES {
        cases.push(case(&format!("motorcade run {role} --kafka ''"), 64, &["--kafka"]));
        cases.push(case(&format!("motorcade run {role} --admin-listen nowhere"), 64, &["--admin-listen", "nowhere"]));
    }
    check(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_are_checked_before_a_port_is_opened_and_tools_open_none() {
    let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = neighbour.local_addr().unwrap().to_string();
    let closed = closed_port();
    let admin = format!("--admin-listen {taken}");
    let mut cases = vec![
        case(&format!("motorcade-edge {admin} --id a/b"), 64, &["--id"]),
        case(&format!("motorcade-simulator {admin} --window 0"), 64, &["--window"]),
        case(
            &format!("motorcade topics plan {admin} --kafka {closed} --connect-timeout-ms 500"),
            69,
            &["--kafka", &closed],
        ),
    ];
    for role in ROLES {
        cases.push(case(&format!("motorcade run {role} {admin} --kafka ''"), 64, &["--kafka"]));
        cases.push(case(&format!("motorcade run {role} {admin}"), 69, &["--admin-listen", &taken]));
    }
    check(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_named_with_its_flag_and_address() {
    // A port for each flag, so that the address tells which one was tried.
    let (kafka, mqtt, mongo, gateway) = (closed_port(), closed_port(), closed_port(), closed_port());
    let soon = "--connect-timeout-ms 1500";
    let url = format!("mongodb://{mongo}/?directConnection=true&serverSelectionTimeoutMS=1000");
    let mut cases = vec![
        case(&format!("motorcade-edge --mqtt {mqtt} --kafka {kafka} {soon}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade-simulator --mqtt {mqtt} {soon}"), 69, &["--mqtt", &mqtt]),
        case(&format!("motorcade-simulator audit --ledger . --kafka {kafka}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade topics plan --kafka {kafka} {soon}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade data export --out no-such-export --kafka {kafka} {soon}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade models list --kafka {kafka} {soon}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade models rollback --kafka {kafka} {soon}"), 69, &["--kafka", &kafka]),
        case(&format!("motorcade models train --kafka {kafka} {soon}"), 69, &["--kafka", &kafka, "no answer"]),
        case(&format!("motorcade twin show veh-00001 --mongo {url}"), 69, &["--mongo", &mongo]),
        case(&format!("motorcade alerts watch --json --gateway ws://{gateway} {soon}"), 69, &["--gateway", &gateway]),
    ];
    for role in ROLES {
        let line = format!("motorcade run {role} --kafka {kafka} {soon}");
        if WITH_MONGO.contains(&role) {
            let free = if role == "gateway" { " --listen 127.0.0.1:0" } else { "" };
            cases.push(case(&format!("{line} --mongo {url}{free}"), 69, &["--mongo", &mongo]));
        } else {
            cases.push(case(&line, 69, &["--kafka", &kafka]));
        }
    }
    check(cases).await;
}
