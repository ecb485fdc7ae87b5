//! Getting to know the vehicles: some blocks of each, its baseline, the fleet's, and that of a fleet without it.

use telemetry::UnixMillis;

use super::{
    Options,
    folds::{self, FOLDS},
    survey::Parts,
    walk::{self, Walk},
};
use crate::{
    Error, History,
    baseline::{self, Baseline, Baselines, Fleet, MAX_VEHICLES, Own, Standing, key},
    history,
    network::Network,
    residual::Residual,
    scaler::Scaler,
    track::{MEANS, Raw},
    window::Query,
};

/// Of some blocks of a vehicle: input of each signal, and what is kept of its statistics.
pub(super) type Selected<T> = Vec<Vec<(u16, T)>>;

/// What baselines are made of: of a fleet's many blocks nothing else is kept for long.
pub(super) type Means = [[f32; MEANS]; 2];

/// Collects statistics of some blocks, evenly spread.
pub(super) struct Selection<T> {
    pub(super) blocks: Selected<T>,
    keep: fn(&Raw) -> T,
    length_ms: i64,
    most: usize,
    stride: u64,
    seen: u64,
    last: Option<i64>,
}

impl<T> Selection<T> {
    pub(super) fn new(length_ms: i64, most: usize, keep: fn(&Raw) -> T) -> Self {
        Self { blocks: Vec::new(), keep, length_ms, most, stride: 1, seen: 0, last: None }
    }

    pub(super) fn take(&mut self, query: &Query, residual: &Residual, raw: &[Raw]) {
        let block = query.time().div_euclid(self.length_ms);
        if self.last.replace(block) == Some(block) {
            return;
        }
        if self.seen.is_multiple_of(self.stride) {
            let signals = residual.signals.iter().zip(raw);
            self.blocks.push(signals.map(|((_, input, _), raw)| (*input, (self.keep)(raw))).collect());
            if self.blocks.len() > self.most {
                // Every other one goes, and from now on only half as many come.
                let mut keep = false;
                self.blocks.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }
}

/// Statistics of some blocks of each vehicle's training part.
pub(super) fn select(
    history: &dyn History,
    (scaler, network): (&Scaler, &(dyn Fn() -> Result<Network, Error> + Sync)),
    parts: Parts,
    most: usize,
    options: &Options,
) -> Result<Vec<Selected<Raw>>, Error> {
    let plain = vec![Baseline::PLAIN; scaler.len()];
    let step_ms = history.layout().step_ms();
    history::each(history.vehicles().len(), options.threads, network, |network, vehicle| {
        let mut selection = Selection::new(crate::block_ms(history.layout()), most, |raw| *raw);
        let mut walk = Walk::new(step_ms, UnixMillis::MIN);
        let span = (UnixMillis::MIN, parts.train);
        walk::look_through(history, vehicle, (scaler, network), span, &mut |query, residual| {
            if let Some(raw) = walk.follow(&plain, query, residual) {
                selection.take(query, residual, raw);
            }
        })?;
        Ok(selection.blocks)
    })
}

/// The means of each vehicle's blocks.
pub(super) fn means(selected: &[Selected<Raw>]) -> Vec<Selected<Means>> {
    let of_block = |block: &Vec<(u16, Raw)>| block.iter().map(|(input, raw)| (*input, raw.means)).collect();
    selected.iter().map(|blocks| blocks.iter().map(of_block).collect()).collect()
}

/// What blocks of one vehicle say, by input and head.
fn own<'a>(blocks: impl Iterator<Item = &'a Vec<(u16, Means)>>, inputs: usize) -> Vec<[Own; 2]> {
    let mut columns: Vec<[[Vec<f32>; MEANS]; 2]> = (0..inputs).map(|_| Default::default()).collect();
    for (input, means) in blocks.flatten() {
        for (columns, means) in columns[usize::from(*input)].iter_mut().zip(means) {
            for (column, mean) in columns.iter_mut().zip(*means).filter(|(_, mean)| !mean.is_nan()) {
                column.push(mean);
            }
        }
    }
    columns.iter_mut().map(|heads| std::array::from_fn(|head| baseline::own(&mut heads[head]))).collect()
}

/// What is known of the vehicles at some moment.
#[derive(Debug)]
pub(super) struct Acquaintance {
    owns: Vec<Vec<[Own; 2]>>,
    /// By input: of all vehicles.
    fleet: Vec<Fleet>,
    /// Of all vehicles but those of a fold.
    without: Vec<Vec<Fleet>>,
}

impl Acquaintance {
    pub(super) fn of(selected: &[Selected<Means>], inputs: usize) -> Self {
        let owns: Vec<Vec<[Own; 2]>> = selected.iter().map(|blocks| own(blocks.iter(), inputs)).collect();
        let fleet = |fold: Option<usize>| -> Vec<Fleet> {
            let others = owns.iter().enumerate().filter(|(vehicle, _)| fold != Some(folds::of_vehicle(*vehicle)));
            let others: Vec<_> = others.map(|(_, own)| own).collect();
            (0..inputs).map(|input| Fleet::of(&others.iter().map(|own| &own[input]).collect::<Vec<_>>())).collect()
        };
        let without = (0..FOLDS).map(|fold| fleet(Some(fold))).collect();
        Self { fleet: fleet(None), without, owns }
    }

