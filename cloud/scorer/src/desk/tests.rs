//! What a reading that breaks inference does to those beside it; which states are written when, and that a desk that
//! begins from them publishes the same bytes.

use std::{collections::HashMap, sync::Mutex};

use anyhow::bail;
use detector::{Judgement, Query, Residual};
use telemetry::{
    VehicleId,
    event::{ModelEvent, Verdict},
};

use super::*;
use crate::{judging::Memory, state::Found, tests::record};

/// How a query can break a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Error,
    Panic,
    PanicInJudgement,
    NotANumber,
    /// Whatever is asked.
    Always,
}

/// Judges by the query's time and what its track has seen; breaks at given times.
struct Stub {
    layout: Arc<Layout>,
    faults: HashMap<UnixMillis, Fault>,
    /// Sizes of the batches that were looked at.
    batches: Mutex<Vec<usize>>,
}

fn stub(faults: &[(UnixMillis, Fault)]) -> Stub {
    let faults = faults.iter().copied().collect();
    Stub { layout: Arc::new(Layout::default()), faults, batches: Mutex::default() }
}

impl Judge for Stub {
    fn layout(&self, version: &str) -> Option<&Arc<Layout>> {
        ["a", "b"].contains(&version).then_some(&self.layout)
    }

    fn look(&self, _: &str, queries: &[&Query]) -> Result<Vec<Residual>> {
        self.batches.lock().unwrap().push(queries.len());
        if self.faults.values().any(|fault| *fault == Fault::Always) {
            bail!("everything fails");
        }
        for query in queries {
            match self.faults.get(&query.time()) {
                Some(Fault::Error) => bail!("broken"),
                Some(Fault::Panic) => panic!("broken"),
                _ => {}
            }
        }
        Ok(vec![Residual::default(); queries.len()])
    }

    fn judge(&self, version: &str, question: Question<'_>, _: &Residual) -> Option<Judgement> {
        let fault = self.faults.get(&question.query.time());
        assert!(fault != Some(&Fault::PanicInJudgement), "broken");
        let score = if fault == Some(&Fault::NotANumber) { f64::NAN } else { question.query.time() as f64 };
        // The other model finds something now and then.
        let rare = version == "b" && question.query.time() % 100_000 < 20_000;
        let verdict = if rare { Verdict::Anomalous } else { Verdict::Normal };
        let contributions = Vec::new();
        Some(Judgement { score, verdict, contributions, family: None, statistic: "largest" })
    }

    fn memory(&self) -> Memory {
        Memory { ms: 0, records: 0 }
    }
}

pub(super) fn timeline() -> Timeline {
    let mut timeline = Timeline::default();
    timeline.take(ModelEvent::SwitchPoint { partition: 2, offset: 0, version: "a".into(), since: None });
    timeline
}

fn desk(faults: &[(UnixMillis, Fault)]) -> Desk<Stub> {
    let mut desk = Desk::new(stub(faults), 60_000, "scores");
    desk.begin(2, 0, Vehicles::default());
    desk
}

/// So many readings of each of seven vehicles.
fn log(readings: u64) -> Vec<InRecord> {
    let places = (1..=readings).flat_map(|seq| (0..7).map(move |vehicle| (format!("veh-{vehicle}"), seq)));
    let records = (0_i64..).zip(places).map(|(offset, (vehicle, seq))| {
        let record = record(offset, &vehicle, seq);
        InRecord { timestamp: record.timestamp + 10_000 * seq as i64, ..record }
    });
    records.collect()
}

/// A record as it comes back from Kafka.
pub(super) fn read_back(record: OutRecord) -> InRecord {
    let OutRecord { kafka_topic, partition, key, payload, headers, .. } = record;
    let (partition, key) = (partition.unwrap(), Some(key));
    InRecord { kafka_topic, partition, offset: 0, timestamp: 0, key, payload, headers }
}

