//! Cross-fitting: beside the network that is shipped, some that were each fitted without a part of the vehicles. They alone
//! tell how far a vehicle that no training saw lies from what is expected of it.
//!
//! A network knows the quirks of the vehicles that it was fitted to. Limits for strangers that were set on such vehicles
//! held for most others, but one tyre whose pressure lay outside of what the network had seen gave 75 alarms a week where
//! one was promised (one of ten vehicles, with one of five networks).

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    Options,
    fit::{Fitted, fit},
    sample::Sample,
};
use crate::{
    Error, Kind, history,
    network::{BATCH, Network, Weights},
    residual::Residual,
    scaler::Scaler,
    window::Query,
};

/// Parts of the fleet. With the network that learns from all, as many fits as two cores do in pairs.
pub(super) const PARTS: usize = 3;

/// Steps that a training part lasts at least, from which on parts are judged apart: an hour at a reading every 10 s. A first
/// model, of minutes, is wanted soon and replaced soon; four fits in place of one would keep it waiting.
const LEAST_STEPS: i64 = 360;

/// Whether a training part of so many steps of event time is long enough.
pub(super) fn pays(event_steps: i64) -> bool {
    event_steps >= LEAST_STEPS
}

/// The part of a vehicle.
pub(super) fn part(vehicle: usize) -> usize {
    vehicle % PARTS
}

/// Fits the network to all vehicles and, if `parted`, those that were each fitted without a part of them.
pub(super) fn to_all(
    sample: &Sample,
    inputs: usize,
    parted: bool,
    options: &Options,
) -> Result<(Fitted, Vec<Weights>), Error> {
    let mut fits = fits(sample, inputs, [true, parted], options)?;
    let all = fits.remove(0);
    Ok((all, weights(&fits)?))
}

/// Fits only what was not fitted to some of the vehicles: for a network that is there.
pub(super) fn to_parts(sample: &Sample, inputs: usize, options: &Options) -> Result<Vec<Weights>, Error> {
    weights(&fits(sample, inputs, [false, true], options)?)
}

fn weights(fits: &[Fitted]) -> Result<Vec<Weights>, Error> {
    fits.iter().map(|fitted| fitted.network.weights()).collect()
}

/// What is wanted of these: the network of all, and what each part is to be judged by, in order of the parts. No part is
/// judged where the rest of the fleet is no match for one: where it has less than half of the windows, or hardly knows one of
/// the signals. What had little to learn from would tell of that, not of the vehicles.
fn fits(sample: &Sample, inputs: usize, [all, parted]: [bool; 2], options: &Options) -> Result<Vec<Fitted>, Error> {
    let without = |n: usize| sample.windows(|vehicle| part(vehicle) != n);
    let mut parts: Vec<Vec<u32>> = if parted { (0..PARTS).map(without).collect() } else { Vec::new() };
    if parts.iter().any(|windows| 2 * windows.len() < sample.len() || !sample.knows(windows, BATCH)) {
        parts.clear();
    }
    if all {
        parts.insert(0, sample.windows(|_| true));
    }
    let draws = |n: usize| {
        // The network that is shipped has the first stream, whatever else is fitted.
        let mut draws = ChaCha8Rng::seed_from_u64(options.seed);
        draws.set_stream((n + usize::from(!all)) as u64);
        draws
    };
    history::each(parts.len(), options.threads, || Ok(()), |(), n| fit(sample, &parts[n], inputs, options, draws(n)))
}

/// The network, and for each part of the vehicles one that has not learnt from them; of these none, or one for each part.
#[derive(Debug)]
pub(super) struct Networks {
    own: Network,
    parts: Vec<Network>,
}

impl Networks {
    pub(super) fn of(kind: Kind, inputs: usize, (own, parts): (&Weights, &[Weights])) -> Result<Self, Error> {
        let network = |weights| Network::of(kind, inputs, weights);
        Ok(Self { own: network(own)?, parts: parts.iter().map(network).collect::<Result<_, _>>()? })
    }

    /// What is expected of a vehicle at each query: by the network, and by the one that has not learnt from it.
    pub(super) fn look(
        &self,
        scaler: &Scaler,
        vehicle: usize,
        queries: &[&Query],
    ) -> Result<(Vec<Residual>, Option<Vec<Residual>>), Error> {
        let other = self.parts.get(part(vehicle)).map(|network| network.look(scaler, queries));
        Ok((self.own.look(scaler, queries)?, other.transpose()?))
    }
}

