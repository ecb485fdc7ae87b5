//! Which readings a replay has seen already: sequence numbers as ranges, because they come almost without holes.

use std::collections::{BTreeMap, HashMap};

use telemetry::VehicleId;

/// Identities that were seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each vehicle and boot: first and last of each run of numbers.
    runs: HashMap<(VehicleId, u32), BTreeMap<u64, u64>>,
}

impl Seen {
    /// Notes an identity; whether it is new.
    pub fn note(&mut self, vehicle: &VehicleId, boot: u32, seq: u64) -> bool {
        let runs = self.runs.entry((vehicle.clone(), boot)).or_default();
        let before = runs.range(..=seq).next_back().map(|(from, to)| (*from, *to));
        if before.is_some_and(|(_, to)| seq <= to) {
            return false;
        }
        let from = before.filter(|(_, to)| to + 1 == seq).map_or(seq, |(from, _)| from);
        // Where the number closes a hole, the run behind it goes on in this one.
        let to = seq.checked_add(1).and_then(|next| runs.remove(&next)).unwrap_or(seq);
        runs.insert(from, to);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_and_neighbours_are_one_run() {
        let vehicle = VehicleId::parse("a").unwrap();
        let mut seen = Seen::default();
        for (seq, new) in [(5, true), (7, true), (6, true), (6, false), (1, true), (7, false), (u64::MAX, true)] {
            assert_eq!(seen.note(&vehicle, 1, seq), new, "{seq}");
        }
        assert!(!seen.note(&vehicle, 1, u64::MAX));
        assert!(seen.note(&vehicle, 2, 5), "another boot");
        let runs = &seen.runs[&(vehicle, 1)];
        assert_eq!(runs.iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>(), [(1, 1), (5, 7), (u64::MAX, u64::MAX)]);
    }
}
