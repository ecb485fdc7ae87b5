//! What a vehicle is held against that nothing is known of: the fleet, as networks see it that have not learnt from it.

use super::{
    acquaintance::{Acquaintance, Means, Selected, owns},
    cross,
    folds::{self, FOLDS},
};
use crate::{
    baseline::{Baseline, Fleet, Own},
    scaler::median,
};

/// Of each input and head, a number to add.
type Shifts = Vec<[f32; 2]>;

/// What is known of strangers at some moment.
///
/// How far vehicles lie from what is expected of them is taken from networks that have not learnt from them. But each
/// network also errs in its own way, the same in all vehicles; that of the shipped one counts. So the centres of the others
/// are put where the shipped one has them.
#[derive(Debug)]
pub(super) struct Strangers {
    /// By input: of all vehicles.
    fleet: Vec<Fleet>,
    /// Of all vehicles but those of a fold.
    without: Vec<Vec<Fleet>>,
    /// By part and fold of the vehicles: how much further up than the shipped network's the centres lie of the one that
    /// judges the part. Vehicles of the fold have no say in it: what is odd about one of few would be taken for the network's.
    shifts: Vec<Vec<Shifts>>,
}

impl Strangers {
    /// From what blocks of each vehicle say to the network that has not learnt from it; if there is no such network, from
    /// what they say to the one that has.
    pub(super) fn of(known: &Acquaintance, others: Option<&[Selected<Means>]>, inputs: usize) -> Self {
        let Some(others) = others else { return Self::from(known.owns(), Vec::new(), inputs) };
        let mut owns = owns(others, inputs);
        let shifts = cross::by_part(|is_in| {
            let without = |fold| shifts(known.owns(), &owns, &|v| is_in(v) && folds::of_vehicle(v) != fold, inputs);
            (0..FOLDS).map(without).collect::<Vec<_>>()
        });
        for (vehicle, own) in owns.iter_mut().enumerate() {
            let shifts = &shifts[cross::part(vehicle)][folds::of_vehicle(vehicle)];
            own.iter_mut().flatten().zip(shifts.iter().flatten()).for_each(|(own, shift)| own.center -= shift);
        }
        Self::from(&owns, shifts, inputs)
    }

    fn from(owns: &[Vec<[Own; 2]>], shifts: Vec<Vec<Shifts>>, inputs: usize) -> Self {
        let fleet = |fold: Option<usize>| -> Vec<Fleet> {
            let others = owns.iter().enumerate().filter(|(vehicle, _)| fold != Some(folds::of_vehicle(*vehicle)));
            let others: Vec<_> = others.map(|(_, own)| own).collect();
            (0..inputs).map(|input| Fleet::of(&others.iter().map(|own| &own[input]).collect::<Vec<_>>())).collect()
        };
        let without = (0..FOLDS).map(|fold| fleet(Some(fold))).collect();
        Self { fleet: fleet(None), without, shifts }
    }

    /// What a stranger is held against.
    pub(super) fn baselines(&self) -> Vec<Baseline> {
        self.fleet.iter().map(Fleet::stranger).collect()
    }

    /// What a vehicle would be held against if nothing were known of it and those of its fold.
    pub(super) fn without(&self, vehicle: usize) -> Vec<Baseline> {
        let others = self.without[folds::of_vehicle(vehicle)].iter().zip(&self.fleet);
        // What only vehicles of its fold have can be held against nothing else.
        others.map(|(others, all)| if others.is_known() { others.stranger() } else { all.stranger() }).collect()
    }

    /// The same for what the network says that has not learnt from the vehicle.
    pub(super) fn out_of_fold(&self, vehicle: usize) -> Vec<Baseline> {
        let mut found = self.without(vehicle);
        if let Some(shifts) = self.shifts.get(cross::part(vehicle)).map(|of| &of[folds::of_vehicle(vehicle)]) {
            found.iter_mut().zip(shifts).for_each(|(baseline, shifts)| {
                baseline.center.iter_mut().zip(shifts).for_each(|(center, shift)| *center += shift);
            });
        }
        found
    }
}

