//! Frames of append-only files: length (u32), CRC-32 of the body (u32), body; numbers little-endian.
//!
//! A process that is killed can leave only its last frame torn; reading stops there and says how many bytes
//! are left. Whole frames behind it are the sign of another damage, see [`Frames::whole_frame_behind`].
//!
//! What stands in several files has its bytes here: names of readings, and reasons, which stand there by
//! their stable names.

use telemetry::{PayloadHash, Reason, VehicleId};

use crate::outbox::Key;

/// No body is longer, bytes: a length beyond it is a torn frame.
const MAX_BODY: usize = 1 << 20;
const HEAD: usize = 8;

const KEY_SEQ: u8 = 0;
const KEY_HASH: u8 = 1;

/// Appends a frame whose body `write` writes.
pub(crate) fn append(to: &mut Vec<u8>, write: impl FnOnce(&mut Body<'_>)) {
    let at = to.len();
    to.extend([0; HEAD]);
    write(&mut Body(to));
    let body = &to[at + HEAD..];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let crc = crc32fast::hash(body);
    to[at..at + 4].copy_from_slice(&length.to_le_bytes());
    to[at + 4..at + HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// The body of a frame that is being written.
pub(crate) struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn vehicle(&mut self, vehicle: &VehicleId) {
        self.name(vehicle.as_str());
    }

    pub(crate) fn key(&mut self, key: Key) {
        match key {
            Key::Seq { boot, seq } => {
                self.u8(KEY_SEQ);
                self.u32(boot);
                self.u64(seq);
            }
            Key::Hash(hash) => {
                self.u8(KEY_HASH);
                self.u64(hash.0);
            }
        }
    }

    /// Why a payload must be refused; none for a valid one.
    pub(crate) fn reason(&mut self, reason: Option<Reason>) {
        self.name(reason.map_or("", Reason::as_str));
    }

    fn name(&mut self, name: &str) {
        // A vehicle has at most VehicleId::MAX_BYTES, a reason fewer.
        self.u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        self.0.extend(name.as_bytes());
    }

    pub(crate) fn rest(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
}

/// The bodies of the whole frames at the beginning of a file.
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows the last whole frame: after the last `next`, the torn bytes.
    pub(crate) fn torn(&self) -> usize {
        self.rest.len()
    }

    /// Whether a whole frame begins anywhere in what is torn. A kill tears the end off; it leaves nothing behind.
    pub(crate) fn whole_frame_behind(&self) -> bool {
        // Nearly every place is told by its length alone: few checksums are computed.
        (1..self.rest.len()).any(|at| Frames::of(&self.rest[at..]).next().is_some())
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Fields<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_at_checked(HEAD)?;
        let (length, crc) = head.split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let crc = u32::from_le_bytes(crc.try_into().ok()?);
        let (body, rest) = rest.split_at_checked(length).filter(|_| length <= MAX_BODY && length > 0)?;
        if crc32fast::hash(body) != crc {
            return None;
        }
        self.rest = rest;
        Some(Fields(body))
    }
}

/// The body of a frame that is being read; none where it is too short.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.take::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    pub(crate) fn vehicle(&mut self) -> Option<VehicleId> {
        VehicleId::parse(self.name()?).ok()
    }

    pub(crate) fn key(&mut self) -> Option<Key> {
        match self.u8()? {
            KEY_SEQ => Some(Key::Seq { boot: self.u32()?, seq: self.u64()? }),
            KEY_HASH => Some(Key::Hash(PayloadHash(self.u64()?))),
            _ => None,
        }
    }

    /// As [`Body::reason`] wrote it; none where no reason has this name.
    pub(crate) fn reason(&mut self) -> Option<Option<Reason>> {
        match self.name()? {
            "" => Some(None),
            name => Reason::ALL.into_iter().find(|reason| reason.as_str() == name).map(Some),
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = self.u8()?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torn(bytes: &[u8]) -> Frames<'_> {
        let mut frames = Frames::of(bytes);
        frames.by_ref().for_each(drop);
        frames
    }

    #[test]
    fn names_and_reasons_survive_their_bytes() {
        let reasons = || std::iter::once(None).chain(Reason::ALL.map(Some));
        let keys = [Key::Seq { boot: 7, seq: 1 << 40 }, Key::Hash(PayloadHash(9))];
        let mut bytes = Vec::new();
        append(&mut bytes, |body| {
            keys.into_iter().for_each(|key| body.key(key));
            reasons().for_each(|reason| body.reason(reason));
            body.name("a reason of tomorrow");
        });
        let mut fields = Frames::of(&bytes).next().unwrap();
        assert_eq!(keys.map(|_| fields.key().unwrap()), keys);
        assert!(reasons().all(|reason| fields.reason() == Some(reason)));
        assert_eq!(fields.reason(), None);
    }

    #[test]
    fn a_torn_or_flipped_frame_ends_the_reading() {
        let mut bytes = Vec::new();
        append(&mut bytes, |body| body.u64(7));
        let first = bytes.len();
        append(&mut bytes, |body| body.rest(b"second"));
        for cut in first..bytes.len() {
            let mut frames = Frames::of(&bytes[..cut]);
            assert_eq!(frames.next().and_then(|mut fields| fields.u64()), Some(7));
            assert!(frames.next().is_none());
            assert_eq!(frames.torn(), cut - first);
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(Frames::of(&bytes).count(), 1);
        assert!(!torn(&bytes).whole_frame_behind());
        append(&mut bytes, |body| body.u8(3));
        assert!(torn(&bytes).whole_frame_behind(), "behind a flipped body");
        bytes[first] = 0xFF;
        assert!(torn(&bytes).whole_frame_behind(), "behind a flipped length");
        assert_eq!(Frames::of(&bytes).count(), 1);
        assert_eq!(Frames::of(&[0; 64]).count(), 0, "zeroes that a file system left are no frames");
    }
}
