//! Tests: who was silent for a week begins anew, whatever was kept of it in memory or in a state.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use detector::{Judgement, Query, Residual, Track};
use telemetry::{Encoding, Record, VehicleId, event::Verdict, kafka_topic::header};

use super::{
    tests::{payloads, read_back, timeline},
    *,
};
use crate::{
    judging::Memory,
    state::Found,
    tests::record,
    vehicles::{FORGET_MS, SLACK_MS},
};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const PARTITION: i32 = 2;
const START: i64 = 1_763_700_000_000;

/// Judges by everything in the window and by how many readings the track has seen.
struct Remembering(Arc<Layout>);

impl Judge for Remembering {
    fn layout(&self, version: &str) -> Option<&Arc<Layout>> {
        ["a", "b"].contains(&version).then_some(&self.0)
    }

    fn look(&self, _: &str, queries: &[&Query]) -> Result<Vec<Residual>> {
        Ok(vec![Residual::default(); queries.len()])
    }

    fn judge(&self, _: &str, question: Question<'_>, _: &Residual) -> Option<Judgement> {
        // Of a track's bytes these are a number that only its model changes.
        let mut bytes = question.track.to_bytes();
        let seen = bytes[2] + 1;
        bytes[2] = seen;
        *question.track = Track::from_bytes(&bytes).unwrap();
        let mut hasher = DefaultHasher::new();
        (seen, format!("{:?}", question.query)).hash(&mut hasher);
        let verdict = if seen % 4 < 2 { Verdict::Normal } else { Verdict::Anomalous };
        let score = f64::from((hasher.finish() >> 40) as u32);
        Some(Judgement { score, verdict, contributions: Vec::new(), family: None, statistic: "largest" })
    }

    fn memory(&self) -> Memory {
        Memory { ms: 0, records: 0 }
    }
}

fn desk(next: i64, found: &Found) -> Desk<Remembering> {
    let layout = Arc::new(Layout::default());
    let mut desk = Desk::new(Remembering(Arc::clone(&layout)), 60_000, "scores");
    desk.begin(PARTITION, next, found.restore(&[layout], next).unwrap());
    desk
}

/// A reading that was made and taken in at this time.
fn reading(offset: i64, vehicle: &str, boot: u32, seq: u64, at: UnixMillis) -> InRecord {
    let whole = record(offset, vehicle, seq);
    let made: Record = telemetry::decode(whole.payload.as_deref().unwrap(), Encoding::Json, None).unwrap();
    let payload = telemetry::encode(&Record { boot, time: at, ..made }, Encoding::Json).unwrap();
    InRecord { payload: Some(payload.into()), timestamp: at, ..whole }
}

/// So many readings of a vehicle from a place on, 10 s apart.
fn drive(log: &mut Vec<InRecord>, vehicle: &str, (boot, first): (u32, u64), count: u64, from: UnixMillis) {
    for n in 0..count {
        log.push(reading(log.len() as i64, vehicle, boot, first + n, from + n as i64 * 10_000));
    }
}

fn everything(log: &[InRecord], chunk: usize) -> (Vec<Vec<u8>>, Desk<Remembering>, Forgotten) {
    let (mut desk, mut scores, mut forgotten) = (desk(0, &Found::default()), Vec::new(), Forgotten::default());
    for records in log.chunks(chunk) {
        let output = desk.take(records.to_vec(), &timeline()).unwrap();
        scores.extend(payloads(&output));
        forgotten.add(output.forgotten);
    }
    (scores, desk, forgotten)
}

fn now() -> Turn {
    Turn::Everybody
}

