//! Full and failing disks.

use nix::errno::Errno;

use super::{
    faulty_disk::{FaultyDisk, Operation},
    *,
};

fn faulty(dir: &Path) -> (FaultyDisk, Store) {
    let disk = FaultyDisk::default();
    let store = Store::open_on(Box::new(disk.clone()), dir, settings()).unwrap();
    (disk, store)
}

fn refused(store: &mut Store) -> String {
    let (next, level) = (store.next(), store.level());
    let body = body(next);
    let Err(Refusal::Failed(error)) = store.append([&body[..], &body[..]]) else { panic!("not refused") };
    assert_eq!((store.next(), store.level().records), (next, level.records));
    error
}

#[test]
fn what_counts_was_synced_in_this_order() {
    use Operation::{Create, Remove, Rename, Sync, SyncDir, Write};
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    let begin = [Create, Write, Sync, Rename, SyncDir];
    assert_eq!(disk.take_done()[..6], [&[Operation::Open][..], &begin].concat(), "looks for a checkpoint");
    disk.take_done();
    store.append([&body(1)[..], &body(2)]).unwrap();
    assert_eq!(disk.take_done(), [Write, Sync], "a batch");
    append(&mut store, 8);
    disk.take_done();
    append(&mut store, 1);
    assert_eq!(disk.take_done(), [&begin[..], &[Write, Sync]].concat(), "the next segment");
    store.delivered(12).unwrap();
    assert_eq!(disk.take_done(), [Remove, SyncDir]);
    store.tend(Instant::now()).unwrap();
    let checkpoint = [Create, Write, Sync, Rename, SyncDir];
    assert_eq!(disk.take_done(), [&begin[..], &[Remove, SyncDir], &checkpoint].concat(), "all delivered");
}

#[test]
fn a_full_disk_costs_nothing_that_counts_and_the_store_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    append(&mut store, 3);
    for _ in 0..3 {
        disk.fail(&[Operation::Write], Errno::ENOSPC);
        assert!(refused(&mut store).contains("No space left"));
    }
    assert_eq!(positions(&read_all(&mut store)), [1, 2, 3]);
    append(&mut store, 7);
    // Also where the next segment would begin.
    for operation in [Operation::Create, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        disk.fail(&[operation], Errno::ENOSPC);
        refused(&mut store);
    }
    append(&mut store, 5);
    assert_eq!(positions(&read_all(&mut store)), (1..16).collect::<Vec<_>>());
    assert_eq!(segments(dir.path()).len(), 2, "as many as without the failures");
    drop(store);
    assert_eq!(positions(&read_all(&mut open(dir.path()))), (1..16).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_is_full_of_delivered_records_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    append(&mut store, 3);
    store.delivered(4).unwrap();
    for errno in [Errno::ENOSPC, Errno::EDQUOT] {
        disk.take_done();
        disk.fail(&[Operation::Write], errno);
        store.tend(Instant::now()).unwrap();
        let done = disk.take_done();
        let cut = done.iter().position(|operation| *operation == Operation::SetLen).unwrap();
        assert!(done[..cut].contains(&Operation::Write), "not before it has to be: {done:?}");
        let first = store.next();
        assert_eq!(files(dir.path())[&format!("{first:020}.segment")], 24, "no more than a header");
        assert_eq!((segments(dir.path()).len(), store.level().records), (1, 0));
        append(&mut store, 3);
        assert_eq!(positions(&read_all(&mut store)), (first..first + 3).collect::<Vec<_>>());
        store.delivered(first + 3).unwrap();
    }
    // Another fault is no reason to cut.
    disk.fail(&[Operation::Write], Errno::EIO);
    store.tend(Instant::now()).unwrap_err();
    assert!(!disk.take_done().contains(&Operation::SetLen));
}

