//! `motorcade-simulator drive` against a broker without an edge of ours: its word settles what it took.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use simulator::ledger;

use super::{broker::Broker, edge::Edge, end};

/// Drives three vehicles to their end, 40 readings each, with an outbox on disk: what the tally says.
fn drive(broker: &Broker, folder: &Path) -> Value {
    let (outbox, ledger) = (folder.join("outbox"), folder.join("ledger"));
    // A window below what is made: without the broker's word the rest would never leave.
    let arguments = "--judge puback --vehicles 3 --interval-ms 50 --duration-ms 2000 --window 5 --drain-ms 20000";
    let child = Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
        .args(["drive", "--mqtt", &broker.address(), "--outbox"])
        .arg(outbox)
        .arg("--ledger")
        .arg(ledger)
        .args(arguments.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, output) = end(child);
    assert_eq!(code, Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "tally", "{text}");
    last["tally"].clone()
}

#[test]
fn a_fleet_drives_on_any_broker_where_its_word_counts() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    // It hears everything and never sends an ack.
    let bridge = Edge::start(&broker, |_, _| false);
    let tally = drive(&broker, folder.path());
    assert_eq!((&tally["received"], &tally["sent"], &tally["in_hand"]), (&120.into(), &120.into(), &0.into()));
    assert_eq!(tally["further"]["acks"], 0, "{tally}");
    let came = bridge.stop().len();
    assert!(came >= 120, "{came} readings came");
    let ledger = ledger::read(&folder.path().join("ledger")).unwrap();
    assert_eq!(ledger.len(), 120);
    assert!(ledger.iter().all(|(_, _, sent)| sent.acked.is_some()));
    // Nothing is left on disk, and where nobody listens the broker's 0x10 is no acknowledgement, but an end.
    let tally = drive(&broker, folder.path());
    assert_eq!((&tally["further"]["restored"], &tally["sent"], &tally["in_hand"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(tally["discarded"]["unheard"], tally["received"]);
}
