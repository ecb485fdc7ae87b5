//! What was seen of a vehicle in blocks of a minute: of each statistic the largest values, those that may belong to a tail.

use telemetry::UnixMillis;

use crate::{
    baseline::Baseline,
    residual::Residual,
    track::{Raw, STATISTICS},
    window::Query,
};

/// A block's largest value of a statistic that may belong to a tail.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// By input and statistic, of which each ends where `ends` says: of a large fleet lists of their own would take more
    /// memory than what is in them.
    candidates: Vec<Candidate>,
    ends: Vec<[u32; STATISTICS]>,
    /// Blocks in which each statistic was known.
    pub(super) known: Vec<[u32; STATISTICS]>,
}

impl Seen {
    /// What may belong to the tail of a statistic of an input, in order of time.
    pub(super) fn candidates(&self, input: usize, statistic: usize) -> &[Candidate] {
        let end = |at: usize| self.ends[at / STATISTICS][at % STATISTICS] as usize;
        let at = input * STATISTICS + statistic;
        &self.candidates[at.checked_sub(1).map_or(0, end)..end(at)]
    }
}

/// Collects the blocks of a vehicle.
pub(super) struct Blocks<'a> {
    candidates: &'a [[f32; STATISTICS]],
    judged: &'a [bool],
    current: Option<i64>,
    largest: Vec<[f32; STATISTICS]>,
    /// Each with its input and statistic, in order of time.
    found: Vec<(u32, Candidate)>,
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
            candidates: Vec::new(),
            ends: vec![[0; STATISTICS]; inputs],
            known: vec![[0; STATISTICS]; inputs],
        };
        let largest = vec![[f32::NAN; STATISTICS]; inputs];
        Self { candidates, judged, current: None, largest, found: Vec::new(), seen }
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
                    let place = (input * STATISTICS + statistic) as u32;
                    self.found.push((place, Candidate { block, value: *value }));
                }
                *value = f32::NAN;
            }
        }
    }

    /// What was seen; none where nothing was.
    pub(super) fn finish(mut self) -> Option<Seen> {
        self.close();
        let mut seen = self.seen;
        // Those of one statistic stay in order.
        self.found.sort_by_key(|(place, _)| *place);
        seen.candidates = self.found.iter().map(|(_, candidate)| *candidate).collect();
        for (at, end) in seen.ends.iter_mut().flatten().enumerate() {
            *end = self.found.partition_point(|(place, _)| *place as usize <= at) as u32;
        }
        // Of many vehicles: room to grow would take as much again.
        seen.blocks.shrink_to_fit();
        (!seen.blocks.is_empty()).then_some(seen)
    }
}

#[cfg(test)]
impl Seen {
    /// Blocks of a minute in which the only statistic of the only input was known, with these values.
    pub(super) fn of_values(vehicle: u32, values: impl Iterator<Item = f32>) -> Self {
        let candidates: Vec<Candidate> =
            values.enumerate().map(|(block, value)| Candidate { block: block as u32, value }).collect();
        let count = candidates.len() as u32;
        let blocks: Vec<_> = (0..i64::from(count)).map(|block| block * 60_000).collect();
        let (readings, ends, known) = (6 * u64::from(count), vec![[count; STATISTICS]], vec![[count; STATISTICS]]);
        Self { vehicle, out_of_fold: false, blocks, readings, candidates, ends, known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_kept_by_what_they_belong_to() {
        let (bounds, judged) = ([[1.0; STATISTICS]; 3], [true; 3]);
        let mut blocks = Blocks::new(7, false, (&bounds, &judged));
        for block in 0..4_u32 {
            blocks.seen.blocks.push(i64::from(block));
            blocks.largest[2][9] = 5.0 - block as f32;
            blocks.largest[0][0] = if block == 1 { f32::NAN } else { 2.0 };
            blocks.largest[1][3] = block as f32;
            blocks.close();
        }
        let seen = blocks.finish().unwrap();
        let of = |input, statistic| -> Vec<(u32, f32)> {
            seen.candidates(input, statistic).iter().map(|found| (found.block, found.value)).collect()
        };
        assert_eq!(of(0, 0), [(0, 2.0), (2, 2.0), (3, 2.0)]);
        assert_eq!(of(1, 3), [(1, 1.0), (2, 2.0), (3, 3.0)]);
        assert_eq!(of(2, 9), [(0, 5.0), (1, 4.0), (2, 3.0), (3, 2.0)]);
        assert_eq!((of(0, 1).len(), of(1, 2).len(), of(2, 8).len()), (0, 0, 0));
        assert_eq!((seen.known[0][0], seen.known[1][3], seen.known[2][8]), (3, 4, 0));
        assert!(Blocks::new(7, false, (&bounds, &judged)).finish().is_none());
    }
}
