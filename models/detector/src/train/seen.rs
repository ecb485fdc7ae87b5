//! What was seen of a vehicle in blocks of a minute: of each statistic the largest values, those that may belong to a tail.

use telemetry::UnixMillis;

use crate::{
    baseline::Baseline,
    residual::Residual,
    track::{Raw, STATISTICS},
    window::Query,
};

/// A block's largest value of a statistic that may belong to a tail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) block: u32,
    pub(super) value: f32,
}

/// The blocks of one vehicle in the part that sets the limit, or in the held-out part.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) vehicle: u32,
    /// Whether by a network that has not learnt from the vehicle.
    pub(super) out_of_fold: bool,
    /// Beginning of each block.
    pub(super) blocks: Vec<UnixMillis>,
    pub(super) readings: u64,
    /// By input and statistic.
    pub(super) candidates: Vec<[Vec<Candidate>; STATISTICS]>,
    /// Blocks in which each statistic was known.
    pub(super) known: Vec<[u32; STATISTICS]>,
}

/// Collects the blocks of a vehicle.
pub(super) struct Blocks<'a> {
    candidates: &'a [[f32; STATISTICS]],
    judged: &'a [bool],
    current: Option<i64>,
    largest: Vec<[f32; STATISTICS]>,
    seen: Seen,
}

impl<'a> Blocks<'a> {
    /// `candidates`: of each input and statistic, the value from which on it may belong to a tail.
    pub(super) fn new(
        vehicle: u32,
        out_of_fold: bool,
        (candidates, judged): (&'a [[f32; STATISTICS]], &'a [bool]),
    ) -> Self {
        let inputs = candidates.len();
        let seen = Seen {
            vehicle,
            out_of_fold,
            blocks: Vec::new(),
            readings: 0,
            candidates: (0..inputs).map(|_| Default::default()).collect(),
            known: vec![[0; STATISTICS]; inputs],
        };
        let largest = vec![[f32::NAN; STATISTICS]; inputs];
        Self { candidates, judged, current: None, largest, seen }
    }

    /// Takes a reading's statistics, held against these baselines; `block` is its block.
    pub(super) fn take(&mut self, block: i64, own: &[Baseline], query: &Query, residual: &Residual, raw: &[Raw]) {
        if self.current != Some(block) {
            self.close();
            self.current = Some(block);
            self.seen.blocks.push(query.time());
        }
        self.seen.readings += 1;
        for ((_, input, _), raw) in residual.signals.iter().zip(raw) {
            let input = usize::from(*input);
            if !self.judged[input] {
                continue;
            }
            for (most, found) in self.largest[input].iter_mut().zip(own[input].compare(raw)) {
                *most = most.max(found);
            }
        }
    }

    fn close(&mut self) {
        let Some(block) = (self.seen.blocks.len() as u32).checked_sub(1) else { return };
        for (input, largest) in self.largest.iter_mut().enumerate() {
            for (statistic, value) in largest.iter_mut().enumerate().filter(|(_, value)| !value.is_nan()) {
                self.seen.known[input][statistic] += 1;
                if *value >= self.candidates[input][statistic] {
                    self.seen.candidates[input][statistic].push(Candidate { block, value: *value });
                }
                *value = f32::NAN;
            }
        }
    }

    pub(super) fn finish(mut self) -> Seen {
        self.close();
        // Of many vehicles: room to grow would take as much again.
        self.seen.candidates.iter_mut().flatten().for_each(Vec::shrink_to_fit);
        self.seen.blocks.shrink_to_fit();
        self.seen
    }
}
