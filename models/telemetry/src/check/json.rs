//! The quick pass over JSON: one object of the expected fields, without escapes.

use super::{Fields, Glimpse, Seen, is_good_position};
use crate::codec::scan::Scan;

/// Every required field came by: see [`read`].
const ALL_REQUIRED: u32 = 0b111_1111;

/// Reads the fields; none where there is a doubt.
pub(super) fn read(payload: &[u8]) -> Option<Fields<'_>> {
    let mut scan = Scan::of(payload)?;
    let (mut fields, mut seen, mut came) = (Fields::default(), Seen::default(), 0);
    scan.object(|scan, name| {
        let bit = match name {
            b"schema" => {
                fields.schema = scan.whole()?.try_into().ok()?;
                1
            }
            b"vehicle" => {
                fields.vehicle = scan.text()?;
                1 << 1
            }
            b"boot" => {
                fields.boot = scan.whole()?.try_into().ok()?;
                1 << 2
            }
            b"seq" => {
                fields.seq = scan.whole()?;
                1 << 3
            }
            b"time" => {
                fields.time = scan.whole()?.try_into().ok()?;
                1 << 4
            }
            b"kind" => {
                matches!(scan.text()?, b"full" | b"change").then_some(())?;
                1 << 5
            }
            b"signals" => {
                scan.object(|scan, path| seen.path(path, scan.value()?))?;
                1 << 6
            }
            b"position" => {
                fields.measured = scan.position()?;
                1 << 7
            }
            _ => return scan.ignored(),
        };
        // No field twice.
        let new = came & bit == 0;
        came |= bit;
        new.then_some(())
    })?;
    fields.measured |= seen.any();
    (scan.is_through() && came & ALL_REQUIRED == ALL_REQUIRED).then_some(fields)
}

impl Scan<'_> {
    /// A signal's value.
    fn value(&mut self) -> Option<Glimpse> {
        match self.peek()? {
            b'"' => self.text().map(|text| Glimpse::Text(text.len())),
            b't' => self.word(b"true").map(|()| Glimpse::Boolean),
            b'f' => self.word(b"false").map(|()| Glimpse::Boolean),
            _ => self.number().map(|(number, _)| Glimpse::Number(number)),
        }
    }

    /// The value of a field outside the contract, if it is simple.
    fn ignored(&mut self) -> Option<()> {
        if self.peek()? == b'n' { self.word(b"null") } else { self.value().map(drop) }
    }

    /// Whether there is a position, which is good then.
    fn position(&mut self) -> Option<bool> {
        if self.peek()? == b'n' {
            return self.word(b"null").map(|()| false);
        }
        let (mut latitude, mut longitude, mut heading, mut came) = (None, None, None, 0);
        self.object(|scan, name| {
            let (place, bit) = match name {
                b"latitude" => (&mut latitude, 1),
                b"longitude" => (&mut longitude, 1 << 1),
                b"heading" => (&mut heading, 1 << 2),
                _ => return scan.ignored(),
            };
            if bit == 1 << 2 && scan.peek()? == b'n' {
                scan.word(b"null")?;
            } else {
                *place = Some(scan.number()?.0);
            }
            let new = came & bit == 0;
            came |= bit;
            new.then_some(())
        })?;
        is_good_position(latitude?, longitude?, heading).then_some(true)
    }
}