pub(super) fn payloads(output: &Output) -> Vec<Vec<u8>> {
    output.scores.iter().map(|scored| scored.record.payload.clone().unwrap().into()).collect()
}

/// Window time of the reading at an offset of [`log`].
fn time(offset: i64) -> UnixMillis {
    telemetry::decode(log(60)[offset as usize].payload.as_deref().unwrap(), telemetry::Encoding::Json, None)
        .unwrap()
        .time
}

#[test]
fn a_reading_that_breaks_inference_is_found_and_the_others_score_as_without_it() {
    let log = log(60);
    let whole = desk(&[]).take(log.clone(), &timeline()).unwrap();
    assert_eq!((whole.scores.len(), whole.failed.len()), (log.len(), 0));
    for fault in [Fault::Error, Fault::Panic, Fault::PanicInJudgement, Fault::NotANumber] {
        // All seven vehicles have a reading of that time.
        let mut desk = desk(&[(time(200), fault)]);
        let found = desk.take(log.clone(), &timeline()).unwrap();
        let broken: Vec<i64> = found.failed.iter().map(|(source, _)| source.offset).collect();
        assert_eq!(broken, (196..203).collect::<Vec<_>>(), "{fault:?}");
        let others: Vec<_> = payloads(&whole).into_iter().zip(0..).filter(|(_, at)| !broken.contains(at)).collect();
        assert_eq!(payloads(&found), others.into_iter().map(|(payload, _)| payload).collect::<Vec<_>>(), "{fault:?}");
        // Two batches, each halved at most eight times for seven readings, and a look at nothing for each of them.
        assert!(desk.judge.batches.lock().unwrap().len() < 2 + 7 * 2 * 8 + 7, "{fault:?}");
    }
}

#[test]
fn a_model_that_fails_at_everything_is_no_fault_of_the_readings() {
    let error = desk(&[(0, Fault::Always)]).take(log(5), &timeline()).unwrap_err();
    assert!(format!("{error:#}").contains("a fails"), "{error:#}");
}

#[test]
fn what_is_committed_is_what_the_written_states_cover_and_the_rest_is_published_again_bit_for_bit() {
    let log = log(60);
    let whole = payloads(&desk(&[]).take(log.clone(), &timeline()).unwrap());
    let mut first = desk(&[]);
    let (mut states, mut committed, mut written) = (Found::default(), 0, 0);
    // An interval as long as eight rounds.
    for (round, records) in (0..).zip(log.chunks(20).take(15)) {
        first.take(records.to_vec(), &timeline()).unwrap();
        let turn = Turn::Within { from: round * 1_000, to: (round + 1) * 1_000, every: 8_000 };
        let snapshot = first.snapshot(turn).unwrap();
        assert!(snapshot.states.len() < 7, "all at once");
        written += snapshot.states.len();
        snapshot.states.into_iter().for_each(|state| states.take(read_back(state)).unwrap());
        let offset = snapshot.marks[&2].needed;
        assert!(offset >= committed && offset <= first.lanes[&2].next);
        committed = offset;
    }
    assert!((7..=14).contains(&written), "each vehicle once in an interval: {written} in 15/8 of one");
    assert!((1..300).contains(&committed), "{committed}");
    // Killed. The next owner begins at what was committed.
    let layouts = [Arc::new(Layout::default())];
    let mut second = desk(&[]);
    second.begin(2, committed, states.restore(&layouts, committed).unwrap());
    let again = second.take(log[committed as usize..].to_vec(), &timeline()).unwrap();
    assert!(again.covered > 0);
    assert_eq!(log.len() - committed as usize, again.scores.len() + again.covered as usize);
    let missing: Vec<_> = whole[300..].iter().filter(|payload| !payloads(&again).contains(payload)).collect();
    assert!(missing.is_empty(), "{} scores are missing behind the kill", missing.len());
    assert!(payloads(&again).iter().all(|payload| whole.contains(payload)), "another score than before");
    // At rest everybody is written, and everything may be committed.
    let none = |at: u64| Turn::Within { from: at, to: at, every: 8_000 };
    assert!(second.snapshot(none(5)).unwrap().marks[&2].needed < 420);
    assert!(second.snapshot(none(4 + AT_REST_MS)).unwrap().states.is_empty());
    let at_rest = second.snapshot(none(5 + AT_REST_MS)).unwrap();
    assert_eq!((at_rest.states.len(), at_rest.marks[&2].needed), (7, 420));
    assert!(second.snapshot(none(6 + AT_REST_MS)).unwrap().states.is_empty());
}

