//! Tests of obedience: once per id, whatever comes again and whoever is killed.

use std::{collections::BTreeMap, fs::File, io::Write};

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde_json::{Value as Json, json};
use telemetry::{
    UnixMillis, Value, VehicleId,
    event::{MAX_COMMAND_LIFE_MS, PropertyName, VehicleCommandKind},
};
use uuid::Uuid;

use super::{
    memory::{Judgement, MAX_REMEMBERED},
    *,
};
use crate::vehicle::vehicle_id;

const NOW: UnixMillis = 1_760_000_000_000;

/// The `n`-th id of those made at `NOW`.
fn id(n: u64) -> Uuid {
    let made = u128::try_from(NOW).unwrap() << 80;
    Uuid::from_u128(made | 0x7 << 76 | 0x2 << 62 | u128::from(n))
}

fn wire(n: u64, vehicle: &VehicleId, expires_at: UnixMillis, further: &Json) -> Vec<u8> {
    let mut wire = json!({ "id": id(n), "vehicle": vehicle, "expires_at": expires_at });
    wire.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    serde_json::to_vec(&wire).unwrap()
}

fn reboot(n: u64, expires_at: UnixMillis) -> Vec<u8> {
    wire(n, &vehicle_id(1), expires_at, &json!({ "command": "reboot" }))
}

fn judge(memory: &mut Memory, payload: &[u8], now: UnixMillis) -> Judgement {
    memory.judge(&vehicle_id(1), payload, now)
}

/// Judges it, and carries it out if it is to be.
fn obey(memory: &mut Memory, payload: &[u8], now: UnixMillis) -> Option<Act> {
    let Judgement::Act(act) = judge(memory, payload, now) else { return None };
    memory.acted(&act);
    Some(act)
}

#[test]
fn a_repeated_id_gets_the_same_answer_and_nothing_is_done() {
    let mut memory = Memory::default();
    let slow = json!({ "command": "set_reporting_interval", "interval_ms": 5_000 });
    let command = wire(1, &vehicle_id(1), NOW + 1_000, &slow);
    assert!(obey(&mut memory, &command, NOW).is_some());
    assert_eq!(memory.interval_ms, Some(5_000));
    let Judgement::Repeated(reply) = judge(&mut memory, &command, NOW + 5_000) else { panic!("not repeated") };
    assert_eq!((reply.id, reply.done, reply.error), (id(1), true, None));
    // Another id with the same words is another command.
    assert!(obey(&mut memory, &wire(2, &vehicle_id(1), NOW + 1_000, &slow), NOW).is_some());
}

#[test]
fn what_must_not_be_done_is_answered_with_the_reason() {
    let other = vehicle_id(2);
    let kind = |further: &Json| wire(1, &vehicle_id(1), NOW + 1_000, further);
    for (payload, why) in [
        (wire(1, &other, NOW + 1_000, &json!({ "command": "reboot" })), "not for this vehicle"),
        (reboot(1, NOW), "expired"),
        (kind(&json!({ "command": "fly" })), "no known kind"),
        (kind(&json!({ "command": "set_property", "name": "a b", "value": 1 })), "property's name"),
        (kind(&json!({ "command": "set_reporting_interval", "interval_ms": 99 })), "not 100 to 86400000 ms"),
    ] {
        let mut memory = Memory::default();
        let Judgement::Refused(reply) = judge(&mut memory, &payload, NOW) else { panic!("not refused: {why}") };
        assert!(!reply.done && reply.error.as_ref().unwrap().contains(why), "{reply:?}");
        assert_eq!((reply.id, reply.vehicle, memory), (id(1), vehicle_id(1), Memory::default()));
    }
    assert_eq!(judge(&mut Memory::default(), b"{}", NOW), Judgement::Unreadable);
    // However late it says that it expires.
    let late = NOW + MAX_COMMAND_LIFE_MS;
    assert!(matches!(judge(&mut Memory::default(), &reboot(1, i64::MAX), late), Judgement::Refused(_)));
    assert!(matches!(judge(&mut Memory::default(), &reboot(1, i64::MAX), late - 1), Judgement::Act(_)));
}

#[test]
fn the_memory_is_bounded_and_forgets_no_id_that_may_be_carried_out() {
    let mut memory = Memory::default();
    for n in 0..MAX_REMEMBERED as u64 {
        assert!(obey(&mut memory, &reboot(n, NOW + 1_000), NOW).is_some());
    }
    assert_eq!(judge(&mut memory, &reboot(5_000, NOW + 9_000), NOW), Judgement::Full);
    assert!(matches!(judge(&mut memory, &reboot(7, NOW + 1_000), NOW), Judgement::Repeated(_)));
    // When they have expired there is room, and they are refused as such.
    assert!(obey(&mut memory, &reboot(5_000, NOW + 9_000), NOW + 1_000).is_some());
    assert!(matches!(judge(&mut memory, &reboot(7, NOW + 1_000), NOW + 1_000), Judgement::Refused(_)));
    // Properties are bounded, too; one that is set may change.
    let set = |n: u64| {
        let set = json!({ "command": "set_property", "name": format!("p{}", n % 65), "value": n });
        wire(10_000 + n, &vehicle_id(1), NOW + 9_000, &set)
    };
    assert!((0..64).all(|n| obey(&mut memory, &set(n), NOW + 1_000).is_some()));
    assert!(matches!(judge(&mut memory, &set(64), NOW + 1_000), Judgement::Refused(_)));
    assert!(obey(&mut memory, &set(65), NOW + 1_000).is_some());
    assert_eq!(memory.properties[&PropertyName::parse("p0").unwrap()], Value::Number(65.0));
}

