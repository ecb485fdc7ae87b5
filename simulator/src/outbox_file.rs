//! The outbox on disk: one append-only log of frames for all vehicles of a process.
//!
//! A reading is in the log before it is sent and leaves it after the ledger has its acknowledgement. The boots
//! are fsynced before the first publish; readings are handed to the kernel, so they survive a kill. A torn end
//! is cut off and counted; a log that is spoilt in the middle is left as it is and refused. When most of the log is dead it is written anew and put in its place.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use telemetry::{PayloadHash, UnixMillis, VehicleId};

use crate::{
    clock::Anchor,
    fleet::Reading,
    frame::{self, Fields, Frames},
    outbox::{self, Key},
};

const ANCHOR: u8 = 1;
const BOOT: u8 = 2;
const LAST_SEQ: u8 = 3;
const PUT: u8 = 4;
const REMOVE: u8 = 5;

/// Logs below this size are left as they are, bytes.
const COMPACT_ABOVE: u64 = 16 << 20;

/// What the log holds of one vehicle.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The last boot.
    pub(crate) boot: u32,
    /// The last seq that may have been sent, of each boot with readings in hand.
    pub(crate) last_seqs: BTreeMap<u32, u64>,
    /// In the order in which they were put in.
    readings: BTreeMap<u64, (u32, Reading)>,
    /// Several, where identical bytes were sent several times.
    by_key: HashMap<Key, Vec<u64>>,
}

impl Stored {
    /// What is in hand, oldest first, each with the boot in which it was measured.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (u32, &Reading)> {
        self.readings.values().map(|(boot, reading)| (*boot, reading))
    }

    fn put(&mut self, ordinal: u64, boot: u32, reading: Reading) {
        if let Key::Seq { boot, seq } = reading.record.key {
            let last = self.last_seqs.entry(boot).or_insert(0);
            *last = (*last).max(seq);
        }
        self.by_key.entry(reading.record.key).or_default().push(ordinal);
        self.readings.insert(ordinal, (boot, reading));
    }

    /// Removes the oldest of this name.
    fn remove(&mut self, key: Key) -> Option<Reading> {
        let ordinals = self.by_key.get_mut(&key)?;
        let ordinal = ordinals.remove(0);
        if ordinals.is_empty() {
            self.by_key.remove(&key);
        }
        self.readings.remove(&ordinal).map(|(_, reading)| reading)
    }

    fn forget_settled_boots(&mut self) {
        let (current, by_key) = (self.boot, &self.by_key);
        self.last_seqs.retain(|boot, _| {
            *boot == current || by_key.keys().any(|key| matches!(key, Key::Seq { boot: other, .. } if other == boot))
        });
    }
}

/// The open log.
#[derive(Debug)]
pub(crate) struct OutboxFile {
    path: PathBuf,
    file: File,
    /// Held while the process lives: two writers would spoil the log.
    _lock: File,
    anchor: Option<Anchor>,
    vehicles: HashMap<VehicleId, Stored>,
    next_ordinal: u64,
    size: u64,
    /// Bytes of the readings in hand.
    live: u64,
    /// Bytes of a torn end that were cut off at the start.
    pub(crate) torn_bytes: u64,
    puts: Vec<u8>,
    removes: Vec<u8>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl OutboxFile {
    /// Opens or creates the log below `dir`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process uses it, [`io::ErrorKind::InvalidData`] if it is not a
    /// log of this version, or is spoilt elsewhere than at its end.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("outbox.lock"))?;
        lock.try_lock().map_err(|_| io::Error::new(io::ErrorKind::WouldBlock, "another process uses it"))?;
        let path = dir.join("outbox.log");
        let file = File::options().create(true).append(true).open(&path)?;
        let mut log = Self {
            file,
            _lock: lock,
            anchor: None,
            vehicles: HashMap::new(),
            next_ordinal: 0,
            size: 0,
            live: 0,
            torn_bytes: 0,
            puts: Vec::new(),
            removes: Vec::new(),
            path,
        };
        let bytes = std::fs::read(&log.path)?;
        let mut frames = Frames::of(&bytes);
        for fields in frames.by_ref() {
            log.replay(fields).ok_or_else(|| invalid("an entry of another version".to_owned()))?;
        }
        log.torn_bytes = frames.torn() as u64;
        log.size = bytes.len() as u64 - log.torn_bytes;
        // Cut off there, readings that nobody has would be gone and boots would be used twice. A person decides.
        if frames.whole_frame_behind() {
            let at = log.size;
            return Err(invalid(format!(
                "outbox.log is spoilt at byte {at} and goes on behind it: put a good copy in its place, or move it \
                 away to begin without its readings"
            )));
        }
        if log.torn_bytes > 0 {
            log.file.set_len(log.size)?;
        }
        log.vehicles.values_mut().for_each(Stored::forget_settled_boots);
        Ok(log)
    }

