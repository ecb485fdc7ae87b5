//! What a worker of the load writes: many readings in a frame, 24 bytes each, acknowledgements as ranges.
//!
//! Vehicles stand once at the beginning of the file and are numbered from 0 then. The frames leave in blocks, not
//! before each send: a load whose worker dies has failed anyway, and says so.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use telemetry::{PayloadHash, UnixMillis, VehicleId};

use super::{Ledger, NEVER, Packed, Unsent, create};
use crate::{
    frame::{self, Fields},
    outbox::Key,
};

const VEHICLES: u8 = 16;
const READINGS: u8 = 17;
const ACKNOWLEDGED: u8 = 18;
/// Given up, by earlier versions: without when it was due.
const LEFT_UNACKNOWLEDGED: u8 = 19;
const GIVEN_UP: u8 = 20;
const NEVER_SENT: u8 = 21;
const ENDED: u8 = 22;

/// Entries leave when so many bytes have come together; a frame holds four times as many.
const BLOCK: usize = 256 * 1024;
/// Acknowledgements of successive seqs within so many ms become one range.
const TOGETHER_MS: u32 = 10;
/// Readings in one entry of those that were never sent, so that a frame keeps its length.
const MOST_IN_ENTRY: usize = 4_096;

/// The open file of a worker. Times are ms after `began`.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    file: File,
    boot: u32,
    began: UnixMillis,
    readings: Vec<u8>,
    acknowledged: Vec<u8>,
    given_up: Vec<u8>,
    never_sent: Vec<u8>,
    /// Vehicle, first seq, last seq, when.
    open: Option<(u32, u32, u32, u32)>,
}

impl BatchWriter {
    /// Creates the file of this process below `dir`. `vehicles` all run in `boot`; they are numbered from 0.
    pub(crate) fn create(
        dir: &Path,
        vehicles: impl Iterator<Item = VehicleId>,
        boot: u32,
        began: UnixMillis,
    ) -> io::Result<Self> {
        let mut file = create(dir, began)?;
        let mut names: Vec<_> = vehicles.collect();
        // In frames of their own: each is far below the longest.
        for names in names.chunks_mut(4_096) {
            let mut head = Vec::new();
            frame::append(&mut head, |body| {
                body.u8(VEHICLES);
                names.iter().for_each(|vehicle| body.vehicle(vehicle));
            });
            file.write_all(&head)?;
        }
        let [readings, acknowledged, given_up, never_sent] = [const { Vec::new() }; 4];
        Ok(Self { file, boot, began, readings, acknowledged, given_up, never_sent, open: None })
    }

    /// A reading that was due at `due` and is written to its socket `after` ms later, for the first time.
    pub(crate) fn sent(&mut self, vehicle: u32, seq: u32, due: u32, after: u32, hash: PayloadHash) -> io::Result<()> {
        self.readings.extend(vehicle.to_le_bytes());
        self.readings.extend(seq.to_le_bytes());
        self.readings.extend(due.to_le_bytes());
        self.readings.extend(after.to_le_bytes());
        self.readings.extend(hash.0.to_le_bytes());
        if self.readings.len() >= BLOCK { self.write() } else { Ok(()) }
    }

    /// A reading is acknowledged, by whoever judges.
    pub(crate) fn acknowledged(&mut self, vehicle: u32, seq: u32, at: u32) -> io::Result<()> {
        match &mut self.open {
            Some((of, _, to, when)) if *of == vehicle && *to + 1 == seq && at.abs_diff(*when) <= TOGETHER_MS => {
                *to = seq;
            }
            _ => {
                self.close_range();
                self.open = Some((vehicle, seq, seq, at));
            }
        }
        if self.acknowledged.len() >= BLOCK { self.write() } else { Ok(()) }
    }

    fn close_range(&mut self) {
        if let Some((vehicle, from, to, at)) = self.open.take() {
            [vehicle, from, to, at].iter().for_each(|n| self.acknowledged.extend(n.to_le_bytes()));
        }
    }

    /// A reading that was due at `due` left a full outbox, sent or not.
    pub(crate) fn given_up(&mut self, vehicle: u32, seq: u32, due: u32) -> io::Result<()> {
        [vehicle, seq, due].iter().for_each(|n| self.given_up.extend(n.to_le_bytes()));
        if self.given_up.len() >= BLOCK { self.write() } else { Ok(()) }
    }

