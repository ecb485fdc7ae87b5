//! A store against a naive model: any order of appends, readings, deliveries, restarts, kills, damage and
//! failures of the disk. What was synced and not spoilt is read once, in order, with its position; what was
//! spoilt is counted; nothing is invented.

use std::collections::BTreeSet;

use nix::errno::Errno;
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestCaseResult};

use super::{
    faulty_disk::{FaultyDisk, Operation},
    *,
};

#[derive(Debug, Clone)]
enum Step {
    /// Bodies of these lengths.
    Append(Vec<usize>),
    Read(usize),
    /// So many of those that were read.
    Delivered(Index),
    Tend,
    Close,
    Kill,
    /// A kill that leaves the last segment shorter: a disk that did not keep what it said.
    Cut(Index),
    /// Of a segment, this bit.
    Flip(Index, Index),
    LoseCheckpoint,
    Fault(Operation),
}

const FAULTS: [Operation; 7] = [
    Operation::Create,
    Operation::Write,
    Operation::Sync,
    Operation::SetLen,
    Operation::Rename,
    Operation::Remove,
    Operation::SyncDir,
];

fn steps(damage: bool) -> impl Strategy<Value = Vec<Step>> {
    let weight = |of: bool, weight: u32| if of { weight } else { 0 };
    let step = prop_oneof![
        30 => vec(0..200_usize, 0..6).prop_map(Step::Append),
        15 => (0..1_500_usize).prop_map(Step::Read),
        10 => any::<Index>().prop_map(Step::Delivered),
        4 => Just(Step::Tend),
        2 => Just(Step::Close),
        4 => Just(Step::Kill),
        weight(damage, 3) => any::<Index>().prop_map(Step::Cut),
        weight(damage, 3) => any::<(Index, Index)>().prop_map(|(segment, bit)| Step::Flip(segment, bit)),
        1 => Just(Step::LoseCheckpoint),
        weight(!damage, 20) => proptest::sample::select(&FAULTS[..]).prop_map(Step::Fault),
    ];
    vec(step, 0..120)
}

/// What is known without looking into the store.
struct Model {
    dir: tempfile::TempDir,
    disk: FaultyDisk,
    store: Store,
    /// By position: what counts, delivered or not.
    records: BTreeMap<u64, Vec<u8>>,
    /// What was refused might be found after a kill.
    refused: BTreeSet<(u64, Vec<u8>)>,
    /// Of each damaged segment, by its first position, the first one that can't be read.
    damaged: BTreeMap<u64, u64>,
    delivered: u64,
    /// The next position to read.
    reading: u64,
    checkpoint_lost: bool,
    /// So many bodies were made.
    made: u64,
}

