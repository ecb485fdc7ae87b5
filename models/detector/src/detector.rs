//! The detector in use: save, load, score.

use std::{cell::RefCell, sync::Arc};

use telemetry::VehicleId;

use crate::{
    Card, Error, Kind,
    artifact::{self, Artifact},
    baseline::{self, Baseline, Baselines, key},
    card::cpu_capability,
    judge::{Bench, Judge, Judgement, Measure},
    layout::Layout,
    network::{self, Cells, Network, OUTPUT, Weights},
    residual::Residual,
    scaler::Scaler,
    tail::Tail,
    track::{MEANS, Raw, STATISTICS, Track},
    window::{FEATURES, Query, VALUES},
};

/// Rows of the golden vector.
pub(crate) const GOLDEN: usize = 8;
/// What is usual in vehicles with a baseline of their own, and in all others: tensors of these names with `.tails` and
/// `.limit`.
const KNOWN: &str = "judge";
const STRANGERS: &str = "judge.strangers";
/// Largest difference of the golden vector.
const TOLERANCE: f32 = 1e-5;

/// A detector that is ready to judge. It may move to another thread but not be shared.
#[derive(Debug)]
pub struct Detector {
    bytes: Vec<u8>,
    version: String,
    tag: u64,
    card: Card,
    layout: Arc<Layout>,
    scaler: Scaler,
    network: Network,
    bench: Bench,
    /// Where statistics are written: a reading's are not needed after it is judged.
    raw: RefCell<Vec<Raw>>,
}

/// A reading to judge: the vehicle, its track, and what is known at the reading.
#[derive(Debug)]
pub struct Question<'a> {
    /// The vehicle.
    pub vehicle: &'a VehicleId,
    /// Its track; it goes on.
    pub track: &'a mut Track,
    /// What is known.
    pub query: &'a Query,
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
        let layout = Arc::new(Layout::read(&artifact.card.layout)?);
        let (scaler, mut network) = read_eyes(&artifact, &layout)?;
        check_golden(&artifact, &network)?;
        network.try_few()?;
        let bench = Bench::new(read_judge(&artifact, scaler.len())?, &scaler);
        let version = artifact.version(bytes);
        let hash = artifact::hash(bytes);
        let tag = u64::from_str_radix(&hash[..16], 16).expect("a hash is hexadecimal");
        Ok(Self {
            bytes: bytes.to_vec(),
            version,
            tag,
            card: artifact.card,
            layout,
            scaler,
            network,
            bench,
            raw: RefCell::default(),
        })
    }

    /// The model card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The version's name.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The layout that windows must have.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// What is expected at each query. A residual depends on its own query alone, never on those beside it.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch fails.
    pub fn look(&self, queries: &[&Query]) -> Result<Vec<Residual>, Error> {
        self.network.look(&self.scaler, queries)
    }

    /// Judges a reading whose residual is known; the vehicle's readings come in their order. None where too little is
    /// known.
    pub fn judge(&self, question: Question<'_>, residual: &Residual) -> Option<Judgement> {
        let Question { vehicle, track, query } = question;
        let (standing, baselines) = self.bench.baselines(key(vehicle));
        let raw = &mut *self.raw.borrow_mut();
        track.advance((self.tag, self.layout.step_ms()), baselines, (query, residual), raw);
        self.bench.judge((&self.layout, &self.scaler), (standing, baselines), track, (query, residual, raw))
    }

    /// Judges readings, each vehicle's in their order.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch fails.
    pub fn score(&self, questions: Vec<Question<'_>>) -> Result<Vec<Option<Judgement>>, Error> {
        let queries: Vec<&Query> = questions.iter().map(|question| question.query).collect();
        let residuals = self.look(&queries)?;
        Ok(questions.into_iter().zip(&residuals).map(|(question, residual)| self.judge(question, residual)).collect())
    }

    pub(crate) fn parts(&self) -> (&Scaler, &Network) {
        (&self.scaler, &self.network)
    }
}

