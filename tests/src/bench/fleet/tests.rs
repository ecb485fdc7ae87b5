//! What fails a run of the fleet, and how its programs are summed.

use super::*;

fn told(verdict: &str, ok: bool) -> Told {
    let judged = Judged { ok, checked: 1, ..Judged::default() };
    let figures = ["made_readings", "found_readings", "foreign_records"].map(|name| (name.to_owned(), 1.0));
    Told { verdicts: [(verdict.to_owned(), judged)].into(), figures: figures.into() }
}

#[test]
fn a_missed_goal_or_a_lost_reading_fails_the_run() {
    let goal = |measured| Goal { what: "sockets".into(), bound: 100.0, at_most: false, measured };
    let ok = |audited, measured| {
        let mut verdicts = verdicts(&told("G4", true), &told("G1", audited), &[goal(measured)]).unwrap();
        assert!(verdicts.remove("found").is_some());
        assert_eq!(verdicts.len(), 3);
        verdicts.values().all(|verdict| verdict.ok)
    };
    assert!(ok(true, Some(100.0)));
    assert!(!ok(false, Some(100.0)) && !ok(true, Some(99.0)) && !ok(true, None));
    assert!(verdicts(&told("G4", true), &told("G4", true), &[]).is_err(), "nobody looked for losses");
}

#[test]
fn a_reading_that_was_made_and_is_not_in_kafka_fails_the_run_even_if_nobody_acknowledged_it() {
    let told = |figures: &[(&str, f64)]| {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Told { figures, ..Told::default() }
    };
    let ok = |made, in_kafka, foreign| {
        let audited = told(&[("found_readings", in_kafka), ("foreign_records", foreign)]);
        found(&told(&[("made_readings", made)]), &audited).unwrap().ok
    };
    assert!(ok(10.0, 10.0, 0.0));
    assert!(!ok(10.0, 9.0, 0.0) && !ok(10.0, 10.0, 1.0) && !ok(0.0, 0.0, 0.0));
}

#[test]
fn brokers_and_edges_are_summed_by_kind() {
    let sums = by_kind([("edge.0", 1), ("edge.1", 2), ("kafka", 5)].map(|(name, n)| (name.to_owned(), n)));
    assert_eq!(sums, [("edge".to_owned(), 3), ("kafka".to_owned(), 5)].into());
}