    /// The run ends, and these successive readings of a vehicle, from `seq` on, were never sent; `dues`: when each was
    /// due.
    pub(crate) fn never_sent(&mut self, vehicle: u32, seq: u32, dues: &[u32]) -> io::Result<()> {
        let mut seq = seq;
        for dues in dues.chunks(MOST_IN_ENTRY) {
            let n = u32::try_from(dues.len()).unwrap_or(u32::MAX);
            [vehicle, seq, n].iter().chain(dues).for_each(|n| self.never_sent.extend(n.to_le_bytes()));
            seq += n;
            if self.never_sent.len() >= BLOCK {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Hands everything to the kernel, readings first.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.close_range();
        let (boot, began) = (self.boot, self.began);
        let mut block = Vec::new();
        let all = [
            (READINGS, &mut self.readings),
            (ACKNOWLEDGED, &mut self.acknowledged),
            (GIVEN_UP, &mut self.given_up),
            (NEVER_SENT, &mut self.never_sent),
        ];
        for (kind, entries) in all.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            frame::append(&mut block, |body| {
                body.u8(kind);
                body.u32(boot);
                body.i64(began);
                body.rest(entries);
            });
            entries.clear();
        }
        self.file.write_all(&block)
    }

    /// The run has ended, at `at`.
    pub(crate) fn close(mut self, at: u32) -> io::Result<()> {
        self.write()?;
        let mut end = Vec::new();
        frame::append(&mut end, |body| {
            body.u8(ENDED);
            body.u32(self.boot);
            body.i64(self.began);
            body.u32(at);
        });
        self.file.write_all(&end)?;
        self.file.sync_all()
    }
}

/// Reads the frames of one worker's file.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the ledger calls the vehicles of this file.
    numbers: Vec<u32>,
}

