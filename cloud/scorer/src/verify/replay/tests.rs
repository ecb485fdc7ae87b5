//! Removed, added, altered scores are found, and a log without its beginning is judged as far as it can be.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use cloud_log::InRecord;
use detector::{Judgement, Query, features::MEMORY};
use telemetry::event::{ModelEvent, Score, Verdict};

use super::*;
use crate::tests::record;

const LATENESS_MS: i64 = 60_000;

/// Judges by a hash of everything in the window, so that each reading in it counts.
struct Stub;

impl Judge for Stub {
    fn judge(&self, version: &str, queries: &[Query]) -> Result<Option<Vec<Option<Judgement>>>> {
        let judgements = queries.iter().map(|query| {
            let mut hasher = DefaultHasher::new();
            format!("{query:?}").hash(&mut hasher);
            let score = f64::from((hasher.finish() >> 40) as u32);
            Some(Judgement { score, verdict: Verdict::Normal, contributions: Vec::new() })
        });
        Ok((version == "a").then(|| judgements.collect()))
    }
}

fn timeline(version: &str) -> Timeline {
    let mut timeline = Timeline::default();
    timeline.take(ModelEvent::SwitchPoint { partition: 2, offset: 0, version: version.into() });
    timeline
}

/// Two vehicles by turns, each with a pair of readings that came in the wrong order.
fn log(readings: u64) -> Vec<InRecord> {
    let seqs = (1..=readings).map(|seq| match seq % 10 {
        4 => seq + 1,
        5 => seq - 1,
        _ => seq,
    });
    let places = seqs.flat_map(|seq| [("veh-a", seq), ("veh-b", seq)]);
    let records = (0_i64..).zip(places).map(|(offset, (vehicle, seq))| {
        let record = record(offset, vehicle, seq);
        // Taken in when they were made.
        InRecord { timestamp: record.timestamp + 10_000 * seq as i64, ..record }
    });
    records.collect()
}

/// What a live scorer publishes.
fn scores(log: &[InRecord]) -> BTreeMap<i64, Score> {
    let mut lane = Lane::new(2, 0, LATENESS_MS, HashMap::new());
    let mut jobs = Vec::new();
    for record in log {
        lane.take(record, &mut jobs).unwrap();
    }
    jobs.retain(|job| job.query.is_some());
    let queries: Vec<_> = jobs.iter().filter_map(|job| job.query.clone()).collect();
    let judgements = Stub.judge("a", &queries).unwrap().unwrap();
    let scores = jobs.into_iter().zip(judgements);
    scores.map(|(job, judgement)| (job.source.offset, job.score("a", judgement.unwrap()))).collect()
}

fn verified(log: &[InRecord], scores: &BTreeMap<i64, Score>, range: Range<i64>, version: &str) -> Report {
    let low = log[0].offset;
    let parts = [(2, Part { low, range })].into();
    let mut verifier = Verifier::new(parts, LATENESS_MS, timeline(version), Stub);
    for score in scores.values() {
        verifier.published(score.source, score.vehicle.clone(), serde_json::to_vec(score).unwrap());
    }
    for record in log {
        verifier.feed(record).unwrap();
    }
    verifier.finish().unwrap()
}

#[test]
fn every_bit_is_checked() {
    let log = log(100);
    let mut scores = scores(&log);
    let all = 0..200;
    let report = verified(&log, &scores, all.clone(), "a");
    assert!(report.ok && report.checked == scores.len() as u64, "{report:?}");
    let score = scores.get_mut(&150).unwrap();
    score.score = f64::from_bits(score.score.to_bits() ^ 1);
    let report = verified(&log, &scores, all.clone(), "a");
    assert_eq!((report.ok, report.differing, &*report.examples), (false, 1, &["2/150".to_owned()][..]));
    let mut moved = scores.remove(&150).unwrap();
    // A place in the warm-up: nothing is scored there.
    moved.source.offset = 3;
    scores.insert(3, moved);
    let report = verified(&log, &scores, all, "a");
    assert_eq!((report.ok, report.missing, report.extra), (false, 1, 1));
}

#[test]
fn a_scorer_that_stopped_is_found_where_the_end_is_given() {
    let log = log(100);
    let mut scores = scores(&log);
    let removed = scores.split_off(&180).len() as u64;
    assert!(removed > 0);
    // Up to the last published score nothing is wrong.
    assert!(verified(&log, &scores, 0..180, "a").ok);
    let report = verified(&log, &scores, 0..200, "a");
    assert_eq!((report.ok, report.missing), (false, removed));
    // It never scored this partition at all.
    let report = verified(&log, &BTreeMap::new(), 0..200, "a");
    assert!(!report.ok && report.missing > 100, "{report:?}");
    // Nor with the model that was switched to.
    let report = verified(&log, &BTreeMap::new(), 0..200, "b");
    assert!(!report.ok && report.missing > 100, "{report:?}");
}

#[test]
fn windows_before_the_first_switch_point_are_counted() {
    let log = log(100);
    let parts = [(2, Part { low: 0, range: 0..200 })].into();
    let mut verifier = Verifier::new(parts, LATENESS_MS, Timeline::default(), Stub);
    for record in &log {
        verifier.feed(record).unwrap();
    }
    let report = verifier.finish().unwrap();
    assert!(!report.ok && report.no_model > 100, "{report:?}");
}

#[test]
fn a_log_without_its_beginning_is_judged_behind_the_lead_in() {
    let readings = 3 * MEMORY as u64;
    let whole = log(readings);
    let scores = scores(&whole);
    let end = whole.len() as i64;
    for cut in [1, 7, 8, 9, 10, 41] {
        let report = verified(&whole[cut..], &scores, cut as i64..end, "a");
        assert!(report.ok, "cut {cut}: {report:?}");
        // Two vehicles, each with its lead-in and what waited until the missing beginning was given up.
        let least = 2 * MEMORY as u64 - 20;
        assert!((least..=least + 60).contains(&report.unjudged), "cut {cut}: {report:?}");
        assert!(report.checked > readings, "cut {cut}: {report:?}");
    }
    // A difference behind the lead-in is found all the same.
    let mut scores = scores;
    scores.get_mut(&(end - 3)).unwrap().score += 1.0;
    assert_eq!(verified(&whole[9..], &scores, 9..end, "a").differing, 1);
}