    fn replay(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let kind = fields.u8()?;
        if kind == ANCHOR {
            self.anchor = Some(Anchor { start: fields.i64()?, wall_start: fields.i64()?, speed: fields.f64()? });
            return Some(());
        }
        let vehicle = fields.vehicle()?;
        match kind {
            BOOT => self.vehicles.entry(vehicle).or_default().boot = fields.u32()?,
            LAST_SEQ => {
                let boot = fields.u32()?;
                self.vehicles.entry(vehicle).or_default().last_seqs.insert(boot, fields.u64()?);
            }
            PUT => {
                let (boot, reading) = read_reading(fields)?;
                self.keep(vehicle, boot, reading);
            }
            REMOVE => {
                let key = fields.key()?;
                self.drop_reading(&vehicle, key);
            }
            _ => return None,
        }
        Some(())
    }

    fn keep(&mut self, vehicle: VehicleId, boot: u32, reading: Reading) {
        self.live += reading.record.payload.len() as u64;
        self.vehicles.entry(vehicle).or_default().put(self.next_ordinal, boot, reading);
        self.next_ordinal += 1;
    }

    fn drop_reading(&mut self, vehicle: &VehicleId, key: Key) {
        if let Some(reading) = self.vehicles.get_mut(vehicle).and_then(|stored| stored.remove(key)) {
            self.live -= reading.record.payload.len() as u64;
        }
    }

    /// Where simulated time began in the first process that used this log.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// What is there of a vehicle.
    pub(crate) fn stored(&self, vehicle: &VehicleId) -> Option<&Stored> {
        self.vehicles.get(vehicle)
    }

    /// The vehicles with readings in hand.
    pub(crate) fn in_hand(&self) -> impl Iterator<Item = &VehicleId> {
        self.vehicles.iter().filter(|(_, stored)| !stored.readings.is_empty()).map(|(vehicle, _)| vehicle)
    }

