//! `$max` on the document does what merging the registers does.

use std::cmp::Ordering;

use mongodb::bson::{Bson, Document};
use proptest::prelude::*;

use super::{
    document::{fields, read},
    *,
};

/// MongoDB's order of sub-documents: field by field, value by value. Values of different types never meet.
fn order(left: &Document, right: &Document) -> Ordering {
    for ((left_key, left), (right_key, right)) in left.iter().zip(right) {
        assert_eq!(left_key, right_key);
        let found = match (left, right) {
            (Bson::Int64(left), Bson::Int64(right)) => left.cmp(right),
            (left, right) if left == right => Ordering::Equal,
            other => panic!("decided by a value: {other:?}"),
        };
        if found != Ordering::Equal {
            return found;
        }
    }
    left.len().cmp(&right.len())
}

/// A model of `$max`, with dotted paths one level deep.
fn max(document: &mut Document, fields: Document) {
    for (path, value) in fields {
        let (parent, name) = match path.split_once('.') {
            Some((parent, name)) => {
                let parent = document.entry(parent.to_owned()).or_insert_with(|| Bson::Document(Document::new()));
                (parent.as_document_mut().unwrap(), name.to_owned())
            }
            None => (&mut *document, path),
        };
        let Bson::Document(new) = value else { panic!("registers are sub-documents") };
        let greater = parent.get_document(&name).is_ok_and(|old| order(&new, old) != Ordering::Greater);
        if !greater {
            parent.insert(name, new);
        }
    }
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (1_u32..3, 1_i64..6, 0_i32..2, 0_i64..40).prop_map(|(boot, seq, partition, offset)| Stamp {
        boot,
        seq,
        partition,
        offset,
    })
}

/// Everything is a function of the stamp: the log holds one record at each place.
fn full(stamp: Stamp) -> Full {
    let known = SignalKey::Known(u16::try_from(stamp.offset % 3 + 1).unwrap());
    let unknown = SignalKey::Unknown("Vehicle.$New%2E".into());
    let number = SignalValue::Number(stamp.offset as f64);
    Full {
        stamp,
        time: stamp.offset * 10,
        ingest: stamp.offset * 100,
        signals: [(known, number.clone()), (unknown, number)].into(),
        position: (stamp.offset % 2 == 0).then_some(Position { latitude: 1.0, longitude: 2.0, heading: None }),
    }
}

fn update(stamp: Stamp, kind: u8) -> TwinUpdate {
    let mut update = TwinUpdate::new(VehicleId::parse("veh-1").unwrap());
    let time = stamp.offset * 10;
    match kind {
        0 => update.full = Some(full(stamp)),
        1 => {
            let value = SignalValue::Text(stamp.offset.to_string());
            update.signals.insert(SignalKey::Known(1), Changed { stamp, time, value });
            update.change = Some(Newest { stamp, time, ingest: stamp.offset * 100 });
        }
        2 => {
            let value = Position { latitude: 3.0, longitude: 4.0, heading: Some(stamp.offset as f64) };
            update.position = Some(Changed { stamp, time, value });
            update.change = Some(Newest { stamp, time, ingest: stamp.offset * 100 });
        }
        _ => {
            let state = if stamp.offset % 2 == 0 { StatusState::Online } else { StatusState::Offline };
            let Stamp { boot, partition, offset, .. } = stamp;
            let software = Some("1.2".into()).filter(|_| offset % 3 == 0);
            update.status = Some(StatusRegister { boot, time: stamp.seq, state, partition, offset, software });
        }
    }
    update
}

/// Updates whose place in the log is their own.
fn updates() -> impl Strategy<Value = Vec<TwinUpdate>> {
    proptest::collection::vec((stamp(), 0_u8..4), 1..25).prop_map(|mut placed| {
        placed.sort_by_key(|(stamp, _)| (stamp.partition, stamp.offset));
        placed.dedup_by_key(|(stamp, _)| (stamp.partition, stamp.offset));
        placed.into_iter().map(|(stamp, kind)| update(stamp, kind)).collect()
    })
}

proptest! {
    #[test]
    fn max_on_the_document_equals_the_merge(updates in updates(), shuffle in any::<prop::sample::Index>()) {
        let mut merged = TwinUpdate::new(VehicleId::parse("veh-1").unwrap());
        for update in &updates {
            merged.merge(update.clone());
        }
        let mut document = Document::from_iter([("_id".to_owned(), Bson::String("veh-1".into()))]);
        let turn = shuffle.index(updates.len());
        // Another order, and some twice.
        for update in updates[turn..].iter().rev().chain(&updates).chain(&updates[..turn]) {
            max(&mut document, fields(update));
        }
        let found = read(&document).unwrap();
        prop_assert_eq!(&found, &merged);
        prop_assert_eq!(found.view(), merged.view());
    }

    #[test]
    fn what_is_pruned_is_never_seen(updates in updates(), later in stamp()) {
        let (mut whole, mut pruned) = (TwinUpdate::new(VehicleId::parse("veh-1").unwrap()), None::<TwinUpdate>);
        for update in updates {
            whole.merge(update.clone());
            let state = pruned.get_or_insert_with(|| TwinUpdate::new(update.vehicle.clone()));
            state.merge(update);
            state.prune();
        }
        let mut pruned = pruned.unwrap();
        prop_assert_eq!(whole.view(), pruned.view());
        let later = update(Stamp { offset: 99, ..later }, 0);
        whole.merge(later.clone());
        pruned.merge(later);
        prop_assert_eq!(whole.view(), pruned.view());
    }
}
