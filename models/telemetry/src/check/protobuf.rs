//! The quick pass over Protobuf: fields in any order, none of the single ones twice.

use super::{Approximate, Fields, Glimpse, Seen, is_good_position};

/// Fields, read from the front.
struct Message<'a> {
    rest: &'a [u8],
}

/// A field's value as the wire has it.
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Reads the fields; none where there is a doubt.
pub(super) fn read(payload: &[u8]) -> Option<Fields<'_>> {
    let (mut fields, mut seen, mut once) = (Fields::default(), Seen::default(), Once::default());
    let (mut kind, mut placed) = (0, false);
    let mut message = Message { rest: payload };
    while let Some((number, wire)) = message.next()? {
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
    let mut message = Message { rest: bytes };
    while let Some((field, wire)) = message.next()? {
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
    let mut message = Message { rest: position };
    while let Some((field, wire)) = message.next()? {
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

/// Fields that came by. Protobuf lets the last one win, or merges them: not worth knowing here.
#[derive(Default)]
struct Once {
    came: u32,
}

impl Once {
    fn saw(&mut self, field: u64) -> Option<()> {
        let new = self.came & 1 << field == 0;
        self.came |= 1 << field;
        new.then_some(())
    }
}

impl<'a> Message<'a> {
    /// The next field's number and value; an inner none at the end.
    #[inline(always)]
    #[expect(clippy::option_option, reason = "the outer one is doubt, for the question mark")]
    fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(*self.take(8)?.as_array()?),
            2 => {
                let length = self.varint()?.try_into().ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            // A group, or nothing that there is.
            _ => return None,
        };
        // Field numbers start at 1 and end at 2^29 - 1.
        (8..=u64::from(u32::MAX)).contains(&key).then_some(Some((key >> 3, wire)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Some(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<u64> {
        // One of ten bytes holds more than 63 bits: none of the contract's needs it.
        let mut number = 0;
        for at in 0..9 {
            let byte = *self.rest.get(at)?;
            number |= u64::from(byte & 0x7F) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Some(number);
            }
        }
        None
    }
}

#[expect(clippy::cast_possible_wrap, reason = "that is how the sign is packed")]
fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
