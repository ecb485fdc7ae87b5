//! The thread: outcomes in order, group commit, and bounds on what is in hand.

use std::{path::Path, time::Duration};

use super::*;
use crate::spool::{
    Cause, MAX_BODY,
    disk::{Disk, DiskFile, FileSystem},
};

fn settings() -> Settings {
    Settings { limit_bytes: 4 << 20, segment_bytes: 64 << 10, checkpoint_every: Duration::ZERO }
}

fn batch(bodies: &[&str]) -> Vec<Bytes> {
    bodies.iter().map(|body| Bytes::copy_from_slice(body.as_bytes())).collect()
}

/// Waits until something is so.
async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Takes outcomes until there are this many.
async fn outcomes(spool: &Spool, count: usize) -> Vec<Outcome> {
    let mut all = Vec::new();
    until("outcomes", || {
        all.extend(spool.take_outcomes());
        all.len() >= count
    })
    .await;
    assert_eq!(all.len(), count, "{all:?}");
    all
}

/// Until the thread has ended.
async fn close(spool: &Spool) -> Outcome {
    spool.close();
    outcomes(spool, 1).await.remove(0)
}

/// A disk that lets no fsync of a file begin before the test says so.
#[derive(Debug, Clone, Default)]
struct SlowDisk(Arc<(Mutex<Gate>, Condvar)>);

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    /// Fsyncs that wait, or have passed.
    syncs: usize,
    broken: bool,
}

#[derive(Debug)]
struct SlowFile(SlowDisk, Box<dyn DiskFile>);

impl SlowDisk {
    fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().shut = shut;
        self.0.1.notify_all();
    }

    fn syncs(&self) -> usize {
        self.0.0.lock().unwrap().syncs
    }

    /// Waits until this many have begun.
    fn wait_for_syncs(&self, count: usize) {
        let waited =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), Duration::from_secs(30), |gate| gate.syncs < count);
        assert!(!waited.unwrap().1.timed_out(), "no fsync");
    }
}

impl Disk for SlowDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(self.clone(), FileSystem.create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(self.clone(), FileSystem.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        FileSystem.sync_dir(dir)
    }
}

impl DiskFile for SlowFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.read_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let (gate, changed) = &*self.0.0;
        gate.lock().unwrap().syncs += 1;
        changed.notify_all();
        let gate = changed.wait_while(gate.lock().unwrap(), |gate| gate.shut).unwrap();
        assert!(!gate.broken, "the test breaks the thread");
        self.1.sync()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.1.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.1.len()
    }
}

fn slow(dir: &Path, settings: Settings) -> (SlowDisk, Spool) {
    let disk = SlowDisk::default();
    let store = Store::open_on(Box::new(disk.clone()), dir, settings).unwrap();
    (disk, Spool::start(store).unwrap())
}

#[tokio::test]
async fn what_is_appended_is_read_and_after_delivery_gone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), settings()).unwrap();
    assert_eq!((spool.delivered_below(), spool.level().records), (1, 0));
    spool.append(batch(&["a", "b"])).unwrap();
    assert_eq!(outcomes(&spool, 1).await, [Outcome::Appended(1..3)]);
    assert_eq!(spool.level().records, 2);
    assert!(spool.read(1, 1 << 20));
    let records = vec![(1, Bytes::from("a")), (2, Bytes::from("b"))];
    assert_eq!(outcomes(&spool, 1).await, [Outcome::Read { records, next: 3 }]);
    spool.delivered(2);
    assert_eq!(close(&spool).await, Outcome::Closed(Ok(())));
    // Whoever comes too late is told so.
    assert_eq!(spool.append(batch(&["late"])), Err(batch(&["late"])));
    assert!(!spool.read(1, 1));
    // The folder is free, though the old spool still stands.
    let spool = Spool::open(dir.path(), settings()).unwrap();
    assert_eq!((spool.delivered_below(), spool.level().records), (2, 1));
    assert!(matches!(Spool::open(dir.path(), settings()), Err(Error::Locked { .. })));
}

#[tokio::test]
async fn batches_that_wait_for_an_fsync_share_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint_every = Duration::from_secs(3_600);
    let (disk, spool) = slow(dir.path(), Settings { checkpoint_every, ..settings() });
    let before = disk.syncs();
    disk.shut(true);
    spool.append(batch(&["1"])).unwrap();
    disk.wait_for_syncs(before + 1);
    for bodies in [&["2", "3"][..], &[], &["4"]] {
        spool.append(batch(bodies)).unwrap();
    }
    assert_eq!(spool.take_outcomes(), [], "nothing is durable yet");
    disk.shut(false);
    let expected = [1..2, 2..4, 4..4, 4..5].map(Outcome::Appended);
    assert_eq!(outcomes(&spool, 4).await, expected);
    assert_eq!(disk.syncs(), before + 2);
}

