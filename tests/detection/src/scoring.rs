//! Scores of whole histories by something simpler than a detector: reading by reading.

use anyhow::Result;
use detector::{Error, History, Reading, history};
use evaluation::Scored;
use telemetry::UnixMillis;

/// Scores every reading from `from` to `to`; each vehicle has a state of its own. Results are in order of the vehicles.
pub(crate) fn reading_by_reading<S>(
    history: &dyn History,
    (from, to): (UnixMillis, UnixMillis),
    threads: usize,
    state: impl Fn(usize) -> S + Sync,
    score: impl Fn(&mut S, &Reading<'_>) -> f32 + Sync,
) -> Result<Vec<Scored>> {
    let of_vehicle = |(): &mut (), vehicle: usize| {
        let (mut scored, mut state) = (Scored::default(), state(vehicle));
        history.read(vehicle, &mut |reading| {
            if (from..to).contains(&reading.time) {
                scored.times.push(reading.time);
                scored.scores.push(score(&mut state, reading));
            }
            Ok(())
        })?;
        Ok::<_, Error>(scored)
    };
    Ok(history::each(history.vehicles().len(), threads, || Ok(()), of_vehicle)?)
}
