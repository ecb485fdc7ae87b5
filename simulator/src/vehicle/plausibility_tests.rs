//! What a mechanic would check: warm-up, temperatures, consumption, charging voltage, pressures.

use std::io::Write;

use telemetry::signal::*;

use super::{cycle::Activity, *};

/// Midnight, universal time, 15 January and 15 July 2025.
const WINTER: UnixMillis = 1_736_899_200_000;
const SUMMER: UnixMillis = 1_752_537_600_000;
const HOUR_MS: i64 = 3_600_000;

fn world(drivetrains: Drivetrains) -> World {
    World { drivetrains, cycle: Cycle::Wltp }
}

fn new(drivetrains: Drivetrains, start: UnixMillis, index: u32) -> Vehicle {
    Vehicle::of_world(FleetSeed { seed: 5, start }, index, world(drivetrains))
}

/// Keeps a vehicle under way at a constant speed, m/s, on a level road without wind, in air of so many degrees.
fn hold(vehicle: &mut Vehicle, speed: f64, air: f64, seconds: u32) {
    vehicle.drive.calm(speed);
    vehicle.sky = Sky { air, hour: 12.0, dark: false };
    let effects = Effects::default();
    for _ in 0..seconds {
        let now =
            Moment { seconds: 1.0, sky: vehicle.sky, build: &vehicle.build, wear: &vehicle.wear, effects: &effects };
        vehicle.powertrain.advance(&vehicle.drive, 0.0, &now);
    }
}

fn engine(vehicle: &Vehicle) -> &engine::Engine {
    match &vehicle.powertrain {
        Powertrain::Combustion(engine) => engine,
        Powertrain::Electric(_) => panic!("an electric vehicle has no engine"),
    }
}

/// A combustion car that has stood all night in such air.
fn cold(index: u32, air: f64) -> Vehicle {
    let mut vehicle = new(Drivetrains::Combustion, SUMMER, index);
    let Powertrain::Combustion(engine) = &mut vehicle.powertrain else { panic!("not a combustion car") };
    engine.heat = engine_heat::EngineHeat::cold(air);
    vehicle
}

/// Minutes until the thermostat begins to open.
fn minutes_to_open(vehicle: &mut Vehicle, speed: f64, air: f64) -> f64 {
    (1..=4_000)
        .find(|_| {
            hold(vehicle, speed, air, 1);
            engine(vehicle).heat.coolant >= 87.0
        })
        .map_or(f64::INFINITY, |seconds| f64::from(seconds) / 60.0)
}

#[test]
fn an_engine_warms_up_in_minutes_and_slower_in_frost() {
    for (index, speed, air, minutes) in [
        (1, 8.0, 20.0, 7.0..14.0),
        (2, 14.0, 20.0, 5.0..11.0),
        (3, 28.0, 20.0, 2.0..5.0),
        (4, 14.0, -10.0, 10.0..25.0),
        (5, 28.0, -10.0, 3.0..8.0),
    ] {
        let took = minutes_to_open(&mut cold(index, air), speed, air);
        assert!(minutes.contains(&took), "{speed} m/s at {air} C: {took:.1} min, not {minutes:?}");
    }
}

#[test]
fn thermostat_fan_and_oil_keep_the_temperatures_of_a_sound_engine() {
    let mut table = String::new();
    for air in [-10.0, 10.0, 35.0] {
        for (speed, coolant, oil) in
            [(0.0, 55.0..103.0, 55.0..106.0), (14.0, 86.0..95.0, 84.0..100.0), (36.0, 87.0..97.0, 90.0..118.0)]
        {
            for index in 1..=6 {
                let mut vehicle = cold(index, air);
                hold(&mut vehicle, speed, air, 5_400);
                let engine = engine(&vehicle);
                let (is, oil_is, kpa) = (engine.heat.coolant, engine.heat.oil, engine.oil_kpa(&vehicle.wear));
                let volts = engine.low_voltage.voltage;
                table += &format!(
                    "{air} C, {speed} m/s: coolant {is:.1}, oil {oil_is:.1} C, {kpa:.0} kPa, {:.0} rpm, {:.1} l/h, {volts:.2} V\n",
                    engine.rpm,
                    engine.fuel_rate(),
                );
                assert!(coolant.contains(&is) && oil.contains(&oil_is), "{table}");
                assert!((80.0..450.0).contains(&kpa), "{table}");
                assert!((13.2..14.8).contains(&volts), "{table}");
                let idles = speed == 0.0;
                assert!(!idles || (0.4..1.6).contains(&engine.fuel_rate()), "{table}");
            }
        }
    }
    // In a summer's jam the fan has to help, and does not run all the time.
    let mut jam = cold(1, 35.0);
    let mut fan = 0;
    for _ in 0..5_400 {
        hold(&mut jam, 0.0, 35.0, 1);
        fan += u32::from(engine(&jam).heat.fan());
    }
    assert!((200..4_500).contains(&fan), "the fan runs {fan} of 5400 s\n{table}");
}

