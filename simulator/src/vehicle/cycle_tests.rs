//! Tests of trips and pauses: the published figures of the WLTC's phases, days and nights, seasons.

use super::{
    cycle::{Activity, Phase},
    *,
};

/// Noon, universal time, 9 October 2025.
const NOON: UnixMillis = 1_760_011_200_000;
const DAY_MS: i64 = 86_400_000;

fn electric() -> World {
    World { drivetrains: Drivetrains::Electric, cycle: Cycle::Wltp }
}

/// What was driven in one phase.
#[derive(Debug, Default, Clone, Copy)]
struct Driven {
    seconds: f64,
    metres: f64,
    stood: f64,
    /// km/h.
    top: f64,
    /// m/s².
    hardest: (f64, f64),
}

fn driven(seed: u64, vehicles: u32, hours: u32) -> [Driven; 4] {
    let mut phases = [Driven::default(); 4];
    let healthy = Effects::default();
    for index in 1..=vehicles {
        let mut vehicle = Vehicle::of_world(FleetSeed { seed, start: NOON }, index, electric());
        for _ in 0..hours * 3_600 {
            // The battery never needs a charger, and it is always noon.
            vehicle.advance(1.0, &healthy);
            let Some(phase) = vehicle.drive.phase() else { continue };
            let of = &mut phases[phase as usize];
            let speed = vehicle.drive.speed;
            of.seconds += 1.0;
            of.metres += speed;
            of.stood += f64::from(u8::from(speed == 0.0));
            of.top = of.top.max(speed * 3.6);
            of.hardest.0 = of.hardest.0.min(vehicle.drive.acceleration);
            of.hardest.1 = of.hardest.1.max(vehicle.drive.acceleration);
        }
    }
    phases
}

/// Prints the table with `cargo test -p motorcade-simulator wltc -- --nocapture`.
#[test]
fn the_phases_have_the_figures_of_the_wltc() {
    use std::io::Write;
    let phases = driven(4, 50, 16);
    let mut table =
        String::from("phase: mean km/h (WLTC) | standstill (WLTC) | top km/h (WLTC) | acceleration m/s^2\n");
    let (mut seconds, mut metres, mut stood) = (0.0, 0.0, 0.0);
    for phase in Phase::ALL {
        let (of, facts) = (phases[phase as usize], phase.facts());
        table += &format!(
            "{phase:?}: {:.1} ({:.1}) | {:.3} ({:.3}) | {:.1} ({:.1}) | {:.2} to {:.2}\n",
            of.metres / of.seconds * 3.6,
            facts.metres / facts.seconds * 3.6,
            of.stood / of.seconds,
            facts.standstill,
            of.top,
            facts.top,
            of.hardest.0,
            of.hardest.1,
        );
        seconds += facts.seconds;
        metres += of.metres / of.seconds * facts.seconds;
        stood += of.stood / of.seconds * facts.seconds;
    }
    let (mean, standstill) = (metres / seconds * 3.6, stood / seconds);
    table += &format!("all, as long as in the WLTC: {mean:.1} (46.5) | {standstill:.3} (0.134)\n");
    writeln!(std::io::stdout(), "{table}").unwrap();
    for phase in Phase::ALL {
        let (of, facts) = (phases[phase as usize], phase.facts());
        let (mean, expected) = (of.metres / of.seconds, facts.metres / facts.seconds);
        assert!(of.seconds > 20.0 * facts.seconds, "{phase:?} is hardly driven\n{table}");
        assert!((mean / expected - 1.0).abs() < 0.06, "{phase:?}\n{table}");
        assert!((of.stood / of.seconds - facts.standstill).abs() < 0.02, "{phase:?}\n{table}");
        assert!((0.97..1.02).contains(&(of.top / facts.top)), "{phase:?}\n{table}");
        assert!(of.hardest.0 > -2.5 && of.hardest.1 < 2.6, "{phase:?}\n{table}");
    }
    assert!((mean - 46.5).abs() < 2.0 && (standstill - 0.134).abs() < 0.012, "{table}");
}

/// The share of vehicles under way at an hour of the day.
fn under_way(hour: i64) -> f64 {
    let start = NOON + (hour - 12) * 3_600_000;
    let vehicles = (1..=90).map(|index| {
        let mut vehicle = Vehicle::of_world(FleetSeed { seed: 6, start: NOON - DAY_MS }, index, electric());
        // A day later everybody is where his day has led him.
        (1..=48).for_each(|n| drop(vehicle.step(NOON - DAY_MS + n * (start + DAY_MS - NOON + DAY_MS) / 48, &[])));
        f64::from(u8::from(vehicle.drive.activity == Activity::Trip))
    });
    vehicles.sum::<f64>() / 90.0
}

#[test]
fn one_drives_by_day_and_parks_by_night() {
    let [day, night] = [15, 3].map(under_way);
    assert!((0.25..0.75).contains(&day), "{day} under way at three in the afternoon");
    assert!(night < 0.17, "{night} under way at three in the morning");
}

