//! Tests of how long readings took, and of those that never came.

use super::*;

#[test]
fn a_producers_stamp_does_not_tell_when_a_reading_was_in_kafka() {
    let ledger = ledger();
    let readings = || [1, 2].into_iter().flat_map(|index| (1..=5).map(move |seq| (index, seq)));
    let facts = |by_append: fn(u32) -> bool| {
        let mut comparison = Comparison::new(&ledger, 100).unwrap();
        for (index, seq) in readings() {
            let stamp = TIME + i64::from(seq) + 20;
            stamped(&mut comparison, &payload(form(index), index, seq), 0, stamp, by_append(seq));
        }
        comparison.finish()
    };
    // All stamps are a producer's, or one of five is.
    for by_append in [(|_| false) as fn(u32) -> bool, |seq| seq != 3] {
        let facts = facts(by_append);
        let report = report(&ledger, &facts, &["p99_ms>1000", "late>0", "schedule_to_stamp_p99_ms>20"]);
        assert_eq!(report.failed(), ["fail-if late>0", "fail-if p99_ms>1000"]);
        assert_eq!(report.verdicts["fail-if p99_ms>1000"].examples, ["schedule_to_kafka_p99_ms was not measured"]);
        assert!(!report.figures.contains_key("early_readings"));
        let told = text(&ledger, &facts, &report, 0);
        assert!(told.contains("late not measured") && told.contains("message.timestamp.type=LogAppendTime"), "{told}");
    }
    let facts = facts(|_| true);
    let report = report(&ledger, &facts, &["p99_ms>20", "late>0"]);
    assert!(report.is_ok() && !report.figures.contains_key("schedule_to_stamp_p99_ms"), "{:?}", report.failed());
    let told = text(&ledger, &facts, &report, 0);
    assert!(
        told.contains("0 late") && told.contains("schedule to Kafka, ms: p50 20 ") && !told.contains("Log"),
        "{told}"
    );
}

#[test]
fn a_reading_that_is_not_there_counts_with_the_age_that_it_had_when_the_run_ended() {
    let mut ledger = ledger();
    // Never acknowledged; the last word of the run comes five seconds later.
    let (vehicle, bytes) = (vehicle_id(1), payload(form(1), 1, 6));
    ledger.add(ledger::Entry::Sent {
        vehicle: vehicle.clone(),
        boot: BOOT,
        key: key(6),
        hash: PayloadHash::of(&bytes),
        scheduled: TIME,
        accepted: TIME,
        time: TIME,
        poison: None,
    });
    ledger.add(ledger::Entry::Acked { vehicle, key: key(5), at: TIME + 5_000 });
    let facts = stored(&ledger, &[]).finish();
    let figures = report(&ledger, &facts, &["late>0", "max_ms>4900"]);
    assert_eq!(figures.failed(), ["fail-if late>0", "fail-if max_ms>4900"]);
    assert_eq!((facts.times.to_kafka.len(), facts.times.missing, facts.times.late()), (11, 1, Some(1)));
    assert!(text(&ledger, &facts, &figures, 0).contains("(1 that are not there with their age"));
    let names: Vec<_> = figures.series[0].lines.iter().map(|line| line.name.as_str()).collect();
    assert!(names.contains(&"missing_readings_per_s"), "{names:?}");
    // One that was refused has come, and one that came is no case.
    let mut comparison = stored(&ledger, &[]);
    refuse(&mut comparison, &bytes, Vec::new());
    assert_eq!(comparison.finish().times.missing, 0);
    let mut comparison = stored(&ledger, &[]);
    store(&mut comparison, &bytes, 0, TIME + 20);
    assert_eq!(comparison.finish().times.late(), Some(0));
    // Among producers' stamps it makes none of the times until in Kafka.
    let mut comparison = Comparison::new(&ledger, 100).unwrap();
    stamped(&mut comparison, &payload(form(1), 1, 1), 0, TIME + 20, false);
    let facts = comparison.finish();
    assert_eq!((facts.times.to_stamp.len(), facts.times.to_kafka.len(), facts.times.late()), (11, 0, None));
}

#[test]
fn what_was_never_sent_is_given_up_or_unacknowledged_and_must_not_be_in_kafka() {
    let mut ledger = ledger();
    ledger.add(ledger::Entry::GivenUp { vehicle: vehicle_id(1), key: key(6) });
    // The second one is of a vehicle that sent nothing at all.
    for (vehicle, boot) in [(0, BOOT), (1, BOOT - 60)] {
        ledger.unsent.push(ledger::Unsent { vehicle, boot: Some(boot), scheduled: Some(TIME - 900), given_up: false });
    }
    let facts = stored(&ledger, &[]).finish();
    assert_eq!((facts.given_up, facts.unacknowledged, facts.acknowledged), (1, 2, 10));
    assert_eq!((facts.times.missing, facts.times.late()), (2, Some(2)), "two of which it is known when they were due");
    let told = report(&ledger, &facts, &["given_up>0", "unacknowledged>1"]);
    assert_eq!(told.figures["verified_readings"], 13.0);
    assert_eq!(told.failed(), ["fail-if given_up>0", "fail-if unacknowledged>1"]);
    let mut comparison = stored(&ledger, &[]);
    store(&mut comparison, &payload(form(1), 1, 6), 0, TIME);
    let mut earlier = Vec::new();
    Payloads::new(Form::RecordProtobuf, 1, BOOT - 60).render(&vehicle_id(2), 2, 1, TIME, &mut earlier);
    store(&mut comparison, &earlier, 0, TIME);
    let facts = comparison.finish();
    assert_eq!((facts.invented.count, facts.foreign, verdict(&ledger, &facts).0), (2, 0, false));
}