/// What one fleet used.
#[derive(Debug)]
struct Used {
    /// l or kWh per 100 km of each vehicle.
    per_100_km: Vec<f64>,
    /// Of the 12 V net under way, V.
    volts: (f64, f64),
    /// Share of the readings under way, and at a charger or a pump.
    under_way: f64,
    replenishing: f64,
}

impl Used {
    fn mean(&self) -> f64 {
        self.per_100_km.iter().sum::<f64>() / self.per_100_km.len() as f64
    }
}

fn used(drivetrains: Drivetrains, start: UnixMillis) -> Used {
    const VEHICLES: u32 = 12;
    const READINGS: i64 = 3 * 8_640;
    let (mut volts, mut under_way, mut replenishing) = ((f64::INFINITY, 0.0_f64), 0, 0);
    let mut per_100_km = Vec::new();
    for index in 1..=VEHICLES {
        let mut vehicle = new(drivetrains, start, index);
        let (mut used, mut metres, mut last) = (0.0, 0.0, vehicle.drive.travelled);
        for n in 1..=READINGS {
            let sample = vehicle.step(start + n * 10_000, &[]);
            let of = |number| sample.signals.number(number).unwrap();
            let travelled = vehicle.drive.travelled - last;
            last = vehicle.drive.travelled;
            match vehicle.drive.activity {
                Activity::Trip => under_way += 1,
                Activity::Parked => continue,
                Activity::Charging(_) | Activity::Refuelling => {
                    replenishing += 1;
                    continue;
                }
            }
            metres += travelled;
            used += if vehicle.model().burns() {
                of(FUEL_RATE) / 360.0
            } else {
                -of(BATTERY_CURRENT) * of(BATTERY_VOLTAGE) * 10.0 / 3.6e6
            };
            volts = (volts.0.min(of(LOW_VOLTAGE)), volts.1.max(of(LOW_VOLTAGE)));
        }
        assert!(metres > 50_000.0, "vehicle {index} drove {metres} m in three days");
        per_100_km.push(used / metres * 1e5);
    }
    let share = |count: u32| f64::from(count) / f64::from(VEHICLES) / READINGS as f64;
    Used { per_100_km, volts, under_way: share(under_way), replenishing: share(replenishing) }
}

/// Prints what is used with `cargo test -p motorcade-simulator plausible -- --nocapture`.
#[test]
fn consumption_and_voltage_are_plausible_in_summer_and_winter() {
    let mut means = Vec::new();
    for (drivetrains, unit, range, net) in
        [(Drivetrains::Combustion, "l", 4.0..12.0, 13.2..14.8), (Drivetrains::Electric, "kWh", 12.0..25.0, 13.2..15.0)]
    {
        for (season, start) in [("winter", WINTER), ("summer", SUMMER)] {
            let used = used(drivetrains, start);
            let least = used.per_100_km.iter().copied().fold(f64::INFINITY, f64::min);
            let most = used.per_100_km.iter().copied().fold(0.0, f64::max);
            writeln!(
                std::io::stdout(),
                "{drivetrains:?} in {season}: {:.1} {unit}/100 km ({least:.1} to {most:.1}), {:.2} to {:.2} V, {:.0} % under way, {:.1} % at a charger or pump",
                used.mean(),
                used.volts.0,
                used.volts.1,
                100.0 * used.under_way,
                100.0 * used.replenishing,
            )
            .unwrap();
            assert!(used.per_100_km.iter().all(|per| range.contains(per)), "{drivetrains:?} in {season}: {used:?}");
            assert!(
                net.contains(&used.volts.0) && net.contains(&used.volts.1),
                "{drivetrains:?} in {season}: {used:?}"
            );
            assert!((0.1..0.5).contains(&used.under_way), "{drivetrains:?} in {season}: {used:?}");
            assert!((0.0005..0.4).contains(&used.replenishing), "{drivetrains:?} in {season}: {used:?}");
            means.push(used.mean());
        }
    }
    assert!(means[0] > means[1] * 1.03 && means[2] > means[3] * 1.1, "winter costs more: {means:?}");
}

