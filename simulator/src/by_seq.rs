//! A map from (vehicle, boot, seq) that takes little more memory than its values: seqs come in runs.

use std::collections::HashMap;

const CHUNK: usize = 16;

/// The values of 16 successive seqs.
type Chunk<T> = Box<[Option<T>; CHUNK]>;

/// Vehicles by number.
#[derive(Debug)]
pub(crate) struct BySeq<T> {
    chunks: HashMap<(u32, u32, u64), Chunk<T>>,
    len: usize,
}

impl<T> Default for BySeq<T> {
    fn default() -> Self {
        Self { chunks: HashMap::new(), len: 0 }
    }
}

fn place(seq: u64) -> (u64, usize) {
    // The remainder is below 16.
    (seq / CHUNK as u64, (seq % CHUNK as u64) as usize)
}

impl<T: Copy> BySeq<T> {
    pub(crate) fn get(&self, vehicle: u32, boot: u32, seq: u64) -> Option<&T> {
        let (chunk, at) = place(seq);
        self.chunks.get(&(vehicle, boot, chunk))?[at].as_ref()
    }

    pub(crate) fn get_mut(&mut self, vehicle: u32, boot: u32, seq: u64) -> Option<&mut T> {
        let (chunk, at) = place(seq);
        self.chunks.get_mut(&(vehicle, boot, chunk))?[at].as_mut()
    }

    /// Puts it in where nothing is; the value that is there now, and whether it was there before.
    pub(crate) fn get_or_insert(&mut self, vehicle: u32, boot: u32, seq: u64, value: T) -> (&mut T, bool) {
        let (chunk, at) = place(seq);
        let slot = &mut self.chunks.entry((vehicle, boot, chunk)).or_insert_with(|| Box::new([None; CHUNK]))[at];
        let known = slot.is_some();
        self.len += usize::from(!known);
        (slot.get_or_insert(value), known)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// (vehicle, boot, seq, value), in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, u64, &T)> {
        self.chunks.iter().flat_map(|((vehicle, boot, chunk), values)| {
            let first = chunk * CHUNK as u64;
            let values = (0_u64..).zip(values.iter());
            values.filter_map(move |(at, value)| Some((*vehicle, *boot, first + at, value.as_ref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut map = BySeq::default();
        let seqs = [0, 1, 15, 16, 17, 1 << 40, u64::MAX];
        for seq in seqs {
            assert_eq!(map.get_or_insert(3, 7, seq, seq), (&mut seq.clone(), false));
        }
        assert_eq!(map.get_or_insert(3, 7, 16, 99), (&mut 16, true));
        assert_eq!(
            (map.get(3, 7, 15), map.get(3, 7, 2), map.get(3, 8, 15), map.get(4, 7, 15)),
            (Some(&15), None, None, None)
        );
        let mut all: Vec<_> = map.iter().map(|(vehicle, boot, seq, value)| (vehicle, boot, seq, *value)).collect();
        all.sort_unstable();
        assert_eq!(all, seqs.map(|seq| (3, 7, seq, seq)));
        assert_eq!(map.len(), seqs.len());
    }
}