impl Batch {
    /// Takes one frame in; none if it is of another version.
    pub(super) fn take(&mut self, mut fields: Fields<'_>, ledger: &mut Ledger) -> Option<()> {
        let kind = fields.u8()?;
        if kind == VEHICLES {
            while !fields.is_empty() {
                self.numbers.push(ledger.number(fields.vehicle()?));
            }
            return Some(());
        }
        let (boot, began) = (fields.u32()?, fields.i64()?);
        if kind == ENDED {
            ledger.latest = ledger.latest.max(began + UnixMillis::from(fields.u32()?));
            return Some(());
        }
        while !fields.is_empty() {
            let number = *self.numbers.get(usize::try_from(fields.u32()?).ok()?)?;
            let key = |seq: u32| Key::Seq { boot, seq: seq.into() };
            let seq = fields.u32()?;
            match kind {
                READINGS => {
                    let due = began + UnixMillis::from(fields.u32()?);
                    let accepted_after = fields.u32()?;
                    let hash = PayloadHash(fields.u64()?);
                    let packed = Packed {
                        hash,
                        scheduled: due,
                        time: due,
                        accepted_after,
                        acked_after: NEVER,
                        poison: None,
                        given_up: false,
                    };
                    ledger.sent(number, key(seq), packed);
                }
                ACKNOWLEDGED => {
                    let (to, at) = (fields.u32()?, began + UnixMillis::from(fields.u32()?));
                    (seq..=to).for_each(|seq| ledger.acked(number, key(seq), at));
                }
                LEFT_UNACKNOWLEDGED => ledger.given_up(number, key(seq), None),
                GIVEN_UP => {
                    let due = began + UnixMillis::from(fields.u32()?);
                    ledger.given_up(number, key(seq), Some(due));
                }
                NEVER_SENT => {
                    for _ in 0..fields.u32()? {
                        let scheduled = Some(began + UnixMillis::from(fields.u32()?));
                        let unsent = Unsent { vehicle: number, boot: Some(boot), scheduled, given_up: false };
                        ledger.unsent.push(unsent);
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger, vehicle::vehicle_id};

    const BEGAN: UnixMillis = 1_760_000_000_000;

    fn writer(dir: &Path) -> BatchWriter {
        BatchWriter::create(dir, [5, 9].into_iter().map(vehicle_id), 7, BEGAN).unwrap()
    }

    #[test]
    fn what_a_worker_wrote_is_in_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        // More than a block, in both kinds.
        let seqs = 1..=20_000_u32;
        for seq in seqs.clone() {
            writer.sent(1, seq, seq, 3, PayloadHash(seq.into())).unwrap();
            if seq % 2 == 0 {
                writer.acknowledged(1, seq, seq + 50).unwrap();
            }
        }
        writer.sent(0, 1, 0, 0, PayloadHash(1)).unwrap();
        writer.given_up(0, 1, 0).unwrap();
        writer.acknowledged(0, 100, 1).unwrap();
        writer.close(90_000).unwrap();
        let ledger = ledger::read(dir.path()).unwrap();
        assert_eq!((ledger.len(), ledger.torn_bytes), (20_001, 0));
        for seq in seqs {
            let sent = ledger.get("veh-00009", Key::Seq { boot: 7, seq: seq.into() }).unwrap();
            assert_eq!(
                (sent.hash.0, sent.scheduled, sent.accepted),
                (seq.into(), BEGAN + i64::from(seq), BEGAN + i64::from(seq) + 3)
            );
            assert_eq!(sent.acked, (seq % 2 == 0).then_some(BEGAN + i64::from(seq) + 50));
        }
        assert!(ledger.get("veh-00005", Key::Seq { boot: 7, seq: 1 }).unwrap().given_up);
        assert_eq!(ledger.acked_unsent, (vec!["veh-00005/7/100".to_owned()], 1));
        assert_eq!((ledger.unsent.len(), ledger.latest), (0, BEGAN + 90_000));
    }

    #[test]
    fn what_was_never_sent_is_in_the_ledger_with_the_times_at_which_it_was_due() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        writer.sent(1, 1, 4, 3, PayloadHash(1)).unwrap();
        writer.given_up(1, 1, 4).unwrap();
        writer.given_up(1, 2, 5).unwrap();
        // More than one entry, and more than a block.
        let dues: Vec<_> = (0..100_000).collect();
        writer.never_sent(0, 8, &dues).unwrap();
        writer.never_sent(1, 3, &[6]).unwrap();
        writer.write().unwrap();
        // As earlier versions wrote it.
        let mut old = Vec::new();
        frame::append(&mut old, |body| {
            body.u8(LEFT_UNACKNOWLEDGED);
            body.u32(7);
            body.i64(BEGAN);
            body.u32(1);
            body.u32(9);
        });
        writer.file.write_all(&old).unwrap();
        let ledger = ledger::read(dir.path()).unwrap();
        assert_eq!((ledger.len(), ledger.torn_bytes, ledger.latest), (1, 0, BEGAN + 7));
        let unsent = |vehicle, due: Option<u32>, given_up| {
            let scheduled = due.map(|due| BEGAN + i64::from(due));
            Unsent { vehicle, boot: Some(7), scheduled, given_up }
        };
        let mut all = vec![unsent(1, Some(5), true)];
        all.extend(dues.iter().map(|due| unsent(0, Some(*due), false)));
        all.extend([unsent(1, Some(6), false), unsent(1, None, true)]);
        assert!(ledger.unsent == all, "{:?}", ledger.unsent.len());
        assert!(ledger.get("veh-00009", Key::Seq { boot: 7, seq: 1 }).unwrap().given_up);
    }

    #[test]
    fn a_run_of_acknowledgements_is_one_range() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        (1..=1_000).for_each(|seq| writer.acknowledged(0, seq, 5).unwrap());
        writer.acknowledged(1, 1_001, 5).unwrap();
        writer.close_range();
        assert_eq!(writer.acknowledged.len(), 32);
    }

    #[test]
    fn a_torn_end_is_counted_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        writer.sent(0, 1, 0, 0, PayloadHash(1)).unwrap();
        writer.write().unwrap();
        writer.sent(0, 2, 0, 0, PayloadHash(1)).unwrap();
        writer.write().unwrap();
        let length = writer.file.metadata().unwrap().len();
        writer.file.set_len(length - 1).unwrap();
        let ledger = ledger::read(dir.path()).unwrap();
        assert_eq!((ledger.len(), ledger.torn_bytes > 0), (1, true));
    }
}
