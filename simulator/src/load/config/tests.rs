//! What a load refuses before anything connects.

use clap::Parser;

use super::*;
use crate::load::plan::Plan;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

fn parse(arguments: &[&str]) -> Result<Config, String> {
    let parsed = Arguments::try_parse_from(["load"].iter().chain(arguments)).map_err(|error| error.to_string())?;
    parsed.config.validate().map_err(|error| error.to_string()).map(|()| parsed.config)
}

#[test]
fn what_can_not_be_used_is_refused_with_the_name_of_the_flag() {
    parse(&["--rate", "10", "--mqtt", "127.0.0.1:1,127.0.0.2:1"]).unwrap();
    for (arguments, names) in [
        (&["--rate", "0"][..], "--rate"),
        (&[], "--rate"),
        (&["--rate", "1", "--blast"], "--blast"),
        (&["--blast", "--vehicles", "0"], "--vehicles"),
        (&["--blast", "--payload", "100"], "--payload"),
        (&["--blast", "--vehicles", "40000", "--workers", "2"], "--workers"),
        (&["--blast", "--mqtt", "127.0.0.1:1,nonsense"], "--mqtt"),
        (&["--blast", "--judge", "nobody"], "--judge"),
        (&["--blast", "--mqtt-password-file", "/nowhere"], "--mqtt-password-file"),
        (&["--blast", "--profile", "day"], "--profile"),
        (&["--rate", "10", "--profile", "ramp", "--low-rate", "11"], "--low-rate"),
        (&["--rate", "10", "--storm-share", "2"], "--storm-share"),
        (&["--blast", "--find-capacity"], "--rate"),
        (&["--rate", "1", "--find-capacity", "--profile", "ramp"], "--profile"),
        (&["--rate", "1", "--find-capacity", "--duration-ms", "1"], "--find-capacity"),
        (&["--rate", "1", "--find-capacity", "--payload", "on-change"], "--payload"),
        (&["--rate", "1", "--find-capacity", "--step-factor", "1"], "--step-factor"),
        (&["--rate", "1", "--find-capacity", "--step", "18446744073709551615"], "--step"),
        (&["--blast", "--fail-if", "p99_ms"], "--fail-if"),
        (&["--blast", "--fail-if", "p99_ms>1,p98_ms>1"], "--fail-if: \"p98_ms\" is no figure"),
        (&["--blast", "--fail-if", "p99_ms>+10%"], "--fail-if"),
    ] {
        let error = parse(arguments).unwrap_err();
        assert!(error.contains(names), "{arguments:?}: {error}");
    }
}

#[test]
fn no_time_is_longer_than_a_week_and_no_rate_beyond_all_machines() {
    let (most, above) = ("604800000", "604800001");
    for flag in ["duration", "drain", "ramp", "snapshot", "attempt", "reconnect", "resend", "probe", "refused"] {
        let flag = format!("--{flag}-ms");
        parse(&["--rate", "1", "--payload", "on-change", &flag, most]).unwrap();
        for long in [above, "18446744073709551615"] {
            assert!(
                parse(&["--rate", "1", "--payload", "on-change", &flag, long]).unwrap_err().contains(&flag),
                "{flag} {long}"
            );
        }
    }
    assert!(parse(&["--interval-ms", above]).unwrap_err().contains("--interval-ms"));
    assert!(parse(&["--rate", "1000000001"]).unwrap_err().contains("--rate"));
}

