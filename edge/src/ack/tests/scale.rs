//! Very many vehicles: what they take, and how many acks they are sent.

use super::*;

fn names(vehicles: u32) -> Vec<String> {
    (0..vehicles).map(|n| format!("veh-{n:06}")).collect()
}

#[test]
fn a_vehicle_with_one_range_takes_at_most_200_bytes() {
    const VEHICLES: u32 = 100_000;
    let (names, now) = (names(VEHICLES), Instant::now());
    let mut acks = Acks::new(PACE, VEHICLES as usize);
    let memory = allocation_counter::measure(|| {
        for (n, name) in names.iter().enumerate() {
            acks.report(name, seq(1 + n as u64), now);
        }
    });
    let bytes = memory.bytes_current / i64::from(VEHICLES);
    println!("{bytes} bytes per vehicle, {} while growing", memory.bytes_max / u64::from(VEHICLES));
    assert_eq!(acks.vehicles(), VEHICLES as usize);
    assert!((80..=200).contains(&bytes), "{bytes}");
}

/// Readings of any vehicle at any time, one in 10 s on average, for 10 minutes by their own clock. Each vehicle is
/// on its own, so 10,000 of them tell what 100,000 would.
#[test]
fn acks_are_coalesced_at_scale_and_none_is_late() {
    const VEHICLES: u32 = 10_000;
    let (names, start) = (names(VEHICLES), Instant::now());
    let mut acks = Acks::new(PACE, VEHICLES as usize);
    let (mut sent, mut readings, mut random) = (0_u64, 0_u64, 1_u64);
    for ms in (0..600_000).step_by(10) {
        let now = start + Duration::from_millis(ms);
        for _ in 0..VEHICLES / 1_000 {
            // Knuth's generator: a fixed order that jumps about.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (random >> 33) as usize % names.len();
            readings += 1;
            acks.report(&names[n], seq(readings), now);
        }
        acks.tick(now);
        while leave(&mut acks).is_some() {
            sent += 1;
        }
        assert!(acks.next_check().is_none_or(|check| check > now), "late");
    }
    let share = sent as f64 / readings as f64;
    println!("{readings} readings, {sent} acks: {share:.3} acks per reading, {} per second", sent / 600);
    // A vehicle hears every 60 s, or after 10 readings.
    assert!((0.12..0.17).contains(&share), "{share}");
}
