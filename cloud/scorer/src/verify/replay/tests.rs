//! Removed, added, altered scores are found, and a log without its beginning is judged as far as it can be.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use anyhow::bail;
use cloud_log::InRecord;
use detector::{Judgement, Query, Residual, window};
use telemetry::event::{ModelEvent, Score, Verdict};

use super::*;
use crate::{desk::Desk, tests::record, vehicles::FORGET_MS};

const LATENESS_MS: i64 = 60_000;
/// Of a window at a step of 10 s, with what may be carried before it.
const MEMORY: Memory = Memory { ms: window::HORIZON * 10_000, records: window::CARRY as u64 };

/// Judges by a hash of everything in the window, so that each reading in it counts. Breaks on the reading of this time.
#[derive(Default)]
struct Stub {
    breaks: Option<UnixMillis>,
    layout: Arc<Layout>,
}

impl Judge for Stub {
    fn layout(&self, version: &str) -> Option<&Arc<Layout>> {
        (version == "a").then_some(&self.layout)
    }

    fn look(&self, _: &str, queries: &[&Query]) -> Result<Vec<Residual>> {
        if queries.iter().any(|query| Some(query.time()) == self.breaks) {
            bail!("broken");
        }
        Ok(vec![Residual::default(); queries.len()])
    }

    fn judge(&self, _: &str, question: Question<'_>, _: &Residual) -> Option<Judgement> {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", question.query).hash(&mut hasher);
        let score = f64::from((hasher.finish() >> 40) as u32);
        let (verdict, contributions) = (Verdict::Normal, Vec::new());
        Some(Judgement { score, verdict, contributions, family: None, statistic: "largest" })
    }

    fn memory(&self) -> Memory {
        MEMORY
    }
}

fn timeline(version: &str) -> Timeline {
    let mut timeline = Timeline::default();
    timeline.take(ModelEvent::SwitchPoint { partition: 2, offset: 0, version: version.into(), since: None });
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
    let mut desk = Desk::new(Stub::default(), LATENESS_MS, "scores");
    desk.begin(2, 0, Vehicles::default());
    let output = desk.take(log.to_vec(), &timeline("a")).unwrap();
    let scores = output.scores.iter().map(|scored| {
        let score: Score = serde_json::from_slice(scored.record.payload.as_deref().unwrap()).unwrap();
        (score.source.offset, score)
    });
    scores.collect()
}

fn verified(log: &[InRecord], scores: &BTreeMap<i64, Score>, range: Range<i64>, version: &str) -> Report {
    let low = log[0].offset;
    let parts = [(2, Part { low, range })].into();
    let mut verifier = Verifier::new(parts, LATENESS_MS, timeline(version), Stub::default());
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
    let report = verified(&log, &scores, all, "a");
    assert_eq!((report.ok, report.differing, &*report.examples), (false, 1, &["2/150".to_owned()][..]));
    let mut moved = scores.remove(&150).unwrap();
    // A place behind the end of the log: nothing is scored there.
    moved.source.offset = 203;
    scores.insert(203, moved);
    let report = verified(&log, &scores, 0..204, "a");
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
    let mut verifier = Verifier::new(parts, LATENESS_MS, Timeline::default(), Stub::default());
    for record in &log {
        verifier.feed(record).unwrap();
    }
    let report = verifier.finish().unwrap();
    assert!(!report.ok && report.no_model > 100, "{report:?}");
}

#[test]
fn a_log_without_its_beginning_is_judged_behind_the_lead_in() {
    let lead_in = (window::HORIZON as u64) + MEMORY.records;
    let readings = 2 * lead_in;
    let whole = log(readings);
    let scores = scores(&whole);
    let end = whole.len() as i64;
    for cut in [1, 8, 41] {
        let report = verified(&whole[cut..], &scores, cut as i64..end, "a");
        assert!(report.ok, "cut {cut}: {report:?}");
        // Two vehicles, each with its lead-in and what waited until the missing beginning was given up.
        let least = 2 * lead_in - 20;
        assert!((least..=least + 60).contains(&report.unjudged), "cut {cut}: {report:?}");
        assert!(report.checked > readings - 100, "cut {cut}: {report:?}");
    }
    // A difference behind the lead-in is found all the same.
    let mut scores = scores;
    scores.get_mut(&(end - 3)).unwrap().score += 1.0;
    assert_eq!(verified(&whole[9..], &scores, 9..end, "a").differing, 1);
}

#[test]
fn who_was_silent_for_a_week_begins_anew_here_as_there() {
    let lead_in = (window::HORIZON as u64) + MEMORY.records;
    let mut log = log(3 * lead_in);
    // In the middle of the lead-in of a log that is cut.
    log[lead_in as usize..].iter_mut().for_each(|record| record.timestamp += FORGET_MS);
    let scores = scores(&log);
    let end = log.len() as i64;
    let report = verified(&log, &scores, 0..end, "a");
    assert!(report.ok && report.checked == scores.len() as u64, "{report:?}");
    let report = verified(&log[41..], &scores, 41..end, "a");
    assert!(report.ok && report.checked > lead_in, "{report:?}");
    // Who would go on is found out.
    log[lead_in as usize..].iter_mut().for_each(|record| record.timestamp -= FORGET_MS);
    assert!(!verified(&log, &scores, 0..end, "a").ok);
}

#[test]
fn a_reading_that_breaks_inference_is_expected_to_have_a_dead_letter_and_no_score() {
    let log = log(100);
    let whole = scores(&log);
    // Of both vehicles; one is in its place, the other waits for the one before it.
    let times = |offset: i64| whole[&offset].time;
    let broken: Vec<i64> = (0..200).filter(|at| whole.contains_key(at) && times(*at) == times(151)).collect();
    assert_eq!(broken.len(), 2);
    let verified = |scores: &BTreeMap<i64, Score>, refused: &[i64], breaks: bool| {
        let parts = [(2, Part { low: 0, range: 0..200 })].into();
        let stub = Stub { breaks: breaks.then(|| times(151)), ..Stub::default() };
        let mut verifier = Verifier::new(parts, LATENESS_MS, timeline("a"), stub);
        for score in scores.values() {
            verifier.published(score.source, score.vehicle.clone(), serde_json::to_vec(score).unwrap());
        }
        refused.iter().for_each(|offset| verifier.refused(Source { partition: 2, offset: *offset }));
        log.iter().for_each(|record| verifier.feed(record).unwrap());
        let Report { ok, missing, extra, differing, refused, .. } = verifier.finish().unwrap();
        (ok, missing, extra, differing, refused)
    };
    let mut scores = whole.clone();
    scores.retain(|offset, _| !broken.contains(offset));
    assert_eq!(verified(&scores, &broken, true), (true, 0, 0, 0, 2));
    // No dead letter, a score in spite of one, a dead letter without need, and none of all that happened live.
    assert_eq!(verified(&scores, &broken[1..], true), (false, 1, 0, 0, 1));
    assert_eq!(verified(&whole, &broken, true), (false, 0, 2, 0, 2));
    assert_eq!(verified(&scores, &broken, false), (false, 2, 0, 0, 0));
    assert_eq!(verified(&whole, &[], true), (false, 2, 2, 0, 0));
}
