//! At most one deadline for each vehicle: a binary heap that knows where each vehicle stands in it, so that moving
//! a deadline leaves nothing behind. Memory is fixed: 16 bytes a vehicle.

/// Nowhere in the heap.
const OUT: u32 = u32::MAX;

/// Deadlines in µs, by vehicle.
#[derive(Debug)]
pub(super) struct Deadlines {
    heap: Vec<(u64, u32)>,
    place: Vec<u32>,
}

impl Deadlines {
    /// For vehicles 0 to `count` − 1; none has a deadline.
    pub(super) fn new(count: usize) -> Self {
        Self { heap: Vec::with_capacity(count), place: vec![OUT; count] }
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<u64> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes out a vehicle whose deadline has come.
    pub(super) fn pop(&mut self, now: u64) -> Option<usize> {
        let (at, vehicle) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.set(vehicle as usize, None);
        Some(vehicle as usize)
    }

    /// Sets, moves or removes the deadline of a vehicle.
    pub(super) fn set(&mut self, vehicle: usize, at: Option<u64>) {
        let place = self.place[vehicle];
        match (at, place) {
            (None, OUT) => {}
            (None, place) => {
                let place = place as usize;
                let last = self.heap.len() - 1;
                self.heap.swap(place, last);
                self.heap.pop();
                self.place[vehicle] = OUT;
                if place < last {
                    self.place[self.heap[place].1 as usize] = index(place);
                    self.settle(place);
                }
            }
            (Some(at), OUT) => {
                self.heap.push((at, index(vehicle)));
                let place = self.heap.len() - 1;
                self.place[vehicle] = index(place);
                self.settle(place);
            }
            (Some(at), place) => {
                self.heap[place as usize].0 = at;
                self.settle(place as usize);
            }
        }
    }

    /// Moves what stands here up or down to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            place = self.exchange(place, (place - 1) / 2);
        }
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(mut least) = self.heap.get(left).map(|_| left) else { break };
            if self.heap.get(right).is_some_and(|right| *right < self.heap[left]) {
                least = right;
            }
            if self.heap[place] <= self.heap[least] {
                break;
            }
            place = self.exchange(place, least);
        }
    }

    fn exchange(&mut self, from: usize, to: usize) -> usize {
        self.heap.swap(from, to);
        self.place[self.heap[from].1 as usize] = index(from);
        self.place[self.heap[to].1 as usize] = index(to);
        to
    }
}

fn index(place: usize) -> u32 {
    // A worker has far fewer vehicles than fit.
    u32::try_from(place).unwrap_or(OUT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_map_in_the_order_of_time(
            steps in prop::collection::vec((0..40_usize, prop::option::of(0..100_u64)), 0..300),
        ) {
            let mut deadlines = Deadlines::new(40);
            let mut model = [None; 40];
            for (vehicle, at) in steps {
                deadlines.set(vehicle, at);
                model[vehicle] = at;
                prop_assert_eq!(deadlines.first(), model.iter().flatten().min().copied());
            }
            while let Some(first) = deadlines.first() {
                prop_assert_eq!(first.checked_sub(1).and_then(|early| deadlines.pop(early)), None);
                let vehicle = deadlines.pop(first).unwrap();
                prop_assert_eq!(model[vehicle].take(), Some(first));
            }
            prop_assert!(model.iter().all(Option::is_none));
        }
    }
}
