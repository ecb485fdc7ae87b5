//! Going through a vehicle's history: its readings through window, network and track.

use std::sync::Arc;

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
