//! Tests of what goes wrong on purpose: so often, so long, to so many, and the same each time.

use clap::Parser;

use super::*;

const FLEET: u32 = 10_000;
const S: u64 = 1_000_000;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Disturbances,
}

fn flags(line: &str) -> Disturbances {
    Arguments::try_parse_from(std::iter::once("load").chain(line.split_whitespace())).unwrap().flags
}

fn troubles(line: &str) -> Troubles {
    let flags = flags(line);
    flags.validate().unwrap();
    flags.troubles(7, FLEET)
}

/// Every absence of a vehicle in a time: when it began, why, how long it lasted.
fn absences(troubles: &Troubles, vehicle: u32, within: u64) -> Vec<(u64, Absence, u64)> {
    let (mut all, mut at) = (Vec::new(), troubles.next_cut(vehicle, None));
    while at < within {
        all.extend(troubles.away(vehicle, at).map(|(why, until)| (at, why, until - at)));
        at = troubles.next_cut(vehicle, Some(at));
    }
    all
}

#[test]
fn without_flags_nothing_goes_wrong() {
    let quiet = troubles("");
    for vehicle in 0..100 {
        assert_eq!((quiet.next_cut(vehicle, None), quiet.away(vehicle, 30 * S)), (NEVER, None));
        assert_eq!(quiet.skew_ms(vehicle, 1_000 * S), 0);
        assert!(!quiet.duplicates(vehicle, 1) && !quiet.reorders(vehicle, 1));
    }
}

#[test]
fn a_storm_takes_its_share_each_time_and_not_the_same_vehicles() {
    let storm = troubles("--storm-share 0.3 --storm-every-ms 5000");
    let hit = |at| (0..FLEET).filter(|vehicle| storm.away(*vehicle, at).is_some()).collect::<Vec<_>>();
    let (first, second) = (hit(5 * S), hit(10 * S));
    assert!([&first, &second].iter().all(|hit| hit.len().abs_diff(3_000) < 200) && first != second);
    assert_eq!(storm.away(first[0], 5 * S), Some((Absence::Storm, 5 * S)), "it may come back at once");
    assert!(hit(0).is_empty() && hit(5 * S + 1).is_empty());
    let times: Vec<_> = absences(&storm, first[0], 1_000 * S).iter().map(|(at, ..)| at / S).collect();
    assert!(times.contains(&5) && times.iter().all(|at| at % 5 == 0) && times.len().abs_diff(60) < 40, "{times:?}");
}

#[test]
fn a_blackout_takes_a_region_once_and_gives_it_back() {
    let dark = troubles("--blackout-share 0.25 --blackout-at-ms 3000 --blackout-ms 4000");
    assert_eq!(absences(&dark, 2_499, 100 * S), [(3 * S, Absence::Blackout, 4 * S)]);
    assert_eq!(absences(&dark, 2_500, 100 * S), []);
    assert_eq!(absences(&troubles("--blackout-share 1 --blackout-at-ms 0"), 9, 100 * S)[0].0, 0, "from the start on");
}

#[test]
fn each_vehicle_has_its_own_tunnels_one_in_each_time() {
    let tunnels = troubles("--tunnel-ms 2000 --tunnel-every-ms 10000");
    let mut total = 0;
    for vehicle in 0..100 {
        let all = absences(&tunnels, vehicle, 1_000 * S);
        assert_eq!(all.len(), 100);
        assert!(all.iter().enumerate().all(|(slot, (at, why, us))| {
            at / (10 * S) == slot as u64 && *why == Absence::Tunnel && (S..5 * S).contains(us)
        }));
        total += all.iter().map(|(.., us)| us).sum::<u64>();
        let other = absences(&tunnels, vehicle + 1, 1_000 * S);
        assert_ne!(all, other);
        assert_eq!(all, absences(&troubles("--tunnel-ms 2000 --tunnel-every-ms 10000"), vehicle, 1_000 * S));
    }
    assert!((total / 10_000).abs_diff(2 * S) < S / 10, "{total}");
}

#[test]
fn absences_that_pass_into_each_other_end_with_the_last() {
    let both =
        troubles("--tunnel-ms 2000 --tunnel-every-ms 10000 --blackout-share 1 --blackout-at-ms 1 --blackout-ms 999999");
    let (_, until) = both.away(5, S).unwrap();
    assert!(
        until >= 1_000 * S
            && !(0..100).any(|slot| {
                let (from, to) = both.tunnel(5, slot);
                (from..to).contains(&until)
            })
    );
}

#[test]
fn a_share_of_the_clocks_is_off_by_an_offset_and_drifts_apart() {
    let off = troubles("--clock-share 0.5 --clock-drift-ppm 200 --clock-offset-ms=-600000");
    let at = |vehicle, s| off.skew_ms(vehicle, s * S);
    let wrong: Vec<_> = (0..FLEET).filter(|vehicle| at(*vehicle, 0) != 0).collect();
    assert!(wrong.len().abs_diff(5_000) < 300 && wrong.iter().all(|vehicle| at(*vehicle, 0) == -600_000));
    let fast = wrong.iter().filter(|vehicle| at(**vehicle, 10_000) == -600_000 + 2_000).count();
    let slow = wrong.iter().filter(|vehicle| at(**vehicle, 10_000) == -600_000 - 2_000).count();
    assert!(fast + slow == wrong.len() && fast.abs_diff(slow) < 400, "{fast} and {slow}");
}

#[test]
fn duplicates_and_reorderings_are_a_share_of_the_readings_and_not_the_same() {
    let both = troubles("--duplicate-share 0.1 --reorder-share 0.1");
    let hit = |what: fn(&Troubles, u32, u32) -> bool| {
        (0..100).flat_map(|v| (1..=100).map(move |seq| (v, seq))).filter(|(v, seq)| what(&both, *v, *seq)).collect()
    };
    let (twice, late): (Vec<_>, Vec<_>) = (hit(Troubles::duplicates), hit(Troubles::reorders));
    assert!(twice.len().abs_diff(1_000) < 150 && late.len().abs_diff(1_000) < 150 && twice != late);
    assert!((1..1_000).all(|seq| troubles("--duplicate-share 1").duplicates(3, seq)));
}

#[test]
fn what_can_not_be_used_is_refused_with_the_name_of_the_flag() {
    for (line, names) in [
        ("--storm-share 1.1", "--storm-share"),
        ("--duplicate-share NaN", "--duplicate-share"),
        ("--blackout-share=-1", "--blackout-share"),
        ("--storm-share 1 --storm-every-ms 0", "--storm-every-ms"),
        ("--tunnel-ms 40000", "--tunnel-ms"),
        ("--clock-offset-ms 99999999999", "--clock-offset-ms"),
        ("--clock-drift-ppm 200000", "--clock-drift-ppm"),
    ] {
        let error = flags(line).validate().unwrap_err().to_string();
        assert!(error.contains(names), "{line}: {error}");
    }
}
