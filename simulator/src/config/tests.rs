//! Flags: what is refused, and with which words.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

fn verdict(arguments: &[&str]) -> Result<(), String> {
    let parsed = Arguments::try_parse_from(["simulator"].iter().chain(arguments)).map_err(|error| error.to_string())?;
    parsed.config.validate().map_err(|error| error.to_string())
}

#[test]
fn what_can_not_be_used_is_refused_with_the_name_of_the_flag() {
    assert_eq!(verdict(&[]), Ok(()));
    assert_eq!(verdict(&["--drivetrain", "mixed", "--cycle", "wltp", "--faults", "prevalence"]), Ok(()));
    let error = verdict(&["--drivetrain", "combustion", "--faults", "demo"]).unwrap_err();
    assert!(error.contains("--faults"), "{error}");
    assert_eq!(verdict(&["--start", "2025-10-09T08:53:20Z", "--speed", "60", "--encoding", "protobuf"]), Ok(()));
    for (flag, value) in [
        ("--mqtt", "localhost"),
        ("--mqtt", "mqtt://localhost:1883"),
        ("--mqtt", "::1:1883"),
        ("--vehicles", "0"),
        ("--speed", "NaN"),
        ("--speed", "0"),
        ("--start", "4102444799999"),
        ("--start", "1000"),
        ("--start", "yesterday"),
        ("--encoding", "xml"),
        ("--window", "0"),
        ("--interval-ms", "0"),
        ("--probe-max-ms", "5"),
        ("--faults", "many"),
        ("--drivetrain", "steam"),
        ("--cycle", "nedc"),
        ("--mqtt-password-file", "/nowhere/{vehicle}"),
    ] {
        let error = verdict(&[flag, value]).unwrap_err();
        assert!(error.contains(flag), "{flag} {value}: {error}");
    }
    for severity in ["0", "NaN", "4.1"] {
        let error = verdict(&["--faults", "demo", "--fault-severity", severity]).unwrap_err();
        assert!(error.contains("--fault-severity"), "{severity}: {error}");
    }
    for share in ["0", "NaN"] {
        let error = verdict(&["--faults", "prevalence", "--fault-share", share]).unwrap_err();
        assert!(error.contains("--fault-share"), "{share}: {error}");
    }
}

#[test]
fn a_flag_that_says_nothing_is_refused_with_what_it_needs() {
    for (arguments, flag, needs) in [
        (&["--fault-share", "0.1"][..], "--fault-share", "--faults prevalence"),
        (&["--faults", "demo", "--fault-share", "0.1"], "--fault-share", "--faults prevalence"),
        (&["--fault-severity", "2"], "--fault-severity", "--faults demo or prevalence"),
        (&["--faults-from-ms", "5"], "--faults-from-ms", "--faults demo or prevalence"),
        (&["--faults-for-ms", "5"], "--faults-for-ms", "--faults demo or prevalence"),
    ] {
        let error = verdict(arguments).unwrap_err();
        assert!(error.contains(&format!("{flag}: says nothing without {needs}")), "{arguments:?}: {error}");
    }
    // What belongs to them is there, or turned off on purpose; and an empty truth is one.
    for arguments in [
        &["--faults", "prevalence", "--fault-share", "0.1", "--faults-from-ms", "5", "--faults-for-ms", "5"][..],
        &["--faults", "demo", "--faults-from-ms", "5", "--faults-for-ms", "5"],
        &["--faults", "none", "--fault-share", "0.1", "--faults-from-ms", "5", "--faults-for-ms", "5"],
        &["--truth", "truth.jsonl"],
    ] {
        assert_eq!(verdict(arguments), Ok(()), "{arguments:?}");
    }
}
