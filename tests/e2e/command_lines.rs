//! Wrong flags and unreachable services: one line that names the flag and the address, exit code 64 or 69,
//! nothing half-started.

use tests::process::{Program, build_executables, run};

/// A port on loopback that nobody listens on: taken and given back.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

const ROLES: [&str; 5] = ["trainer", "scorer", "alerter", "twin", "gateway"];

async fn check(executable: &str, arguments: &[&str], code: i32, names: &[&str]) {
    build_executables().unwrap();
    let (ended, out, err) = run(&Program::new("tool", executable, arguments)).await.unwrap();
    assert_eq!(ended, Some(code), "{executable} {arguments:?}\n{err}{out}");
    let last = err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    for name in names {
        let place = if code == 69 { last } else { &err };
        assert!(place.contains(name), "{executable} {arguments:?}: {name} is not in {place:?}");
    }
    assert!(!out.contains("\"ready\""), "{executable} {arguments:?} said that it is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn help_works_everywhere_and_names_the_environment() {
    build_executables().unwrap();
    let mut cases = vec![("motorcade-edge", vec![]), ("motorcade-simulator", vec![]), ("motorcade", vec![])];
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
    check("motorcade-edge", &["--no-such-flag"], 64, &["--no-such-flag"]).await;
    check("motorcade-edge", &["--kafka", "127.0.0.1:1", "--mqtt", "nonsense"], 64, &["mqtt"]).await;
    check("motorcade-simulator", &["--mqtt", "127.0.0.1:1", "--vehicles", "0"], 64, &["vehicles"]).await;
    check("motorcade-simulator", &["--mqtt", "127.0.0.1:1", "--encoding", "xml"], 64, &["encoding"]).await;
    for role in ROLES {
        check("motorcade", &["run", role, "--kafka", ""], 64, &["kafka"]).await;
        check("motorcade", &["run", role, "--admin-listen", "nowhere"], 64, &["--admin-listen"]).await;
    }
    let beyond =
        ["run", "gateway", "--kafka", "127.0.0.1:1", "--mongo", "mongodb://127.0.0.1:1", "--listen", "0.0.0.0:0"];
    check("motorcade", &beyond, 64, &["token-file"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_named_with_its_flag_and_address() {
    let closed = closed_port();
    let mongo = format!("mongodb://{closed}/?directConnection=true&serverSelectionTimeoutMS=1000");
    check("motorcade-edge", &["--mqtt", &closed, "--kafka", &closed], 69, &["--", &closed]).await;
    for role in ROLES {
        let mut arguments = vec!["run", role, "--kafka", &closed];
        if ["twin", "alerter", "gateway"].contains(&role) {
            arguments.extend(["--mongo", &mongo]);
        }
        check("motorcade", &arguments, 69, &["--", &closed]).await;
    }
    check("motorcade", &["topics", "plan", "--kafka", &closed], 69, &["--kafka", &closed]).await;
}
