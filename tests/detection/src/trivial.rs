//! What any detector must beat: plain range rules, chance, and saying that everything is wrong.

use detector::History;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use crate::scoring::{Scored, by_vehicle};

/// Limits of every signal, as a workshop would set them: what the fleet showed in training, and a little more.
#[derive(Debug, Clone)]
pub(crate) struct Ranges(Vec<(f32, f32)>);

impl Ranges {
    /// Learns from what lies before `until`.
    pub(crate) fn train(history: &dyn History, until: UnixMillis) -> anyhow::Result<Self> {
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); history.layout().len()];
        for vehicle in 0..history.vehicles().len() {
            history.read(vehicle, &mut |reading| {
                for (at, number) in reading.at.iter().zip(reading.numbers).filter(|_| reading.time < until) {
                    let (least, most) = &mut ranges[usize::from(*at)];
                    (*least, *most) = (least.min(*number), most.max(*number));
                }
                Ok(())
            })?;
        }
        Ok(Self(ranges))
    }

    /// How far outside of its range the worst signal is, in widths of the range; inside, how close to an end.
    pub(crate) fn score(
        &self,
        history: &dyn History,
        (from, to): (UnixMillis, UnixMillis),
        threads: usize,
    ) -> anyhow::Result<Vec<Scored>> {
        by_vehicle(
            history.vehicles().len(),
            threads,
            || Ok(()),
            |(), vehicle| {
                let mut scored = Scored::default();
                history.read(vehicle, &mut |reading| {
                    if !(from..to).contains(&reading.time) {
                        return Ok(());
                    }
                    let outside = reading.at.iter().zip(reading.numbers).map(|(at, number)| {
                        let (least, most) = self.0[usize::from(*at)];
                        (least - number).max(number - most) / (most - least).max(1e-6)
                    });
                    scored.times.push(reading.time);
                    scored.scores.push(outside.fold(f32::NEG_INFINITY, f32::max));
                    Ok(())
                })?;
                Ok(scored)
            },
        )
    }
}

/// Numbers that say nothing, or always the same.
pub(crate) fn blind(
    history: &dyn History,
    (from, to): (UnixMillis, UnixMillis),
    seed: Option<u64>,
) -> anyhow::Result<Vec<Scored>> {
    by_vehicle(
        history.vehicles().len(),
        1,
        || Ok(()),
        |(), vehicle| {
            let mut draws = seed.map(|seed| ChaCha8Rng::seed_from_u64(seed ^ ((vehicle as u64) << 32)));
            let mut scored = Scored::default();
            history.read(vehicle, &mut |reading| {
                if (from..to).contains(&reading.time) {
                    scored.times.push(reading.time);
                    scored.scores.push(draws.as_mut().map_or(1.0, |draws| draws.random()));
                }
                Ok(())
            })?;
            Ok(scored)
        },
    )
}
