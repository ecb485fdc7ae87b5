//! What kills and bad disks leave: cut off, reported, set aside, and never in the way of the rest.

use super::*;

#[test]
fn a_torn_end_is_cut_off_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 3);
    drop(store);
    let whole = std::fs::read(&segments(dir.path())[0]).unwrap();
    for cut in frame_at(2)..frame_at(3) {
        for garbage in [0, 30] {
            std::fs::write(&segments(dir.path())[0], [&whole[..cut], &vec![0; garbage]].concat()).unwrap();
            let mut store = open(dir.path());
            let torn_bytes = (cut - frame_at(2) + garbage) as u64;
            assert_eq!(store.losses(), Losses { torn_bytes, ..Losses::default() }, "cut at {cut}");
            assert_eq!(positions(&read_all(&mut store)), [1, 2]);
            assert_eq!(store.next(), 3);
        }
    }
    let mut store = open(dir.path());
    append(&mut store, 1);
    assert_eq!(positions(&read_all(&mut store)), [1, 2, 3]);
}

#[test]
fn a_segment_whose_creation_was_cut_off_keeps_its_position() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], &[0; 24], b"MCSP"] {
        std::fs::write(dir.path().join("00000000000000000077.segment"), bytes).unwrap();
        let mut store = open(dir.path());
        assert_eq!((store.next(), store.losses().torn_bytes), (77, bytes.len() as u64));
        assert_eq!(read_all(&mut store), Reading { next: 77, ..Reading::default() });
    }
    std::fs::write(dir.path().join("segment.new"), b"half").unwrap();
    let mut store = open(dir.path());
    append(&mut store, 2);
    assert_eq!(positions(&read_all(&mut store)), [77, 78]);
    assert_eq!(files(dir.path()).into_keys().collect::<Vec<_>>(), ["00000000000000000077.segment"]);
}

/// What is wrong with a segment of positions 11 to 20, and from which on it can't be read.
type Damage = (&'static str, fn(&Path), u64, Cause);

fn damages() -> Vec<Damage> {
    vec![
        ("header", |path| flip(path, 15), 11, Cause::Header),
        (
            "another segment in its place",
            |path| {
                let first = std::fs::read(path.with_file_name("00000000000000000001.segment")).unwrap();
                std::fs::write(path, first).unwrap();
            },
            11,
            Cause::Header,
        ),
        ("body", |path| flip(path, frame_at(4) + HEAD), 15, Cause::Frame),
        ("checksum", |path| flip(path, frame_at(4) + 4), 15, Cause::Frame),
        ("length", |path| flip(path, frame_at(4) + 3), 15, Cause::Frame),
        ("length, slightly", |path| flip(path, frame_at(4)), 15, Cause::Frame),
        ("the last frame", |path| flip(path, frame_at(9) + 20), 20, Cause::Frame),
        (
            "frames in each other's place",
            |path| {
                let mut bytes = std::fs::read(path).unwrap();
                bytes[frame_at(4)..frame_at(6)].rotate_left(48);
                std::fs::write(path, bytes).unwrap();
            },
            15,
            Cause::Frame,
        ),
        (
            "cut",
            |path| std::fs::File::options().write(true).open(path).unwrap().set_len(frame_at(4) as u64 + 9).unwrap(),
            15,
            Cause::Cut,
        ),
        (
            "cut between frames",
            |path| std::fs::File::options().write(true).open(path).unwrap().set_len(frame_at(4) as u64).unwrap(),
            15,
            Cause::Cut,
        ),
        ("gone", |path| std::fs::remove_file(path).unwrap(), 11, Cause::Missing),
    ]
}

#[test]
fn what_is_spoilt_in_the_middle_is_reported_once_and_all_around_it_is_read() {
    for at_run_time in [false, true] {
        for (what, spoil, from, cause) in damages() {
            let dir = tempfile::tempdir().unwrap();
            let mut store = open(dir.path());
            append(&mut store, 30);
            spoil(&segments(dir.path())[1]);
            if !at_run_time {
                drop(store);
                store = open(dir.path());
            }
            let reading = read_all(&mut store);
            assert_eq!(positions(&reading), (1..from).chain(21..31).collect::<Vec<_>>(), "{what}");
            // A file that is not listed is not missed: the one before it seems too short.
            let cause = if what == "gone" && !at_run_time { Cause::Cut } else { cause };
            assert_eq!(reading.spoilt, [Spoilt { positions: from..21, cause }], "{what}");
            let losses = Losses { spoilt_segments: 1, records_set_aside: 21 - from, ..Losses::default() };
            assert_eq!(store.losses(), losses, "{what}");
            // Again, and from within.
            let again = read_all(&mut store);
            assert_eq!((again.records, again.spoilt), (reading.records, vec![]), "{what}");
            assert_eq!(store.read(from + 1, 1).unwrap().records[0].0, 21, "{what}");
            assert_eq!(store.losses(), losses, "{what}");
        }
    }
}

#[test]
fn damage_before_the_place_where_a_reading_began_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 15);
    flip(&segments(dir.path())[0], frame_at(2));
    let mut lost = |from| {
        let reading = store.read(from, usize::MAX).unwrap();
        reading.spoilt.iter().map(|spoilt| (spoilt.positions.start, spoilt.positions.end)).collect::<Vec<_>>()
    };
    assert_eq!(
        [lost(8), lost(9), lost(4), lost(1), lost(1)],
        [vec![(8, 11)], vec![], vec![(4, 8)], vec![(3, 4)], vec![]]
    );
    let losses = Losses { spoilt_segments: 1, records_set_aside: 8, ..Losses::default() };
    assert_eq!(store.losses(), losses);
}