#[test]
fn a_flag_that_says_nothing_is_refused_with_what_it_needs() {
    for (arguments, flag, needs) in [
        (&["--low-rate", "5"][..], "--low-rate", "--profile ramp, steps or burst"),
        (&["--period-ms", "5000"], "--period-ms", "--profile"),
        (&["--steps", "5"], "--steps", "--profile steps"),
        (&["--burst-ms", "5"], "--burst-ms", "--profile burst"),
        (&["--profile", "ramp", "--burst-ms", "5"], "--burst-ms", "--profile burst"),
        (&["--profile", "day", "--low-rate", "0"], "--low-rate", "--profile ramp"),
        (&["--storm-every-ms", "5"], "--storm-every-ms", "--storm-share"),
        (&["--blackout-at-ms", "5"], "--blackout-at-ms", "--blackout-share"),
        (&["--blackout-ms", "5"], "--blackout-ms", "--blackout-share"),
        (&["--tunnel-every-ms", "5"], "--tunnel-every-ms", "--tunnel-ms"),
        (&["--clock-drift-ppm", "5"], "--clock-drift-ppm", "--clock-share"),
        (&["--clock-offset-ms=-5"], "--clock-offset-ms", "--clock-share"),
        (&["--step", "5"], "--step", "--find-capacity"),
        (&["--step-factor", "1.5"], "--step-factor", "--find-capacity"),
        (&["--step-ms", "15000"], "--step-ms", "--find-capacity"),
        (&["--bisections", "2"], "--bisections", "--find-capacity"),
        (&["--snapshot-ms", "5"], "--snapshot-ms", "--payload on-change"),
        (&["--snapshot-ms", "5", "--payload", "kib"], "--snapshot-ms", "--payload on-change"),
    ] {
        let arguments: Vec<_> = ["--rate", "10"].iter().chain(arguments).copied().collect();
        let error = parse(&arguments).unwrap_err();
        assert!(error.contains(&format!("{flag}: says nothing without {needs}")), "{arguments:?}: {error}");
    }
    let blast = parse(&["--blast", "--payload", "on-change", "--snapshot-ms", "5"]).unwrap_err();
    assert!(blast.contains("--snapshot-ms: says nothing without --rate"), "{blast}");
    parse(&["--blast", "--payload", "on-change"]).unwrap();
    // What belongs to them is there, or turned off on purpose.
    for arguments in [
        &["--profile", "burst", "--low-rate", "5", "--period-ms", "9000", "--burst-ms", "100"][..],
        &["--profile", "constant", "--burst-ms", "100"],
        &["--storm-share", "0", "--storm-every-ms", "100"],
        &["--find-capacity", "--step", "5", "--step-ms", "9000", "--bisections", "1"],
        &["--payload", "on-change", "--snapshot-ms", "5"],
        &["--payload", "kib", "--snapshot-ms", "0"],
    ] {
        parse(&["--rate", "10"].iter().chain(arguments).copied().collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn latencies_by_paced_acks_are_doubted() {
    let doubts = |arguments: &[&str]| parse(arguments).unwrap().doubt();
    for (arguments, names) in [
        (&["--blast", "--fail-if", "made<1,p99_ms>50"][..], "--fail-if p99_ms>50"),
        (
            &["--blast", "--judge", "puback", "--fail-if", "schedule_to_ack_max_ms>50"],
            "--fail-if schedule_to_ack_max_ms>50",
        ),
        (&["--rate", "1", "--find-capacity"], "--find-capacity"),
    ] {
        assert!(doubts(arguments).is_some_and(|doubt| doubt.starts_with(names)), "{arguments:?}");
    }
    for arguments in [
        &["--blast", "--fail-if", "lost>0,schedule_to_puback_p99_ms>50"][..],
        &["--blast", "--judge", "puback", "--fail-if", "p99_ms>50"],
        &["--rate", "1", "--find-capacity", "--judge", "puback"],
    ] {
        assert_eq!(doubts(arguments), None, "{arguments:?}");
    }
}

#[test]
fn every_vehicle_has_one_worker_and_the_shares_add_up() {
    let arguments = ["--interval-ms", "1000", "--vehicles", "40001", "--messages", "100"];
    let config = parse(&arguments).unwrap();
    let plans: Vec<_> = (0..config.workers()).map(|worker| config.plan(worker, &[], 1_760_000_000_000)).collect();
    let mut vehicles: Vec<_> = plans.iter().flat_map(Plan::vehicles).collect();
    vehicles.sort_unstable();
    assert_eq!(vehicles, (0..40_001).collect::<Vec<_>>());
    assert_eq!(plans.iter().filter_map(Plan::share_of_messages).sum::<u64>(), 100);
    assert_eq!((plans.len(), plans[0].boot), (3, 1_760_000_000));
    assert_eq!(config.arrivals().due_us(0, 1), Some(1_000_000));
}
