//! How closely a detector expects what it has not seen, so that two can be compared on the same readings.
//!
//! The loss is the negative logarithm of the likelihood (Student-t, 4 degrees of freedom) of each signal's value **given
//! the other signals**: kinds that reconstruct would otherwise be told the value that they are asked for. For them each
//! signal is hidden in turn (a pseudo-likelihood, Besag 1975). It is told in physical units, for detectors scale
//! signals differently.

use std::{collections::BTreeSet, sync::Arc};

use telemetry::UnixMillis;

use crate::{
    Card, Detector, Error, History, Kind, Query, View, Window, history,
    network::{BATCH, Cells, Network},
    residual::{LOG_SPREAD, student},
    scaler::Scaler,
    window::HORIZON,
};

/// Mean loss of each vehicle, in natural logarithms a value; none of one without readings in the range.
pub type Losses = Vec<Option<f64>>;

/// Losses that differ by no more are alike, in natural logarithms a value: five trainings of the leave-one-out network that
/// differed in their seed alone lay within 0.040 of each other (`make bench-detection` measures it).
pub const SEED_SPREAD: f64 = 0.05;

/// Paths of the signals that both detectors judge: only there do they answer the same question.
pub fn judged_by_both(a: &Card, b: &Card) -> BTreeSet<String> {
    let of = |card: &Card| -> BTreeSet<String> {
        card.signals.iter().filter(|signal| signal.judged).map(|signal| signal.path.clone()).collect()
    };
    of(a).intersection(&of(b)).cloned().collect()
}

/// Losses over evenly spread readings from `from` to `to`, about `most` over all vehicles.
///
/// # Errors
/// If the artefact does not load here, or history can't be read.
pub fn losses(
    artifact: &[u8],
    history: &dyn History,
    (from, to): (UnixMillis, UnixMillis),
    signals: &BTreeSet<String>,
    (most, threads): (usize, usize),
) -> Result<Losses, Error> {
    let detector = Detector::load(artifact)?;
    let layout = Arc::clone(detector.layout());
    let view = View::new(history, Arc::clone(&layout));
    let asked: Vec<bool> = {
        let paths = detector.parts().0.inputs.iter().map(|at| &layout.places()[usize::from(*at)].path);
        paths.map(|path| signals.contains(path.as_str())).collect()
    };
    let kind = detector.card().detector;
    drop(detector);
    let count = view.vehicles().len();
    let each = (most / count.max(1)).max(BATCH);
    let warm = from.saturating_sub(HORIZON * layout.step_ms());
    history::each(
        count,
        threads,
        || Detector::load(artifact),
        |detector, vehicle| {
            let mut window = Window::new(Arc::clone(&layout));
            let (mut kept, mut stride, mut seen) = (Vec::<Query>::new(), 1_usize, 0_usize);
            view.read(vehicle, &mut |reading| {
                if reading.time < warm || reading.time >= to {
                    return Ok(());
                }
                let Some(query) = window.advance(reading).filter(|query| query.time() >= from) else { return Ok(()) };
                if seen.is_multiple_of(stride) {
                    kept.push(query);
                    if kept.len() > each {
                        // Every other one goes, and from now on only half as many come.
                        let mut keep = false;
                        kept.retain(|_| {
                            keep = !keep;
                            keep
                        });
                        stride *= 2;
                    }
                }
                seen += 1;
                Ok(())
            })?;
            let (scaler, network) = detector.parts();
            let mut sum = Sum::default();
            for batch in kept.chunks(BATCH) {
                sum.add(batch, (kind, scaler, network), &asked)?;
            }
            Ok((sum.count > 0).then(|| sum.loss / sum.count as f64))
        },
    )
}

#[derive(Debug, Default)]
struct Sum {
    loss: f64,
    count: u64,
}

impl Sum {
    /// Adds what a detector loses on a batch.
    fn add(
        &mut self,
        queries: &[Query],
        (kind, scaler, network): (Kind, &Scaler, &Network),
        asked: &[bool],
    ) -> Result<(), Error> {
        let mut cells = Cells::new(scaler.len(), BATCH);
        for (row, query) in queries.iter().enumerate() {
            scaler.scaled(query).for_each(|(_, input, scaled)| cells.put(row, input, &scaled));
        }
        // The others do not look at the signal's own value for head A.
        let told = matches!(kind, Kind::Pca | Kind::Autoencoder);
        let plain = if told { None } else { Some(network.infer(&cells)?) };
        for input in (0..asked.len()).filter(|input| asked[*input]) {
            if cells.known(input).iter().all(|known| *known == 0.0) {
                continue;
            }
            let hidden;
            let answers = if let Some(plain) = &plain {
                plain
            } else {
                let mut without = cells.clone();
                without.hide(input);
                hidden = network.infer(&without)?;
                &hidden
            };
            // Of the density in scaled units one is made in physical ones.
            let unit = f64::from(scaler.spread[input]).ln();
            for row in (0..BATCH).filter(|row| cells.known(input)[*row] != 0.0) {
                let [expected, log_spread, ..] = answers.of(row, input);
                let log_spread = f64::from(log_spread.clamp(LOG_SPREAD.0, LOG_SPREAD.1));
                let off = f64::from(cells.values(input)[row] - expected) / log_spread.exp();
                self.loss += student(off) + log_spread + unit;
                self.count += 1;
            }
        }
        Ok(())
    }
}