#[test]
fn what_was_published_before_is_scored_for_its_tracks_sake_and_not_published_again() {
    let log = log(60);
    let whole = desk(&[]).take(log.clone(), &timeline()).unwrap();
    for scored in [0, 1, 200, 420, 500] {
        // The commit lies behind what was published, and nothing is in a state.
        let mut desk = desk(&[(time(100), Fault::Error)]);
        desk.mute(2, scored);
        let mut broken = log.clone();
        broken[300].payload = Some(b"{}"[..].into());
        let (mut scores, mut muted, mut letters) = (Vec::new(), 0, 0);
        for records in broken.chunks(33) {
            let output = desk.take(records.to_vec(), &timeline()).unwrap();
            letters += output.failed.len() + output.unreadable.len();
            muted += output.muted;
            scores.extend(payloads(&output));
        }
        let all = payloads(&whole);
        assert!(scores.iter().all(|score| all[scored.min(420) as usize..].contains(score)), "{scored}");
        assert_eq!(scores.len() + letters + muted as usize + desk.waiting() as usize, 420, "{scored}");
        assert_eq!(letters, usize::from(scored <= 300) + if scored <= 98 { 7 } else { 0 }, "{scored}");
        // As far as it had been published, and never less.
        let marks = desk.snapshot(Turn::Everybody).unwrap().marks;
        assert_eq!(marks[&2].scored, scored.max(420));
    }
}

#[test]
fn a_challenger_in_the_shadow_is_counted_and_changes_no_bit_of_the_champions_scores() {
    let log = log(60);
    let alone = desk(&[]).take(log.clone(), &timeline()).unwrap();
    assert_eq!(alone.shadow, ShadowCounts::default());
    for (share, vehicles) in [(1.0, 7), (0.4, 1)] {
        let mut desk = desk(&[]);
        let shadow = Shadow::new("b".into(), share);
        let sampled =
            (0..7).filter(|n| shadow.includes(&VehicleId::parse(&format!("veh-{n}")).unwrap())).count() as u64;
        assert!(sampled >= vehicles && (share < 1.0) == (sampled < 7), "{sampled}");
        desk.shadow(Some(shadow));
        let mut counts = ShadowCounts::default();
        let mut scores = Vec::new();
        for records in log.chunks(33) {
            let output = desk.take(records.to_vec(), &timeline()).unwrap();
            counts.add(output.shadow);
            scores.extend(payloads(&output));
        }
        assert_eq!(scores, payloads(&alone), "share {share}");
        // 60 readings of ten seconds: six times two of ten.
        assert_eq!((counts.scored, counts.failed, counts.champion_alerts), (60 * sampled, 0, 0));
        assert!((6..=7).contains(&(counts.alerts / sampled)) && counts.alerts % sampled == 0, "{counts:?}");
    }
}

#[test]
fn a_broken_challenger_costs_the_champion_nothing() {
    let log = log(60);
    let mut desk = desk(&[]);
    // A version that is at hand no more.
    desk.shadow(Some(Shadow::new("c".into(), 1.0)));
    let output = desk.take(log.clone(), &timeline()).unwrap();
    assert_eq!((output.scores.len(), output.shadow), (log.len(), ShadowCounts::default()));
}