impl Model {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultyDisk::default());
        Self {
            store: Store::open_on(Box::new(disk.clone()), dir.path(), model_settings()).unwrap(),
            dir,
            disk,
            records: BTreeMap::new(),
            refused: BTreeSet::new(),
            damaged: BTreeMap::new(),
            delivered: 1,
            reading: 1,
            checkpoint_lost: false,
            made: 0,
        }
    }

    fn next(&self) -> u64 {
        self.records.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    fn step(&mut self, step: Step) -> TestCaseResult {
        match step {
            Step::Append(lengths) => self.append(&lengths)?,
            Step::Read(max_bytes) => self.read(max_bytes)?,
            Step::Delivered(part) => {
                let read = usize::try_from(self.reading - self.delivered).unwrap();
                self.delivered += part.index(read + 1) as u64;
                // A failure to remove is made good later.
                let _tried_again = self.store.delivered(self.delivered);
            }
            Step::Tend => {
                let _tried_again = self.store.tend(Instant::now());
            }
            Step::Close => {
                let (delivered, lost) = (self.delivered, self.checkpoint_lost);
                let closed = self.reopen(|store| store.close())?;
                prop_assert!(closed.is_err() || lost || self.store.delivered_below() == delivered, "forgot deliveries");
            }
            Step::Kill => self.reopen(drop)?,
            Step::Cut(at) => {
                let path = segments(self.dir.path()).pop().unwrap();
                let at = at.index(usize::try_from(path.metadata().unwrap().len()).unwrap().max(1));
                self.damage(&path, at);
                self.reopen(|store| {
                    drop(store);
                    std::fs::File::options().write(true).open(&path).unwrap().set_len(at as u64).unwrap();
                })?;
            }
            Step::Flip(segment, bit) => {
                let segments = segments(self.dir.path());
                let path = segment.get(&segments);
                let mut bytes = std::fs::read(path).unwrap();
                // The same bit twice would be none.
                if !bytes.is_empty() && !self.damaged.contains_key(&first_of(path)) {
                    let bit = bit.index(8 * bytes.len());
                    self.damage(path, bit / 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    std::fs::write(path, bytes).unwrap();
                    // Else a header that was read before would do.
                    self.store.cursor = None;
                }
            }
            Step::LoseCheckpoint => {
                self.checkpoint_lost = true;
                let _there_or_not = std::fs::remove_file(self.dir.path().join("checkpoint"));
            }
            Step::Fault(operation) => self.disk.fail(&[operation], Errno::EIO),
        }
        let level = self.store.level();
        prop_assert_eq!(level.records, self.store.next() - self.store.delivered_below());
        prop_assert!(level.bytes <= level.limit_bytes + HEADER as u64, "{:?}", level);
        Ok(())
    }

    fn append(&mut self, lengths: &[usize]) -> TestCaseResult {
        let batch: Vec<Vec<u8>> = lengths
            .iter()
            .map(|length| {
                self.made += 1;
                format!("{:0width$}", self.made, width = length.max(&7)).into_bytes()
            })
            .collect();
        let next = self.store.next();
        self.disk.take_done();
        let appended = self.store.append(batch.iter().map(|body| &body[..]));
        if self.disk.take_done().contains(&Operation::Rename) {
            // An empty segment of an earlier process was replaced.
            self.damaged.remove(&next);
        }
        match appended {
            Ok(positions) => {
                prop_assert_eq!(positions, next..next + batch.len() as u64);
                self.records.extend((next..).zip(batch));
            }
            Err(why) => {
                prop_assert_eq!(self.store.next(), next);
                if why == Refusal::Full {
                    let frames: usize = batch.iter().map(|body| body.len() + HEAD).sum();
                    let level = self.store.level();
                    prop_assert!(level.bytes + (frames + HEADER) as u64 > level.limit_bytes, "{:?}", level);
                }
                self.refused.extend((next..).zip(batch));
            }
        }
        Ok(())
    }

    /// Goes on reading, and accounts for every position once.
    fn read(&mut self, max_bytes: usize) -> TestCaseResult {
        let reading = self.store.read(self.reading, max_bytes).unwrap();
        let bytes: usize = reading.records.iter().map(|(_, body)| body.len() + HEAD).sum();
        prop_assert!(bytes <= max_bytes || reading.records.len() == 1);
        let mut found: BTreeMap<u64, Option<Bytes>> = BTreeMap::new();
        for (position, body) in reading.records {
            prop_assert!(found.last_key_value().is_none_or(|(last, _)| *last < position), "out of order");
            found.insert(position, Some(body));
        }
        for position in reading.spoilt.into_iter().flat_map(|spoilt| spoilt.positions) {
            prop_assert!(found.insert(position, None).is_none(), "{} is both read and spoilt", position);
        }
        let expected: Vec<u64> = (self.reading..reading.next).collect();
        prop_assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected, "skipped or invented");
        prop_assert!(!found.is_empty() || self.reading == self.store.next(), "no progress");
        for (position, body) in found {
            let lost = self.is_lost(position);
            prop_assert_eq!(body.is_none(), lost, "position {}", position);
            if let Some(body) = body {
                prop_assert_eq!(&body, &self.records[&position]);
            }
        }
        self.reading = reading.next;
        Ok(())
    }

    /// Whether damage in its segment is at it or before it.
    fn is_lost(&self, position: u64) -> bool {
        let segments = segments(self.dir.path());
        let segment = segments.iter().map(|path| first_of(path)).rfind(|first| *first <= position);
        segment.and_then(|first| self.damaged.get(&first)).is_some_and(|from| *from <= position)
    }

    /// Notes what a damaged byte costs.
    fn damage(&mut self, path: &Path, byte: usize) {
        let first = first_of(path);
        let (mut position, mut end) = (first, HEADER);
        while end <= byte {
            let Some(body) = self.records.get(&position) else { return };
            end += HEAD + body.len();
            // The frame that holds the byte is the last that is passed.
            position += u64::from(end <= byte);
        }
        let from = self.damaged.entry(first).or_insert(position);
        *from = position.min(*from);
    }

    /// Lets a process end in some way, and another begin.
    fn reopen<T>(&mut self, end: impl FnOnce(Store) -> T) -> Result<T, TestCaseError> {
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Store::open_on(Box::new(FaultyDisk::default()), elsewhere.path(), settings()).unwrap();
        let ended = end(std::mem::replace(&mut self.store, other));
        self.disk.heal();
        self.store = Store::open_on(Box::new(self.disk.clone()), self.dir.path(), model_settings()).unwrap();
        let (store, losses) = (&self.store, self.store.losses());
        prop_assert!(store.delivered_below() <= self.delivered, "passes over what is not delivered");
        // Refused batches that could not be cut off.
        for (position, body) in (self.next()..store.next()).zip(naive(self.dir.path(), self.next())) {
            prop_assert!(self.refused.contains(&(position, body.clone())), "invented at {}", position);
            self.records.insert(position, body);
        }
        prop_assert_eq!(store.next().max(self.next()), self.next(), "positions of nothing");
        let destroyed = self.records.split_off(&store.next());
        let from = destroyed.first_key_value().map(|(position, _)| *position);
        if let Some(from) = from {
            prop_assert!(self.damaged.values().any(|damaged| *damaged <= from), "lost {}", from);
            // A cut between two frames leaves no trace; what is spoilt before that is counted when it is read.
            let last = self.damaged.last_key_value().map(|(_, damaged)| *damaged);
            prop_assert!(losses.torn_bytes > 0 || losses.spoilt_segments > 0 || last <= Some(from));
        }
        let (next, names) = (store.next(), segments(self.dir.path()));
        self.damaged.retain(|first, from| *from < next && names.iter().any(|path| first_of(path) == *first));
        self.delivered = store.delivered_below();
        self.reading = self.delivered;
        self.checkpoint_lost = false;
        Ok(ended)
    }
}

