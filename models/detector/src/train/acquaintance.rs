//! Getting to know the vehicles: some blocks of each, its baseline, and the fleet's.

use telemetry::UnixMillis;

use super::{
    Options,
    cross::Networks,
    survey::Parts,
    walk::{self, Carried, Walk},
};
use crate::{
    Error, History,
    baseline::{self, Baseline, Baselines, Fleet, MAX_VEHICLES, Own, Standing, key},
    history,
    residual::Residual,
    scaler::Scaler,
    track::{MEANS, Raw},
    window::Query,
};

/// Of some blocks of a vehicle: input of each signal, and what is kept of its statistics.
pub(super) type Selected<T> = Vec<Vec<(u16, T)>>;

/// Of each vehicle: by the network, and by the one that has not learnt from it.
pub(super) type OfBoth<T> = [Vec<Selected<T>>; 2];

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

/// Statistics of some blocks of each vehicle's training part: by the network, and by the one that has not learnt from it. And
/// the tracks of each at its end.
pub(super) fn select(
    history: &dyn History,
    (scaler, networks): (&Scaler, &(dyn Fn() -> Result<Networks, Error> + Sync)),
    parts: Parts,
    most: usize,
    options: &Options,
) -> Result<(OfBoth<Raw>, Vec<Carried>), Error> {
    let plain = vec![Baseline::PLAIN; scaler.len()];
    let (block_ms, step_ms) = (crate::block_ms(history.layout()), history.layout().step_ms());
    let selected = history::each(history.vehicles().len(), options.threads, networks, |networks, vehicle| {
        let mut selections = [(); 2].map(|()| Selection::new(block_ms, most, |raw| *raw));
        let walk = || Walk::new(step_ms, UnixMillis::MIN, None);
        let mut walks = [walk()?, walk()?];
        let span = (UnixMillis::MIN, parts.train, false);
        let in_order =
            walk::look_through(history, vehicle, (scaler, networks), span, &mut |query, residual, other| {
                let residuals = [Some(residual), other];
                for ((selection, walk), residual) in selections.iter_mut().zip(&mut walks).zip(residuals) {
                    let Some(residual) = residual else { continue };
                    if let Some(raw) = walk.follow(&plain, query, residual) {
                        selection.take(query, residual, raw);
                    }
                }
            })?;
        let [own, other] = selections.map(|selection| selection.blocks);
        Ok::<_, Error>(((own, other), walk::carried(vehicle, in_order, walks.each_ref())))
    })?;
    let (selected, carried): (Vec<_>, Vec<_>) = selected.into_iter().unzip();
    let (own, others) = selected.into_iter().unzip();
    Ok(([own, others], carried))
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

/// What blocks of each vehicle say, by input and head.
pub(super) fn owns(selected: &[Selected<Means>], inputs: usize) -> Vec<Vec<[Own; 2]>> {
    selected.iter().map(|blocks| own(blocks.iter(), inputs)).collect()
}

/// What is known of the vehicles at some moment.
#[derive(Debug)]
pub(super) struct Acquaintance {
    owns: Vec<Vec<[Own; 2]>>,
    /// By input: of all vehicles.
    fleet: Vec<Fleet>,
}

impl Acquaintance {
    pub(super) fn of(selected: &[Selected<Means>], inputs: usize) -> Self {
        let owns = owns(selected, inputs);
        let of_input = |input: usize| Fleet::of(&owns.iter().map(|own| &own[input]).collect::<Vec<_>>());
        Self { fleet: (0..inputs).map(of_input).collect(), owns }
    }

    /// What blocks of each vehicle say, by input and head.
    pub(super) fn owns(&self) -> &[Vec<[Own; 2]>] {
        &self.owns
    }

    /// A vehicle's baseline; none of one that nothing is known of.
    pub(super) fn known(&self, vehicle: usize) -> Option<Vec<Baseline>> {
        let own = &self.owns[vehicle];
        // Of a few minutes no centre is known: it would be the fleet's baseline under another name.
        let some = own.iter().flatten().any(|own| !own.center.is_nan());
        some.then(|| self.fleet.iter().zip(own).map(|(fleet, own)| fleet.vehicle(own)).collect())
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

    /// What the artefact will know, where vehicles have these standings and strangers are held against `fleet`.
    pub(super) fn baselines(&self, history: &dyn History, standings: &[Standing], fleet: Vec<Baseline>) -> Baselines {
        let vehicles = history.vehicles().iter().enumerate().zip(standings);
        let kept = vehicles.filter(|(_, standing)| **standing == Standing::Known);
        Baselines { fleet, vehicles: kept.filter_map(|((at, id), _)| Some((key(id), self.known(at)?))).collect() }
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
    fn a_vehicle_is_known_by_twelve_minutes_of_its_own() {
        let mut selected: Vec<Selected<Means>> = (0..8_u8).map(|n| blocks(0.1 * f32::from(n % 3))).collect();
        selected.extend([blocks(5.0), Vec::new()]);
        let known = Acquaintance::of(&selected, 1);
        let own = known.known(8).unwrap();
        assert!((own[0].center[0] - 5.0).abs() < 0.1, "{own:?}");
        assert_eq!(known.known(9), None, "nothing was seen of it");
        selected[9] = blocks(5.0)[..11].to_vec();
        assert_eq!(Acquaintance::of(&selected, 1).known(9), None, "too little was seen of it");
        assert_eq!(known.standings().iter().filter(|standing| **standing == Standing::Known).count(), 9);
    }
}
