//! Drift: whether the fleet still is the one that a model learnt from.
//!
//! A [`Watch`] counts readings and scores of one model into whiles of event time and compares each with the model's card:
//! the distribution of every input signal and of the scores (PSI), and the alarms with those that were promised. Pure,
//! and bounded by the number of vehicles.

mod signs;

use std::collections::{BTreeMap, HashMap};

use evaluation::{BINS, Bins, Counts};
use telemetry::{
    Record, UnixMillis, VehicleId,
    event::{Drift, DriftSign, Score, SignalShift, Verdict},
};

use crate::{Card, Error, Layout, Values, block_ms};

/// A while is closed when event time has gone a tenth of its length beyond it, in every partition: readings come late.
const GRACE: i64 = 10;
/// So many whiles after its end, a while is closed without what is still to come of some partition.
const AWAITED: i64 = 2;
/// Whiles that are open at once: readings may come so far ahead of their scores.
const OPEN: usize = 16;

/// What is counted in one while.
#[derive(Debug, Clone, Default)]
struct While {
    /// By input of the model.
    signals: Vec<Counts>,
    scores: [u64; BINS],
    scored: u64,
    alarms: u64,
}

/// What is known of a vehicle's scores.
#[derive(Debug, Clone, Copy)]
struct Last {
    reading: (u32, u64),
    /// Block of time, and the largest score in it.
    block: (i64, f64),
    /// Window time of the last anomalous score, ms.
    anomalous: Option<UnixMillis>,
}

/// Event time that a partition has reached, ms.
#[derive(Debug, Clone, Copy)]
struct Reached {
    readings: UnixMillis,
    scores: UnixMillis,
}

impl Reached {
    const NOTHING: Self = Self { readings: UnixMillis::MIN, scores: UnixMillis::MIN };
}

/// One input signal.
#[derive(Debug, Clone)]
struct Input {
    path: String,
    context: bool,
    bins: Bins,
}

/// Watches one model.
#[derive(Debug, Clone)]
pub struct Watch {
    version: String,
    layout: Layout,
    inputs: Vec<Input>,
    /// By place of the layout.
    of_place: Vec<Option<u16>>,
    scores: Bins,
    budget_per_1000_h: f64,
    merge_ms: i64,
    every_ms: i64,
    /// Window time of the model's first score, ms: whiles are counted from there.
    since: Option<UnixMillis>,
    /// The largest of the scores' window times, ms.
    latest: UnixMillis,
    /// By partition of the readings: scorers take them at different speeds.
    reached: BTreeMap<i32, Reached>,
    open: BTreeMap<i64, While>,
    /// The first while that is not closed.
    next: i64,
    vehicles: HashMap<VehicleId, Last>,
    signs: Vec<DriftSign>,
    /// Event time since which there have been signs, ms.
    onset: Option<UnixMillis>,
    values: Values,
}

impl Watch {
    /// A watch over the model with this card; a while lasts `every_ms` of event time.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the card does not say how scores are distributed, or its layout can't be read.
    pub fn new(version: &str, card: &Card, every_ms: i64) -> Result<Self, Error> {
        let layout = Layout::read(&card.layout)?;
        let Some(scores) = card.calibration.scores.clone() else {
            return Err(Error::Malformed("a card without the distribution of scores".into()));
        };
        let mut of_place = vec![None; layout.len()];
        for (input, signal) in card.signals.iter().enumerate() {
            let place = layout.places().iter().position(|place| place.path == signal.path);
            if let Some(held) = place.and_then(|place| of_place.get_mut(place)) {
                *held = u16::try_from(input).ok();
            }
        }
        let input = |signal: &crate::card::CardSignal| Input {
            path: signal.path.clone(),
            context: !signal.judged,
            bins: signal.bins.clone(),
        };
        Ok(Self {
            version: version.to_owned(),
            inputs: card.signals.iter().map(input).collect(),
            of_place,
            scores,
            budget_per_1000_h: card.calibration.budget_per_1000_h,
            merge_ms: card.calibration.merge_ms,
            every_ms: every_ms.max(1),
            since: None,
            latest: UnixMillis::MIN,
            reached: BTreeMap::new(),
            open: BTreeMap::new(),
            next: 0,
            vehicles: HashMap::new(),
            signs: Vec::new(),
            onset: None,
            values: Values::default(),
            layout,
        })
    }

    /// The model's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Event time since which every while has shown a sign, ms.
    pub fn onset(&self) -> Option<UnixMillis> {
        self.onset
    }

    /// The while that a time belongs to, if it is open.
    fn at(&mut self, time: UnixMillis) -> Option<&mut While> {
        let since = self.since?;
        let index = (time - since).div_euclid(self.every_ms);
        if index < self.next || index >= self.next + OPEN as i64 {
            return None;
        }
        let inputs = self.inputs.len();
        let empty = || While { signals: vec![[0; BINS]; inputs], ..While::default() };
        Some(self.open.entry(index).or_insert_with(empty))
    }

