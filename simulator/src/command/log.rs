//! The log of commands that were carried out: one append-only file for all vehicles of a process, beside the outbox's
//! log and under its lock.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use telemetry::{UnixMillis, VehicleId, event::VehicleCommandKind};
use uuid::Uuid;

use crate::{
    frame::{self, Fields, Frames},
    outbox_file::sync_dir,
};

const ACT: u8 = 1;
const NAME: &str = "commands.log";

/// Logs below this size are left as they are, bytes.
const COMPACT_ABOVE: u64 = 1 << 20;

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The command's id.
    pub id: Uuid,
    /// The end of the command's life, ms since the epoch.
    pub deadline: UnixMillis,
    /// When it was carried out, ms since the epoch.
    pub at: UnixMillis,
    /// What was done.
    pub kind: VehicleCommandKind,
}

impl Act {
    /// Acts of one key stand for the same: the last one says what holds.
    fn replaces(&self, other: &Self) -> bool {
        use VehicleCommandKind::{SetProperty, SetReportingInterval};
        match (&self.kind, &other.kind) {
            (SetReportingInterval { .. }, SetReportingInterval { .. }) => true,
            (SetProperty { name, .. }, SetProperty { name: before, .. }) => name == before,
            _ => false,
        }
    }
}

/// Every act that stands in the log below `dir`, oldest first; a torn end is left out. For judges.
///
/// # Errors
/// If it can't be read, or holds what is no act.
pub fn acts(dir: &Path) -> io::Result<Vec<(VehicleId, Act)>> {
    let bytes = std::fs::read(dir.join(NAME))?;
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "an entry of another version");
    Frames::of(&bytes).map(|fields| read_act(fields).ok_or_else(foreign)).collect()
}

/// The open log.
#[derive(Debug)]
pub(crate) struct CommandLog {
    path: PathBuf,
    file: File,
    size: u64,
    /// What stands in the file, oldest first.
    acts: HashMap<VehicleId, Vec<Act>>,
    unwritten: Vec<u8>,
    compact_above: u64,
    /// Bytes of a torn end that were cut off at the start.
    pub(crate) torn_bytes: u64,
}

impl CommandLog {
    /// Opens or creates the log below `dir`, whose lock is held.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is not a log of this version, or is spoilt elsewhere than at its end.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let file = File::options().create(true).append(true).open(&path)?;
        sync_dir(&path)?;
        let bytes = std::fs::read(&path)?;
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let mut acts: HashMap<VehicleId, Vec<Act>> = HashMap::new();
        let mut frames = Frames::of(&bytes);
        for fields in frames.by_ref() {
            let (vehicle, act) =
                read_act(fields).ok_or_else(|| invalid(format!("{NAME}: an entry of another version")))?;
            acts.entry(vehicle).or_default().push(act);
        }
        let torn_bytes = frames.torn() as u64;
        let size = bytes.len() as u64 - torn_bytes;
        // Cut off there, commands would be carried out twice. A person decides.
        if frames.whole_frame_behind() {
            return Err(invalid(format!("{NAME} is spoilt at byte {size} and goes on behind it")));
        }
        if torn_bytes > 0 {
            file.set_len(size)?;
        }
        Ok(Self { path, file, size, acts, unwritten: Vec::new(), compact_above: COMPACT_ABOVE, torn_bytes })
    }

    /// What a vehicle has carried out, oldest first.
    pub(crate) fn of(&self, vehicle: &VehicleId) -> &[Act] {
        self.acts.get(vehicle).map(Vec::as_slice).unwrap_or_default()
    }

    /// Notes an act; [`Self::sync`] makes it last.
    pub(crate) fn enter(&mut self, vehicle: VehicleId, act: Act) {
        write_act(&mut self.unwritten, &vehicle, &act);
        self.acts.entry(vehicle).or_default().push(act);
    }

    /// Writes and fsyncs what was entered; compacts the log when it has grown to twice what was of use the last time.
    pub(crate) fn sync(&mut self, now: UnixMillis) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.unwritten);
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.size += bytes.len() as u64;
        if self.size > self.compact_above { self.compact(now) } else { Ok(()) }
    }

    /// Writes what is of use to a new file and puts that in the place of the log: ids that may still come, and the
    /// last act of each kind that sets something.
    pub(super) fn compact(&mut self, now: UnixMillis) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (vehicle, acts) in &mut self.acts {
            let all = std::mem::take(acts);
            let holds = |(at, act): (usize, &Act)| {
                let sets = act.kind != VehicleCommandKind::Reboot;
                act.deadline > now || (sets && !all[at + 1..].iter().any(|later| later.replaces(act)))
            };
            *acts = all.iter().enumerate().filter(|(at, act)| holds((*at, act))).map(|(_, act)| act.clone()).collect();
            acts.iter().for_each(|act| write_act(&mut bytes, vehicle, act));
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_dir(&self.path)?;
        self.file = File::options().append(true).open(&self.path)?;
        self.size = bytes.len() as u64;
        self.compact_above = COMPACT_ABOVE.max(2 * self.size);
        Ok(())
    }
}

fn write_act(to: &mut Vec<u8>, vehicle: &VehicleId, act: &Act) {
    let (high, low) = act.id.as_u64_pair();
    frame::append(to, |body| {
        body.u8(ACT);
        body.vehicle(vehicle);
        body.u64(high);
        body.u64(low);
        body.i64(act.deadline);
        body.i64(act.at);
        // A kind that was read has a JSON form.
        body.rest(&serde_json::to_vec(&act.kind).unwrap_or_default());
    });
}

fn read_act(mut fields: Fields<'_>) -> Option<(VehicleId, Act)> {
    if fields.u8()? != ACT {
        return None;
    }
    let vehicle = fields.vehicle()?;
    let id = Uuid::from_u64_pair(fields.u64()?, fields.u64()?);
    let (deadline, at) = (fields.i64()?, fields.i64()?);
    let kind = serde_json::from_slice(fields.rest()).ok()?;
    Some((vehicle, Act { id, deadline, at, kind }))
}
