//! Order of one vehicle's readings: by (boot, seq), waiting only while a seq is missing. Pure.
//!
//! What is released, dropped or still waited for follows from the readings in the order of the partition, and
//! from nothing else: no clock, no border of a batch.

use std::collections::BTreeMap;

use telemetry::{PayloadHash, Record, UnixMillis, Value};

/// At most so many readings of a vehicle wait; one more, and the missing seq is given up.
pub(crate) const MOST_WAITING: usize = 256;
/// … nor more bytes of them than this: a state has to fit into one record.
pub(crate) const MOST_WAITING_BYTES: usize = 512 * 1024;
/// Vehicle, times, position, numbers.
const RECORD_BYTES: usize = 256;
/// A number with what tells its signal, or the lengths around a text.
const VALUE_BYTES: usize = 24;
/// Given-up ranges that are remembered, to tell a late reading from a duplicate.
pub(crate) const MOST_SKIPPED: usize = 16;

/// A reading with its place in `telemetry`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) record: Record,
    /// Window time, ms.
    pub(crate) time: UnixMillis,
    pub(crate) offset: i64,
    /// Of the payload as received.
    pub(crate) payload: PayloadHash,
}

/// What became of a reading that was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It was there before.
    Duplicate,
    /// Its place was given up.
    Late,
}

/// The order of one vehicle.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Order {
    /// The last reading released.
    pub(crate) last: Option<(u32, u64)>,
    /// The largest window time seen, ms.
    pub(crate) latest: UnixMillis,
    pub(crate) waiting: BTreeMap<(u32, u64), Placed>,
    /// Boot, first and last seq of ranges given up.
    pub(crate) skipped: Vec<(u32, u64, u64)>,
}

impl Order {
    /// Takes a reading; appends what may now be judged, in order.
    pub(crate) fn take(&mut self, placed: Placed, lateness_ms: i64, released: &mut Vec<Placed>) -> Result<(), Dropped> {
        let place = (placed.record.boot, placed.record.seq);
        self.latest = self.latest.max(placed.time);
        if self.last.is_some_and(|last| place <= last) {
            let (boot, seq) = place;
            let older = self.last.is_some_and(|(last, _)| boot < last);
            let given_up = self.skipped.iter().any(|(b, from, to)| *b == boot && (*from..=*to).contains(&seq));
            return Err(if given_up || older { Dropped::Late } else { Dropped::Duplicate });
        }
        if self.waiting.is_empty() && place.1 == next(self.last, place.0) {
            // Nearly every reading: what would be put in the row is at once taken out again.
            self.last = Some(place);
            released.push(placed);
            return Ok(());
        }
        if self.waiting.contains_key(&place) {
            return Err(Dropped::Duplicate);
        }
        self.waiting.insert(place, placed);
        while let Some(entry) = self.waiting.first_entry() {
            let (boot, seq) = *entry.key();
            let next = next(self.last, boot);
            let overdue = self.latest.saturating_sub(entry.get().time) >= lateness_ms;
            let follows = seq == next;
            let placed = if follows || overdue {
                entry.remove()
            } else if self.waiting.len() > MOST_WAITING || self.waiting_bytes() > MOST_WAITING_BYTES {
                let Some((_, placed)) = self.waiting.pop_first() else { break };
                placed
            } else {
                break;
            };
            if !follows {
                self.skipped.push((boot, next, seq - 1));
                if self.skipped.len() > MOST_SKIPPED {
                    self.skipped.remove(0);
                }
            }
            self.last = Some((boot, seq));
            released.push(placed);
        }
        Ok(())
    }
}

impl Order {
    /// About as many as a state needs for the readings that wait; seldom more than one does.
    fn waiting_bytes(&self) -> usize {
        self.waiting.values().map(|placed| bytes(&placed.record)).sum()
    }
}