#[test]
fn a_spoilt_segment_is_set_aside_when_what_stands_before_the_damage_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 30);
    flip(&segments(dir.path())[0], frame_at(5));
    assert_eq!(read_all(&mut store).spoilt.len(), 1);
    store.delivered(10).unwrap();
    assert_eq!(segments(dir.path()).len(), 3);
    store.delivered(11).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    assert!(dir.path().join("00000000000000000001.spoilt").exists());
    assert_eq!(store.level().bytes, files(dir.path()).values().sum::<u64>());
    store.close().unwrap();
    // It is remembered, and read no more.
    let mut store = open(dir.path());
    assert_eq!(store.level().bytes, files(dir.path()).values().sum::<u64>() - 28, "all but the checkpoint");
    assert_eq!(positions(&read_all(&mut store)), (11..31).collect::<Vec<_>>());
    assert_eq!(store.losses(), Losses::default());
}

#[test]
fn few_spoilt_segments_are_kept_and_they_yield_to_records() {
    let dir = tempfile::tempdir().unwrap();
    let limit_bytes = 24 << 10;
    let settings = Settings { limit_bytes, ..settings() };
    let mut store = Store::open(dir.path(), settings).unwrap();
    append(&mut store, 60);
    segments(dir.path()).iter().for_each(|path| flip(path, 0));
    assert_eq!(read_all(&mut store).spoilt.len(), 6);
    store.delivered(61).unwrap();
    store.tend(Instant::now()).unwrap();
    let spoilt = |dir: &Path| files(dir).into_keys().filter(|name| name.ends_with(".spoilt")).collect::<Vec<_>>();
    assert_eq!(spoilt(dir.path()), [21, 31, 41, 51].map(|first| format!("{first:020}.spoilt")));
    let expected = Losses { spoilt_segments: 6, records_set_aside: 60, spoilt_files_removed: 2, ..Losses::default() };
    assert_eq!(store.losses(), expected);
    while store.append([&body(store.next())[..]]).is_ok() {}
    assert_eq!((spoilt(dir.path()).len(), store.losses().spoilt_files_removed), (0, 6));
    assert!(store.level().bytes + 48 + 24 > limit_bytes);
    // More than an eighth of the limit is never kept.
    drop(store);
    let mut store = Store::open(dir.path(), Settings { limit_bytes: 512, ..settings }).unwrap();
    flip(&segments(dir.path())[0], 0);
    let next = read_all(&mut store).records[0].0;
    store.delivered(next).unwrap();
    assert_eq!((spoilt(dir.path()).len(), store.losses().spoilt_files_removed), (0, 1));
}

#[test]
fn damage_in_the_segment_that_is_appended_to_costs_nothing_that_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 5);
    flip(&segments(dir.path())[0], frame_at(2) + HEAD);
    let reading = read_all(&mut store);
    assert_eq!((positions(&reading), reading.spoilt[0].positions.clone(), reading.next), (vec![1, 2], 3..6, 6));
    append(&mut store, 3);
    let reading = read_all(&mut store);
    assert_eq!((positions(&reading), reading.spoilt.len()), (vec![1, 2, 6, 7, 8], 0));
    assert_eq!(segments(dir.path()).len(), 2);
}

#[test]
fn damage_in_the_last_segment_is_not_taken_for_a_torn_end() {
    for (byte, readable) in [(frame_at(2) + HEAD, 2), (20, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        append(&mut store, 5);
        drop(store);
        flip(&segments(dir.path())[0], byte);
        let mut store = open(dir.path());
        assert_eq!((store.next(), store.losses().torn_bytes), (6, 0), "their positions are not used twice");
        append(&mut store, 1);
        let reading = read_all(&mut store);
        assert_eq!(positions(&reading), (1..=readable).chain([6]).collect::<Vec<_>>());
        assert_eq!(store.losses().records_set_aside, 5 - readable);
    }
}

#[test]
fn a_checkpoint_remembers_positions_of_a_destroyed_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 5);
    store.delivered(5).unwrap();
    store.close().unwrap();
    // As if a disk had not written what it said.
    std::fs::File::options().write(true).open(&segments(dir.path())[0]).unwrap().set_len(frame_at(2) as u64).unwrap();
    let mut store = open(dir.path());
    assert_eq!((store.delivered_below(), store.next()), (5, 6), "else new records would pass for delivered");
    append(&mut store, 1);
    let reading = read_all(&mut store);
    assert_eq!((positions(&reading), reading.spoilt), (vec![6], vec![Spoilt { positions: 5..6, cause: Cause::Cut }]));
}

#[test]
fn a_last_segment_without_anything_readable_makes_room_for_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000000000000000007.segment"), [b'?'; 99]).unwrap();
    let mut store = open(dir.path());
    assert_eq!((store.next(), store.losses().spoilt_segments), (7, 1));
    drop(store);
    // Also when the process died in between.
    std::fs::remove_file(&segments(dir.path())[0]).unwrap();
    store = open(dir.path());
    append(&mut store, 1);
    assert_eq!(positions(&read_all(&mut store)), [7]);
    assert_eq!(files(dir.path())["00000000000000000007.spoilt"], 99);
}
