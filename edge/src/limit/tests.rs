//! The limit against its promise over every span of time, and against buckets that are never forgotten.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

fn limit(per_second: f64, burst: u32, max_vehicles: usize) -> Limit {
    Limit::new(Allowance { per_second, burst }, max_vehicles)
}

fn passes(limit: &mut Limit, vehicle: &str, now: Instant) -> bool {
    limit.admit(vehicle, now) == Admission::Yes
}

/// Buckets with whole numbers, every one of them kept for ever: the same rule in other words.
struct Naive {
    interval: u128,
    burst: u128,
    /// By vehicle, when the bucket will be full; ns.
    full_at: HashMap<u32, u128>,
}

impl Naive {
    fn admit(&mut self, vehicle: u32, now: u128) -> bool {
        let full_at = self.full_at.get(&vehicle).copied().unwrap_or(0).max(now);
        let admitted = full_at - now <= (self.burst - 1) * self.interval;
        if admitted {
            self.full_at.insert(vehicle, full_at + self.interval);
        }
        admitted
    }
}

/// Pauses of every size, in ns: of a flood, near an interval, and beyond generations.
fn pauses() -> impl Strategy<Value = Vec<(u32, u64)>> {
    let pause = prop_oneof![
        6 => 0_u64..1_000_000,
        6 => 0_u64..300_000_000,
        2 => 0_u64..30_000_000_000,
        1 => 0_u64..3_000_000_000_000,
    ];
    vec((0_u32..4, pause), 1..600)
}

fn rates() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.1), Just(1.0), Just(10.0), Just(100.0), Just(5_000.0), 0.01_f64..10_000.0]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_no_span_of_time_passes_more_than_a_burst_and_the_rate(arrivals in pauses(), rate in rates(), burst in 1_u32..50) {
        let (mut limit, start) = (limit(rate, burst, 100), Instant::now());
        let (mut now, mut passed) = (0_u64, Vec::new());
        for (_, pause) in arrivals {
            now += pause;
            if passes(&mut limit, "veh-1", start + Duration::from_nanos(now)) {
                passed.push(now);
            }
        }
        for (at, first) in passed.iter().enumerate() {
            for (count, last) in passed[at..].iter().enumerate() {
                let most = f64::from(burst) + rate * ((last - first) as f64 / 1e9) + 1e-3;
                prop_assert!(count as f64 + 1.0 <= most, "{} within {} ns", count + 1, last - first);
            }
        }
    }

    #[test]
    fn forgetting_and_units_change_no_verdict_by_more_than_their_rounding(
        arrivals in pauses(), rate in rates(), burst in 1_u32..50,
    ) {
        let (mut limit, start) = (limit(rate, burst, 100), Instant::now());
        let Some(rule) = limit.rule else { panic!("no limit at {rate}") };
        // Exactly the rounded interval, so that the verdicts are the same wherever units decide.
        let unit = 1_u64 << rule.shift;
        let interval = u128::from(u64::from(rule.interval) * unit);
        prop_assert!(interval as f64 >= 1e9 / rate && interval as f64 <= (1e9 / rate) * 1.01 + 8.0);
        let mut naive = Naive { interval, burst: burst.into(), full_at: HashMap::new() };
        let mut now = 0_u64;
        for (vehicle, pause) in arrivals {
            now += pause / unit * unit;
            let admitted = passes(&mut limit, &format!("veh-{vehicle}"), start + Duration::from_nanos(now));
            prop_assert_eq!(admitted, naive.admit(vehicle, now.into()), "vehicle {} at {}", vehicle, now);
            prop_assert!(limit.vehicles() <= 4);
        }
        prop_assert_eq!(limit.forgotten_early(), 0);
    }
}

#[test]
fn no_rate_is_no_limit_and_remembers_nobody() {
    for off in [0.0, -0.0, -1.0, f64::NAN] {
        let (mut limit, now) = (limit(off, 1, 10), Instant::now());
        assert!((0..1_000).all(|n| passes(&mut limit, &format!("veh-{}", n % 20), now)));
        assert_eq!(limit.vehicles(), 0);
    }
}

#[test]
fn extreme_allowances_keep_their_sense() {
    let now = Instant::now();
    for (rate, burst, at_once) in [
        (f64::INFINITY, 1, 1),
        (1e-300, 3, 3),
        (1e-9, 0, 1),
        (1.0, u32::MAX, MAX_BURST),
        (1e9, u32::MAX, MAX_BURST),
        (1e-3, MAX_BURST, MAX_BURST),
    ] {
        let mut limit = limit(rate, burst, 10);
        let passed = (0..=MAX_BURST).filter(|_| passes(&mut limit, "veh-1", now)).count();
        assert_eq!(passed, at_once as usize, "{rate} {burst}");
        // A century later the bucket is full, if it ever fills.
        if rate > 1e-6 {
            assert!(passes(&mut limit, "veh-1", now + Duration::from_secs(3_000_000_000)), "{rate} {burst}");
        }
    }
}

