//! What any detector must beat: plain range rules, chance, and saying that everything is wrong.

use detector::{History, Reading};
use evaluation::Scored;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use crate::scoring::reading_by_reading;

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
        within: (UnixMillis, UnixMillis),
        threads: usize,
    ) -> anyhow::Result<Vec<Scored>> {
        let worst = |(): &mut (), reading: &Reading<'_>| {
            let outside = reading.at.iter().zip(reading.numbers).map(|(at, number)| {
                let (least, most) = self.0[usize::from(*at)];
                (least - number).max(number - most) / (most - least).max(1e-6)
            });
            outside.fold(f32::NEG_INFINITY, f32::max)
        };
        reading_by_reading(history, within, threads, |_| (), worst)
    }
}

/// Numbers that say nothing, or always the same.
pub(crate) fn blind(
    history: &dyn History,
    within: (UnixMillis, UnixMillis),
    seed: Option<u64>,
) -> anyhow::Result<Vec<Scored>> {
    let draws = |vehicle: usize| seed.map(|seed| ChaCha8Rng::seed_from_u64(seed ^ ((vehicle as u64) << 32)));
    let number = |draws: &mut Option<ChaCha8Rng>, _: &Reading<'_>| draws.as_mut().map_or(1.0, |draws| draws.random());
    reading_by_reading(history, within, 1, draws, number)
}
