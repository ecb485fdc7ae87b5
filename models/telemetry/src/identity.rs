//! Who sent a record, and which one it is: [`VehicleId`], [`Identity`], [`PayloadHash`].

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

use crate::codec::lent::Lent;

/// The pseudonym of a vehicle: 1 to 64 of `A-Z a-z 0-9 _ -`.
///
/// VIN and owner live only in the registry. Cloning is cheap: a short text is copied, a long one is shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VehicleId(SmolStr);

/// A text that is not a vehicle's pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a vehicle is 1 to 64 of A-Z a-z 0-9 _ -")]
pub struct InvalidVehicleId;

impl VehicleId {
    /// The longest pseudonym, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks the text and keeps it.
    pub fn parse(text: &str) -> Result<Self, InvalidVehicleId> {
        if Self::is_well_formed(text.as_bytes()) { Ok(Self(text.into())) } else { Err(InvalidVehicleId) }
    }

    /// Whether [`Self::parse`] would take the text.
    pub(crate) fn is_well_formed(text: &[u8]) -> bool {
        (1..=Self::MAX_BYTES).contains(&text.len())
            && text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-')
    }

    /// The pseudonym as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VehicleId {
    type Err = InvalidVehicleId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for VehicleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VehicleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for VehicleId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for VehicleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for VehicleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for VehicleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Lent::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// The identity of a reading. Order of readings of one vehicle is (boot, seq), never time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The vehicle that measured.
    pub vehicle: VehicleId,
    /// The boot of its unit: the larger of the previous boot + 1 and the Unix second of the unit's start,
    /// so that a replaced unit goes on growing.
    pub boot: u32,
    /// Counts from 1 in each boot, without holes.
    pub seq: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vehicle, self.boot, self.seq)
    }
}

/// XXH3-64 (seed 0) of a payload's bytes; written as 16 hexadecimal digits.
///
/// It stands in for the identity of a payload that has none, and lets the ledger compare bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadHash(pub u64);

impl PayloadHash {
    /// Hashes the payload as received.
    pub fn of(payload: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(payload))
    }

    /// The 16 hexadecimal digits.
    pub(crate) fn digits(self) -> [u8; 16] {
        std::array::from_fn(|at| b"0123456789abcdef"[(self.0 >> (60 - 4 * at)) as usize & 15])
    }
}

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PayloadHash {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for PayloadHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PayloadHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Lent::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vehicle_is_one_to_64_safe_characters() {
        for good in ["a", "veh-0001", "A_b-9", &"x".repeat(64)] {
            assert_eq!(VehicleId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "+", "#", "é", "a b", "\0", &"x".repeat(65)] {
            assert!(VehicleId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_payload_hash_survives_its_text() {
        for hash in [PayloadHash::of(b"motorcade"), PayloadHash(0x0123_4567_89ab_cdef), PayloadHash(0xf)] {
            assert_eq!(hash.to_string().parse(), Ok(hash));
            assert_eq!(hash.to_string(), format!("{:016x}", hash.0));
        }
    }
}
