//! What the vehicles of a worker take of its memory, at the most, beside what is in their outboxes. Pure.

/// Looked at once a second: buffers that vehicles need only under load count, too.
#[derive(Debug)]
pub(super) struct Memory {
    /// Resident before there was a vehicle, bytes.
    pub(super) before: u64,
    /// The most that outboxes had. An allocator keeps what they give back, and that is no vehicle's.
    most_in_outboxes: u64,
    /// The most that vehicles took, bytes.
    pub(super) peak: u64,
}

impl Memory {
    pub(super) fn new(before: u64) -> Self {
        Self { before, most_in_outboxes: 0, peak: 0 }
    }

    /// So much is resident now, and outboxes have so much of it.
    pub(super) fn look(&mut self, resident: u64, outboxes: u64) {
        self.most_in_outboxes = self.most_in_outboxes.max(outboxes);
        self.peak = self.peak.max(resident.saturating_sub(self.before + self.most_in_outboxes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_vehicles_take_beside_their_outboxes() {
        let mut memory = Memory::new(1_000);
        memory.look(900, 0);
        assert_eq!(memory.peak, 0);
        memory.look(9_000, 5_000);
        assert_eq!(memory.peak, 3_000, "a backlog is the outbox's");
        memory.look(9_000, 0);
        assert_eq!(memory.peak, 3_000, "also once it is gone");
        memory.look(10_000, 500);
        memory.look(2_000, 500);
        assert_eq!(memory.peak, 4_000, "and what was there for a while counts");
    }
}
