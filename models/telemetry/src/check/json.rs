//! The quick pass over JSON: one object of the expected fields, without escapes.

use super::{Fields, Glimpse, Seen, is_good_position, number};

/// A place in a payload that is UTF-8. Every function but [`Self::peek`] moves on, and gives none in doubt.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Every required field came by: see [`read`].
const ALL_REQUIRED: u32 = 0b111_1111;

/// Reads the fields; none where there is a doubt.
pub(super) fn read(payload: &[u8]) -> Option<Fields<'_>> {
    // At once, so that no text needs it of its own.
    (payload.is_ascii() || std::str::from_utf8(payload).is_ok()).then_some(())?;
    let mut scan = Scan { bytes: payload, at: 0 };
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
    (scan.peek().is_none() && came & ALL_REQUIRED == ALL_REQUIRED).then_some(fields)
}

/// How many bytes stand before the first quote, backslash or control character, if there is one.
fn plain(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // Eight bytes at once. A byte that is 0, or less than 32, borrows from above and had no high bit; what the
        // borrow makes of bytes behind the first one is of no interest.
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let found = (zero(quote) | zero(backslash) | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGH;
        if found != 0 {
            return Some(8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    let last = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F))?;
    Some(8 * words.len() + last)
}

impl<'a> Scan<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// An object; `entry` is called with each name, and reads its value.
    fn object(&mut self, mut entry: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.text()?;
            self.expect(b':')?;
            entry(self, name)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A text without escapes and control characters.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = plain(rest)?;
        self.at += length + 1;
        (rest[length] == b'"').then_some(&rest[..length])
    }

    fn number(&mut self) -> Option<number::Approximate> {
        self.peek()?;
        let (number, length) = number::read(&self.bytes[self.at..])?;
        self.at += length;
        Some(number)
    }

    fn whole(&mut self) -> Option<u64> {
        self.peek()?;
        let (number, length) = number::read_whole(&self.bytes[self.at..])?;
        self.at += length;
        Some(number)
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then_some(())?;
        self.at += word.len();
        Some(())
    }

    /// A signal's value.
    fn value(&mut self) -> Option<Glimpse> {
        match self.peek()? {
            b'"' => self.text().map(|text| Glimpse::Text(text.len())),
            b't' => self.word(b"true").map(|()| Glimpse::Boolean),
            b'f' => self.word(b"false").map(|()| Glimpse::Boolean),
            _ => self.number().map(Glimpse::Number),
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
                *place = Some(scan.number()?);
            }
            let new = came & bit == 0;
            came |= bit;
            new.then_some(())
        })?;
        is_good_position(latitude?, longitude?, heading).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_text_ends_where_a_byte_after_the_other_says() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    // The others are the nearest that do not end it, and one beyond ASCII.
                    for other in [b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xFF] {
                        let mut text = vec![other; length];
                        text[at] = byte;
                        // One that ends it stands behind, perhaps in the same word.
                        text[length - 1] = if at == length - 1 { byte } else { b'"' };
                        let naive = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
                        assert_eq!(plain(&text), naive, "{text:?}");
                    }
                }
            }
        }
    }
}
