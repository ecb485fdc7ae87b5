//! Scores of a whole history.

use std::sync::Arc;

use evaluation::Scored;
use telemetry::UnixMillis;

use crate::{Detector, Error, History, Query, Question, Track, View, Window, history, memory_ms, network::BATCH};

/// Scores every reading from `from` to `to` of every vehicle, as the live scorer does; a detector of another layout sees
/// what it has places for. Results are in order of the vehicles, whatever the threads.
///
/// # Errors
/// If the artefact does not load here, or history can't be read.
pub fn score(
    artifact: &[u8],
    history: &dyn History,
    (from, to): (UnixMillis, UnixMillis),
    threads: usize,
) -> Result<Vec<Scored>, Error> {
    let detector = Detector::load(artifact)?;
    let view = View::new(history, Arc::clone(detector.layout()));
    let same = history.layout().id() == detector.layout().id();
    let seen: &dyn History = if same { history } else { &view };
    // It may move to another thread but not be shared.
    drop(detector);
    history::each(
        seen.vehicles().len(),
        threads,
        || Detector::load(artifact),
        |detector, vehicle| of_vehicle(detector, seen, vehicle, (from, to)),
    )
}

fn of_vehicle(
    detector: &Detector,
    history: &dyn History,
    vehicle: usize,
    (from, to): (UnixMillis, UnixMillis),
) -> Result<Scored, Error> {
    let id = &history.vehicles()[vehicle];
    let (mut window, mut track) = (Window::new(Arc::clone(detector.layout())), Track::new());
    let warm = from.saturating_sub(memory_ms(detector.layout()));
    let (mut scored, mut waiting): (Scored, Vec<Query>) = (Scored::default(), Vec::with_capacity(BATCH));
    let mut flush = |waiting: &mut Vec<Query>| {
        let residuals = detector.look(&waiting.iter().collect::<Vec<_>>())?;
        for (query, residual) in waiting.iter().zip(&residuals) {
            let judgement = detector.judge(Question { vehicle: id, track: &mut track, query }, residual);
            if query.time() >= from {
                scored.times.push(query.time());
                scored.scores.push(judgement.map_or(f32::NAN, |judgement| judgement.score as f32));
            }
        }
        waiting.clear();
        Ok::<_, Error>(())
    };
    history.read(vehicle, &mut |reading| {
        if reading.time >= to {
            return Ok(());
        }
        waiting.extend(window.advance(reading).filter(|query| query.time() >= warm));
        if waiting.len() == BATCH { flush(&mut waiting) } else { Ok(()) }
    })?;
    flush(&mut waiting)?;
    Ok(scored)
}