/// Writes scaler and network.
pub(crate) fn write_eyes(artifact: &mut Artifact, scaler: &Scaler, network: &Network) -> Result<(), Error> {
    let inputs = scaler.len();
    let places: Vec<u64> = scaler.inputs.iter().map(|at| u64::from(*at)).collect();
    artifact.put_u64("scaler.places", &places);
    artifact.put_u64("scaler.features", &[scaler.used as u64]);
    artifact.put_f32("scaler.center", &[inputs], &scaler.center);
    artifact.put_f32("scaler.spread", &[inputs], &scaler.spread);
    for (name, (shape, numbers)) in network.weights()? {
        artifact.put_f32(&format!("network.{name}"), &shape, &numbers);
    }
    let (features, known) = golden_input(inputs);
    let expected = run_golden(network, inputs, &features, &known)?;
    artifact.put_f32("golden.features", &[inputs, GOLDEN, FEATURES], &features);
    artifact.put_f32("golden.known", &[inputs, GOLDEN, 1], &known);
    artifact.put_f32("golden.expected", &[inputs, GOLDEN, OUTPUT], &expected);
    Ok(())
}

fn read_eyes(artifact: &Artifact, layout: &Layout) -> Result<(Scaler, Network), Error> {
    let places = artifact.u64("scaler.places")?;
    let inputs: Vec<u16> = places.iter().filter(|at| **at < layout.len() as u64).map(|at| *at as u16).collect();
    let ascending = inputs.windows(2).all(|pair| pair[0] < pair[1]);
    if inputs.is_empty() || inputs.len() != places.len() || !ascending {
        return Err(Error::Malformed("scaler.places are not places of the layout in ascending order".into()));
    }
    let count = inputs.len();
    let (center, spread) = (artifact.f32("scaler.center", &[count])?, artifact.f32("scaler.spread", &[count])?);
    let sound = center.iter().all(|c| c.is_finite()) && spread.iter().all(|s| s.is_normal() && *s > 0.0);
    if !sound {
        return Err(Error::Malformed("scaler.spread must be above 0, and all of the scaler finite".into()));
    }
    let used = artifact.u64("scaler.features")?.first().copied().unwrap_or_default() as usize;
    if !(VALUES..=FEATURES).contains(&used) {
        return Err(Error::Malformed(format!("scaler.features is {used}")));
    }
    let kind = artifact.card.detector;
    let weights = network::shapes(kind, count).into_iter().map(|(name, shape)| {
        let numbers = artifact.f32(&format!("network.{name}"), &shape)?;
        Ok((name.to_owned(), (shape, numbers)))
    });
    let weights = weights.collect::<Result<Weights, Error>>()?;
    Ok((Scaler::of(layout.len(), inputs, (center, spread), used), Network::of(kind, count, &weights)?))
}

/// Fixed inputs within the range of scaled features, some of them absent: a golden ratio sequence, no generator.
fn golden_input(inputs: usize) -> (Vec<f32>, Vec<f32>) {
    let numbers =
        (0..inputs * GOLDEN * FEATURES).map(|n| ((n as f64 * 0.618_033_988_749_895).fract() * 6.0 - 3.0) as f32);
    let mut features: Vec<f32> = numbers.collect();
    let known: Vec<f32> = (0..inputs * GOLDEN).map(|n| if n % 7 == 3 { 0.0 } else { 1.0 }).collect();
    for (cell, known) in features.chunks_exact_mut(FEATURES).zip(&known) {
        cell.iter_mut().for_each(|feature| *feature *= known);
    }
    (features, known)
}

/// The network's output for the golden input, in a batch as inference runs it.
fn run_golden(network: &Network, inputs: usize, features: &[f32], known: &[f32]) -> Result<Vec<f32>, Error> {
    let mut cells = Cells::new(inputs, network::BATCH);
    for (at, (features, known)) in features.as_chunks::<FEATURES>().0.iter().zip(known).enumerate() {
        if *known != 0.0 {
            cells.put(at % GOLDEN, at / GOLDEN, features);
        }
    }
    let answers = network.infer(&cells)?;
    Ok((0..inputs * GOLDEN).flat_map(|at| answers.of(at % GOLDEN, at / GOLDEN)).collect())
}

