//! The commands that are open: read from Kafka, and neither answered by their vehicle nor expired. Pure: the clocks
//! are arguments.
//!
//! A record is open from [`Open::add`] on. It is closed by its vehicle's answer, by the end of its life, or, where it
//! can't be read or published, by its dead letter. What may be committed of a partition is the offset of its first open
//! record: a process that comes after this one reads every open record again. Nothing else holds a record open for
//! ever, so the commit always goes on: a vehicle that never answers costs its place until the command's life ends.
//!
//! A command is due when it is read, whether or not its vehicle has been heard of: one that is connected may be silent,
//! and a broker has no use for what nobody subscribes to. It is due again when its vehicle is heard of, at each birth,
//! after a lost connection to the broker, and, while its vehicle is there, after a pause without an answer. Whatever is
//! published twice, the vehicle carries out once.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use telemetry::{UnixMillis, VehicleId};
use uuid::Uuid;

use super::online::Online;

/// Pauses double up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// What an open record takes in memory besides its payload, about: its command, three names of its vehicle, and its
/// places in the maps.
const RECORD_BYTES: usize = 640;

/// Counts commands in the order in which they came.
pub(crate) type Number = u64;

/// Where a record stands in `vehicle-commands`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) id: Uuid,
    pub(crate) vehicle: VehicleId,
    /// As read.
    pub(crate) payload: Bytes,
    /// End of its life, ms since the epoch.
    pub(crate) deadline: UnixMillis,
}