#[test]
fn after_a_week_of_silence_a_vehicle_scores_as_one_that_was_never_there() {
    // A new boot, the same one going on, and one that had left a reading waiting.
    for (boot, first, waits) in [(2, 1, 0), (1, 41, 0), (1, 43, 1)] {
        let mut log = Vec::new();
        drive(&mut log, "veh-a", (1, 1), 40, START);
        if waits > 0 {
            drive(&mut log, "veh-a", (1, 42), 1, START + 400_000);
        }
        let last = log.last().unwrap().timestamp;
        let before = log.len();
        drive(&mut log, "veh-a", (boot, first), 40, last + FORGET_MS);
        let (all, desk, forgotten) = everything(&log, log.len());
        assert_eq!(all, everything(&log, 1).0, "the border of a batch");
        let (fresh, ..) = everything(&log[before..], 7);
        assert_eq!(all[40..], fresh, "boot {boot}, seq {first}");
        assert!(fresh.len() >= 40 - 6, "{}", fresh.len());
        assert_eq!(forgotten, Forgotten { vehicles: 1, readings: waits });
        assert_eq!((desk.vehicles(), desk.waiting()), (1, 0));
        assert_eq!(log.len() as u64, all.len() as u64 + waits);
        // One moment less, and it goes on.
        log.truncate(before);
        drive(&mut log, "veh-a", (2, 1), 40, last + FORGET_MS - 1);
        let (all, _, forgotten) = everything(&log, 9);
        assert_eq!(forgotten, Forgotten::default());
        assert_ne!(all[40], everything(&log[before..], 9).0[0]);
    }
}

#[test]
fn who_is_gone_takes_no_memory_leaves_a_tombstone_and_its_place_to_the_next() {
    let mut log = Vec::new();
    for n in 0..20 {
        drive(&mut log, &format!("old-{n}"), (1, 1), 2, START);
    }
    // Its last reading waits.
    drive(&mut log, "old-0", (1, 4), 1, START + 20_000);
    drive(&mut log, "stays", (1, 1), 2, START + DAY_MS);
    let mut desk = everything(&log, 10).1;
    assert_eq!((desk.snapshot(now()).unwrap().states.len(), desk.vehicles(), desk.waiting()), (21, 21, 1));
    let place_of = |desk: &mut Desk<Remembering>, id: &str| {
        let vehicles = &mut desk.lanes.get_mut(&PARTITION).unwrap().vehicles;
        vehicles.entry(&VehicleId::parse(id).unwrap(), || panic!("{id} is not there")).0
    };
    let place = place_of(&mut desk, "stays");
    let before = log.len();
    drive(&mut log, "stays", (1, 3), 1, START + FORGET_MS);
    drive(&mut log, "stays", (1, 4), 1, START + FORGET_MS + SLACK_MS - 1);
    assert_eq!(desk.take(log[before..].to_vec(), &timeline()).unwrap().scores.len(), 2);
    assert_eq!(desk.snapshot(now()).unwrap().states.len(), 1, "nobody is gone for long enough");
    drive(&mut log, "stays", (1, 5), 1, START + FORGET_MS + SLACK_MS + 20_000);
    desk.take(log[before + 2..].to_vec(), &timeline()).unwrap();
    let snapshot = desk.snapshot(now()).unwrap();
    assert_eq!(snapshot.forgotten, Forgotten { vehicles: 20, readings: 1 });
    assert_eq!((desk.vehicles(), desk.waiting(), snapshot.marks[&PARTITION].needed), (1, 0, log.len() as i64));
    let tombstones: Vec<_> = snapshot.states.into_iter().filter(|state| state.payload.is_none()).collect();
    assert_eq!(tombstones.len(), 20);
    for tombstone in &tombstones {
        assert_eq!(tombstone.headers.get(header::COVERED), Some(log.len().to_string().as_bytes()));
        assert_eq!(tombstone.partition, Some(PARTITION));
    }
    assert_eq!(desk.snapshot(now()).unwrap().states.len(), 0, "once");
    drive(&mut log, "new", (1, 1), 1, START + FORGET_MS + SLACK_MS + DAY_MS);
    desk.take(log[before + 3..].to_vec(), &timeline()).unwrap();
    assert_eq!(place_of(&mut desk, "stays"), place);
    assert_eq!(desk.lanes[&PARTITION].vehicles.len(), 2);
    let place = place_of(&mut desk, "new");
    assert!(place < 21, "a place that was free: {place}");
}