/// Something of each part, from whether a vehicle belongs to it.
pub(super) fn by_part<T>(mut of_part: impl FnMut(&dyn Fn(usize) -> bool) -> T) -> Vec<T> {
    (0..PARTS).map(|n| of_part(&|vehicle| part(vehicle) == n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::FEATURES;

    const INPUTS: usize = 3;

    /// Of each vehicle as many windows, their numbers without a pattern, those of one vehicle moved.
    fn sample(vehicles: usize, windows: usize, moved: Option<usize>) -> Sample {
        let number = |vehicle: usize, n: usize| {
            let number = ((vehicle * 10_007 + n) as f64 * 0.618_033_988_749_895).fract() * 8_000.0 - 4_000.0;
            number as i16 + if moved == Some(vehicle) { 2_000 } else { 0 }
        };
        let rows = |vehicle: usize| (0..windows * INPUTS * FEATURES).map(|n| number(vehicle, n)).collect();
        Sample::of(INPUTS, (0..vehicles).map(rows).collect())
    }

    #[test]
    fn a_part_is_judged_by_what_has_not_learnt_from_it() {
        let options = Options { steps: 3, threads: 2, ..Options::default() };
        for kind in Kind::ALL {
            let options = Options { kind, ..options.clone() };
            let fits = |moved| to_all(&sample(6, 200, moved), INPUTS, true, &options).unwrap();
            let ((all, parts), (moved_all, moved_parts)) = (fits(None), fits(Some(PARTS + 1)));
            assert_ne!(all.network.weights().unwrap(), moved_all.network.weights().unwrap(), "{kind}");
            let same: Vec<bool> = parts.iter().zip(&moved_parts).map(|(a, b)| a == b).collect();
            assert_eq!(same, [false, true, false], "{kind}: of these only the second has not seen it");
            assert_eq!(to_parts(&sample(6, 200, None), INPUTS, &options).unwrap(), parts, "{kind}");
            let network = Networks::of(kind, INPUTS, (&all.network.weights().unwrap(), &parts)).unwrap();
            assert_eq!(network.parts.len(), PARTS, "{kind}");
        }
    }

    #[test]
    fn where_a_part_would_leave_nothing_to_learn_from_and_where_time_was_short_there_are_none() {
        let options = Options { kind: Kind::RobustZ, threads: 1, ..Options::default() };
        for (vehicles, event_steps, parts) in [(1, LEAST_STEPS, 0), (6, LEAST_STEPS - 1, 0), (6, LEAST_STEPS, PARTS)] {
            let sample = sample(vehicles, 2 * BATCH, None);
            let (fitted, found) = to_all(&sample, INPUTS, pays(event_steps), &options).unwrap();
            assert_eq!((fitted.steps, found.len()), (0, parts));
        }
    }

    #[test]
    fn where_the_rest_of_the_fleet_is_no_match_for_a_part_there_are_none() {
        let options = Options { kind: Kind::RobustZ, threads: 1, ..Options::default() };
        let rows = |windows: usize, knows_last: bool| -> Vec<i16> {
            let number = |n: usize| if n / FEATURES % INPUTS == 2 && !knows_last { i16::MIN } else { 7 };
            (0..windows * INPUTS * FEATURES).map(number).collect()
        };
        let parts = |of: &dyn Fn(usize) -> (usize, bool)| {
            let rows = (0..6).map(of).map(|(windows, knows_last)| rows(windows, knows_last)).collect();
            to_all(&Sample::of(INPUTS, rows), INPUTS, true, &options).unwrap().1.len()
        };
        assert_eq!(parts(&|_| (BATCH, true)), PARTS);
        assert_eq!(parts(&|vehicle| (BATCH, vehicle <= 2)), PARTS, "in each rest there is one that knows it");
        assert_eq!(parts(&|vehicle| (BATCH, part(vehicle) == 1)), 0, "a signal of one part alone");
        assert_eq!(parts(&|vehicle| (if part(vehicle) == 1 { 9 * BATCH } else { BATCH }, true)), 0, "little else");
    }
}
