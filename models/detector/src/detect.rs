//! The detector in use: save, load, score.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use telemetry::event::{Contribution, Verdict};

use crate::{
    Card, Error, Query,
    artifact::{self, Artifact},
    calibration::{self, Baseline, Threshold},
    features::{self, BLOCK, COUNT, Frame, Residual, STEPS, Values},
    network::Network,
    scaler::Scaler,
};

/// One deviation counts at most so many spreads.
const MOST_DEVIATION: f64 = 12.0;
/// A signal is judged if it is known in so many readings of the block.
const LEAST_READINGS: usize = BLOCK / 2;
/// Contributions that a judgement names.
const CONTRIBUTIONS: usize = 3;

/// A detector that is ready to judge. It may move to another thread but not be shared.
#[derive(Debug)]
pub struct Detector {
    bytes: Vec<u8>,
    version: String,
    /// Marks residuals as this detector's.
    tag: u64,
    card: Card,
    pub(crate) eyes: Eyes,
    threshold: Threshold,
}

/// The judgement of one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// ≥ 0; 1 is the threshold.
    pub score: f64,
    /// Whether the score is at or above the threshold.
    pub verdict: Verdict,
    /// The signals that deviate most, largest first.
    pub contributions: Vec<Contribution>,
}

impl Detector {
    /// The artefact's bytes.
    pub fn save(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Reads an artefact and checks that it computes here what it computed where it was made.
    ///
    /// # Errors
    /// If shapes, features or the golden vector do not match.
    pub fn load(bytes: &[u8]) -> Result<Self, Error> {
        let artifact = Artifact::read(bytes)?;
        let eyes = Eyes {
            scaler: Scaler { center: artifact.values("scaler.center")?, spread: artifact.values("scaler.spread")? },
            network: Network::get(&artifact)?,
        };
        let golden = eyes.network.golden()?;
        if golden != artifact.card.golden {
            return Err(Error::Golden {
                expected: artifact.card.golden,
                got: golden,
                made_with: artifact.card.cpu_capability,
                running_with: cpu_capability(),
            });
        }
        let threshold = get_threshold(&artifact)?;
        let version = artifact.version(bytes);
        let hash = artifact::hash(bytes);
        let tag = u64::from_str_radix(&hash[..16], 16).expect("a hash is hexadecimal");
        Ok(Self { bytes: bytes.to_vec(), version, tag, card: artifact.card, eyes, threshold })
    }

    /// The model card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The version's name.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Judges windows; none where too little is known. A judgement depends on its own query alone, never on the
    /// others beside it.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch fails.
    pub fn score(&self, queries: &[Query]) -> Result<Vec<Option<Judgement>>, Error> {
        let residuals = self.eyes.look(queries, self.tag)?;
        Ok(queries.iter().zip(residuals).map(|(query, block)| self.judge(query, &block)).collect())
    }

    fn judge(&self, query: &Query, block: &[Residual]) -> Option<Judgement> {
        let key = calibration::key(&query.vehicle);
        let scores = self.threshold.scores(key, &means(block));
        let score = calibration::largest(&scores);
        if score.is_nan() {
            return None;
        }
        let (last, values) = (block.last()?, &query.frames.last()?.values);
        let mut order: Vec<usize> = (0..COUNT).filter(|at| !scores[*at].is_nan() && !values[*at].is_nan()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        let baseline = self.threshold.baseline(key);
        let contributions = order.into_iter().take(CONTRIBUTIONS).map(|at| {
            let expected = f64::from(last.expected[at]) + f64::from(baseline.center[at]) * last.spread[at];
            Contribution {
                signal: features::path(at).to_owned(),
                score: scores[at],
                expected: self.eyes.scaler.unscale(at, expected),
                observed: values[at],
            }
        });
        let verdict = if score >= 1.0 { Verdict::Anomalous } else { Verdict::Normal };
        Some(Judgement { score, verdict, contributions: contributions.collect() })
    }
}

/// Scaler and network: what sees deviations, before any threshold.
#[derive(Debug)]
pub(crate) struct Eyes {
    pub(crate) scaler: Scaler,
    pub(crate) network: Network,
}

impl Eyes {
    /// The residuals of each query's block. What was seen once with this tag is remembered in the frame.
    pub(crate) fn look(&self, queries: &[Query], tag: u64) -> Result<Vec<[Residual; BLOCK]>, Error> {
        let mut seen = HashSet::new();
        let mut wanted: Vec<&[Arc<Frame>]> = Vec::new();
        for query in queries {
            for window in query.frames.windows(STEPS) {
                let frame = &window[STEPS - 1];
                if remembered(frame, tag).is_none() && seen.insert(Arc::as_ptr(frame)) {
                    wanted.push(window);
                }
            }
        }
        let inputs: Vec<_> = wanted.iter().map(|window| self.input(window)).collect();
        let outputs = self.network.expectations(&inputs)?;
        for (window, output) in wanted.iter().zip(outputs) {
            let frame = &window[STEPS - 1];
            let mut residual = Residual { expected: [0.0; COUNT], spread: [1.0; COUNT], deviation: [f64::NAN; COUNT] };
            for at in 0..COUNT {
                let (expected, spread) = (output[at], f64::from(output[COUNT + at]).exp());
                let observed = self.scaler.scale(at, frame.values[at]);
                residual.expected[at] = expected;
                residual.spread[at] = spread;
                // NaN, where unknown or not judged, goes through.
                residual.deviation[at] =
                    ((observed - f64::from(expected)) / spread).clamp(-MOST_DEVIATION, MOST_DEVIATION);
            }
            *frame.residual.lock().unwrap_or_else(PoisonError::into_inner) = Some((tag, residual));
        }
        let of = |query: &Query| {
            std::array::from_fn(|at| {
                remembered(&query.frames[STEPS - 1 + at], tag).expect("every frame of every block was seen above")
            })
        };
        Ok(queries.iter().map(of).collect())
    }

    /// The scaled readings of a network window, oldest first.
    pub(crate) fn input(&self, window: &[Arc<Frame>]) -> [f32; COUNT * STEPS] {
        let mut input = [f32::NAN; COUNT * STEPS];
        for (frame, row) in window.iter().zip(input.chunks_exact_mut(COUNT)) {
            for (at, cell) in row.iter_mut().enumerate() {
                *cell = self.scaler.scale(at, frame.values[at]) as f32;
            }
        }
        input
    }
}

fn remembered(frame: &Frame, tag: u64) -> Option<Residual> {
    let residual = frame.residual.lock().unwrap_or_else(PoisonError::into_inner);
    residual.as_ref().filter(|(of, _)| *of == tag).map(|(_, residual)| *residual)
}

/// The average deviation per signal over a block; NaN where too little is known.
pub(crate) fn means(block: &[Residual]) -> Values {
    std::array::from_fn(|at| {
        let known = block.iter().map(|residual| residual.deviation[at]).filter(|deviation| !deviation.is_nan());
        let (sum, count) = known.fold((0.0, 0_usize), |(sum, count), deviation| (sum + deviation, count + 1));
        if count >= LEAST_READINGS { sum / count as f64 } else { f64::NAN }
    })
}

pub(crate) fn put_threshold(artifact: &mut Artifact, threshold: &Threshold) {
    let wide = |numbers: &[f32; COUNT]| numbers.map(f64::from);
    artifact.put_f64("threshold.limits", &threshold.limits);
    artifact.put_f64("fleet.center", &wide(&threshold.fleet.center));
    artifact.put_f64("fleet.spread", &wide(&threshold.fleet.spread));
    let mut keys: Vec<u64> = threshold.vehicles.keys().copied().collect();
    keys.sort_unstable();
    let rows = |of: fn(&Baseline) -> &[f32; COUNT]| -> Vec<f32> {
        keys.iter().flat_map(|key| of(&threshold.vehicles[key]).iter().copied()).collect()
    };
    artifact.put_u64("vehicles.key", &keys);
    artifact.put_f32("vehicles.center", &[keys.len(), COUNT], &rows(|baseline| &baseline.center));
    artifact.put_f32("vehicles.spread", &[keys.len(), COUNT], &rows(|baseline| &baseline.spread));
}

fn get_threshold(artifact: &Artifact) -> Result<Threshold, Error> {
    let narrow = |numbers: Values| numbers.map(|number| number as f32);
    let keys = artifact.u64("vehicles.key")?;
    let shape = [keys.len(), COUNT];
    let (centers, spreads) = (artifact.f32("vehicles.center", &shape)?, artifact.f32("vehicles.spread", &shape)?);
    let rows = |numbers: &[f32]| numbers.as_chunks::<COUNT>().0.to_vec();
    let baselines = rows(&centers).into_iter().zip(rows(&spreads)).map(|(center, spread)| Baseline { center, spread });
    let vehicles: HashMap<u64, Baseline> = keys.into_iter().zip(baselines).collect();
    let fleet =
        Baseline { center: narrow(artifact.values("fleet.center")?), spread: narrow(artifact.values("fleet.spread")?) };
    Ok(Threshold { limits: artifact.values("threshold.limits")?, fleet, vehicles })
}

/// What libtorch was told about the CPU before it loaded.
pub(crate) fn cpu_capability() -> String {
    std::env::var("ATEN_CPU_CAPABILITY").unwrap_or_else(|_| "not set".into())
}
