//! What history holds: how many readings, when, and a thin, even selection of values of each vehicle.

use std::collections::HashMap;

use telemetry::{UnixMillis, signal};

use super::{Options, Split};
use crate::{
    Error, History, Layout, history,
    scaler::Scaler,
    window::{MEANS, VALUES},
};

/// Values that are looked at, over all vehicles.
const ROWS: usize = 400_000;
/// A mean is used if the training part lasts so many times as long.
const FILLED: i64 = 4;
/// A vehicle moves from this speed on, km/h.
const MOVING: f32 = 1.0;

/// Ends of the parts, ms: of training, and of the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Parts {
    pub(crate) train: UnixMillis,
    pub(crate) limit: UnixMillis,
}

/// Some of a vehicle's readings, evenly spread.
#[derive(Debug, Default)]
struct Thinned {
    rows: Vec<(UnixMillis, Vec<(u16, f32)>)>,
    readings: u64,
    moving: u64,
    times: Option<(UnixMillis, UnixMillis)>,
}

/// What history holds.
#[derive(Debug)]
pub(crate) struct Survey {
    vehicles: Vec<Thinned>,
    pub(crate) readings: u64,
    pub(crate) from: UnixMillis,
    pub(crate) to: UnixMillis,
}

/// Whether a reading shows a vehicle that moves; none where it does not say.
pub(super) fn moves(layout: &Layout, at: &[u16], numbers: &[f32]) -> Option<bool> {
    let speed = layout.of_number(signal::SPEED)?;
    at.iter().position(|place| *place == speed).map(|n| numbers[n] > MOVING)
}

impl Survey {
    pub(crate) fn of(history: &dyn History, threads: usize) -> Result<Self, Error> {
        let count = history.vehicles().len();
        let most = (ROWS / count.max(1)).clamp(16, 8_192);
        let vehicles = history::each(
            count,
            threads,
            || Ok::<_, Error>(()),
            |(), vehicle| {
                let (mut thinned, mut stride) = (Thinned::default(), 1);
                history.read(vehicle, &mut |reading| {
                    let (from, to) = thinned.times.unwrap_or((reading.time, reading.time));
                    thinned.times = Some((from.min(reading.time), to.max(reading.time)));
                    thinned.moving += u64::from(moves(history.layout(), reading.at, reading.numbers) == Some(true));
                    if thinned.readings.is_multiple_of(stride) {
                        let values = reading.at.iter().copied().zip(reading.numbers.iter().copied());
                        thinned.rows.push((reading.time, values.filter(|(_, value)| value.is_finite()).collect()));
                        if thinned.rows.len() > most {
                            // Every other one goes, and from now on only half as many come.
                            let mut keep = false;
                            thinned.rows.retain(|_| {
                                keep = !keep;
                                keep
                            });
                            stride *= 2;
                        }
                    }
                    thinned.readings += 1;
                    Ok(())
                })?;
                Ok(thinned)
            },
        )?;
        let readings = vehicles.iter().map(|thinned| thinned.readings).sum();
        let times = || vehicles.iter().filter_map(|thinned| thinned.times);
        let from = times().map(|(from, _)| from).min().unwrap_or_default();
        let to = times().map(|(_, to)| to).max().unwrap_or_default();
        Ok(Self { vehicles, readings, from, to })
    }

    /// Where the parts end.
    pub(crate) fn part(&self, options: &Options) -> Result<Parts, Error> {
        let vehicles = self.vehicles.iter().filter(|thinned| thinned.readings > 0).count();
        if self.readings < options.min_readings || vehicles < options.min_vehicles {
            return Err(Error::TooLittle(format!(
                "{} readings of {vehicles} vehicles; at least {} readings of {} vehicles are needed: record longer, or \
                 widen the range",
                self.readings, options.min_readings, options.min_vehicles
            )));
        }
        match options.split {
            Split::Times([train, limit]) => Ok(Parts { train, limit }),
            Split::Shares(shares) => {
                // Each kept row stands for as many readings as its vehicle has for each of its rows.
                let mut times: Vec<(UnixMillis, f64)> = Vec::new();
                for thinned in &self.vehicles {
                    let weight = thinned.readings as f64 / thinned.rows.len().max(1) as f64;
                    times.extend(thinned.rows.iter().map(|(time, _)| (*time, weight)));
                }
                times.sort_unstable_by_key(|(time, _)| *time);
                let total: f64 = times.iter().map(|(_, weight)| weight).sum();
                let at = |share: f64| {
                    let mut sum = 0.0;
                    let found = times.iter().find(|(_, weight)| {
                        sum += weight;
                        sum >= share * total
                    });
                    found.map_or(self.to, |(time, _)| *time)
                };
                Ok(Parts { train: at(shares[0]), limit: at(shares[1]) })
            }
        }
    }

    /// Values of the training part by place.
    pub(crate) fn columns(&self, layout: &Layout, parts: Parts) -> Vec<Vec<f32>> {
        let mut columns = vec![Vec::new(); layout.len()];
        let rows = self.vehicles.iter().flat_map(|thinned| &thinned.rows);
        for (at, value) in rows.filter(|(time, _)| *time < parts.train).flat_map(|(_, values)| values) {
            columns[usize::from(*at)].push(*value);
        }
        columns
    }

    /// Whether any of these inputs changes in the training part, from vehicle to vehicle or by the time.
    pub(super) fn changes(&self, parts: Parts, inputs: &[u16]) -> bool {
        let rows = self.vehicles.iter().flat_map(|thinned| &thinned.rows).filter(|(time, _)| *time < parts.train);
        let mut first: HashMap<u16, f32> = HashMap::new();
        rows.flat_map(|(_, values)| values)
            .filter(|(at, _)| inputs.contains(at))
            .any(|(at, value)| *first.entry(*at).or_insert(*value) != *value)
    }

    /// How long the training part lasts, steps.
    pub(super) fn training_steps(&self, layout: &Layout, parts: Parts) -> i64 {
        (parts.train.min(self.to) - self.from) / layout.step_ms()
    }

    pub(crate) fn scaler(&self, layout: &Layout, parts: Parts) -> Scaler {
        let span = self.training_steps(layout, parts);
        // What has hardly had time to fill differs from what it will be.
        let used = VALUES + MEANS.iter().take_while(|length| FILLED * **length <= span).count();
        Scaler::fit(layout, &mut self.columns(layout, parts), used)
    }

    /// Readings of a vehicle in the training part, about: all, and those that move.
    pub(super) fn training(&self, vehicle: usize, parts: Parts) -> (f64, f64) {
        let thinned = &self.vehicles[vehicle];
        let within = thinned.rows.iter().filter(|(time, _)| *time < parts.train).count() as f64;
        let share = within / thinned.rows.len().max(1) as f64;
        (thinned.readings as f64 * share, thinned.moving as f64 * share)
    }

    /// How far apart readings are, about, ms.
    pub(super) fn gap_ms(&self) -> f64 {
        let mut gaps: Vec<f32> = Vec::new();
        for thinned in self.vehicles.iter().filter(|thinned| thinned.readings > 1) {
            let Some((from, to)) = thinned.times else { continue };
            gaps.push((to - from) as f32 / (thinned.readings - 1) as f32);
        }
        if gaps.is_empty() { 0.0 } else { f64::from(crate::scaler::median(&mut gaps)) }
    }
}