fn act(n: u64, kind: VehicleCommandKind) -> Act {
    Act { id: id(n), deadline: NOW + 1_000, at: NOW, kind }
}

fn set(name: &str, value: f64) -> VehicleCommandKind {
    VehicleCommandKind::SetProperty { name: PropertyName::parse(name).unwrap(), value: Value::Number(value) }
}

fn filled(dir: &std::path::Path) -> CommandLog {
    let mut log = CommandLog::open(dir).unwrap();
    for (n, kind) in [
        (1, VehicleCommandKind::SetReportingInterval { interval_ms: 500 }),
        (2, set("a", 1.0)),
        (3, VehicleCommandKind::Reboot),
        (4, set("a", 2.0)),
    ] {
        log.enter(vehicle_id(1), act(n, kind));
    }
    log.enter(vehicle_id(2), act(5, VehicleCommandKind::Reboot));
    log.sync(NOW).unwrap();
    log
}

#[test]
fn what_was_carried_out_survives_a_kill_and_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let expected = Memory::of(filled(dir.path()).of(&vehicle_id(1)));
    File::options().append(true).open(dir.path().join("commands.log")).unwrap().write_all(&[9, 0, 0, 0, 1]).unwrap();
    let log = CommandLog::open(dir.path()).unwrap();
    assert_eq!(log.torn_bytes, 5);
    let memory = Memory::of(log.of(&vehicle_id(1)));
    assert_eq!(memory, expected);
    assert_eq!((memory.interval_ms, memory.properties.len()), (Some(500), 1));
    assert_eq!(acts(dir.path()).unwrap().len(), 5);
    // Spoilt in the middle, ids would be forgotten.
    let path = dir.path().join("commands.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(CommandLog::open(dir.path()).unwrap_err().to_string().contains("spoilt at byte 0"));
}

#[test]
fn compaction_keeps_ids_that_may_come_again_and_what_was_set_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    let before = Memory::of(log.of(&vehicle_id(1)));
    log.compact(NOW).unwrap();
    assert_eq!(acts(dir.path()).unwrap().len(), 5, "none has expired");
    log.compact(NOW + 1_000).unwrap();
    let left: Vec<Uuid> = acts(dir.path()).unwrap().into_iter().map(|(_, act)| act.id).collect();
    assert_eq!(left, [id(1), id(4)]);
    log.enter(vehicle_id(1), act(6, VehicleCommandKind::Reboot));
    log.sync(NOW).unwrap();
    drop(log);
    let after = Memory::of(CommandLog::open(dir.path()).unwrap().of(&vehicle_id(1)));
    assert_eq!((after.interval_ms, after.properties), (before.interval_ms, before.properties));
}

/// Commands come in any order and number, and processes are killed, before or after what they have entered lasts; how
/// often each command was carried out. `remembers`: whether a process knows what an earlier one did.
fn carried_out(comings: &[(u64, bool)], remembers: bool) -> BTreeMap<Uuid, usize> {
    let dir = tempfile::tempdir().unwrap();
    let open = || CommandLog::open(dir.path()).unwrap();
    let mut log = open();
    let mut memory = Memory::default();
    for (n, killed) in comings {
        if let Some(act) = obey(&mut memory, &reboot(*n, NOW + 1_000), NOW) {
            log.enter(vehicle_id(1), act);
            log.sync(NOW).unwrap();
        }
        if *killed {
            drop(log);
            log = open();
            memory = if remembers { Memory::of(log.of(&vehicle_id(1))) } else { Memory::default() };
        }
    }
    let mut counts = BTreeMap::new();
    acts(dir.path()).unwrap().into_iter().for_each(|(_, act)| *counts.entry(act.id).or_default() += 1);
    counts
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::with_cases(50)
    })]

    #[test]
    fn each_command_is_carried_out_once(comings in prop::collection::vec((0..6_u64, prop::bool::weighted(0.3)), 1..40)) {
        let counts = carried_out(&comings, true);
        let came: std::collections::BTreeSet<Uuid> = comings.iter().map(|(n, _)| id(*n)).collect();
        prop_assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        prop_assert_eq!(counts.into_keys().collect::<std::collections::BTreeSet<_>>(), came);
    }
}

#[test]
fn a_vehicle_that_forgets_is_caught() {
    assert_eq!(carried_out(&[(1, true), (1, false)], false)[&id(1)], 2);
}