#[test]
fn a_tombstone_removes_what_covers_no_more_whatever_order_they_stand_in() {
    let mut log = Vec::new();
    drive(&mut log, "veh-a", (1, 1), 3, START);
    let mut desk = everything(&log, 3).1;
    let state = desk.snapshot(now()).unwrap().states.remove(0);
    let tombstone = |covered: i64| {
        let headers = Headers::from([(header::COVERED, covered.to_string())]);
        OutRecord { payload: None, headers, ..state.clone() }
    };
    let found = |records: &[OutRecord], next| {
        let mut found = Found::default();
        records.iter().for_each(|record| found.take(read_back(record.clone())).unwrap());
        let layouts = [Arc::new(Layout::default())];
        let vehicles = found.restore(&layouts, next).unwrap();
        vehicles.iter().map(|(_, vehicle)| (vehicle.covered, vehicle.order.last)).collect::<Vec<_>>()
    };
    // The state covers 3.
    let there = [(3, Some((1, 3)))];
    assert_eq!(found(&[state.clone(), tombstone(2)], 9), there);
    assert_eq!(found(&[tombstone(2), state.clone()], 9), there);
    for records in [[state.clone(), tombstone(5)], [tombstone(5), state.clone()]] {
        assert_eq!(found(&records, 5), []);
        // Read again from before: what it covers is passed over.
        assert_eq!(found(&records, 4), [(5, None)]);
    }
    let foreign = OutRecord { payload: None, headers: Headers::new(), ..state.clone() };
    assert_eq!(found(&[state.clone(), foreign], 9), there);
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A fleet that drives, rests for days, loses and repeats readings; stamps of two edges that differ by hours.
fn history(seed: u64) -> Vec<InRecord> {
    let mut random = Random(seed);
    let (mut log, mut at, mut places) = (Vec::new(), START, BTreeMap::new());
    while log.len() < 1_500 {
        at += match random.below(60) {
            0 => (6 * 24 + random.below(80) as i64) * HOUR_MS,
            1 => random.below(48) as i64 * HOUR_MS,
            _ => 10_000,
        };
        let vehicle = random.below(6) * random.below(2) + random.below(2);
        let (boot, seq) = places.entry(vehicle).or_insert((1, 0));
        match random.below(12) {
            0 => (*boot, *seq) = (*boot + 1, 1),
            // One is missing.
            1 => *seq += 2,
            // The same again.
            2 => *seq = (*seq).max(1),
            _ => *seq += 1,
        }
        let stamp = at - if vehicle.is_multiple_of(2) { 5 * HOUR_MS } else { 0 };
        log.push(reading(log.len() as i64, &format!("veh-{vehicle}"), *boot, *seq, stamp));
        if random.below(50) == 0 {
            let broken = InRecord { payload: Some(b"{}"[..].into()), ..log[log.len() - 1].clone() };
            log.push(InRecord { offset: log.len() as i64, ..broken });
        }
    }
    log
}

/// What a desk made of a log.
#[derive(Default)]
struct Sums {
    scores: Vec<Vec<u8>>,
    shadow: ShadowCounts,
    forgotten: Forgotten,
    put_aside: u64,
}

impl Sums {
    fn take(&mut self, desk: &mut Desk<Remembering>, records: &[InRecord]) {
        let output = desk.take(records.to_vec(), &timeline()).unwrap();
        self.scores.extend(payloads(&output));
        self.shadow.add(output.shadow);
        self.forgotten.add(output.forgotten);
        self.put_aside += output.put_aside().iter().map(|(_, n)| n).sum::<u64>();
    }

    fn forget(&mut self, forgotten: Forgotten) {
        self.forgotten.add(forgotten);
        self.put_aside += forgotten.readings;
    }
}

#[test]
fn nobody_can_tell_who_was_removed_and_who_was_not() {
    let (mut removed, mut anew, mut readings) = (0, 0, 0);
    for seed in 0..12 {
        let log = history(seed);
        let mut random = Random(seed + 100);
        // One keeps everybody, one looks now and then.
        let [mut keeps, mut removes] = [(); 2].map(|()| (desk(0, &Found::default()), Sums::default()));
        for (desk, _) in [&mut keeps, &mut removes] {
            desk.shadow(Some(Shadow::new("b".into(), 1.0)));
        }
        let mut from = 0;
        while from < log.len() {
            let to = (from + 1 + random.below(40) as usize).min(log.len());
            keeps.1.take(&mut keeps.0, &log[from..to]);
            removes.1.take(&mut removes.0, &log[from..to]);
            from = to;
            if random.below(2) == 0 {
                let turn = Turn::Within { from: from as u64, to: from as u64 + 10 + random.below(50), every: 60 };
                let snapshot = removes.0.snapshot(turn).unwrap();
                removed += snapshot.forgotten.vehicles;
                removes.1.forget(snapshot.forgotten);
            }
        }
        assert!(keeps.1.scores == removes.1.scores, "seed {seed}");
        assert_eq!(keeps.1.shadow, removes.1.shadow, "seed {seed}");
        for (desk, sums) in [&keeps, &removes] {
            assert_eq!(log.len() as u64, sums.scores.len() as u64 + sums.put_aside + desk.waiting(), "seed {seed}");
        }
        // Who never comes back is forgotten by one of them only.
        let gone = removes.1.forgotten.vehicles - keeps.1.forgotten.vehicles;
        assert_eq!(keeps.0.vehicles() - removes.0.vehicles(), gone, "seed {seed}");
        (anew, readings) = (anew + keeps.1.forgotten.vehicles, readings + removes.1.forgotten.readings);
    }
    assert!(removed >= 30 && anew > removed && readings > 0, "{removed} removed, {anew} anew, {readings} lost");
}

#[test]
fn a_scorer_that_is_killed_again_and_again_publishes_the_same_though_vehicles_are_removed() {
    let mut tombstones = 0;
    for seed in 0..20 {
        let log = history(seed);
        let whole = everything(&log, 50).0;
        let (mut random, mut found, mut committed, mut published) = (Random(seed), Found::default(), 0, Vec::new());
        let mut desk = desk(0, &found);
        let mut from = 0;
        while from < log.len() {
            let to = (from + 1 + random.below(30) as usize).min(log.len());
            published.extend(payloads(&desk.take(log[from..to].to_vec(), &timeline()).unwrap()));
            from = to;
            if random.below(3) == 0 {
                let turn = Turn::Within { from: from as u64, to: from as u64 + random.below(60), every: 60 };
                let snapshot = desk.snapshot(turn).unwrap();
                tombstones += snapshot.states.iter().filter(|state| state.payload.is_none()).count();
                snapshot.states.into_iter().for_each(|state| found.take(read_back(state)).unwrap());
                // Killed before its offsets are committed, now and then.
                if random.below(3) > 0 {
                    committed = snapshot.marks[&PARTITION].needed;
                }
            }
            if random.below(20) == 0 {
                (desk, from) = (super::forgetting::desk(committed, &found), committed as usize);
            }
        }
        let missing = whole.iter().filter(|payload| !published.contains(payload)).count();
        let other = published.iter().filter(|payload| !whole.contains(payload)).count();
        assert_eq!((missing, other), (0, 0), "seed {seed}");
        assert!(published.len() > whole.len(), "seed {seed}: nothing came again");
    }
    assert!(tombstones >= 30, "{tombstones}");
}
