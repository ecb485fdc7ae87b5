//! When the spool is read back.

use super::{state::MOST_BACK, *};
use crate::spool::{Settings, Spool};

/// With five records that an earlier process left.
fn left(dir: &std::path::Path) -> Spooling {
    let spool = Spool::open(dir, Settings::new(64 << 20)).unwrap();
    Spooling::new(spool, Duration::from_secs(1), 1..6)
}

#[test]
fn a_spool_that_takes_nothing_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spooling, now) = (left(dir.path()), Instant::now());
    spooling.retry_at = Some(now + REFUSED_PAUSE);
    assert_eq!(spooling.reads_from(10, now), Some(1), "full, and it gets room only by being read");
    spooling.read_retry_at = Some(now + REFUSED_PAUSE);
    assert_eq!(spooling.reads_from(10, now), None, "it could not be read just now");
    assert_eq!(spooling.reads_from(10, now + REFUSED_PAUSE), Some(1));
    spooling.came_back.extend((0..10).map(|position| (position, Bytes::new())));
    assert_eq!(spooling.reads_from(10, now + REFUSED_PAUSE), None, "what came back waits for room");
    spooling.came_back.clear();
    spooling.bytes_back = MOST_BACK;
    assert_eq!(spooling.reads_from(10, now + REFUSED_PAUSE), None, "few large ones, too");
}

#[test]
fn what_is_kept_of_a_record_keeps_nothing_of_the_block_that_it_was_read_with() {
    let entry = Entry {
        ingest: 1,
        qos0: false,
        mqtt_topic: Bytes::from_static(b"v1/veh-1/telemetry"),
        content_type: None,
        traceparent: None,
        payload: Bytes::from_static(b"{}"),
    };
    let body = entry.encode().unwrap();
    let block = Bytes::from([&body[..], &[0; 256 << 10]].concat());
    let read = block.as_ptr_range();
    let kept = restored(&block.slice(..body.len())).unwrap();
    assert!(![kept.payload.as_ptr(), kept.mqtt_topic.as_ptr()].iter().any(|at| read.contains(at)));
    assert_eq!(kept, entry);
}

#[test]
fn what_waits_for_a_full_spool_does_not_keep_it_from_getting_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spooling = left(dir.path());
    assert!(spooling.may_hand_back(19, 10) && !spooling.may_hand_back(20, 10));
    // Three windows that the spool refuses.
    spooling.written_later = 30;
    assert!(spooling.may_hand_back(30, 10) && spooling.may_hand_back(49, 10) && !spooling.may_hand_back(50, 10));
}

#[test]
fn a_disk_that_does_not_answer_is_not_waited_for_endlessly() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spooling, mut now) = (left(dir.path()), Instant::now());
    let mut for_s = |spooling: &mut Spooling, seconds: u64, answered: bool| {
        for _ in 0..4 * seconds {
            now += Duration::from_millis(250);
            spooling.heard(answered, now);
        }
    };
    for_s(&mut spooling, 60, false);
    assert!(!spooling.hangs(), "it was asked for nothing");
    spooling.writing.push_back(Vec::new());
    for_s(&mut spooling, 29, false);
    assert!(!spooling.hangs() && spooling.is_refusing());
    for_s(&mut spooling, 60, true);
    assert!(!spooling.hangs() && !spooling.is_refusing(), "slow, but it answers");
    spooling.written();
    spooling.reading = true;
    for_s(&mut spooling, 30, false);
    assert!(spooling.hangs(), "nor is a reading");
}

#[test]
fn a_process_that_stood_still_does_not_blame_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spooling, now) = (left(dir.path()), Instant::now());
    spooling.writing.push_back(Vec::new());
    spooling.heard(false, now);
    spooling.heard(false, now + 2 * HUNG);
    assert!(!spooling.hangs());
}

#[test]
fn a_spool_that_is_nearly_empty_gets_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut spooling = left(dir.path());
    assert!(spooling.is_nearly_through(6) && !spooling.is_nearly_through(5), "five are to be read");
    spooling.catch_up.read(6);
    spooling.came_back.extend((1..6).map(|position| (position, Bytes::new())));
    assert!(spooling.is_nearly_through(6) && !spooling.is_nearly_through(5), "they wait for room");
    spooling.written_later = 1;
    assert!(!spooling.is_nearly_through(6), "one more is on its way into it");
}