#[test]
fn a_segment_whose_fsync_failed_is_cut_and_never_appended_to_again() {
    for cut in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, mut store) = faulty(dir.path());
        append(&mut store, 3);
        disk.fail(&[Operation::Sync], Errno::EIO);
        if !cut {
            disk.fail(&[Operation::SetLen], Errno::EIO);
        }
        refused(&mut store);
        let left = files(dir.path())["00000000000000000001.segment"];
        assert_eq!(left, frame_at(if cut { 3 } else { 5 }) as u64);
        assert_eq!(store.level().bytes, left);
        append(&mut store, 2);
        assert_eq!(files(dir.path())["00000000000000000001.segment"], left);
        assert_eq!(positions(&read_all(&mut store)), [1, 2, 3, 4, 5], "of each position the one that counts");
        drop(store);
        let mut store = open(dir.path());
        let reading = read_all(&mut store);
        assert_eq!((positions(&reading), reading.spoilt), (vec![1, 2, 3, 4, 5], vec![]));
    }
}

#[test]
fn a_write_that_can_not_be_cut_back_ends_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    append(&mut store, 3);
    disk.fail(&[Operation::Write, Operation::SetLen], Errno::EIO);
    refused(&mut store);
    append(&mut store, 2);
    assert_eq!(segments(dir.path()).len(), 2);
    assert_eq!(positions(&read_all(&mut store)), [1, 2, 3, 4, 5]);
}

#[test]
fn a_first_segment_that_fails_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    for _ in 0..3 {
        disk.fail(&[Operation::Sync, Operation::SetLen], Errno::EIO);
        refused(&mut store);
        disk.heal();
    }
    append(&mut store, 1);
    assert_eq!(files(dir.path()), [("00000000000000000001.segment".to_owned(), frame_at(1) as u64)].into());
    assert_eq!(store.level().bytes, frame_at(1) as u64);
}

#[test]
fn what_the_disk_does_not_give_back_is_passed_over_and_what_the_process_can_not_open_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    append(&mut store, 30);
    disk.fail(&[Operation::Open], Errno::EMFILE);
    assert_eq!(store.read(11, 480).unwrap_err().raw_os_error(), Some(Errno::EMFILE as i32));
    disk.fail(&[Operation::Read], Errno::EIO);
    let reading = store.read(11, 480).unwrap();
    let [Spoilt { positions: lost, cause: Cause::Unreadable(error) }] = &reading.spoilt[..] else {
        panic!("{reading:?}")
    };
    assert!(*lost == (11..21) && error.contains("Input/output error"), "{error}");
    assert_eq!(positions(&reading), (21..31).collect::<Vec<_>>());
    // What was read before the descriptors ran out is handed on.
    store.cursor = None;
    disk.fail(&[Operation::Open], Errno::EMFILE);
    assert!(store.read(21, 480).is_err());
    let mut output = store.read(1, 48).unwrap();
    assert_eq!(positions(&output), [1]);
    disk.fail(&[Operation::Open], Errno::EMFILE);
    output = store.read(2, usize::MAX).unwrap();
    assert_eq!((positions(&output), output.next), ((2..11).collect::<Vec<_>>(), 21));
}

#[test]
fn a_segment_that_can_not_be_removed_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut store) = faulty(dir.path());
    append(&mut store, 30);
    disk.fail(&[Operation::Remove], Errno::EIO);
    store.delivered(21).unwrap_err();
    assert_eq!((segments(dir.path()).len(), store.level().records), (3, 10));
    store.tend(Instant::now()).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    // Nor does a checkpoint that can't be written stop anything.
    store.delivered(31).unwrap();
    disk.fail(&[Operation::Create, Operation::Create], Errno::ENOSPC);
    store.tend(Instant::now()).unwrap_err();
    append(&mut store, 1);
    store.delivered(32).unwrap();
    assert!(store.next_tending().is_some());
    store.tend(Instant::now()).unwrap();
    assert_eq!(store.level().bytes, 24);
}
