//! Vehicles with passwords against a broker that asks for them.

use std::process::{Child, Command, Stdio};

use super::{broker::Broker, end};

fn simulator(broker: &Broker, subcommand: &str, arguments: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
        .args([subcommand, "--mqtt", &broker.address(), "--judge", "puback"])
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn vehicles_show_the_passwords_that_the_broker_asks_for() {
    let accounts = [("veh-00001", "secret-1"), ("veh-00002", "secret-2"), ("fleet", "secret-3")];
    let (broker, folder) = (Broker::with_accounts(&accounts), tempfile::tempdir().unwrap());
    for (user, password) in accounts {
        std::fs::write(folder.path().join(user), format!("{password}\n")).unwrap();
    }
    let passwords = folder.path().display();
    let own = format!("--mqtt-password-file {passwords}/{{vehicle}}");
    let one = format!("--mqtt-user fleet --mqtt-password-file {passwords}/fleet --vehicles 1");
    for (subcommand, arguments) in [
        ("load", format!("{own} --vehicles 2 --rate 40 --duration-ms 500")),
        ("load", format!("{one} --rate 40 --duration-ms 500")),
        ("drive", format!("{own} --vehicles 2 --interval-ms 100 --duration-ms 500")),
        ("drive", format!("{one} --interval-ms 100 --duration-ms 500")),
    ] {
        let (code, output) = end(simulator(&broker, subcommand, &arguments));
        assert_eq!(code, Some(0), "{subcommand} {arguments}: {output:?}");
    }
    let wrong = format!("--mqtt-user fleet --mqtt-password-file {passwords}/veh-00001 --vehicles 1");
    for (code, subcommand, arguments) in [
        (69, "load", format!("{wrong} --rate 40 --ramp-ms 1000")),
        (69, "drive", wrong),
        (69, "load", "--vehicles 2 --rate 40 --ramp-ms 1000".to_owned()),
        (64, "load", "--mqtt-password-file no/such/file --rate 40".to_owned()),
        (64, "drive", "--mqtt-password-file no/such/file".to_owned()),
    ] {
        let (ended, output) = end(simulator(&broker, subcommand, &arguments));
        assert_eq!(ended, Some(code), "{subcommand} {arguments}: {output:?}");
        assert!(!format!("{output:?}").contains("secret"), "{output:?}");
    }
}
