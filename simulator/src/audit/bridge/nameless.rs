//! Payloads without identity, by hash. Several vehicles may send the same one, for example nothing at all, and one copy
//! does not stand for all of them: a copy belongs to the vehicle on whose topic it came, where the bridge has kept that;
//! the others are as many as they are.

use std::collections::HashMap;

use telemetry::PayloadHash;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nameless(HashMap<PayloadHash, Copies>);

#[derive(Debug, Default)]
struct Copies {
    /// By the number of each vehicle that sent it: how often it did, and copies that came from there.
    told: HashMap<u32, (u64, u64)>,
    /// Vehicles without such a copy.
    missing: u64,
    /// Copies of which nobody tells where they came from.
    untold: u64,
}

impl Nameless {
    /// The ledger has this payload of this vehicle, which has sent it so often.
    pub(super) fn sent(&mut self, hash: PayloadHash, vehicle: u32, times: u32) {
        let copies = self.0.entry(hash).or_default();
        copies.missing += u64::from(copies.told.insert(vehicle, (times.into(), 0)).is_none());
    }

    /// Takes in a copy, with the number of the vehicle that it came from, if that is known. Whether it is the first that
    /// may be this vehicle's; none: it was not sent.
    pub(super) fn add(&mut self, hash: PayloadHash, from: Option<u32>) -> Option<bool> {
        let copies = self.0.get_mut(&hash)?;
        let Some(from) = from else {
            copies.untold += 1;
            return Some(copies.untold <= copies.missing);
        };
        let (_, told) = copies.told.get_mut(&from)?;
        *told += 1;
        copies.missing -= u64::from(*told == 1);
        Some(*told == 1)
    }

    /// Whether this vehicle's is there for sure: a copy came from it, or there are enough for everybody.
    pub(super) fn is_there(&self, hash: PayloadHash, vehicle: u32) -> bool {
        let Some(copies) = self.0.get(&hash) else { return false };
        copies.untold >= copies.missing || copies.told.get(&vehicle).is_some_and(|(_, told)| *told > 0)
    }

    /// Copies beyond those that were sent.
    pub(super) fn duplicates(&self) -> u64 {
        let further = |copies: &Copies| {
            let beyond: u64 = copies.told.values().map(|(sent, told)| told.saturating_sub(*sent)).sum();
            let open: u64 = copies.told.values().map(|(sent, told)| sent.saturating_sub(*told)).sum();
            beyond + copies.untold.saturating_sub(open)
        };
        self.0.values().map(further).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: PayloadHash = PayloadHash(7);

    /// What three vehicles sent, of which there are copies from these.
    fn copies(from: &[Option<u32>]) -> (Vec<bool>, u64) {
        let mut nameless = Nameless::default();
        [1, 2, 3].into_iter().for_each(|vehicle| nameless.sent(HASH, vehicle, 1));
        from.iter().for_each(|from| assert!(nameless.add(HASH, *from).is_some()));
        ([1, 2, 3].into_iter().map(|vehicle| nameless.is_there(HASH, vehicle)).collect(), nameless.duplicates())
    }

    #[test]
    fn a_copy_stands_for_the_vehicle_that_it_came_from_and_for_nobody_else() {
        assert_eq!(copies(&[Some(2)]), (vec![false, true, false], 0));
        assert_eq!(copies(&[Some(1), Some(2), Some(3)]), (vec![true; 3], 0), "a perfect bridge has no duplicates");
        assert_eq!(copies(&[Some(1), Some(2), Some(2)]), (vec![true, true, false], 1));
    }

    #[test]
    fn copies_without_a_source_stand_for_all_or_for_nobody() {
        assert_eq!(copies(&[None, None]), (vec![false; 3], 0));
        assert_eq!(copies(&[None, None, None]), (vec![true; 3], 0));
        assert_eq!(copies(&[None, Some(2), None, None]), (vec![true; 3], 1));
    }

    #[test]
    fn what_was_not_sent_is_nobodys() {
        let mut nameless = Nameless::default();
        nameless.sent(HASH, 1, 3);
        assert_eq!((nameless.add(PayloadHash(8), None), nameless.add(HASH, Some(2))), (None, None));
        assert!(!nameless.is_there(PayloadHash(8), 1) && !nameless.is_there(HASH, 1));
        assert_eq!((0..3).filter_map(|_| nameless.add(HASH, Some(1))).count(), 3);
        assert!(nameless.is_there(HASH, 1) && nameless.duplicates() == 0, "it was sent three times");
    }
}
