//! Which vehicles are at this edge's broker, as far as it has heard: a bounded set.

use std::mem;

use hashbrown::HashSet;
use smol_str::SmolStr;

/// Vehicles that were heard of and have not said goodbye. When there are too many, those that have been silent for
/// longest are forgotten: they are here again with their next reading or birth.
///
/// Two generations instead of a list by age: a vehicle costs one short text, and being heard of again one look-up.
#[derive(Debug)]
pub(crate) struct Online {
    limit: usize,
    young: HashSet<SmolStr>,
    old: HashSet<SmolStr>,
}

impl Online {
    /// An empty set of at most `limit` vehicles.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(2), young: HashSet::new(), old: HashSet::new() }
    }

    /// This vehicle was heard of; whether that is news.
    pub(crate) fn insert(&mut self, vehicle: &str) -> bool {
        if self.young.contains(vehicle) {
            return false;
        }
        let news = self.old.take(vehicle).is_none();
        if self.young.len() >= self.limit / 2 {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(vehicle.into());
        news
    }

    /// It has said goodbye, or its broker did for it.
    pub(crate) fn remove(&mut self, vehicle: &str) {
        self.young.remove(vehicle);
        self.old.remove(vehicle);
    }

    pub(crate) fn contains(&self, vehicle: &str) -> bool {
        self.young.contains(vehicle) || self.old.contains(vehicle)
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_heard_of_stays_and_who_is_silent_makes_room() {
        let mut online = Online::new(10);
        let name = |i: u32| format!("veh-{i}");
        assert!(online.insert("steady"));
        for i in 0..1_000 {
            assert!(online.insert(&name(i)), "{i} is news");
            assert!(!online.insert("steady"));
            assert!(online.young.len() + online.old.len() <= 10);
        }
        assert!(online.contains(&name(999)) && !online.contains(&name(900)));
        online.remove("steady");
        assert!(!online.contains("steady") && online.insert("steady"));
        online.clear();
        assert!(online.insert(&name(999)));
    }
}