    /// Takes in a reading of this partition with its window time, ms.
    pub fn reading(&mut self, partition: i32, record: &Record, time: UnixMillis) {
        let reached = self.reached.entry(partition).or_insert(Reached::NOTHING);
        reached.readings = reached.readings.max(time);
        let mut values = std::mem::take(&mut self.values);
        self.layout.extract(&record.signals, &mut values);
        let inputs: Vec<_> = values
            .at
            .iter()
            .zip(&values.numbers)
            .filter(|(_, number)| number.is_finite())
            .filter_map(|(at, number)| Some((usize::from(self.of_place[usize::from(*at)]?), f64::from(*number))))
            .map(|(input, number)| (input, self.inputs[input].bins.index(number)))
            .collect();
        if let Some(open) = self.at(time) {
            inputs.into_iter().for_each(|(input, bin)| open.signals[input][bin] += 1);
        }
        self.values = values;
    }

    /// Takes in a score; what was found, when it closes a while. Scores of other models and repetitions do not count.
    pub fn score(&mut self, score: &Score) -> Option<Drift> {
        if score.model != self.version {
            return None;
        }
        let since = *self.since.get_or_insert(score.time);
        self.latest = self.latest.max(score.time);
        let reached = self.reached.entry(score.source.partition).or_insert(Reached::NOTHING);
        reached.scores = reached.scores.max(score.time);
        let closed = self.close(since);
        let (block_ms, reading) = (block_ms(&self.layout), (score.boot, score.seq));
        let block = score.time.div_euclid(block_ms);
        let before = self.vehicles.get(&score.vehicle).copied();
        if before.is_some_and(|last| reading <= last.reading) {
            return closed;
        }
        let anomalous = score.verdict == Verdict::Anomalous;
        let merged = before.and_then(|last| last.anomalous).is_some_and(|last| score.time - last <= self.merge_ms);
        if let Some(open) = self.at(score.time) {
            open.scored += 1;
            open.alarms += u64::from(anomalous && !merged);
        }
        let mut last = before.unwrap_or(Last { reading, block: (block, score.score), anomalous: None });
        if last.block.0 == block {
            last.block.1 = last.block.1.max(score.score);
        } else {
            self.count_block(last.block);
            last.block = (block, score.score);
        }
        last.reading = reading;
        last.anomalous = if anomalous { Some(score.time) } else { last.anomalous };
        self.vehicles.insert(score.vehicle.clone(), last);
        closed
    }

    fn count_block(&mut self, (block, largest): (i64, f64)) {
        let bin = self.scores.index(largest);
        let time = block * block_ms(&self.layout);
        if let Some(open) = self.at(time) {
            open.scores[bin] += 1;
        }
    }

    /// Whether a partition with readings or scores since the beginning of a while has not gone beyond this time with both.
    fn awaits(&self, from: UnixMillis, due: UnixMillis) -> bool {
        let behind =
            |Reached { readings, scores }: &Reached| (*readings).max(*scores) >= from && (*readings).min(*scores) < due;
        self.reached.values().any(behind)
    }

    /// Closes the oldest while if event time is far enough beyond it.
    fn close(&mut self, since: UnixMillis) -> Option<Drift> {
        let (from, to) = (since + self.next * self.every_ms, since + (self.next + 1) * self.every_ms);
        let due = to + self.every_ms / GRACE;
        if self.latest < due || (self.latest < to + AWAITED * self.every_ms && self.awaits(from, due)) {
            return None;
        }
        let length = block_ms(&self.layout);
        let ended: Vec<_> =
            self.vehicles.values().map(|last| last.block).filter(|(b, _)| (b + 1) * length <= to).collect();
        ended.into_iter().for_each(|block| self.count_block(block));
        // A vehicle that has not been heard of since would only take up room; a merged alarm would count twice.
        self.vehicles.retain(|_, last| (last.block.0 + 1) * length > to);
        let index = self.next;
        self.next += 1;
        // Nobody drove for long: nothing is found in those whiles, and nothing is said of them.
        let now = (self.latest - since).div_euclid(self.every_ms);
        self.next = self.next.max(now - OPEN as i64 + 1);
        let found = self.open.remove(&index);
        self.open.retain(|index, _| *index >= self.next);
        let drift = self.found(&found?, from, to);
        self.signs.clone_from(&drift.signs);
        self.onset = if drift.signs.is_empty() { None } else { self.onset.or(Some(from)) };
        Some(drift)
    }

    fn found(&self, open: &While, from: UnixMillis, to: UnixMillis) -> Drift {
        let shift = |(input, counts): (&Input, &Counts)| {
            let psi = input.bins.psi(counts)?;
            Some(SignalShift { signal: input.path.clone(), psi, context: input.context })
        };
        let hours = open.scored as f64 * self.layout.step_ms() as f64 / 3_600_000.0;
        let mut drift = Drift {
            version: self.version.clone(),
            from,
            to,
            signals: self.inputs.iter().zip(&open.signals).filter_map(shift).collect(),
            scores_psi: self.scores.psi(&open.scores),
            hours,
            alarms: open.alarms,
            promised_alarms: hours * self.budget_per_1000_h / 1_000.0,
            signs: Vec::new(),
            asks_for_training: false,
        };
        drift.signs = signs::signs(&drift);
        drift.asks_for_training = signs::asks_for_training(&self.signs, &drift.signs);
        drift
    }
}
