//! Going through a vehicle's history: its readings through window and network, and from there through a track.

use std::sync::Arc;

use telemetry::UnixMillis;

use super::cross::Networks;
use crate::{
    Error, History, Track, Window,
    baseline::Baseline,
    network::BATCH,
    residual::Residual,
    scaler::Scaler,
    track::{self, Raw},
    window::Query,
};

/// Readings of a vehicle from `from` on, as the network sees them and as the one does that has not learnt from it, where
/// there is one. Before that, over the horizon of a track, they are shown too, so that no track begins cold; readings from
/// `to` on are left out.
pub(super) fn look_through(
    history: &dyn History,
    vehicle: usize,
    (scaler, networks): (&Scaler, &Networks),
    (from, to): (UnixMillis, UnixMillis),
    visit: &mut dyn FnMut(&Query, &Residual, Option<&Residual>),
) -> Result<(), Error> {
    let layout = history.layout();
    let warm = from.saturating_sub(track::HORIZON * layout.step_ms());
    let mut window = Window::new(Arc::clone(layout));
    let mut waiting: Vec<Query> = Vec::with_capacity(BATCH);
    let mut flush = |waiting: &mut Vec<Query>| {
        let (residuals, others) = networks.look(scaler, vehicle, &waiting.iter().collect::<Vec<_>>())?;
        for (at, (query, residual)) in waiting.iter().zip(&residuals).enumerate() {
            visit(query, residual, others.as_ref().map(|others| &others[at]));
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

/// A vehicle's track through what is shown of its history.
pub(super) struct Walk {
    step_ms: i64,
    from: UnixMillis,
    track: Track,
    raw: Vec<Raw>,
}

impl Walk {
    /// Statistics are told of readings from `from` on; those before warm up the track.
    pub(super) fn new(step_ms: i64, from: UnixMillis) -> Self {
        Self { step_ms, from, track: Track::new(), raw: Vec::new() }
    }

    /// Takes the next reading; its statistics, in the order of the residual.
    pub(super) fn follow(&mut self, baselines: &[Baseline], query: &Query, residual: &Residual) -> Option<&[Raw]> {
        self.track.advance((1, self.step_ms), baselines, (query, residual), &mut self.raw);
        (query.time() >= self.from).then_some(&self.raw[..])
    }
}