#[tokio::test]
async fn what_is_in_hand_is_bounded_until_its_outcome_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, spool) = slow(dir.path(), Settings { limit_bytes: 1 << 30, ..settings() });
    let before = disk.syncs();
    disk.shut(true);
    // One alone may be large.
    spool.append(vec![Bytes::from(vec![0; 1 << 20]); 17]).unwrap();
    disk.wait_for_syncs(before + 1);
    assert!(spool.append(batch(&["no"])).is_err());
    disk.shut(false);
    until("the batch is written", || spool.level().records == 17).await;
    assert!(spool.append(batch(&["not yet"])).is_err());
    assert_eq!(spool.take_outcomes().len(), 1);
    disk.shut(true);
    for _ in 0..MAX_BATCHES {
        spool.append(batch(&["yes"])).unwrap();
    }
    assert!(spool.append(batch(&["no"])).is_err());
    assert!(spool.read(1, 1) && !spool.read(1, 1), "two readings at a time");
    disk.shut(false);
    assert_eq!(outcomes(&spool, MAX_BATCHES + 1).await.len(), MAX_BATCHES + 1);
    spool.append(batch(&["yes"])).unwrap();
    assert!(spool.read(1, 1));
}

#[tokio::test]
async fn a_batch_without_room_comes_back_and_none_behind_it_overtakes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, spool) = slow(dir.path(), Settings { limit_bytes: 1_000, ..settings() });
    let (large, larger) = (vec![Bytes::from(vec![b'x'; 400])], vec![Bytes::from(vec![b'y'; 700])]);
    let too_long = vec![Bytes::from(vec![b'z'; MAX_BODY + 1])];
    let before = disk.syncs();
    disk.shut(true);
    spool.append(batch(&["first"])).unwrap();
    disk.wait_for_syncs(before + 1);
    for batch in [too_long.clone(), large, larger.clone(), batch(&["small"])] {
        spool.append(batch).unwrap();
    }
    disk.shut(false);
    let expected = [
        Outcome::Appended(1..2),
        Outcome::Refused { why: Refusal::TooLong(too_long[0].len()), batch: too_long },
        Outcome::Appended(2..3),
        Outcome::Refused { batch: larger, why: Refusal::Full },
        Outcome::Refused { batch: batch(&["small"]), why: Refusal::Full },
    ];
    assert_eq!(outcomes(&spool, 5).await, expected);
    assert_eq!(spool.level().records, 2);
}

/// Also those that are handed over one by one, as long as the loop does not know of the first refusal.
#[tokio::test]
async fn a_batch_that_would_fit_waits_for_the_one_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Settings { limit_bytes: 1_000, ..settings() }).unwrap();
    let large = vec![Bytes::from(vec![b'x'; 5_000])];
    spool.append(large.clone()).unwrap();
    // Its outcome is there, and nobody has taken it.
    while spool.desk.state().outcomes.is_empty() {
        std::thread::yield_now();
    }
    spool.append(batch(&["small"])).unwrap();
    let small = Outcome::Refused { batch: batch(&["small"]), why: Refusal::Full };
    assert_eq!(outcomes(&spool, 2).await, [Outcome::Refused { batch: large, why: Refusal::Full }, small]);
    spool.append(batch(&["small"])).unwrap();
    assert_eq!(outcomes(&spool, 1).await, [Outcome::Appended(1..2)]);
}

#[tokio::test]
async fn damage_is_told_before_what_was_read_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Settings { segment_bytes: 1, ..settings() }).unwrap();
    for body in ["a", "b", "c"] {
        spool.append(batch(&[body])).unwrap();
        outcomes(&spool, 1).await;
    }
    std::fs::write(dir.path().join(format!("{:020}.segment", 2)), "gone").unwrap();
    assert!(spool.read(1, 1 << 20));
    let expected = [
        Outcome::Spoilt(Spoilt { positions: 2..3, cause: Cause::Header }),
        Outcome::Read { records: vec![(1, Bytes::from("a")), (3, Bytes::from("c"))], next: 4 },
    ];
    assert_eq!(outcomes(&spool, 2).await, expected);
    assert_eq!(spool.losses().records_set_aside, 1);
}

#[tokio::test]
async fn a_checkpoint_is_written_though_nothing_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let every = Duration::from_millis(50);
    let spool = Spool::open(dir.path(), Settings { checkpoint_every: every, ..settings() }).unwrap();
    spool.append(batch(&["a"])).unwrap();
    outcomes(&spool, 1).await;
    spool.delivered(2);
    let deadline = Instant::now() + Duration::from_secs(30);
    // All is delivered: the segment's header is left.
    while spool.level().bytes > 24 {
        assert!(Instant::now() < deadline, "{:?}", spool.level());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(dir.path().join("checkpoint").exists());
}

#[tokio::test]
async fn a_thread_that_breaks_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, spool) = slow(dir.path(), settings());
    disk.0.0.lock().unwrap().broken = true;
    spool.append(batch(&["a"])).unwrap();
    assert_eq!(outcomes(&spool, 1).await, [Outcome::Dead]);
    assert!(spool.append(batch(&["a"])).is_err() && !spool.read(1, 1));
}

#[tokio::test]
async fn a_spool_that_is_dropped_finishes_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, spool) = slow(dir.path(), settings());
    disk.shut(true);
    spool.append(batch(&["a"])).unwrap();
    drop(spool);
    disk.shut(false);
    let deadline = Instant::now() + Duration::from_secs(30);
    let store = loop {
        match Store::open(dir.path(), settings()) {
            Ok(store) => break store,
            Err(error) => assert!(matches!(error, Error::Locked { .. }) && Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(store.level().records, 1);
}
