//! Tests of the ledger: round trips and torn ends.

use std::{fs::File, io::Write};

use proptest::{prelude::*, test_runner::RngSeed};

use super::{file::BLOCK, *};
use crate::frame::Frames;

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (1..5_u32, 1..50_u64).prop_map(|(boot, seq)| Key::Seq { boot, seq }),
        (0..20_u64).prop_map(|hash| Key::Hash(PayloadHash(hash))),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let vehicle = (1..4_u32).prop_map(crate::vehicle::vehicle_id);
    let poison = proptest::option::of(proptest::sample::select(Reason::ALL.to_vec()));
    (vehicle, any_key(), any::<u64>(), any::<[i64; 3]>(), poison, 0..4_u8).prop_map(
        |(vehicle, key, hash, [scheduled, accepted, time], poison, kind)| match kind {
            0 => Entry::Sent { vehicle, boot: 3, key, hash: PayloadHash(hash), scheduled, accepted, time, poison },
            1 => Entry::Acked { vehicle, key, at: time },
            2 => Entry::GivenUp { vehicle, key },
            _ => Entry::Oversize { vehicle, time },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_survive_their_bytes_and_a_torn_end_costs_only_itself(
        entries in proptest::collection::vec(any_entry(), 1..40), cut in 1..20_usize,
    ) {
        let mut bytes = Vec::new();
        let mut last = 0;
        for entry in &entries {
            last = bytes.len();
            entry.encode(&mut bytes);
        }
        let read: Vec<_> = Frames::of(&bytes).map(|fields| Entry::decode(fields).unwrap()).collect();
        prop_assert_eq!(&read, &entries);
        let torn = &bytes[..bytes.len() - cut];
        let mut frames = Frames::of(torn);
        let read: Vec<_> = frames.by_ref().map(|fields| Entry::decode(fields).unwrap()).collect();
        prop_assert_eq!(&read[..], &entries[..entries.len() - 1]);
        prop_assert_eq!(frames.torn(), torn.len() - last);
    }
}

#[test]
fn a_folder_of_two_processes_is_one_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let vehicle = crate::vehicle::vehicle_id(1);
    let key = |seq| Key::Seq { boot: 5, seq };
    let sent = |seq, hash| Entry::Sent {
        vehicle: vehicle.clone(),
        boot: 5,
        key: key(seq),
        hash: PayloadHash(hash),
        scheduled: 1,
        accepted: 2,
        time: 3,
        poison: None,
    };
    let acked = |seq| Entry::Acked { vehicle: vehicle.clone(), key: key(seq), at: 9 };
    let write = |wall, entries: &[Entry]| {
        let mut writer = Writer::new(create(dir.path(), wall).unwrap());
        entries.iter().for_each(|entry| writer.push(entry));
        writer.close().unwrap();
    };
    write(100, &[sent(1, 11), sent(2, 22), acked(1)]);
    // The second process found reading 2 in its outbox.
    write(200, &[sent(2, 22), acked(2), sent(3, 33), sent(1, 12), acked(4)]);
    let last =
        File::options().append(true).open(dir.path().join(format!("ledger-{:013}-{}.bin", 200, std::process::id())));
    last.unwrap().write_all(&[1, 2, 3]).unwrap();

    let ledger = read(dir.path()).unwrap();
    assert_eq!((ledger.len(), ledger.files, ledger.torn_bytes), (3, 2, 3));
    assert_eq!(ledger.get("veh-00001", key(1)).and_then(|sent| sent.acked), Some(9));
    assert_eq!(ledger.get("veh-00001", key(2)).and_then(|sent| sent.acked), Some(9));
    assert_eq!(ledger.get("veh-00001", key(3)).and_then(|sent| sent.acked), None);
    assert_eq!(ledger.ambiguous, (vec!["veh-00001/5/1".to_owned()], 1));
    assert_eq!(ledger.acked_unsent, (vec!["veh-00001/5/4".to_owned()], 1));
}

#[test]
fn a_ledger_longer_than_a_block_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(create(dir.path(), 1).unwrap());
    let n = 3 * BLOCK as u64 / 60;
    for seq in 1..=n {
        let (vehicle, key) = (crate::vehicle::vehicle_id(1), Key::Seq { boot: 5, seq });
        let hash = PayloadHash(seq);
        writer.push(&Entry::Sent { vehicle, boot: 5, key, hash, scheduled: 1, accepted: 2, time: 3, poison: None });
    }
    writer.close().unwrap();
    let ledger = read(dir.path()).unwrap();
    assert_eq!((ledger.len() as u64, ledger.torn_bytes), (n, 0));
}

#[test]
fn a_ledger_that_is_damaged_in_the_middle_is_refused_and_one_with_a_torn_end_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger-1.bin");
    // Once the rest fits into a block, and once it is much longer.
    for n in [20, 4 * BLOCK as u64 / 40] {
        let (mut bytes, mut first) = (Vec::new(), 0);
        for seq in 1..=n {
            let entry = Entry::Acked { vehicle: crate::vehicle::vehicle_id(1), key: Key::Seq { boot: 5, seq }, at: 9 };
            entry.encode(&mut bytes);
            first = if seq == 1 { bytes.len() } else { first };
        }
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read(dir.path()).unwrap().torn_bytes, first as u64 - 3, "its last entry is cut");
        // A bit of the second entry.
        bytes[first + 12] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("ledger-1.bin is damaged"), "{error}");
    }
}
