//! The bytes of a segment: a header, then frames. Pure.
//!
//! Header: magic, version (u32), position of the first record (u64), CRC-32 of all that. Frame: length of the
//! body (u32), CRC-32 of position (u64) and body, body. Numbers are little-endian. A position is in no frame,
//! only in its checksum: a whole frame in the wrong place is as spoilt as a flipped one.

/// No body is longer, bytes: a length beyond it is spoilt.
pub const MAX_BODY: usize = 1 << 20;
/// Of the header, bytes.
pub(super) const HEADER: usize = 24;
/// Of what stands before each body, bytes.
pub(super) const HEAD: usize = 8;

const MAGIC: [u8; 8] = *b"MCSPOOL\n";
const VERSION: u32 = 1;

/// What the beginning of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// The position of its first record.
    First(u64),
    /// Whole, and written by a program that is newer than this one.
    Version(u32),
    Spoilt,
}

pub(super) fn write_header(first: u64) -> [u8; HEADER] {
    header(VERSION, first)
}

fn header(version: u32, first: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[12..20].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    let Some((bytes, _)) = bytes.split_first_chunk::<HEADER>() else { return Header::Spoilt };
    let (version, first) = (u32_at(bytes, 8), u64_at(bytes, 12));
    if *bytes != header(version, first) {
        Header::Spoilt
    } else if version == VERSION {
        Header::First(first)
    } else {
        Header::Version(version)
    }
}

/// Appends the frame of a body, which is not longer than [`MAX_BODY`].
pub(super) fn append(to: &mut Vec<u8>, position: u64, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend(length.to_le_bytes());
    to.extend(checksum(position, body).to_le_bytes());
    to.extend(body);
}

/// What stands where a frame should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole one: its body has this length and follows [`HEAD`].
    Whole(usize),
    /// Perhaps one; so many bytes are needed to tell more.
    Short(usize),
    Spoilt,
}

/// Reads the frame of this position at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8], position: u64) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Parsed::Short(HEAD) };
    let Some(length) = claimed_length(head) else { return Parsed::Spoilt };
    match rest.get(..length) {
        None => Parsed::Short(HEAD + length),
        Some(body) if checksum(position, body) == u32_at(head, 4) => Parsed::Whole(length),
        Some(_) => Parsed::Spoilt,
    }
}

/// The length that a frame claims for its body, if it can be one.
pub(super) fn claimed_length(head: &[u8; HEAD]) -> Option<usize> {
    usize::try_from(u32_at(head, 0)).ok().filter(|length| *length <= MAX_BODY)
}

fn checksum(position: u64, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&position.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(position: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&mut bytes, position, body);
        bytes
    }

    #[test]
    fn a_frame_is_whole_only_in_its_place() {
        for body in [&b""[..], b"x", &[0; 300]] {
            let bytes = frame(7, body);
            assert_eq!(bytes.len(), HEAD + body.len());
            assert_eq!(parse(&bytes, 7), Parsed::Whole(body.len()));
            assert_eq!(parse(&bytes, 8), Parsed::Spoilt, "the same bytes elsewhere");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_frame_is_noticed() {
        let bytes = frame(7, b"a body of some bytes");
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&flipped, 7), Parsed::Whole(_)), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            let needs = if cut < HEAD { HEAD } else { bytes.len() };
            assert_eq!(parse(&bytes[..cut], 7), Parsed::Short(needs), "{cut} bytes");
        }
    }

    #[test]
    fn zeroes_that_a_file_system_left_are_no_frame() {
        assert!((1..100_000).all(|position| parse(&[0; 64], position) == Parsed::Spoilt));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_header_is_noticed() {
        let bytes = write_header(1 << 40);
        assert_eq!(read_header(&bytes), Header::First(1 << 40));
        for bit in 0..8 * HEADER {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_header(&flipped), Header::Spoilt, "bit {bit}");
        }
        assert!((0..HEADER).all(|cut| read_header(&bytes[..cut]) == Header::Spoilt));
        assert_eq!(read_header(&header(2, 1)), Header::Version(2));
    }

    /// Version 1 as it is on the disks of the world: whoever changes it must write another version.
    #[test]
    #[rustfmt::skip]
    fn the_bytes_of_version_1_are_frozen() {
        let mut bytes = write_header(1).to_vec();
        append(&mut bytes, 1, b"reading");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "4d4353504f4f4c0a", "01000000", "0100000000000000", "0f3f666e",
                "07000000", "30fb5e32", "72656164696e67",
            )
        );
    }
}
