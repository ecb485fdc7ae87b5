//! JSON read in one pass without allocating: objects and texts without escapes. Wherever a text is not as usual it gives up:
//! serde_json tells then what is right.

use super::number::{self, Approximate};

/// A place in a payload that is UTF-8. Every function but [`Self::peek`] moves on, and gives none in doubt.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
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
    /// From the start; none where the payload is no UTF-8.
    pub(crate) fn of(payload: &'a [u8]) -> Option<Self> {
        // At once, so that no text needs it of its own.
        let is_text = payload.is_ascii() || std::str::from_utf8(payload).is_ok();
        is_text.then_some(Self { bytes: payload, at: 0 })
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_through(&mut self) -> bool {
        self.peek().is_none()
    }

    /// The next byte that is no white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
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
    pub(crate) fn object(&mut self, mut entry: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
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
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = plain(rest)?;
        self.at += length + 1;
        (rest[length] == b'"').then_some(&rest[..length])
    }

    /// A number, as near as it is known at once, and its text.
    pub(crate) fn number(&mut self) -> Option<(Approximate, &'a [u8])> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let (number, length) = number::read(rest)?;
        self.at += length;
        Some((number, &rest[..length]))
    }

    /// A whole number from 1 on.
    pub(crate) fn whole(&mut self) -> Option<u64> {
        self.peek()?;
        let (number, length) = number::read_whole(&self.bytes[self.at..])?;
        self.at += length;
        Some(number)
    }

    /// This very word.
    pub(crate) fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then_some(())?;
        self.at += word.len();
        Some(())
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
