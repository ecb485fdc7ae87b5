//! The quick pass over Protobuf: fields in any order, none of the single ones twice.

use super::{Approximate, Fields, Glimpse, Seen, is_good_position};
use crate::codec::wire::{Once, Reader, Wire, zigzag};

/// Reads the fields; none where there is a doubt.
pub(super) fn read(payload: &[u8]) -> Option<Fields<'_>> {
    let (mut fields, mut seen, mut once) = (Fields::default(), Seen::default(), Once::default());
    let (mut kind, mut placed) = (0, false);
    let mut reader = Reader::new(payload);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Varint(schema)) => fields.schema = schema.try_into().ok()?,
            (2, Wire::Bytes(vehicle)) => fields.vehicle = vehicle,
            (3, Wire::Varint(boot)) => fields.boot = boot.try_into().ok()?,
            (4, Wire::Varint(seq)) => fields.seq = seq,
            (5, Wire::Varint(time)) => fields.time = zigzag(time),
            (6, Wire::Varint(value)) => kind = value,
            (7, Wire::Bytes(signal)) => {
                read_signal(signal, &mut seen)?;
                continue;
            }
            (8, Wire::Bytes(position)) => {
                is_good(position)?;
                placed = true;
            }
            (1..=8, _) => return None,
            // Outside the contract.
            _ => continue,
        }
        once.saw(number)?;
    }
    fields.measured = placed || seen.any();
    matches!(kind, 1 | 2).then_some(fields)
}

fn read_signal<'a>(bytes: &'a [u8], seen: &mut Seen<'a>) -> Option<()> {
    let (mut number, mut value, mut path, mut once) = (0, None, &b""[..], Once::default());
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.next()? {
        let field = match (field, wire) {
            (1, Wire::Varint(of)) => {
                number = of.try_into().ok()?;
                1
            }
            (2, Wire::Fixed64(bytes)) => {
                value = Some(Glimpse::Number(Approximate::exactly(f64::from_le_bytes(bytes))));
                2
            }
            // One value, of whatever type.
            (3, Wire::Varint(_)) => {
                value = Some(Glimpse::Boolean);
                2
            }
            (4, Wire::Bytes(text)) => {
                value = Some(Glimpse::Text(std::str::from_utf8(text).ok()?.len()));
                2
            }
            (5, Wire::Bytes(text)) => {
                path = std::str::from_utf8(text).ok()?.as_bytes();
                5
            }
            (1..=5, _) => return None,
            _ => continue,
        };
        once.saw(field)?;
    }
    if number == 0 { seen.path(path, value?) } else { seen.number(number, value?) }
}

fn is_good(position: &[u8]) -> Option<()> {
    // An absent coordinate is 0.
    let (mut latitude, mut longitude, mut heading, mut once) = (0.0, 0.0, None, Once::default());
    let mut reader = Reader::new(position);
    while let Some((field, wire)) = reader.next()? {
        match (field, wire) {
            (1, Wire::Fixed64(bytes)) => latitude = f64::from_le_bytes(bytes),
            (2, Wire::Fixed64(bytes)) => longitude = f64::from_le_bytes(bytes),
            (3, Wire::Fixed64(bytes)) => heading = Some(Approximate::exactly(f64::from_le_bytes(bytes))),
            (1..=3, _) => return None,
            _ => continue,
        }
        once.saw(field)?;
    }
    is_good_position(Approximate::exactly(latitude), Approximate::exactly(longitude), heading).then_some(())
}