/// What became of records: `read` is the sum of the next four and of those that are open. Publishes stand beside.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) read: u64,
    pub(crate) answered: u64,
    pub(crate) expired: u64,
    pub(crate) refused: u64,
    /// Their partition went to another edge of this id.
    pub(crate) given_back: u64,
    pub(crate) published: u64,
    /// Of those, the ones that were not the first.
    pub(crate) repeated: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Open {
    /// Of memory, bytes.
    limit: usize,
    pause: Duration,
    partitions: BTreeMap<i32, Partition>,
    /// Open records of commands, and those that can't be read.
    records: usize,
    payload_bytes: usize,
    unreadable: usize,
    commands: HashMap<Number, Entry>,
    by_name: HashMap<(Uuid, VehicleId), Number>,
    by_vehicle: HashMap<VehicleId, BTreeSet<Number>>,
    by_deadline: BTreeSet<(UnixMillis, Number)>,
    due: BTreeSet<(Instant, Number)>,
    online: Online,
    next: Number,
    /// It was full, and has not been half empty since.
    was_full: bool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Partition {
    /// Behind the last record that was read.
    next: i64,
    open: BTreeSet<i64>,
    unreadable: BTreeSet<i64>,
}

impl Partition {
    fn commit(&self) -> i64 {
        let open = self.open.first().into_iter().chain(self.unreadable.first());
        open.min().copied().unwrap_or(self.next)
    }
}

#[derive(Debug)]
struct Entry {
    command: Command,
    /// Several where a gateway wrote it more than once.
    places: SmallVec<[Place; 1]>,
    published_before: bool,
    /// Publishes since the vehicle's last birth.
    unanswered: u32,
    due_at: Option<Instant>,
}

impl Open {
    /// Full with `limit` bytes of open records; `pause` is the first one without an answer; so many vehicles are known.
    pub(crate) fn new(limit: usize, pause: Duration, vehicles: usize) -> Self {
        Self {
            limit,
            pause,
            partitions: BTreeMap::new(),
            records: 0,
            payload_bytes: 0,
            unreadable: 0,
            commands: HashMap::new(),
            by_name: HashMap::new(),
            by_vehicle: HashMap::new(),
            by_deadline: BTreeSet::new(),
            due: BTreeSet::new(),
            online: Online::new(vehicles),
            next: 0,
            was_full: false,
            counts: Counts::default(),
        }
    }

    /// Takes in the record at `place`, next in its partition. None: it can't be read; it stays open until
    /// [`Self::buried`].
    pub(crate) fn add(&mut self, place: Place, command: Option<Command>, now: Instant, wall: UnixMillis) {
        let partition = self.partitions.entry(place.partition).or_default();
        partition.next = partition.next.max(place.offset + 1);
        let open = if command.is_some() { &mut partition.open } else { &mut partition.unreadable };
        if !open.insert(place.offset) {
            return;
        }
        self.counts.read += 1;
        let Some(command) = command else {
            self.unreadable += 1;
            return;
        };
        self.records += 1;
        let name = (command.id, command.vehicle.clone());
        if let Some(entry) = self.by_name.get(&name).and_then(|number| self.commands.get_mut(number)) {
            entry.places.push(place);
            return;
        }
        let number = self.next;
        self.next += 1;
        self.payload_bytes += command.payload.len();
        self.by_name.insert(name, number);
        self.by_vehicle.entry(command.vehicle.clone()).or_default().insert(number);
        self.by_deadline.insert((command.deadline, number));
        let entry = Entry { command, places: smallvec![place], published_before: false, unanswered: 0, due_at: None };
        self.commands.insert(number, entry);
        self.set_due(number, Some(now));
        // It may be too late already.
        self.expire(wall);
    }

    /// It can't be published at all: its records stay open, like unreadable ones, until [`Self::buried`]. The command
    /// and where it stands; none if it is not open, or its vehicle is not known to be here: it may be at another broker,
    /// which takes more, and is heard of here first if it is not.
    pub(crate) fn unfit(&mut self, number: Number) -> Option<(Command, SmallVec<[Place; 1]>)> {
        let Entry { command, places, .. } = self.commands.get(&number)?;
        if !self.online.contains(command.vehicle.as_str()) {
            self.set_due(number, None);
            return None;
        }
        let (command, places) = (command.clone(), places.clone());
        self.close(number);
        for place in &places {
            if let Some(partition) = self.partitions.get_mut(&place.partition) {
                self.unreadable += usize::from(partition.unreadable.insert(place.offset));
            }
        }
        Some((command, places))
    }

    /// The dead letter of an unreadable record is in Kafka; whether it was open.
    pub(crate) fn buried(&mut self, place: Place) -> bool {
        let partition = self.partitions.get_mut(&place.partition);
        let was_open = partition.is_some_and(|partition| partition.unreadable.remove(&place.offset));
        self.unreadable -= usize::from(was_open);
        self.counts.refused += u64::from(was_open);
        was_open
    }

    /// The vehicle's answer is in Kafka. Without effect for another vehicle's command, or one that is not open.
    pub(crate) fn answered(&mut self, vehicle: VehicleId, id: Uuid) {
        if let Some(number) = self.by_name.get(&(id, vehicle)).copied() {
            self.counts.answered += self.close(number);
        }
    }

    /// Closes what has reached the end of its life.
    pub(crate) fn expire(&mut self, wall: UnixMillis) {
        while let Some((_, number)) = self.by_deadline.first().copied().filter(|(deadline, _)| *deadline <= wall) {
            self.counts.expired += self.close(number);
        }
    }

    /// The partition is not ours any more: its records are not open here.
    pub(crate) fn revoked(&mut self, partition: i32) {
        let Some(Partition { open, unreadable, .. }) = self.partitions.remove(&partition) else { return };
        self.records -= open.len();
        self.unreadable -= unreadable.len();
        self.counts.given_back += (open.len() + unreadable.len()) as u64;
        let mut empty = Vec::new();
        for (number, entry) in &mut self.commands {
            entry.places.retain(|place| place.partition != partition);
            if entry.places.is_empty() {
                empty.push(*number);
            }
        }
        for number in empty {
            self.close(number);
        }
    }

    /// No partition is ours any more.
    pub(crate) fn all_given_back(&mut self) {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.revoked(partition);
        }
    }

    /// Something came from this vehicle: it is at our broker.
    pub(crate) fn seen(&mut self, vehicle: &str, now: Instant) {
        if self.online.insert(vehicle) {
            self.all_due(vehicle, now);
        }
    }

    /// It has connected and subscribed: what is open is published again.
    pub(crate) fn born(&mut self, vehicle: &str, now: Instant) {
        self.online.insert(vehicle);
        self.all_due(vehicle, now);
    }

    /// It has gone: what is open waits for its birth.
    pub(crate) fn gone(&mut self, vehicle: &str) {
        self.online.remove(vehicle);
        for number in self.numbers_of(vehicle) {
            self.set_due(number, None);
        }
    }

    /// The broker knows no vehicle any more: what was published waits for births.
    pub(crate) fn all_gone(&mut self, now: Instant) {
        self.online.clear();
        self.due.clear();
        for (number, entry) in &mut self.commands {
            // What was read meanwhile has never left: its vehicle may have been back before us, and be silent.
            entry.due_at = (!entry.published_before).then_some(now);
            self.due.extend(entry.due_at.map(|at| (at, *number)));
        }
    }

    /// Whether a publish of it has reached the broker, which has kept its sessions, is not known: it is due again.
    pub(crate) fn uncertain(&mut self, number: Number, now: Instant) {
        self.set_due(number, Some(now));
    }

    /// What is to be published first, if anything is now.
    pub(crate) fn next_due(&self, now: Instant) -> Option<(Number, &Command)> {
        let (_, number) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.commands.get(number).map(|entry| (*number, &entry.command))
    }

    /// It was published; unanswered, it is due again after a pause, if its vehicle is there.
    pub(crate) fn published(&mut self, number: Number, now: Instant) {
        let Some(entry) = self.commands.get_mut(&number) else { return };
        self.counts.published += 1;
        self.counts.repeated += u64::from(mem::replace(&mut entry.published_before, true));
        let pause = self.pause.saturating_mul(1 << entry.unanswered.min(16)).min(LONGEST_PAUSE.max(self.pause));
        entry.unanswered += 1;
        let is_online = self.online.contains(entry.command.vehicle.as_str());
        self.set_due(number, is_online.then(|| now + pause));
    }

    /// What may be committed of each partition: the first open offset, or the one behind the last that was read.
    pub(crate) fn commits(&self) -> BTreeMap<i32, i64> {
        self.partitions.iter().map(|(number, partition)| (*number, partition.commit())).collect()
    }

    /// Whether no more should be read. Unreadable records don't count: what bounds them is that their dead letters have
    /// to go, while commands may wait for as long as they live.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.limit
    }

    /// Whether it has just become full. A full one that gets room for one command and is full again is no news: not before
    /// it was half empty.
    pub(crate) fn has_become_full(&mut self) -> bool {
        let (was_full, is_full) = (self.was_full, self.is_full());
        self.was_full = is_full || (was_full && self.bytes() > self.limit / 2);
        is_full && !was_full
    }

    fn bytes(&self) -> usize {
        self.records * RECORD_BYTES + self.payload_bytes
    }

    /// How many records are open.
    pub(crate) fn len(&self) -> usize {
        self.records + self.unreadable
    }

    /// When something is due next, or expires.
    pub(crate) fn wake_at(&self, now: Instant, wall: UnixMillis) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let left = self.by_deadline.first().map(|(deadline, _)| deadline.saturating_sub(wall));
        let expires = left.map(|left| now + Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        due.into_iter().chain(expires).min()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn numbers_of(&self, vehicle: &str) -> Vec<Number> {
        self.by_vehicle.get(vehicle).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }

    fn all_due(&mut self, vehicle: &str, now: Instant) {
        for number in self.numbers_of(vehicle) {
            if let Some(entry) = self.commands.get_mut(&number) {
                entry.unanswered = 0;
            }
            self.set_due(number, Some(now));
        }
    }

    fn set_due(&mut self, number: Number, at: Option<Instant>) {
        let Some(entry) = self.commands.get_mut(&number) else { return };
        if let Some(before) = mem::replace(&mut entry.due_at, at) {
            self.due.remove(&(before, number));
        }
        if let Some(at) = at {
            self.due.insert((at, number));
        }
    }

    /// Returns how many records it stood for.
    fn close(&mut self, number: Number) -> u64 {
        self.set_due(number, None);
        let Some(Entry { command, places, .. }) = self.commands.remove(&number) else { return 0 };
        self.by_deadline.remove(&(command.deadline, number));
        self.payload_bytes -= command.payload.len();
        if let Some(numbers) = self.by_vehicle.get_mut(&command.vehicle) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_vehicle.remove(&command.vehicle);
            }
        }
        self.by_name.remove(&(command.id, command.vehicle));
        places.into_iter().filter(|place| self.free(*place)).count() as u64
    }

    fn free(&mut self, place: Place) -> bool {
        let partition = self.partitions.get_mut(&place.partition);
        let was_open = partition.is_some_and(|partition| partition.open.remove(&place.offset));
        self.records -= usize::from(was_open);
        was_open
    }
}