fn check_golden(artifact: &Artifact, network: &Network) -> Result<(), Error> {
    let inputs = artifact.u64("scaler.places")?.len();
    let features = artifact.f32("golden.features", &[inputs, GOLDEN, FEATURES])?;
    let known = artifact.f32("golden.known", &[inputs, GOLDEN, 1])?;
    let expected = artifact.f32("golden.expected", &[inputs, GOLDEN, OUTPUT])?;
    let found = run_golden(network, inputs, &features, &known)?;
    let off = |(found, expected): (&f32, &f32)| (found - expected).abs() / expected.abs().max(1.0);
    let offs = || found.iter().zip(&expected).map(off);
    // A difference that is no number is no small one.
    let Some(off) = offs().find(|off| off.is_nan() || *off > TOLERANCE) else { return Ok(()) };
    let made_with = artifact.card.cpu_capability.clone();
    Err(Error::Golden { off, allowed: TOLERANCE, made_with, running_with: cpu_capability() })
}

/// Writes what is known about health.
pub(crate) fn write_judge(artifact: &mut Artifact, judge: &Judge) {
    let inputs = judge.known.tails.len();
    for (name, measure) in [(KNOWN, &judge.known), (STRANGERS, &judge.strangers)] {
        let tails = measure.tails.iter().flatten().flat_map(|tail| [tail.from, tail.share, tail.scale, tail.shape]);
        artifact.put_f32(&format!("{name}.tails"), &[inputs, STATISTICS, 4], &tails.collect::<Vec<_>>());
        artifact.put_f32(&format!("{name}.limit"), &[1], &[measure.limit]);
    }
    let Baselines { fleet, vehicles } = &judge.baselines;
    let mut keys: Vec<u64> = vehicles.keys().copied().collect();
    keys.sort_unstable();
    let rows = std::iter::once(fleet).chain(keys.iter().map(|key| &vehicles[key])).flatten();
    let (mut centers, mut spreads) = (Vec::new(), Vec::new());
    for (center, spread) in rows.map(Baseline::write) {
        centers.extend(center);
        spreads.extend(spread);
    }
    artifact.put_u64("baselines.key", &keys);
    artifact.put_i16("baselines.center", &[keys.len() + 1, inputs, 2], &centers);
    artifact.put_u8("baselines.spread", &[keys.len() + 1, inputs, 2 * MEANS], spreads);
}

fn read_judge(artifact: &Artifact, inputs: usize) -> Result<Judge, Error> {
    let keys = artifact.u64("baselines.key")?;
    let centers = artifact.i16("baselines.center", &[keys.len() + 1, inputs, 2])?;
    let spreads = artifact.u8("baselines.spread", &[keys.len() + 1, inputs, 2 * MEANS])?;
    let (centers, spreads) = (centers.as_chunks::<2>().0, spreads.as_chunks::<{ 2 * MEANS }>().0);
    let rows: Vec<Baseline> = centers.iter().zip(spreads).map(|(c, s)| baseline::Baseline::read(*c, *s)).collect();
    let mut rows = rows.chunks_exact(inputs).map(<[Baseline]>::to_vec);
    let fleet = rows.next().unwrap_or_default();
    let baselines = Baselines { fleet, vehicles: keys.into_iter().zip(rows).collect() };
    let (known, strangers) = (read_measure(artifact, KNOWN, inputs)?, read_measure(artifact, STRANGERS, inputs)?);
    Ok(Judge { baselines, known, strangers })
}

fn read_measure(artifact: &Artifact, name: &str, inputs: usize) -> Result<Measure, Error> {
    let numbers = artifact.f32(&format!("{name}.tails"), &[inputs, STATISTICS, 4])?;
    let tail = |n: &[f32]| Tail { from: n[0], share: n[1], scale: n[2], shape: n[3] };
    let tails = numbers.chunks_exact(STATISTICS * 4);
    let tails: Vec<[Tail; STATISTICS]> = tails.map(|row| std::array::from_fn(|at| tail(&row[at * 4..]))).collect();
    if let Some(tail) = tails.iter().flatten().find(|tail| !tail.is_sound()) {
        return Err(Error::Malformed(format!("{name}.tails has {tail:?}")));
    }
    let limit = artifact.f32(&format!("{name}.limit"), &[1])?[0];
    if !(limit.is_finite() && limit > 0.0) {
        return Err(Error::Malformed(format!("{name}.limit is {limit}")));
    }
    Ok(Measure { tails, limit })
}

/// For people: the shape of a kind's network.
pub(crate) fn shape(kind: Kind, inputs: usize) -> String {
    let parts: Vec<String> =
        network::shapes(kind, inputs).into_iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    parts.join(", ")
}
