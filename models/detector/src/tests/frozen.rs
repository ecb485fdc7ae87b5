//! A sensor that stands still, in a fleet that was watched long enough to know how long values stand still.

use super::*;

/// A run is told from chance by blocks of a minute of 120 vehicle-hours at least.
const LONG: u64 = 3_000;

#[test]
fn a_value_that_stands_still_is_a_sensor_and_not_the_part_that_it_measures() {
    let mut fleet = Recorded::new(layout());
    for index in 1..=VEHICLES {
        let mut vehicle = Synthetic::new(index);
        for seq in 1..=LONG {
            let record = vehicle.read(seq, 0.0);
            fleet.push(&record, record.time);
        }
    }
    let options = Options { kind: Kind::RobustZ, split: Split::Shares([0.2, 0.95]), ..options() };
    let detector = control::ungated(&fleet, &options).unwrap();

    let mut vehicle = Synthetic::new(3);
    let mut frozen = None;
    let read = |seq: u64| {
        let mut record = vehicle.read(seq, 0.0);
        if seq > LONG {
            let value = frozen.get_or_insert_with(|| record.signals.get(signal::LOW_VOLTAGE).unwrap().clone()).clone();
            let others = record.signals.known().filter(|(number, _)| *number != signal::LOW_VOLTAGE);
            let mut signals = Signals::new();
            for (number, value) in others.map(|(number, value)| (number, value.clone())) {
                signals.insert(number, value).unwrap();
            }
            signals.insert(signal::LOW_VOLTAGE, value).unwrap();
            record.signals = signals;
        }
        record
    };
    // After a quarter of an hour a mean shows it too, and that may be the more improbable.
    let records: Vec<Record> = (LONG - 200..=LONG + 20).map(read).collect();
    let judgements = judged(&detector, &records, 15);
    for judgement in judgements.iter().flatten() {
        let first = &judgement.contributions[0];
        assert_eq!(judgement.verdict, Verdict::Anomalous, "{judgement:?}");
        assert_eq!((judgement.statistic, judgement.family), ("frozen", Some("sensor")), "{judgement:?}");
        assert_eq!(first.signal, "Vehicle.LowVoltageBattery.CurrentVoltage");
        assert_ne!(first.expected, first.observed, "where it should be by now");
    }
    assert!(judgements.iter().flatten().count() == 15);
    assert!(anomalous(&judged(&detector, &records[..200], 150)) <= 8, "before that all was well");
}