#[test]
fn every_reading_of_a_week_is_possible_and_complete() {
    use telemetry::{Kind, Record, SCHEMA, validation};
    for (drivetrains, cycle, expected) in [
        (Drivetrains::Electric, Cycle::Wltp, 31),
        (Drivetrains::Combustion, Cycle::Wltp, 32),
        (Drivetrains::Combustion, Cycle::Classic, 32),
    ] {
        for index in [1, 2, 40_000] {
            let fleet = FleetSeed { seed: u64::from(index), start: WINTER };
            let mut vehicle = Vehicle::of_world(fleet, index, World { drivetrains, cycle });
            for n in 1..=7 * 1_440 {
                let time = WINTER + n * 60_000;
                let sample = vehicle.step(time, &[]);
                assert_eq!(sample.signals.known().count(), expected, "{drivetrains:?} {cycle:?}");
                let known = sample.signals.known().all(|(number, _)| sensors::reports(vehicle.model(), number));
                assert!(known, "{drivetrains:?} {cycle:?}: {sample:?}");
                let record = Record {
                    schema: SCHEMA,
                    vehicle: vehicle_id(index),
                    boot: 1,
                    seq: n as u64,
                    time,
                    kind: Kind::Full,
                    signals: sample.signals,
                    position: sample.position,
                };
                validation::validate(&record, Some(&record.vehicle))
                    .unwrap_or_else(|invalid| panic!("{drivetrains:?} {cycle:?} vehicle {index} step {n}: {invalid}"));
            }
        }
    }
}

#[test]
fn engine_signals_keep_the_relations_of_physics() {
    for index in 1..=8 {
        let mut vehicle = new(Drivetrains::Combustion, SUMMER + 8 * HOUR_MS, index);
        for n in 1..=1_800 {
            let sample = vehicle.step(SUMMER + 8 * HOUR_MS + n * 10_000, &[]);
            let of = |number| sample.signals.number(number).unwrap();
            let context = || format!("seed 5 vehicle {index} step {n}: {sample:?}");
            let running = of(ENGINE_SPEED) > 0.0;
            assert_eq!(running, sample.signals.get(LOW_VOLTAGE_STATE) == Some(&telemetry::Value::Text("ON".into())));
            assert!(running || of(FUEL_RATE) == 0.0 && of(OIL_PRESSURE) == 0.0 && of(SPEED) == 0.0, "{}", context());
            // Air and fuel burn at the ratio that the lambda sensor reports.
            if of(FUEL_RATE) > 0.5 {
                let ratio = of(AIR_FLOW) / (of(FUEL_RATE) * 0.745 / 3.6);
                assert!((ratio / (14.6 * of(LAMBDA)) - 1.0).abs() < 0.15, "{ratio} {}", context());
            }
            // Speed density: air per turn follows the manifold's pressure.
            if of(ENGINE_SPEED) > 1_000.0 {
                let expected = 0.88 * 1.6e-3 / 287.0 / (of(AIR_TEMPERATURE) + 14.0 + 273.0)
                    * (of(INTAKE_PRESSURE) - 8.0)
                    * 1e6
                    * of(ENGINE_SPEED)
                    / 120.0;
                assert!((of(AIR_FLOW) - expected).abs() < 0.4 + 0.06 * expected, "{expected} {}", context());
            }
            // Gear, wheel and crankshaft.
            if of(GEAR) >= 2.0 && of(SPEED) > 10.0 {
                let per_kmh = of(ENGINE_SPEED) / of(SPEED);
                let ratio = [8.8, 5.9, 4.5, 3.65, 3.0][of(GEAR) as usize - 2];
                let expected = ratio / 0.33 / 3.6 * 30.0 / std::f64::consts::PI;
                assert!((per_kmh / expected - 1.0).abs() < 0.08, "{per_kmh} {expected} {}", context());
            }
            assert!(of(ACCELERATOR) == 0.0 || of(BRAKE) == 0.0, "{}", context());
        }
    }
}
