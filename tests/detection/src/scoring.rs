//! Scores of whole histories: by a detector, or by something simpler.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Result, anyhow};
use detector::{Detector, History, Query, Track, Window};
use telemetry::UnixMillis;

/// Scores of one vehicle: window times, ms, and as many scores; NaN: not scored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scored {
    /// Times, ascending.
    pub(crate) times: Vec<UnixMillis>,
    /// Scores.
    pub(crate) scores: Vec<f32>,
}

/// Readings that are judged at once.
const BATCH: usize = 256;

/// Scores every reading from `from` to `to` of every vehicle, as the live scorer does.
pub(crate) fn by_detector(
    artifact: &[u8],
    history: &(dyn History + Sync),
    (from, to): (UnixMillis, UnixMillis),
    threads: usize,
) -> Result<Vec<Scored>> {
    by_vehicle(
        history.vehicles().len(),
        threads,
        || Ok(Detector::load(artifact)?),
        |detector, vehicle| {
            let id = &history.vehicles()[vehicle];
            let (mut window, mut track) = (Window::new(detector.layout().clone()), Track::new());
            let warm = from - detector::memory_ms(detector.layout());
            let (mut scored, mut waiting): (Scored, Vec<Query>) = (Scored::default(), Vec::with_capacity(BATCH));
            let mut flush = |waiting: &mut Vec<Query>| {
                let residuals = detector.look(&waiting.iter().collect::<Vec<_>>())?;
                for (query, residual) in waiting.iter().zip(&residuals) {
                    let question = detector::Question { vehicle: id, track: &mut track, query };
                    let judgement = detector.judge(question, residual);
                    if query.time() >= from {
                        scored.times.push(query.time());
                        scored.scores.push(judgement.map_or(f32::NAN, |judgement| judgement.score as f32));
                    }
                }
                waiting.clear();
                Ok::<_, detector::Error>(())
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
        },
    )
}

/// Does the same for each vehicle, on several threads; results are in order of the vehicles.
pub(crate) fn by_vehicle<C, T: Send>(
    count: usize,
    threads: usize,
    context: impl Fn() -> Result<C> + Sync,
    work: impl Fn(&mut C, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut context = match context() {
                    Ok(context) => context,
                    Err(error) => {
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((0, Err(error)));
                        return;
                    }
                };
                loop {
                    let vehicle = next.fetch_add(1, Ordering::Relaxed);
                    if vehicle >= count {
                        return;
                    }
                    let result = work(&mut context, vehicle);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((vehicle, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(vehicle, _)| *vehicle);
    let results = done.into_iter().map(|(_, result)| result).collect::<Result<Vec<T>>>()?;
    if results.len() == count { Ok(results) } else { Err(anyhow!("{} of {count} vehicles were scored", results.len())) }
}
