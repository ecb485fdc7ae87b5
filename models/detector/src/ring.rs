//! Blocks of the last moments, for all signals of a vehicle. Those of one moment lie side by side: a reading touches few
//! places of memory, and thousands of vehicles don't fit into a processor's caches.

/// Blocks of so many moments, each with one block for every signal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ring<T, const N: usize> {
    signals: usize,
    blocks: Vec<T>,
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self { signals: 0, blocks: Vec::new() }
    }
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    pub(crate) fn new(signals: usize) -> Self {
        Self { signals, blocks: vec![T::default(); N * signals] }
    }

    /// The blocks of one moment, by signal.
    pub(crate) fn at(&self, place: usize) -> &[T] {
        &self.blocks[place * self.signals..(place + 1) * self.signals]
    }

    pub(crate) fn at_mut(&mut self, place: usize) -> &mut [T] {
        &mut self.blocks[place * self.signals..(place + 1) * self.signals]
    }

    /// The same blocks for other signals: where each was before, or none where it is new.
    pub(crate) fn arranged(&self, from: &[Option<usize>]) -> Self {
        let mut blocks = Vec::with_capacity(N * from.len());
        for place in 0..N {
            let before = self.at(place);
            blocks.extend(from.iter().map(|from| from.map_or_else(T::default, |from| before[from])));
        }
        Self { signals: from.len(), blocks }
    }

    /// A signal's blocks, by place of their moment.
    pub(crate) fn of(&self, signal: usize) -> impl Iterator<Item = &T> {
        self.blocks.iter().skip(signal).step_by(self.signals)
    }

    pub(crate) fn of_mut(&mut self, signal: usize) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().skip(signal).step_by(self.signals)
    }
}