/// What a reading takes at most where it is encoded: what every one has, and of each signal a path or number and a value.
fn bytes(record: &Record) -> usize {
    let value = |value: &Value| if let Value::Text(text) = value { VALUE_BYTES + text.len() } else { VALUE_BYTES };
    let known: usize = record.signals.known().map(|(_, known)| value(known)).sum();
    let unknown: usize = record.signals.unknown().map(|(path, unknown)| path.len() + value(unknown)).sum();
    RECORD_BYTES + known + unknown
}

/// The seq that follows in a boot.
fn next(last: Option<(u32, u64)>, boot: u32) -> u64 {
    match last {
        Some((last, seq)) if last == boot => seq + 1,
        Some(_) | None => 1,
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{Kind, VehicleId, signal::Signals};

    use super::*;

    fn placed(boot: u32, seq: u64, time: UnixMillis) -> Placed {
        let record = Record {
            schema: 1,
            vehicle: VehicleId::parse("v").unwrap(),
            boot,
            seq,
            time,
            kind: Kind::Full,
            signals: Signals::new(),
            position: None,
        };
        Placed { record, time, offset: 0, payload: PayloadHash(0) }
    }

    fn run(steps: &[(u32, u64, UnixMillis)]) -> (Vec<(u32, u64)>, Vec<Dropped>, usize) {
        let (mut order, mut released, mut dropped) = (Order::default(), Vec::new(), Vec::new());
        for (boot, seq, time) in steps {
            dropped.extend(order.take(placed(*boot, *seq, *time), 60, &mut released).err());
        }
        let released = released.iter().map(|p| (p.record.boot, p.record.seq)).collect();
        (released, dropped, order.waiting.len())
    }

    #[test]
    fn a_missing_seq_is_waited_for_and_put_in_its_place() {
        let (released, dropped, waiting) = run(&[(1, 1, 0), (1, 3, 20), (1, 3, 20), (1, 2, 10), (1, 4, 30)]);
        assert_eq!(released, [(1, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!((dropped, waiting), (vec![Dropped::Duplicate], 0));
    }

    #[test]
    fn a_missing_seq_is_given_up_after_the_lateness_and_is_late_afterwards() {
        let (released, dropped, waiting) = run(&[(1, 1, 0), (1, 3, 20), (1, 4, 80), (1, 2, 10), (1, 3, 20)]);
        assert_eq!(released, [(1, 1), (1, 3), (1, 4)]);
        assert_eq!((dropped, waiting), (vec![Dropped::Late, Dropped::Duplicate], 0));
    }

    #[test]
    fn a_new_boot_starts_at_once_and_the_old_one_is_over() {
        let (released, dropped, _) = run(&[(1, 1, 0), (2, 1, 10), (1, 2, 5), (2, 2, 20)]);
        assert_eq!(released, [(1, 1), (2, 1), (2, 2)]);
        assert_eq!(dropped, [Dropped::Late]);
    }

    #[test]
    fn waiting_is_bounded() {
        let steps: Vec<_> = (2..=2 + MOST_WAITING as u64).map(|seq| (1, seq, 0)).collect();
        let (released, _, waiting) = run(&steps);
        assert_eq!((released.len(), waiting), (MOST_WAITING + 1, 0));
    }

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let (mut order, mut released) = (Order::default(), Vec::new());
        let large = |seq| {
            let mut large = placed(1, seq, 0);
            for at in 0..200 {
                large.record.signals.insert_path(&format!("Vehicle.Text{at}"), Value::Text("x".repeat(200))).unwrap();
            }
            large
        };
        for seq in 2..40 {
            order.take(large(seq), 60, &mut released).unwrap();
            let bytes = telemetry::encode(&large(seq).record, telemetry::Encoding::Protobuf).unwrap().len();
            assert!(bytes <= super::bytes(&large(seq).record), "{bytes}");
            assert!(order.waiting.len() * bytes <= MOST_WAITING_BYTES);
        }
        // As soon as there are too many, the missing one is given up for all of them.
        assert!(released.len() > 5 && order.skipped == [(1, 1, 1)], "{}", released.len());
    }
}