fn model_settings() -> Settings {
    Settings { limit_bytes: 12 << 10, ..settings() }
}

fn first_of(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The bodies from a position on that the last segment holds, read as simply as can be.
fn naive(dir: &Path, from: u64) -> Vec<Vec<u8>> {
    let path = segments(dir).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    let mut bodies = Vec::new();
    for position in first_of(&path).. {
        let Some((head, behind)) = rest.split_at_checked(HEAD) else { break };
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let Some((body, behind)) = behind.split_at_checked(length) else { break };
        let crc = crc32fast::hash(&[&position.to_le_bytes()[..], body].concat());
        if crc.to_le_bytes() != head[4..] {
            break;
        }
        if position >= from {
            bodies.push(body.to_vec());
        }
        rest = behind;
    }
    bodies
}

fn check(steps: Vec<Step>) -> TestCaseResult {
    let mut model = Model::new();
    for step in steps {
        model.step(step)?;
    }
    // To the end, in this process and in another one.
    for _ in 0..2 {
        model.disk.heal();
        while model.reading < model.store.next() {
            model.read(1_000)?;
        }
        model.reopen(drop)?;
    }
    // When all is delivered the disk is given back.
    model.store.delivered(model.store.next()).unwrap();
    model.store.tend(Instant::now()).unwrap();
    let left: u64 = segments(model.dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    prop_assert!(left <= HEADER as u64, "{} bytes are left", left);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_costs_what_it_hits_and_is_counted(steps in steps(true)) {
        check(steps)?;
    }

    #[test]
    fn a_failing_disk_costs_nothing_that_counts(steps in steps(false)) {
        check(steps)?;
    }
}

/// The model must not believe everything.
#[test]
fn a_store_that_loses_or_changes_records_is_noticed() {
    let written = || {
        let mut model = Model::new();
        model.append(&[50; 20]).unwrap();
        model.append(&[50; 20]).unwrap();
        model
    };
    let mut flipped = written();
    flip(&segments(flipped.dir.path())[0], 99);
    flipped.read(usize::MAX).unwrap_err();
    let mut gone = written();
    gone.reopen(drop).unwrap();
    std::fs::remove_file(&segments(gone.dir.path())[1]).unwrap();
    gone.reopen(drop).and_then(|()| gone.read(usize::MAX)).unwrap_err();
    let mut other = written();
    other.records.get_mut(&3).unwrap()[0] = b'x';
    other.read(usize::MAX).unwrap_err();
    let mut skipping = written();
    skipping.reading = 5;
    skipping.delivered = 5;
    skipping.store.delivered(7).unwrap();
    skipping.store.close().unwrap();
    skipping.store = open(tempfile::tempdir().unwrap().path());
    skipping.reopen(drop).unwrap_err();
    written().read(usize::MAX).unwrap();
}
