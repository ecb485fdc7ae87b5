//! Tests of the table, the onset and the plan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::vehicle::FleetSeed;

#[test]
fn the_table_stands_in_the_order_of_the_kinds() {
    for (at, kind) in FaultKind::ALL.into_iter().enumerate() {
        let severity = kind.severity();
        assert_eq!((at, kind), (kind as usize, severity.kind));
        assert_eq!(kind.as_str().parse(), Ok(kind));
        assert!(!severity.signals.is_empty() && !severity.text.is_empty());
        assert!(severity.signals.contains(&severity.shift.0) && severity.shift.1 > 0.0, "{kind}");
        assert!(severity.signals.iter().chain(severity.side_effects).all(|n| signal::lookup(*n).is_some()), "{kind}");
    }
    assert!("rust".parse::<FaultKind>().is_err());
}

#[test]
fn faults_grow_or_come_and_go() {
    let ramp = Onset::Ramp { ramp_ms: 100 };
    assert_eq!([-1, 0, 50, 100, 5_000].map(|age| ramp.strength(age)), [0.0, 0.0, 0.5, 1.0, 1.0]);
    let bursts = Onset::Intermittent { ramp_ms: 100, period_ms: 40, on_ms: 10 };
    assert_eq!([-1, 0, 9, 10, 39].map(|age| bursts.strength(age)), [0.0, 0.5, 0.545, 0.0, 0.0]);
    assert_eq!([120, 129, 130, 160].map(|age| bursts.strength(age)), [1.0, 1.0, 0.0, 1.0]);
}

#[test]
fn a_fault_of_no_age_and_no_fault_are_healthy() {
    assert_eq!(Effects::at(&[], 0), Effects::default());
    for kind in FaultKind::ALL {
        let fault = Fault { kind, vehicle_index: 1, from: 0, to: i64::MAX, course: Course::Onset, percent: 100 };
        assert_eq!(Effects::at(&[fault], -1), Effects::default(), "{kind}");
        let full = Effects::at(&[fault], kind.severity().onset.full_after_ms() * 10);
        let intermittent = matches!(kind.severity().onset, Onset::Intermittent { .. });
        assert!(intermittent || full != Effects::default(), "{kind}");
    }
}

#[test]
fn faults_are_half_open_and_of_their_vehicle() {
    let course = Course::Episode { grow_ms: 0, heal_ms: 0, bursts: None };
    let fault = Fault { kind: FaultKind::BrakeDrag, vehicle_index: 7, from: 1_000, to: 2_000, course, percent: 100 };
    assert_eq!([999, 1_000, 1_999, 2_000].map(|time| fault.strength(time)), [0.0, 1.0, 1.0, 0.0]);
    let later = Fault { from: 5_000, to: 6_000, ..fault };
    let plan = FaultPlan::of(vec![later, fault, Fault { vehicle_index: 3, ..fault }]);
    assert_eq!(plan.of_vehicle(7), [fault, later]);
    assert_eq!(plan.of_vehicle(3).len(), 1);
    assert_eq!(plan.of_vehicle(4), []);
    assert_eq!(FaultPlan::none().of_vehicle(7), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_demo_plan_keeps_its_promises(
        seed: u64, first in 1_u32..100_000, vehicles in 0_u32..300, span in 0_i64..10_000_000,
    ) {
        let from = 1_760_000_000_000;
        let fleet = FleetSeed { seed, start: from };
        let indices = first..first + vehicles;
        let plan = FaultPlan::demo(fleet, indices.clone(), from, from + span);
        prop_assert_eq!(&plan, &FaultPlan::demo(fleet, indices.clone(), from, from + span));
        let broken: BTreeSet<_> = plan.faults().iter().map(|fault| fault.vehicle_index).collect();
        prop_assert_eq!(broken.len(), plan.faults().len(), "two faults on one vehicle");
        prop_assert!(broken.iter().all(|index| indices.contains(index)));
        prop_assert!(plan.faults().len() <= vehicles as usize / 2);
        let mut per_kind = BTreeMap::<FaultKind, usize>::new();
        for fault in plan.faults() {
            prop_assert!(fault.from >= from && fault.from <= from + span / 2 && fault.to == from + span);
            *per_kind.entry(fault.kind).or_default() += 1;
        }
        if vehicles as usize >= 4 * FaultKind::DEMO.len() {
            prop_assert!(FaultKind::DEMO.iter().all(|kind| per_kind[kind] == 2));
        }
    }
}