#[test]
fn the_first_hour_is_like_the_same_hour_a_day_later() {
    let share = |days: i64| {
        let vehicles = (1..=150).map(|index| {
            let fleet = FleetSeed { seed: 8, start: NOON };
            let mut vehicle = Vehicle::of_world(fleet, index, electric());
            (1..=days * 24).for_each(|n| drop(vehicle.step(NOON + n * 3_600_000, &[])));
            f64::from(u8::from(vehicle.drive.activity == Activity::Trip))
        });
        vehicles.sum::<f64>() / 150.0
    };
    let (first, later) = (share(0), share(1));
    assert!((first - later).abs() < 0.14, "{first} under way at the start, {later} a day later");
}

#[test]
fn the_air_has_seasons_and_days() {
    let climate = Vehicle::of_world(FleetSeed { seed: 3, start: NOON }, 4, electric()).climate.unwrap();
    let mean = |from: i64, days: i64| {
        let hours = 0..days * 24;
        hours.map(|n| climate.sky(NOON + from * DAY_MS + n * 3_600_000).air).sum::<f64>() / (days * 24) as f64
    };
    // 9 October is day 282 of 365.
    let [january, july] = [90, 270].map(|from| mean(from, 31));
    assert!((-4.0..5.0).contains(&january) && (16.0..23.0).contains(&july), "{january} and {july} °C");
    assert!((mean(0, 365) - 10.3).abs() < 3.5);
    let at = |hours: i64| climate.sky(NOON + 270 * DAY_MS + hours * 3_600_000);
    let (afternoon, dawn) = (at(2), at(16));
    assert!(afternoon.air > dawn.air + 3.0 && !afternoon.dark, "{afternoon:?} {dawn:?}");
    assert!(at(12).dark && !at(7).dark, "light until eight in July");
    // The weather is the fleet's, the place is the vehicle's own.
    let other = Vehicle::of_world(FleetSeed { seed: 3, start: NOON }, 5, electric()).climate.unwrap();
    let apart: Vec<_> =
        (0..200).map(|n| climate.sky(NOON + n * DAY_MS).air - other.sky(NOON + n * DAY_MS).air).collect();
    let (least, most) = apart.iter().fold((f64::MAX, f64::MIN), |(l, m), x| (l.min(*x), m.max(*x)));
    assert!(most - least < 4.0, "neighbours have the same fronts: {least} to {most}");
}

#[test]
fn no_two_vehicles_have_aged_alike() {
    let wear = |index| Vehicle::of_world(FleetSeed { seed: 3, start: NOON }, index, electric()).wear;
    let fleet: Vec<_> = (1..=300).map(wear).collect();
    let spread = |of: &dyn Fn(&Wear) -> f64| {
        let values: Vec<_> = fleet.iter().map(of).collect();
        values.iter().fold((f64::MAX, f64::MIN), |(least, most), x| (least.min(*x), most.max(*x)))
    };
    let (least, most) = spread(&|wear| wear.travelled);
    assert!(least < 1.0e7 && most > 1.2e8 && most < 4.0e8, "{least} to {most} m");
    let (least, most) = spread(&|wear| wear.capacity);
    assert!(least > 0.7 && least < 0.9 && most > 0.97, "{least} to {most} of the capacity");
    let (least, most) = spread(&|wear| wear.resistance);
    assert!(least > 0.9 && most > 1.2 && most < 1.6, "{least} to {most} of the resistance");
}

#[test]
fn the_physics_does_not_depend_on_when_it_is_read() {
    let fault = |kind| Fault {
        kind,
        vehicle_index: 3,
        from: NOON + 600_000,
        to: NOON + 7_200_000,
        course: crate::fault::Course::Episode { grow_ms: 3_000_000, heal_ms: 900_000, bursts: None },
        percent: 100,
    };
    for drivetrains in [Drivetrains::Electric, Drivetrains::Combustion] {
        for faults in
            [&[][..], &[fault(crate::fault::FaultKind::BrakeDrag)], &[fault(crate::fault::FaultKind::CoolantLeak)]]
        {
            let world = World { drivetrains, ..electric() };
            let new = || Vehicle::of_world(FleetSeed { seed: 2, start: NOON }, 3, world);
            let (mut often, mut seldom, mut odd) = (new(), new(), new());
            for n in 1..=2 * 3_600 {
                often.step(NOON + n * 1_000, faults);
                if n % 7 == 0 {
                    odd.step(NOON + n * 1_000 + n % 900, faults);
                }
                if n % 600 == 0 {
                    seldom.step(NOON + n * 1_000, faults);
                    odd.step(NOON + n * 1_000 + 1, faults);
                    let state = |vehicle: &Vehicle| {
                        let Vehicle { drive, powertrain, draws, sky, .. } = vehicle;
                        format!("{drive:?} {powertrain:?} {draws:?} {sky:?}")
                    };
                    assert_eq!(state(&often), state(&seldom), "{drivetrains:?} {n}");
                    assert_eq!(state(&often), state(&odd), "{drivetrains:?} {n}");
                }
            }
        }
    }
}