    /// Begins a process: notes where simulated time began and the boot of each vehicle, and fsyncs them.
    pub(crate) fn begin(&mut self, anchor: Anchor, boots: &[(VehicleId, u32)]) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.anchor != Some(anchor) {
            write_anchor(&mut bytes, anchor);
            self.anchor = Some(anchor);
        }
        for (vehicle, boot) in boots {
            write_boot(&mut bytes, vehicle, *boot);
            let stored = self.vehicles.entry(vehicle.clone()).or_default();
            stored.boot = *boot;
            stored.last_seqs.insert(*boot, 0);
            stored.forget_settled_boots();
        }
        self.append(&bytes)?;
        self.file.sync_all()?;
        sync_dir(&self.path)
    }

    /// A vehicle begins another boot: notes it and fsyncs it.
    pub(crate) fn reboot(&mut self, vehicle: VehicleId, boot: u32) -> io::Result<()> {
        let anchor = self.anchor.ok_or_else(|| invalid("a boot before the first".to_owned()))?;
        self.begin(anchor, &[(vehicle, boot)])
    }

    /// Notes a reading; [`Self::write_puts`] hands it over.
    pub(crate) fn put(&mut self, vehicle: &VehicleId, boot: u32, reading: Reading) {
        write_put(&mut self.puts, vehicle, boot, &reading);
        self.keep(vehicle.clone(), boot, reading);
    }

    /// Notes that a reading has left; [`Self::write_removes`] hands it over.
    pub(crate) fn remove(&mut self, vehicle: &VehicleId, key: Key) {
        frame::append(&mut self.removes, |body| {
            body.u8(REMOVE);
            body.vehicle(vehicle);
            body.key(key);
        });
        self.drop_reading(vehicle, key);
    }

    /// Hands new readings to the kernel: they may be sent then.
    pub(crate) fn write_puts(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.puts);
        self.append(&bytes)
    }

    /// Hands removals to the kernel, and compacts the log if most of it is dead.
    pub(crate) fn write_removes(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.removes);
        self.append(&bytes)?;
        if self.size > COMPACT_ABOVE && self.size > self.live.saturating_mul(4) { self.compact() } else { Ok(()) }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Writes what is live to a new file and puts it in the place of the log.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        if let Some(anchor) = self.anchor {
            write_anchor(&mut bytes, anchor);
        }
        for (vehicle, stored) in &mut self.vehicles {
            stored.forget_settled_boots();
            write_boot(&mut bytes, vehicle, stored.boot);
            for (boot, seq) in &stored.last_seqs {
                frame::append(&mut bytes, |body| {
                    body.u8(LAST_SEQ);
                    body.vehicle(vehicle);
                    body.u32(*boot);
                    body.u64(*seq);
                });
            }
            for (boot, reading) in stored.readings.values() {
                write_put(&mut bytes, vehicle, *boot, reading);
            }
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_dir(&self.path)?;
        self.file = File::options().append(true).open(&self.path)?;
        self.size = bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn close(mut self) -> io::Result<()> {
        self.write_puts()?;
        self.write_removes()?;
        self.file.sync_all()
    }
}

/// Makes a file's name last.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn write_anchor(to: &mut Vec<u8>, anchor: Anchor) {
    frame::append(to, |body| {
        body.u8(ANCHOR);
        body.i64(anchor.start);
        body.i64(anchor.wall_start);
        body.f64(anchor.speed);
    });
}

fn write_boot(to: &mut Vec<u8>, vehicle: &VehicleId, boot: u32) {
    frame::append(to, |body| {
        body.u8(BOOT);
        body.vehicle(vehicle);
        body.u32(boot);
    });
}

/// Content types by number: new ones are added at the end.
const CONTENT_TYPES: [&str; 3] = ["application/json", "application/x-protobuf", "text/csv"];

fn write_put(to: &mut Vec<u8>, vehicle: &VehicleId, boot: u32, reading: &Reading) {
    let number = CONTENT_TYPES.iter().position(|known| *known == reading.record.content_type);
    let number = number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX);
    frame::append(to, |body| {
        body.u8(PUT);
        body.vehicle(vehicle);
        body.u32(boot);
        body.key(reading.record.key);
        body.i64(reading.time);
        body.u8(number);
        body.reason(reading.poison);
        body.rest(&reading.record.payload);
    });
}

fn read_reading(mut fields: Fields<'_>) -> Option<(u32, Reading)> {
    let boot = fields.u32()?;
    let key = fields.key()?;
    let time: UnixMillis = fields.i64()?;
    let content_type = CONTENT_TYPES.get(usize::from(fields.u8()?)).copied()?;
    let poison = fields.reason()?;
    let payload = Bytes::copy_from_slice(fields.rest());
    let hash = PayloadHash::of(&payload);
    Some((boot, Reading { record: outbox::Record { key, content_type, payload }, hash, time, poison }))
}

#[cfg(test)]
mod tests;
