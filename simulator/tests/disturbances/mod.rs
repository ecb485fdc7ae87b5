//! What goes wrong on purpose, with any profile: nothing is lost by it, and the sums and the ledger say what happened.

use std::collections::{BTreeMap, BTreeSet};

use simulator::{ledger, outbox::Key};
use telemetry::{Encoding, Kind, PayloadHash, Record};

use super::{broker::Broker, edge::Edge, end, figure, load, report};

/// Runs a load to its good end against an edge that takes everything: its report, and what came, in its order.
fn run(folder: &std::path::Path, arguments: &str) -> (serde_json::Value, Vec<(Vec<u8>, Record)>) {
    let broker = Broker::start();
    let edge = Edge::start(&broker, |_, _| true);
    let arguments = format!("--resend-ms 100 --probe-ms 500 --reconnect-ms 100 --drain-ms 20000 {arguments}");
    let (code, output) = end(load(&broker, folder, &arguments));
    assert_eq!(code, Some(0), "{output:?}");
    let came = edge.stop().into_iter().map(|payload| {
        let record = telemetry::decode(&payload, Encoding::Json, None).unwrap();
        (payload, record)
    });
    let (came, report) = (came.collect::<Vec<_>>(), report(folder));
    assert_eq!(figure(&report, "acked_readings"), figure(&report, "made_readings"), "{report:#}");
    assert_eq!((figure(&report, "given_up_readings"), figure(&report, "in_outbox_readings")), (0, 0));
    let ledger = ledger::read(&folder.join("ledger")).unwrap();
    let mut distinct = BTreeSet::new();
    for (payload, record) in &came {
        let sent = ledger.get(record.vehicle.as_str(), Key::Seq { boot: record.boot, seq: record.seq }).unwrap();
        assert_eq!(sent.hash, PayloadHash::of(payload), "whatever is sent again has the same bytes");
        assert!(sent.acked.is_some());
        distinct.insert((record.vehicle.clone(), record.seq));
    }
    assert_eq!((distinct.len() as u64, ledger.len() as u64), (figure(&report, "made_readings"), distinct.len() as u64));
    (report, came)
}

#[test]
fn a_ramp_is_made_as_its_curve_says() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--vehicles 50 --workers 2 --profile ramp --rate 1000 --period-ms 2000 --duration-ms 3000";
    let (report, _) = run(folder.path(), arguments);
    // The area of a triangle of 2 s, and a second at the top.
    assert!(figure(&report, "made_readings").abs_diff(2_000) <= 1, "{report:#}");
    assert_eq!((&report["parameters"]["profile"], &report["parameters"]["period_ms"]), (&"ramp".into(), &2_000.into()));
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    let due: Vec<_> = ledger.iter().map(|(_, _, sent)| sent.scheduled).collect();
    let first = due.iter().min().unwrap();
    // An eighth of the square of the time: a quarter of the triangle in its first half.
    let early = due.iter().filter(|due| *due - first < 1_000).count();
    assert!(early.abs_diff(250) < 60, "{early} in the first second");
}

#[test]
fn vehicles_that_are_cut_off_come_back_and_catch_up() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--vehicles 60 --workers 2 --rate 600 --duration-ms 4000 --storm-share 0.5 --storm-every-ms 1500 \
        --blackout-share 0.3 --blackout-at-ms 1000 --blackout-ms 1200 --tunnel-ms 400 --tunnel-every-ms 2000";
    let (report, _) = run(folder.path(), arguments);
    assert_eq!(figure(&report, "made_readings"), 2_400, "whoever is away goes on measuring");
    let [storm, blackout, tunnel] =
        ["storm", "blackout", "tunnel"].map(|why| figure(&report, &format!("cut_by_{why}_connections")));
    // Of 60 at 1.5 and 3 s; 18 at 1 s; 60 twice: whoever is away already is not cut off again.
    assert!((15..=60).contains(&storm) && (5..=18).contains(&blackout) && (60..=120).contains(&tunnel), "{report:#}");
    assert_eq!(figure(&report, "cut_connections"), storm + blackout + tunnel);
    assert_eq!(figure(&report, "connections_lost"), 0, "only what was meant to end has ended");
    assert!(figure(&report, "reconnects") + 60 >= figure(&report, "cut_connections"));
    // What was due in a blackout was acknowledged only after it.
    assert!(report["figures"]["schedule_to_ack_max_ms"].as_f64().unwrap() > 1_000.0, "{report:#}");
}

#[test]
fn repeated_and_reordered_readings_are_counted_and_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--vehicles 20 --rate 1000 --duration-ms 2000 --duplicate-share 0.1 --reorder-share 0.1";
    let (report, came) = run(folder.path(), arguments);
    let (twice, late) = (figure(&report, "duplicated_readings"), figure(&report, "reordered_readings"));
    assert!(twice.abs_diff(200) < 60 && late.abs_diff(190) < 60, "{twice} and {late}");
    assert_eq!(came.len() as u64, 2_000 + twice, "a connection that stands loses nothing");
    assert_eq!(figure(&report, "published_messages"), 2_000 + twice);
    let (mut last, mut back) = (BTreeMap::new(), 0);
    for (_, record) in &came {
        let last = last.entry(record.vehicle.clone()).or_insert(0);
        back += u64::from(record.seq < *last);
        *last = record.seq.max(*last);
    }
    // A reading that comes late may come twice.
    assert!((late..=late + late / 2).contains(&back), "{back} came after a later one, {late} were counted");
}

#[test]
fn clocks_that_are_off_change_event_times_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--vehicles 40 --rate 400 --duration-ms 2000 --clock-share 0.5 --clock-offset-ms=-90000";
    let (report, came) = run(folder.path(), arguments);
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    let skew = |record: &Record| {
        let sent = ledger.get(record.vehicle.as_str(), Key::Seq { boot: record.boot, seq: record.seq }).unwrap();
        record.time - sent.scheduled
    };
    let off = came.iter().filter(|(_, record)| skew(record) == -90_000).count() as u64;
    assert!(came.iter().all(|(_, record)| [0, -90_000].contains(&skew(record))), "the ledger has the true times");
    assert!(off.abs_diff(400) < 200 && figure(&report, "skewed_readings") == off, "{off}");
}

#[test]
fn what_is_reported_on_change_adds_up_to_the_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--vehicles 10 --rate 500 --duration-ms 2000 --payload on-change --snapshot-ms 500";
    let (report, mut came) = run(folder.path(), arguments);
    came.sort_by_key(|(_, record)| (record.vehicle.clone(), record.seq));
    let (mut states, mut snapshots) = (BTreeMap::new(), 0);
    for (_, record) in came {
        if record.kind == Kind::Full {
            snapshots += 1;
            let before = states.insert(record.vehicle.clone(), record.signals.clone());
            // Its own change is in the snapshot only.
            assert!(before.is_none_or(|before| before.len() == record.signals.len()));
        } else {
            states.get_mut(&record.vehicle).unwrap().merge(&record.signals);
        }
    }
    assert_eq!(figure(&report, "snapshot_readings"), snapshots);
    assert_eq!(snapshots, 4 * 10);
}
