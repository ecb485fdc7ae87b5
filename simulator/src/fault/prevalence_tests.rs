//! Tests of courses, of the prevalence plan, and of the truth that is told about them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    truth::Truth,
    vehicle::{Cycle, Drivetrains, FleetSeed, World, first_cohort},
};

const START: UnixMillis = 1_760_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn world() -> World {
    World { drivetrains: Drivetrains::Mixed, cycle: Cycle::Wltp }
}

fn prevalence(seed: u64, indices: std::ops::Range<u32>, span_ms: i64, share: f64) -> Prevalence {
    let fleet = FleetSeed { seed, start: START };
    Prevalence { fleet, world: world(), indices, span: START..START + span_ms, share }
}

fn any_course() -> impl Strategy<Value = Course> {
    let bursts = proptest::option::of((2_i64..50_000, 1_i64..50_000));
    let episode = (0_i64..200_000, 0_i64..200_000, bursts).prop_map(|(grow_ms, heal_ms, bursts)| {
        let bursts = bursts.map(|(period_ms, on_ms)| Bursts { period_ms, on_ms });
        Course::Episode { grow_ms, heal_ms, bursts }
    });
    prop_oneof![Just(Course::Onset), episode]
}

/// What the physics feels of a fault, in the unit of its row.
fn felt(kind: FaultKind, effects: &Effects) -> f64 {
    match kind.severity().effect {
        Effect::TyreLeak { .. } => effects.tyre_loss_kpa,
        Effect::Cooling { .. } => 100.0 * (1.0 - effects.radiator),
        Effect::Resistance { .. } => 100.0 * (effects.resistance - 1.0),
        Effect::Bearing { .. } => effects.vibration_per_1000_rpm,
        Effect::LowVoltage { .. } => effects.low_voltage_drop_v,
        Effect::Loss { .. } => 100.0 * (effects.loss - 1.0),
        Effect::Current { .. } => effects.current_offset_a,
        Effect::Accelerator { .. } => effects.accelerator_offset_percent,
        Effect::Drag { .. } => effects.drag_n,
        Effect::Speed { .. } => 100.0 * (1.0 - effects.speed),
        Effect::CoolantLeak { .. } => 5.5 * (1.0 - effects.coolant),
        Effect::ThermostatOpen { .. } => effects.thermostat_lift_mm,
        Effect::Race { .. } => effects.hub_per_speed,
        Effect::WeakCell { .. } => 100.0 * effects.cell_deficit,
        Effect::Alternator { .. } => 150.0 * (1.0 - effects.alternator),
        Effect::Contact { .. } => effects.contact_ohms,
        Effect::Frozen => f64::from(u8::from(effects.frozen)),
        Effect::SetPoint { .. } => effects.set_point_drop_v,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_truth_equals_the_effects_at_any_moment(
        at in 0..FaultKind::ALL.len(), course in any_course(), length_ms in 1_i64..2_000_000,
        times in proptest::collection::vec(-10_000_i64..2_100_000, 50), percent in 1_u16..=400,
    ) {
        let fault =
            Fault { kind: FaultKind::ALL[at], vehicle_index: 3, from: START, to: START + length_ms, course, percent };
        let line = serde_json::to_string(&Truth::of(&fault, world())).unwrap();
        let truth: Truth = serde_json::from_str(&line).unwrap();
        prop_assert!(truth.course.is_sorted_by_key(|corner| corner.time));
        prop_assert_eq!(truth.course.last().map(|corner| (corner.time, corner.strength)), Some((fault.to, 0.0)));
        let corners = truth.course.iter().map(|corner| corner.time - START);
        for ms in times.into_iter().chain(corners.flat_map(|ms| [ms - 1, ms, ms + 1])) {
            let strength = truth.strength(START + ms);
            let felt = felt(fault.kind, &Effects::at(&[fault], START + ms));
            prop_assert!((0.0..=1.0).contains(&strength));
            prop_assert!((strength - fault.strength(START + ms)).abs() < 1e-9, "{} ms: {strength} {fault:?}", ms);
            if fault.kind.severity().effect != Effect::Frozen {
                let (of_table, _) = fault.kind.severity().effect.magnitude();
                let largest = of_table * f64::from(percent) / 100.0;
                // Nothing loses more than (nearly) all of what there is.
                let most = match fault.kind.severity().effect {
                    Effect::Cooling { .. } | Effect::Speed { .. } => 98.0,
                    Effect::CoolantLeak { .. } => 5.5 * 0.98,
                    Effect::Alternator { .. } => 150.0 * 0.98,
                    _ => f64::INFINITY,
                };
                prop_assert!((felt - (strength * largest).min(most)).abs() < 1e-9 * largest.max(1.0), "{} ms: {felt}", ms);
            }
        }
    }

    #[test]
    fn a_prevalence_plan_keeps_its_promises(
        seed: u64, first in 1_u32..10_000, vehicles in 0_u32..600, span_ms in 0_i64..400 * HOUR_MS, share in 0.001..0.1,
    ) {
        let of = prevalence(seed, first..first + vehicles, span_ms, share);
        let plan = FaultPlan::prevalence(&of);
        prop_assert_eq!(&plan, &FaultPlan::prevalence(&of));
        let faulty: i64 = plan.faults().iter().map(|fault| fault.to - fault.from).sum();
        prop_assert!(faulty as f64 <= share * f64::from(vehicles) * span_ms as f64, "{faulty} ms");
        for fault in plan.faults() {
            prop_assert!(of.indices.contains(&fault.vehicle_index));
            prop_assert!(of.span.start <= fault.from && fault.from < fault.to && fault.to <= of.span.end);
            let model = of.world.model(fault.vehicle_index);
            prop_assert!(fault.kind.befalls(model) && !fault.signals(model).is_empty(), "{fault:?}");
            // Its truth stays a short line.
            prop_assert!(fault.corners().len() < 130, "{} corners", fault.corners().len());
            prop_assert_eq!(fault.strength(fault.to), 0.0);
        }
        for pair in plan.faults().windows(2) {
            prop_assert!(pair[0].vehicle_index != pair[1].vehicle_index || pair[0].to <= pair[1].from, "{pair:?}");
        }
    }
}

#[test]
fn a_large_fleet_sees_every_kind_in_proportion_and_nearly_the_whole_share() {
    let of = prevalence(3, 1..2_001, 14 * 24 * HOUR_MS, 0.01);
    let plan = FaultPlan::prevalence(&of);
    let mut hours = BTreeMap::<FaultKind, f64>::new();
    let mut strongest = BTreeMap::<FaultKind, f64>::new();
    for fault in plan.faults() {
        *hours.entry(fault.kind).or_default() += (fault.to - fault.from) as f64 / HOUR_MS as f64;
        let most = fault.corners().iter().map(|corner| corner.strength).fold(0.0, f64::max);
        let seen = strongest.entry(fault.kind).or_default();
        *seen = seen.max(most);
    }
    assert_eq!(hours.len(), 11, "{hours:?}");
    let all: f64 = hours.values().sum();
    let share = all / (2_000.0 * 14.0 * 24.0);
    assert!((0.009..0.010_000_001).contains(&share), "{share} of the hours are faulty: {hours:?}");
    assert!(hours.values().all(|of_kind| (0.03..0.25).contains(&(of_kind / all))), "{hours:?}");
    assert!(strongest.values().all(|most| *most > 0.99), "{strongest:?}");
    // A demo of half an hour has faults too, shorter ones.
    let short = FaultPlan::prevalence(&prevalence(3, 1..201, HOUR_MS / 2, 0.01));
    assert!(!short.faults().is_empty() && short.faults().iter().all(|fault| fault.to - fault.from <= HOUR_MS / 4));
}

#[test]
fn a_regression_befalls_a_cohort_and_is_rolled_back_at_once() {
    let of = prevalence(5, 1..2_001, 14 * 24 * HOUR_MS, 0.01);
    let plan = FaultPlan::prevalence(&of);
    let regressed: Vec<_> = plan.faults().iter().filter(|fault| fault.kind == FaultKind::FirmwareRegression).collect();
    let cohort: BTreeSet<_> = first_cohort(1..2_001).collect();
    assert_eq!(cohort.len(), 50);
    assert!(regressed.len() > 40, "{} of 50 got the release", regressed.len());
    assert!(regressed.iter().all(|fault| cohort.contains(&fault.vehicle_index)));
    assert_eq!(regressed.iter().map(|fault| fault.to).collect::<BTreeSet<_>>().len(), 1, "one rollback");
}

#[test]
fn the_table_has_a_line_for_every_kind() {
    let table = table().to_string();
    assert_eq!(table.lines().count(), 1 + FaultKind::ALL.len());
    for (line, kind) in table.lines().skip(1).zip(FaultKind::ALL) {
        assert!(line.starts_with(kind.as_str()), "{line}");
        assert!(line.len() < 240, "{line}");
    }
}
