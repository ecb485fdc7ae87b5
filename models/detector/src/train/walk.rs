//! Going through history: vehicle by vehicle on several threads, and each vehicle's readings through window, network
//! and track.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use telemetry::UnixMillis;

use crate::{
    Error, History, Track, Window,
    baseline::Baseline,
    network::{BATCH, Network},
    residual::Residual,
    scaler::Scaler,
    track::{self, Raw},
    window::Query,
};

/// Does the same for each of `count` vehicles, on several threads, each with a context of its own. The results are
/// in order of the vehicles, whatever thread did which.
pub(super) fn each<C, T: Send>(
    count: usize,
    threads: usize,
    context: impl Fn() -> Result<C, Error> + Sync,
    work: impl Fn(&mut C, usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                let run = || {
                    let mut context = context()?;
                    loop {
                        let vehicle = next.fetch_add(1, Ordering::Relaxed);
                        if vehicle >= count {
                            return Ok(());
                        }
                        let result = work(&mut context, vehicle)?;
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((vehicle, result));
                    }
                };
                if let Err(error) = run() {
                    // The others have nothing more to do.
                    next.store(count, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(vehicle, _)| *vehicle);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Readings of a vehicle from `from` on, as the network and a track see them. Before that, over the horizon of a
/// track, they are looked at too, so that nothing begins cold; readings from `to` on are left out.
pub(super) fn look_through(
    history: &dyn History,
    vehicle: usize,
    (scaler, network, baselines): (&Scaler, &Network, &[Baseline]),
    (from, to): (UnixMillis, UnixMillis),
    visit: &mut dyn FnMut(&Query, &Residual, &[Raw]),
) -> Result<(), Error> {
    let layout = history.layout();
    let step = layout.step_ms();
    let warm = from.saturating_sub(track::HORIZON * step);
    let mut window = Window::new(Arc::clone(layout));
    let mut track = Track::new();
    let mut raw = Vec::new();
    let mut waiting: Vec<Query> = Vec::with_capacity(BATCH);
    let mut flush = |waiting: &mut Vec<Query>| {
        let residuals = network.look(scaler, &waiting.iter().collect::<Vec<_>>())?;
        for (query, residual) in waiting.iter().zip(&residuals) {
            track.advance((1, step), baselines, (query, residual), &mut raw);
            if query.time() >= from {
                visit(query, residual, &raw);
            }
        }
        waiting.clear();
        Ok::<_, Error>(())
    };
    history.read(vehicle, &mut |reading| {
        // Once time is behind `to` it stays there.
        if reading.time >= to {
            return Ok(());
        }
        if let Some(query) = window.advance(reading).filter(|query| query.time() >= warm) {
            waiting.push(query);
        }
        if waiting.len() == BATCH { flush(&mut waiting) } else { Ok(()) }
    })?;
    flush(&mut waiting)
}