    /// A vehicle's baseline; none of one that nothing is known of.
    pub(super) fn known(&self, vehicle: usize) -> Option<Vec<Baseline>> {
        let own = &self.owns[vehicle];
        // Of a few minutes no centre is known: it would be the fleet's baseline under another name.
        let some = own.iter().flatten().any(|own| !own.center.is_nan());
        some.then(|| self.fleet.iter().zip(own).map(|(fleet, own)| fleet.vehicle(own)).collect())
    }

    /// What a vehicle would be held against if nothing were known of it and those of its fold.
    pub(super) fn stranger(&self, vehicle: usize) -> Vec<Baseline> {
        let others = self.without[folds::of_vehicle(vehicle)].iter().zip(&self.fleet);
        // What only vehicles of its fold have can be held against nothing else.
        others.map(|(others, all)| if others.is_known() { others.stranger() } else { all.stranger() }).collect()
    }

    /// As what the artefact will judge each vehicle: it keeps so many baselines.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let mut left = MAX_VEHICLES;
        let standing = |vehicle| {
            if left == 0 || self.known(vehicle).is_none() {
                return Standing::Stranger;
            }
            left -= 1;
            Standing::Known
        };
        (0..self.owns.len()).map(standing).collect()
    }

    /// What the artefact will know.
    pub(super) fn baselines(&self, history: &dyn History) -> Baselines {
        let vehicles = history.vehicles().iter().enumerate().zip(self.standings());
        let kept = vehicles.filter(|(_, standing)| *standing == Standing::Known);
        Baselines {
            fleet: self.fleet.iter().map(Fleet::stranger).collect(),
            vehicles: kept.filter_map(|((at, id), _)| Some((key(id), self.known(at)?))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a vehicle whose only input lies around this centre.
    fn blocks(center: f32) -> Selected<Means> {
        let mean = |n: usize| center + 0.2 * ((n as f32 * 0.618).fract() - 0.5);
        (0..400).map(|n| vec![(0, [[mean(n); MEANS]; 2])]).collect()
    }

    #[test]
    fn a_vehicle_has_no_part_in_what_it_is_held_against_as_a_stranger() {
        let center = |vehicle: usize| if folds::of_vehicle(vehicle) == 0 { 5.0 } else { 0.1 * (vehicle % 3) as f32 };
        let mut selected: Vec<Selected<Means>> = (0..2 * FOLDS).map(|vehicle| blocks(center(vehicle))).collect();
        selected.push(Vec::new());
        let known = Acquaintance::of(&selected, 1);
        let own = known.known(0).unwrap();
        assert!((own[0].center[0] - 5.0).abs() < 0.1, "{own:?}");
        // Without its fold no vehicle lies that far off.
        let stranger = known.stranger(0);
        assert!(stranger[0].center[0] < 0.2 && stranger[0].spread[0][0] < 0.5, "{stranger:?}");
        assert_eq!(known.known(2 * FOLDS), None, "nothing was seen of it");
        selected[2 * FOLDS] = blocks(5.0)[..11].to_vec();
        assert_eq!(Acquaintance::of(&selected, 1).known(2 * FOLDS), None, "too little was seen of it");
        let alone = Acquaintance::of(&selected[..1], 1);
        assert!((alone.stranger(0)[0].center[0] - 5.0).abs() < 0.1, "there is no other");
    }
}