#[test]
fn one_vehicle_takes_nothing_from_another() {
    let (mut limit, start) = (limit(1.0, 5, 1_000), Instant::now());
    for ms in (0..60_000).step_by(10) {
        let now = start + Duration::from_millis(ms);
        passes(&mut limit, "flood", now);
        if ms % 1_000 == 0 {
            for n in 0..100 {
                assert!(passes(&mut limit, &format!("veh-{n}"), now), "veh-{n} at {ms} ms");
            }
        }
    }
}

#[test]
fn a_full_bucket_is_forgotten() {
    let (mut limit, start) = (limit(10.0, 20, 1_000), Instant::now());
    for n in 0..500 {
        passes(&mut limit, &format!("veh-{n}"), start);
    }
    assert_eq!(limit.vehicles(), 500);
    // An empty bucket fills within 2 s; two generations are over after at most 4 s and a little.
    for ms in (0..5_000).step_by(50) {
        passes(&mut limit, "veh-0", start + Duration::from_millis(ms));
    }
    assert_eq!((limit.vehicles(), limit.forgotten_early()), (1, 0));
    // After a long silence at once.
    passes(&mut limit, "veh-1", start + Duration::from_secs(3_600));
    assert_eq!(limit.vehicles(), 1);
}

#[test]
fn beyond_the_limit_the_longest_silent_are_forgotten_and_counted() {
    let (mut limit, start) = (limit(0.001, 1, 100), Instant::now());
    for n in 0..1_000_u32 {
        assert!(passes(&mut limit, &format!("veh-{n}"), start));
        assert!(limit.vehicles() <= 200);
    }
    assert_eq!(limit.forgotten_early() + limit.vehicles() as u64, 1_000);
    // The last 100 are known in any case.
    for n in 900..1_000 {
        assert!(!passes(&mut limit, &format!("veh-{n}"), start), "veh-{n} was forgotten");
    }
    assert!(passes(&mut limit, "veh-1", start));
}

#[test]
fn nothing_changes_when_units_begin_anew() {
    let (mut limit, start) = (limit(10.0, 3, 10), Instant::now());
    let rule = limit.rule.unwrap();
    let round = (1_u64 << 32) << rule.shift;
    limit.admit("veh-1", start);
    for rounds in 1..50 {
        // From just before the end of a round to just behind it.
        let near = start + Duration::from_nanos(rounds * round) - Duration::from_millis(50);
        let passed = (0..10).filter(|n| passes(&mut limit, "veh-1", near + Duration::from_millis(10 * n))).count();
        assert_eq!(passed, 3, "round {rounds}");
        assert!(passes(&mut limit, "veh-1", near + Duration::from_millis(150)));
        assert!(!passes(&mut limit, "veh-1", near + Duration::from_millis(150)));
    }
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let (mut limit, start) = (limit(1.0, 1, 10), Instant::now());
    let later = start + Duration::from_secs(100);
    passes(&mut limit, "veh-1", start);
    assert!(passes(&mut limit, "veh-1", later));
    assert!(!passes(&mut limit, "veh-1", start));
    assert!(!passes(&mut limit, "veh-1", later + Duration::from_millis(999)));
    assert!(passes(&mut limit, "veh-1", later + Duration::from_millis(1_001)));
}

/// Vehicles that send five times too fast, and keep the pause that they are told, within a tenth.
#[test]
fn a_fleet_that_listens_converges_under_the_limit() {
    let (mut limit, start) = (limit(2.0, 10, 100), Instant::now());
    let (mut refused, mut late_refusals, mut passed) = (0, 0, 0);
    for vehicle in 0_u64..50 {
        let (mut pause, mut now) = (100, vehicle);
        for n in 0_u64..600 {
            // A fixed jitter of a tenth in both directions.
            now += pause * (90 + (n * 7 + vehicle) % 21) / 100;
            // Each vehicle has a limit of its own: their times need not be mixed.
            let at = start + Duration::from_millis(now) + Duration::from_secs(10_000 * vehicle);
            match limit.admit(&format!("veh-{vehicle}"), at) {
                Admission::Yes => passed += 1,
                Admission::No { retry_after_ms } => {
                    refused += 1;
                    late_refusals += u32::from(n > 50);
                    pause = retry_after_ms;
                }
            }
        }
    }
    assert!(refused > 0);
    assert_eq!((late_refusals, passed), (0, 50 * 600 - refused));
    assert_eq!(limit.rule.unwrap().retry_after_ms, 563);
}

#[test]
fn a_remembered_vehicle_takes_at_most_64_bytes() {
    for vehicles in [1_000_usize, 57_345, 100_000, 114_689, 120_000] {
        let names: Vec<_> = (0..vehicles).map(|n| format!("veh-{n:06}")).collect();
        let (mut limit, start) = (limit(1.0, 10, vehicles), Instant::now());
        let memory = allocation_counter::measure(|| {
            // Both generations are at their largest in turn.
            for round in 0..6 {
                for name in &names {
                    limit.admit(name, start + Duration::from_secs(7 * round));
                }
            }
        });
        let bytes = memory.bytes_current as f64 / vehicles as f64;
        println!("{vehicles} vehicles: {bytes:.1} bytes each");
        assert_eq!(limit.vehicles(), vehicles);
        assert!((13.0..=64.0).contains(&bytes), "{bytes}");
    }
}