/// How much further up the centres of some vehicles lie to another network: the median; 0 where there is none.
fn shifts(known: &[Vec<[Own; 2]>], others: &[Vec<[Own; 2]>], is_in: &dyn Fn(usize) -> bool, inputs: usize) -> Shifts {
    let shift = |input: usize, head: usize| {
        let pairs = known.iter().zip(others).enumerate().filter(|(vehicle, _)| is_in(*vehicle));
        let differences = pairs.map(|(_, (known, other))| other[input][head].center - known[input][head].center);
        let mut differences: Vec<f32> = differences.filter(|difference| !difference.is_nan()).collect();
        if differences.is_empty() { 0.0 } else { median(&mut differences) }
    };
    (0..inputs).map(|input| [shift(input, 0), shift(input, 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::MEANS;

    /// Blocks of a vehicle whose only input lies around this centre.
    fn blocks(center: f32) -> Selected<Means> {
        let mean = |n: usize| center + 0.2 * ((n as f32 * 0.618).fract() - 0.5);
        (0..400).map(|n| vec![(0, [[mean(n); MEANS]; 2])]).collect()
    }

    fn strangers(selected: &[Selected<Means>], others: Option<&[Selected<Means>]>) -> Strangers {
        Strangers::of(&Acquaintance::of(selected, 1), others, 1)
    }

    #[test]
    fn a_vehicle_has_no_part_in_what_it_is_held_against_as_a_stranger() {
        let center = |vehicle: usize| if folds::of_vehicle(vehicle) == 0 { 5.0 } else { 0.1 * (vehicle % 3) as f32 };
        let selected: Vec<Selected<Means>> = (0..2 * FOLDS).map(|vehicle| blocks(center(vehicle))).collect();
        for others in [None, Some(&selected[..])] {
            let stranger = strangers(&selected, others).without(0);
            // Without its fold no vehicle lies that far off.
            assert!(stranger[0].center[0] < 0.2 && stranger[0].spread[0][0] < 0.5, "{stranger:?}");
        }
        let alone = strangers(&selected[..1], None);
        assert!((alone.without(0)[0].center[0] - 5.0).abs() < 0.1, "there is no other");
    }

    #[test]
    fn how_vehicles_differ_is_asked_of_networks_that_have_not_learnt_from_them() {
        let learnt: Vec<Selected<Means>> = (0..27).map(|_| blocks(0.0)).collect();
        let spread = |vehicle: usize| (vehicle / cross::PARTS) as f32 - 4.0;
        // Each of those networks has a bias of its own.
        let bias = |vehicle: usize| 40.0 * cross::part(vehicle) as f32;
        let others: Vec<_> = (0..27).map(|vehicle| blocks(spread(vehicle) + bias(vehicle))).collect();
        let (learnt_only, both) = (strangers(&learnt, None), strangers(&learnt, Some(&others)));
        let [narrow, wide] = [learnt_only.baselines(), both.baselines()].map(|of| of[0].spread[0][1]);
        assert!(narrow < 0.2 && (2.0..5.0).contains(&wide), "{narrow} and {wide}: differing vehicles, not networks");
        for vehicle in 0..27 {
            let (own, other) = (both.without(vehicle)[0], both.out_of_fold(vehicle)[0]);
            assert!(own.center[0].abs() < 1.5, "{own:?}");
            // That of the eight or seven others, which differ.
            assert!((other.center[0] - own.center[0] - bias(vehicle)).abs() < 1.2, "{own:?}, {other:?}");
            assert_eq!(own.spread, other.spread);
        }
    }

    #[test]
    fn in_a_small_fleet_what_is_odd_about_a_vehicle_is_not_taken_for_its_networks() {
        let learnt: Vec<Selected<Means>> = (0..5).map(|_| blocks(0.0)).collect();
        for odd in 0..5 {
            let others: Vec<_> = (0..5).map(|vehicle| blocks(if vehicle == odd { 3.0 } else { 0.0 })).collect();
            let held_against = strangers(&learnt, Some(&others)).out_of_fold(odd)[0];
            assert!(held_against.center[0].abs() < 0.5, "vehicle {odd}: {held_against:?}");
        }
    }

    #[test]
    fn networks_that_agree_change_nothing() {
        let selected: Vec<Selected<Means>> = (0..24).map(|vehicle| blocks(vehicle as f32)).collect();
        let (one, both) = (strangers(&selected, None), strangers(&selected, Some(&selected)));
        assert_eq!(one.baselines(), both.baselines());
        assert!((0..24).all(|vehicle| one.out_of_fold(vehicle) == both.out_of_fold(vehicle)));
    }
}
