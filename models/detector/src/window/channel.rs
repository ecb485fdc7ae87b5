//! What a window keeps of one signal: its last values, and sums over blocks of event time.

use super::RECENT;

/// Sum and number of values in a block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Block {
    pub(super) sum: f32,
    pub(super) count: u16,
}

impl Block {
    pub(super) fn add(&mut self, value: f32) {
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, count: self.count.saturating_add(other.count) }
    }

    pub(super) fn mean(self, otherwise: f32) -> f32 {
        if self.count == 0 { otherwise } else { self.sum / f32::from(self.count) }
    }
}

/// What is kept of one signal besides its blocks: all of it is touched by every reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Channel {
    /// The signal's place in the layout.
    pub(super) at: u16,
    /// The value known now, or NaN.
    pub(super) known: f32,
    /// Records since it was named.
    pub(super) age: u8,
    /// The last values, newest first.
    pub(super) recent: [f32; RECENT],
    /// Coarse blocks in which the value changed, a bit each.
    pub(super) changed: u16,
    /// Lively readings in the current coarse block since the value changed in it.
    pub(super) still: u16,
    /// Sums of all blocks but the current one: 4 fine ones, 2 and 11 coarse ones. Follow from the blocks.
    pub(super) before: [Block; 3],
}

impl Channel {
    pub(super) fn empty(at: u16) -> Self {
        let (known, recent) = (f32::NAN, [f32::NAN; RECENT]);
        Self { at, known, age: 0, recent, changed: 0, still: 0, before: [Block::default(); 3] }
    }
}
