//! Protobuf's wire, read field by field without allocating. Wherever a message is not as usual it gives up: prost tells then
//! what is right.

/// Fields, read from the front.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's value as the wire has it.
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Fields that came by. Protobuf lets the last one win, or merges them: not worth knowing here.
#[derive(Default)]
pub(crate) struct Once {
    came: u32,
}

impl Once {
    pub(crate) fn saw(&mut self, field: u64) -> Option<()> {
        let new = self.came & 1 << field == 0;
        self.came |= 1 << field;
        new.then_some(())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and value; an inner none at the end.
    #[inline(always)]
    #[expect(clippy::option_option, reason = "the outer one is doubt, for the question mark")]
    pub(crate) fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
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
pub(crate) fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
